//! The tasks that the controller owns: what somebody asked for goes on in them when nobody waits for the answer any more.

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Tasks that shutting down waits for. What they log has the span of the request that began them.
#[derive(Debug, Default)]
pub(super) struct Operations(TaskTracker);

impl Operations {
    /// Does `work` in a task of its own.
    pub(super) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.0.spawn(work.in_current_span())
    }

    /// After this, [`Operations::wait`] comes to its end with the last task.
    pub(super) fn close(&self) {
        self.0.close();
    }

    /// Waits for all of them.
    pub(super) async fn wait(&self) {
        self.0.wait().await;
    }
}
