//! Commands that are run in containers.

use std::time::Duration;

use bollard::errors::Error;
use bollard::models::ExecConfig;
use bollard::{Docker as Client, body_full};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use serde_json::json;

use super::deadlines;
use super::errors::Call;
use super::lines::granted;
use super::logs::Output;
use super::transport::Transport;
use crate::engine::{EngineErrorKind, ExecChunk, Result};
use crate::model::ContainerId;

/// How long it is waited at first, and at most, until it is asked again how a command ended whose output is over.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Starts a command. Answers when Docker has started it, or could not.
pub(super) async fn open(
    transport: &Transport,
    client: Client,
    call: Call,
    id: &ContainerId,
    command: &[String],
) -> Result<BoxStream<'static, Result<ExecChunk>>> {
    let config = ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(command.to_vec()),
        ..ExecConfig::default()
    };
    let exec = call.within(deadlines::ASK, client.create_exec(id.as_str(), config)).await?.id;
    let started = async {
        let body = json!({ "Detach": false, "Tty": false }).to_string();
        let request = Request::post(format!("/exec/{exec}/start")).header(CONTENT_TYPE, "application/json");
        let answer = transport.send(request.body(body_full(body.into()))?).await?;
        // Without a terminal it comes in frames, whatever the answer says of itself.
        Ok(Output::new(granted(answer).await?, true))
    };
    let output = call.within(deadlines::OPEN, started).await?;
    let state = Some(UnderWay { output, client, call, exec });
    Ok(stream::unfold(state, |state| async move { state?.next().await }).boxed())
}

/// A command under way.
struct UnderWay {
    output: Output,
    client: Client,
    call: Call,
    exec: String,
}

impl UnderWay {
    /// What comes next, and the command itself as long as more comes after that.
    async fn next(mut self) -> Option<(Result<ExecChunk>, Option<Self>)> {
        match self.output.next().await {
            Some(Ok(chunk)) => Some((Ok(ExecChunk::Output(chunk)), Some(self))),
            Some(Err(err)) => Some((Err(self.call.failure(err)), None)),
            None => Some((self.end().await.map(ExecChunk::Ended), None)),
        }
    }

    /// The status it ends with. Its output may be over before it is, and where the connection broke, too.
    async fn end(&self) -> Result<i64> {
        let mut pause = FIRST_PAUSE;
        loop {
            let found = self.call.within(deadlines::ASK, self.inspect()).await?;
            match (found.running, found.exit_code) {
                (Some(true), _) => tokio::time::sleep(pause).await,
                (_, Some(code)) => return Ok(code),
                (_, None) => return Err(self.call.error(EngineErrorKind::Failed, "nobody says how the command ended")),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn inspect(&self) -> Result<bollard::models::ExecInspectResponse, Error> {
        self.client.inspect_exec(&self.exec).await
    }
}
