//! What containers write.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use paas_core::wire::LOG_BROKE_OFF;

use super::{Result, unless_interrupted};
use crate::args::{AppLogArgs, LogArgs};
use crate::client::{AppLogQuery, ClientError, LogQuery};
use crate::context::Context;
use crate::failure::Failure;
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
    let copy = async { write_all(client.logs(&arguments.target.id, &query).await?).await };
    unless_interrupted(None, copy).await
}

/// Writes what the replicas of an application wrote.
pub(super) async fn app_log(context: &Context, arguments: AppLogArgs) -> Result {
    let (app, component) = arguments.target.target;
    let query = AppLogQuery {
        component: component.map(|component| component.to_string()),
        follow: arguments.follow,
        timestamps: arguments.timestamps,
        tail: arguments.tail,
        since: arguments.since,
        previous: arguments.previous,
    };
    let client = context.client()?;
    let copy = async { write_all(client.app_logs(app.as_str(), &query).await?).await };
    unless_interrupted(None, copy).await
}

async fn write_all(mut chunks: impl Stream<Item = std::result::Result<Bytes, ClientError>> + Unpin) -> Result {
    let mut end = End::default();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => {
                output::write(&[&chunk])?;
                end.take(&chunk);
            }
            Err(error) => return Err(end.reason().map_or_else(|| error.into(), Failure::Failed)),
        }
    }
    Ok(())
}

/// The end of what was written, where a server says why it breaks off.
#[derive(Default)]
struct End(Vec<u8>);

impl End {
    /// Longer than any reason.
    const LONGEST: usize = 32 * 1024;

    fn take(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(&chunk[chunk.len().saturating_sub(Self::LONGEST)..]);
        let surplus = self.0.len().saturating_sub(Self::LONGEST);
        self.0.drain(..surplus);
    }

    /// The reason, if the last line is one.
    fn reason(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.0);
        let reason = text.lines().last()?.strip_prefix(LOG_BROKE_OFF)?;
        Some(format!("the log breaks off: {reason}"))
    }
}
