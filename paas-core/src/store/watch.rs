//! Publication watchers of the changes to a table.

use futures::{Stream, StreamExt};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use super::Change;

/// How many changes a watcher may be behind before it is told that it missed some.
pub(super) const BACKLOG: usize = 4096;

/// The changes of a channel as a stream.
pub(super) fn changes(receiver: broadcast::Receiver<Change>) -> impl Stream<Item = Change> + Send + 'static {
    BroadcastStream::new(receiver).map(|change| change.unwrap_or(Change::Lagged))
}
