//! The cluster as a whole.

use serde::{Deserialize, Serialize};

use super::units::any_cpus;
use super::{Cpus, MemoryMb};

/// Totals over all engines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterInfo {
    /// CPUs of all engines that answered at least once.
    #[serde(deserialize_with = "any_cpus")]
    pub cpus: Cpus,
    /// Memory of all engines that answered at least once, MB.
    pub memory: MemoryMb,
    /// CPUs reserved for containers and for placements in flight.
    #[serde(deserialize_with = "any_cpus")]
    pub reserved_cpus: Cpus,
    /// Memory reserved for containers and for placements in flight, MB.
    pub reserved_memory: MemoryMb,
    /// CPUs in use on the engines that are up: on the whole host where its agent says so, otherwise by the containers, as
    /// Docker measures it.
    pub used_cpus: f64,
    /// Memory in use on the engines that are up, MB, by the same measure.
    pub used_memory: MemoryMb,
    /// Containers, the stopped ones included.
    pub container_count: usize,
    /// Containers that run, on engines that are not down.
    pub running_count: usize,
    /// Containers on engines that are down: what they do is not known.
    #[serde(default)]
    pub unknown_count: usize,
    /// Engines.
    pub engine_count: usize,
    /// Engines that are up.
    pub engines_up: usize,
    /// Different images on the engines.
    pub image_count: usize,
    /// Engines that are simulated.
    #[serde(default)]
    pub simulated_count: usize,
    /// The server that leads, by the URL that others reach it at; absent where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Version of the server.
    pub version: String,
}
