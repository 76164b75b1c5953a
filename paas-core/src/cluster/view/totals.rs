//! Sums over everything, and a check that they are right.

use std::collections::HashMap;

use super::View;
use crate::engine::EngineInfo;
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

/// The images on all engines, each with the number of engines that have it.
#[derive(Debug, Default)]
pub(super) struct Images {
    engines: HashMap<String, usize>,
}

impl Images {
    /// Counts those of one engine.
    pub(super) fn add(&mut self, info: &EngineInfo) {
        for image in &info.images {
            match self.engines.get_mut(image) {
                Some(engines) => *engines += 1,
                None => drop(self.engines.insert(image.clone(), 1)),
            }
        }
    }

    /// Counts those of one engine no more.
    pub(super) fn remove(&mut self, info: Option<&EngineInfo>) {
        for image in info.iter().flat_map(|info| &info.images) {
            let Some(engines) = self.engines.get_mut(image) else { continue };
            *engines = engines.saturating_sub(1);
            if *engines == 0 {
                self.engines.remove(image);
            }
        }
    }
}

impl View {
    pub(in crate::cluster) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        // Both are ordered by id, and have the same engines.
        for (entry, state) in self.engines.values().zip(self.snapshot.engines()) {
            if entry.health.status == EngineStatus::Duplicate {
                continue;
            }
            totals.total += Resources { cpus: entry.summary.cpus, memory: entry.summary.memory };
            totals.reserved += state.reserved;
            totals.up += usize::from(entry.health.status == EngineStatus::Up);
            totals.simulated += usize::from(entry.summary.simulated);
            if entry.health.status == EngineStatus::Up {
                let containers = HostUsage { cpus: entry.usage.cpus, memory: entry.usage.memory };
                let used = entry.host_usage.unwrap_or(containers);
                totals.used_cpus += used.cpus;
                totals.used_memory += used.memory;
            }
        }
        // An engine that is another one over again has the images of that one.
        totals.images = self.images.engines.len();
        totals
    }

    /// How many containers there are, and what is known of them. Asks for those of engines that are down, one by one.
    pub(in crate::cluster) fn counts(&self) -> Counts {
        let down = self.down.iter().filter_map(|id| self.engines.get(id));
        let there = down.flat_map(|engine| &engine.containers).filter_map(|id| self.containers.get(id));
        let unknown = there.filter(|entry| entry.container.state.holds_resources()).count();
        Counts { all: self.containers.len(), running: self.running.saturating_sub(unknown), unknown }
    }
}
