//! Records what the Docker hosts report, without making anybody wait for the store.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::events::EventSink;
use crate::model::Event;

/// How many events wait for the store before the hosts' event streams have to wait.
const BACKLOG: usize = 10_000;
/// How many are given to the log at once, so that it can write them together.
const BATCH: usize = 512;

/// Where the followers of the engines put their events.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    queue: mpsc::Sender<Event>,
}

impl Recorder {
    pub(super) fn spawn(sink: Arc<dyn EventSink>, tasks: &TaskTracker, stop: CancellationToken) -> Self {
        let (queue, mut waiting) = mpsc::channel(BACKLOG);
        tasks.spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            loop {
                let stopped = tokio::select! {
                    _ = waiting.recv_many(&mut batch, BATCH) => false,
                    () = stop.cancelled() => {
                        waiting.close();
                        waiting.recv_many(&mut batch, BACKLOG).await;
                        true
                    }
                };
                if !batch.is_empty()
                    && let Err(error) = sink.record(&batch).await
                {
                    tracing::warn!(%error, events = batch.len(), "events of Docker hosts could not all be recorded");
                }
                batch.clear();
                if stopped || (waiting.is_closed() && waiting.is_empty()) {
                    return;
                }
            }
        });
        Self { queue }
    }

    /// Puts an event in the queue; waits when the queue is full.
    pub(super) async fn put(&self, event: Event) {
        if self.queue.send(event).await.is_err() {
            tracing::debug!("an event of a Docker host came after the end");
        }
    }
}
