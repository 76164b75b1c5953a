//! Sums over everything, and a check that they are right.

use std::collections::HashSet;

use super::View;
use crate::model::{EngineStatus, HostUsage, MemoryMb, Resources};

/// Sums over all engines, for the cluster info.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Totals {
    pub(in crate::cluster) total: Resources,
    pub(in crate::cluster) reserved: Resources,
    pub(in crate::cluster) used_cpus: f64,
    pub(in crate::cluster) used_memory: MemoryMb,
    pub(in crate::cluster) up: usize,
    pub(in crate::cluster) simulated: usize,
    pub(in crate::cluster) images: usize,
}

/// How many containers there are, for the cluster info.
#[derive(Debug)]
pub(in crate::cluster) struct Counts {
    pub(in crate::cluster) all: usize,
    pub(in crate::cluster) running: usize,
    /// Those that ran when their engine was heard last.
    pub(in crate::cluster) unknown: usize,
}

impl View {
    pub(in crate::cluster) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let mut images = HashSet::new();
        for entry in self.engines.values() {
            if entry.health.status == EngineStatus::Duplicate {
                continue;
            }
            totals.total += Resources { cpus: entry.summary.cpus, memory: entry.summary.memory };
            totals.reserved += self.snapshot.get(&entry.spec.id).map_or(Resources::ZERO, |state| state.reserved);
            totals.up += usize::from(entry.health.status == EngineStatus::Up);
            totals.simulated += usize::from(entry.summary.simulated);
            if entry.health.status == EngineStatus::Up {
                let containers = HostUsage { cpus: entry.usage.cpus, memory: entry.usage.memory };
                let used = entry.host_usage.unwrap_or(containers);
                totals.used_cpus += used.cpus;
                totals.used_memory += used.memory;
            }
            images.extend(entry.info.iter().flat_map(|info| info.images.iter()));
        }
        totals.images = images.len();
        totals
    }

    pub(in crate::cluster) fn counts(&self) -> Counts {
        let is_down = |id| self.engines.get(id).is_some_and(|engine| engine.health.status == EngineStatus::Down);
        let active = self.containers.values().filter(|entry| entry.container.state.holds_resources());
        let (unknown, running) =
            active.fold((0, 0), |(unknown, running), entry| match is_down(&entry.container.engine.id) {
                true => (unknown + 1, running),
                false => (unknown, running + 1),
            });
        Counts { all: self.containers.len(), running, unknown }
    }
}
