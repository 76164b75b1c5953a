//! What containers write.

use futures::StreamExt;

use super::{Result, unless_interrupted};
use crate::args::LogArgs;
use crate::client::LogQuery;
use crate::context::Context;
use crate::output;

/// Writes a container's log as it is, byte for byte.
pub(super) async fn log(context: &Context, arguments: LogArgs) -> Result {
    let query = LogQuery {
        follow: arguments.follow,
        stdout: arguments.stdout || !arguments.stderr,
        stderr: arguments.stderr || !arguments.stdout,
        timestamps: arguments.timestamps,
        tail: arguments.tail,
        since: arguments.since,
    };
    let client = context.client()?;
    let copy = async {
        let mut chunks = client.logs(&arguments.target.id, &query).await?;
        while let Some(chunk) = chunks.next().await {
            output::write(&[&chunk?])?;
        }
        Ok(())
    };
    unless_interrupted(None, copy).await
}
