//! What a program that embeds the controller may look at, and not change behind its back.

use std::collections::BTreeMap;

use crate::cluster::{Cluster, KnownContainer};
use crate::model::{ContainerId, EngineId, Resources};

/// The live view of engines and containers, to look at. What changes it is asked of the controller.
#[derive(Clone, Copy, Debug)]
pub struct ClusterView<'a> {
    cluster: &'a Cluster,
}

impl<'a> ClusterView<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        Self { cluster }
    }

    /// The name of this installation, as it is written on its containers.
    pub fn platform(&self) -> &'a str {
        self.cluster.platform()
    }

    /// The other platforms whose containers are on the engines, and how many of each. They are shown and left alone.
    pub fn other_platforms(&self) -> BTreeMap<String, usize> {
        self.cluster.other_platforms()
    }

    /// How many containers of a platform, this one or another, are on the engines that were read, and how many those engines are:
    /// where there are none, the name may be a slip of the pen.
    pub fn containers_of_platform(&self, name: &str) -> (usize, usize) {
        self.cluster.containers_of_platform(name)
    }

    /// The platforms that this one took over.
    pub fn adopted_platforms(&self) -> impl Iterator<Item = &'a str> {
        self.cluster.adopted_platforms()
    }

    /// One container, by its full id.
    pub fn container(&self, id: &ContainerId) -> Option<KnownContainer> {
        self.cluster.container(id)
    }

    /// What is reserved on an engine.
    pub fn reserved(&self, engine: &EngineId) -> Resources {
        self.cluster.reserved(engine)
    }

    /// How many reservations wait for their containers.
    pub fn reservation_count(&self) -> usize {
        self.cluster.reservation_count()
    }

    /// Recomputes every number from what there is.
    ///
    /// # Errors
    /// Which number is wrong. That would be a fault of the platform.
    #[cfg(any(test, feature = "testing"))]
    pub fn audit(&self) -> Result<(), String> {
        self.cluster.audit()
    }
}
