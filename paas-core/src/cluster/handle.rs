//! An engine as it was added: the way to talk to it, how it is, and which of those that ever had its id it is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::engine::DockerEngine;
use crate::model::{EngineId, EngineStatus};

/// An engine as it was added. One that is deleted and added again, or that moved, has the same id and another handle: what was
/// begun with the first is never noted of the second. Cheap to clone.
#[derive(Clone)]
pub struct EngineHandle {
    shared: Arc<Shared>,
}

struct Shared {
    id: EngineId,
    generation: u64,
    client: Arc<dyn DockerEngine>,
    status: watch::Sender<EngineStatus>,
    /// Rings when the engine is taken out.
    stop: CancellationToken,
    /// Rings when the engine answers again, or when something is to be looked at.
    wake: Notify,
    /// Whether everything is to be read again.
    reread: AtomicBool,
}

impl EngineHandle {
    pub(super) fn new(id: EngineId, generation: u64, client: Arc<dyn DockerEngine>, stop: CancellationToken) -> Self {
        let status = watch::Sender::new(EngineStatus::Pending);
        let (wake, reread) = (Notify::new(), AtomicBool::new(false));
        Self { shared: Arc::new(Shared { id, generation, client, status, stop, wake, reread }) }
    }

    /// The engine's id.
    pub fn id(&self) -> &EngineId {
        &self.shared.id
    }

    /// The way to talk to it, whether or not it answers.
    pub fn client(&self) -> &Arc<dyn DockerEngine> {
        &self.shared.client
    }

    /// How it is; of one that was taken out, how it was at the end.
    pub fn status(&self) -> EngineStatus {
        *self.shared.status.borrow()
    }

    /// Waits until it answers no more, or is taken out.
    pub async fn lost(&self) {
        let mut status = self.shared.status.subscribe();
        let is_lost = |status: &EngineStatus| !matches!(status, EngineStatus::Up | EngineStatus::Suspect);
        tokio::select! {
            biased;
            _ = status.wait_for(is_lost) => {}
            () = self.shared.stop.cancelled() => {}
        }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.shared.generation == other.shared.generation
    }

    pub(super) fn set_status(&self, status: EngineStatus) {
        self.shared.status.send_if_modified(|known| std::mem::replace(known, status) != status);
    }

    pub(super) fn stop(&self) -> &CancellationToken {
        &self.shared.stop
    }

    pub(super) fn wake(&self) {
        self.shared.wake.notify_one();
    }

    pub(super) async fn woken(&self) {
        self.shared.wake.notified().await;
    }

    /// Has everything on the engine read again.
    pub(super) fn read_again(&self) {
        self.shared.reread.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Whether everything was to be read again; once.
    pub(super) fn is_to_be_read(&self) -> bool {
        self.shared.reread.swap(false, Ordering::Relaxed)
    }
}

impl fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { id, generation, .. } = &*self.shared;
        f.debug_struct("EngineHandle").field("id", id).field("generation", generation).finish_non_exhaustive()
    }
}
