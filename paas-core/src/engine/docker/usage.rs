//! What the running containers of a host use.

use std::collections::HashMap;

use bollard::models::{ContainerMemoryStats, ContainerStatsResponse};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::engine::EngineUsage;
use crate::model::MemoryMb;

/// CPU time that a container had used at a moment, nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    time: Timestamp,
    cpu_time: u64,
}

/// What was read the last time, by container.
#[derive(Debug, Default)]
pub(super) struct Samples(Mutex<HashMap<String, Sample>>);

impl Samples {
    /// Sums up what all containers used since the last call. One that is seen for the first time counts with its memory
    /// only.
    pub(super) fn usage(&self, all: impl IntoIterator<Item = ContainerStatsResponse>) -> EngineUsage {
        let mut now = HashMap::new();
        let mut cpus = 0.0;
        let mut memory = 0;
        let mut before = self.0.lock();
        for stats in all {
            memory += stats.memory_stats.as_ref().map_or(0, memory_in_use);
            let Some((id, sample)) = sample(&stats) else { continue };
            if let Some(last) = before.get(&id) {
                cpus += rate(*last, sample);
            }
            now.insert(id, sample);
        }
        *before = now;
        EngineUsage { cpus, memory: MemoryMb::from_bytes_ceil(memory) }
    }
}

fn sample(stats: &ContainerStatsResponse) -> Option<(String, Sample)> {
    let time = stats.read.as_ref()?.parse().ok()?;
    let cpu_time = stats.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
    Some((stats.id.clone()?, Sample { time, cpu_time }))
}

fn rate(last: Sample, now: Sample) -> f64 {
    let elapsed = now.time.as_nanosecond() - last.time.as_nanosecond();
    if elapsed <= 0 {
        return 0.0;
    }
    // A container that was started again begins to count from zero.
    now.cpu_time.saturating_sub(last.cpu_time) as f64 / elapsed as f64
}

/// Memory without the file cache that the kernel gives up first, as Docker's own `stats` counts it. Version 1 of the
/// control groups names that part `total_inactive_file`, version 2 `inactive_file`.
fn memory_in_use(memory: &ContainerMemoryStats) -> u64 {
    let usage = memory.usage.unwrap_or_default();
    let named = |name: &str| memory.stats.as_ref()?.get(name).copied();
    let cache = named("total_inactive_file").or_else(|| named("inactive_file")).unwrap_or_default();
    usage.checked_sub(cache).unwrap_or(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(second: u32, cpu_time: u64, usage: u64) -> ContainerStatsResponse {
        serde_json::from_value(serde_json::json!({
            "id": "a", "read": format!("2024-01-01T00:00:{second:02}.5Z"),
            "cpu_stats": {"cpu_usage": {"total_usage": cpu_time}},
            "memory_stats": {"usage": usage, "stats": {"total_inactive_file": 1 << 20, "inactive_file": 7}},
        }))
        .unwrap()
    }

    #[test]
    fn cpu_is_the_average_since_the_last_time_of_asking() {
        let samples = Samples::default();
        assert_eq!(
            samples.usage([stats(0, 5_000_000_000, 3 << 20)]),
            EngineUsage { cpus: 0.0, memory: MemoryMb::new(2) }
        );
        assert_eq!(samples.usage([stats(2, 6_000_000_000, 3 << 20)]).cpus, 0.5);
        assert_eq!(samples.usage([stats(4, 1_000, 3 << 20)]).cpus, 0.0, "started again");
        assert_eq!(samples.usage([]), EngineUsage::default());
    }

    #[test]
    fn what_a_windows_or_dead_container_does_not_tell_counts_as_nothing() {
        assert_eq!(Samples::default().usage([ContainerStatsResponse::default()]), EngineUsage::default());
    }
}
