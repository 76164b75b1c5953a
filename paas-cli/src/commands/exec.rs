//! Commands that are run for applications: what they write goes where they write it, and the exit status is theirs.

use futures::StreamExt;
use paas_core::engine::LogStream;
use paas_core::wire::app::{CommandStep, ExecRequest, RunCommandRequest};

use super::{Result, unless_interrupted};
use crate::args::{AppRunArgs, ExecArgs};
use crate::client::CommandSteps;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;

const GOES_ON: &str = "interrupted; the command goes on in its container";
const IS_ENDED: &str = "interrupted; the command is ended, and its container removed";

/// Runs a command in the container of a replica.
pub(super) async fn exec(context: &Context, arguments: ExecArgs) -> Result {
    let (app, component, slot) = arguments.target;
    let request = ExecRequest { component, slot, command: arguments.command };
    let client = context.client()?;
    let run = async { pass_on(client.exec_app(app.as_str(), &request).await?).await };
    unless_interrupted(Some(GOES_ON), run).await
}

/// Runs a command once, in a container of its own.
pub(super) async fn run(context: &Context, arguments: AppRunArgs) -> Result {
    let (app, component) = arguments.target.target;
    let request = RunCommandRequest { component, command: arguments.command };
    let client = context.client()?;
    let run = async { pass_on(client.run_app(app.as_str(), &request).await?).await };
    unless_interrupted(Some(IS_ENDED), run).await
}

/// Writes what a command writes, until it ends, and fails with its status.
async fn pass_on(mut steps: CommandSteps) -> Result {
    while let Some(step) = steps.next().await {
        let step = step?;
        match step.bytes() {
            Some((LogStream::Stdout, bytes)) => output::write(&[&bytes])?,
            Some((LogStream::Stderr, bytes)) => output::write_error(&bytes),
            None => {}
        }
        match step {
            CommandStep::Ended { status: 0 } => return Ok(()),
            CommandStep::Ended { status } => return Err(Failure::Ended(u8::try_from(status).unwrap_or(u8::MAX))),
            CommandStep::BrokenOff { detail } => {
                return Err(Failure::Failed(format!("nobody knows how the command ended: {detail}")));
            }
            CommandStep::Output { .. } | CommandStep::Unknown => {}
        }
    }
    Err(Failure::Failed("nobody knows how the command ended: the answer of the server ended before it".to_owned()))
}
