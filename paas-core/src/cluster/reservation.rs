//! Room that is reserved and not yet taken.

use std::fmt;
use std::sync::Arc;

use super::view::Ticket;
use super::{Cluster, EngineHandle};
use crate::engine::{DockerEngine, ObservedContainer};
use crate::model::{EngineId, LaunchId};

/// Room on an engine, held until it is turned into a container or dropped.
#[must_use = "a reservation that is dropped gives its room back at once"]
pub struct Reservation {
    cluster: Cluster,
    launch: LaunchId,
    engine: EngineHandle,
}

impl Reservation {
    pub(super) fn new(cluster: Cluster, launch: LaunchId, engine: EngineHandle) -> Self {
        Self { cluster, launch, engine }
    }

    /// The attempt it was made for; to be written on the container.
    pub fn launch(&self) -> LaunchId {
        self.launch
    }

    /// The engine that has the room.
    pub fn engine(&self) -> &EngineId {
        self.engine.id()
    }

    /// The way to talk to that engine; `None` when it was deleted, or is another one of the same id by now.
    pub fn connection(&self) -> Option<Arc<dyn DockerEngine>> {
        self.cluster.with(&self.engine, |_| self.engine.client().clone())
    }

    /// The container is there, as found by an observation that began at `ticket`: it holds the room from now on.
    pub(crate) fn commit(self, found: ObservedContainer, ticket: Ticket) {
        let engine = self.engine.id();
        let is_here = self.cluster.with(&self.engine, |view| view.commit(self.launch, engine, found, ticket));
        if is_here == Some(false) {
            // It is on another engine as well: the task that follows this one finds that out.
            self.engine.read_again();
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // After `commit` there is nothing left to release.
        self.cluster.release(self.launch);
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("launch", &self.launch).field("engine", self.engine.id()).finish()
    }
}
