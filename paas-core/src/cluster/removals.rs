//! Containers that the platform removes at this moment.
//!
//! A host tells of each several times while it goes. The task that removes it says what became of it, so nobody needs to ask
//! the host meanwhile, which has enough to do; nor afterwards, when it is known that it went.

use std::collections::HashSet;

use parking_lot::Mutex;

use super::Cluster;
use crate::model::ContainerId;

#[derive(Debug, Default)]
pub(super) struct Removing(Mutex<HashSet<ContainerId>>);

/// A container is being removed until this is dropped. Then it is to be noted as gone, or read again.
#[derive(Debug)]
pub(crate) struct Removal {
    cluster: Cluster,
    id: ContainerId,
}

impl Drop for Removal {
    fn drop(&mut self) {
        self.cluster.shared.removing.0.lock().remove(&self.id);
    }
}

impl Cluster {
    /// Notes that a container is being removed. Only one may do that at a time.
    pub(crate) fn removing(&self, id: &ContainerId) -> Removal {
        self.shared.removing.0.lock().insert(id.clone());
        Removal { cluster: self.in_background(), id: id.clone() }
    }

    /// Whether a container is being removed, or went a moment ago: its id comes to no other.
    pub(super) fn being_removed(&self, id: &ContainerId) -> bool {
        self.shared.removing.0.lock().contains(id) || self.shared.view.read().recently_removed(id)
    }
}
