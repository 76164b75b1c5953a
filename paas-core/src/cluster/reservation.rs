//! Room that is reserved and not yet taken.

use std::fmt;

use super::Cluster;
use super::view::Ticket;
use crate::engine::ObservedContainer;
use crate::model::{EngineId, LaunchId};

/// Room on an engine, held until it is turned into a container or dropped.
#[must_use = "a reservation that is dropped gives its room back at once"]
pub struct Reservation {
    cluster: Cluster,
    launch: LaunchId,
    engine: EngineId,
}

impl Reservation {
    pub(super) fn new(cluster: Cluster, launch: LaunchId, engine: EngineId) -> Self {
        Self { cluster, launch, engine }
    }

    /// The attempt it was made for; to be written on the container.
    pub fn launch(&self) -> LaunchId {
        self.launch
    }

    /// The engine that has the room.
    pub fn engine(&self) -> &EngineId {
        &self.engine
    }

    /// The container is there, as found by an observation that began at `ticket`: it holds the room from now on.
    pub(crate) fn commit(self, found: ObservedContainer, ticket: Ticket) {
        self.cluster.shared.view.write().commit(self.launch, &self.engine, found, ticket);
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
        f.debug_struct("Reservation").field("launch", &self.launch).field("engine", &self.engine).finish()
    }
}
