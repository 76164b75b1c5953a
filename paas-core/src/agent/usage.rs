//! What is in use on this machine, as the kernel counts it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::model::{HostUsage, MemoryMb};

/// Reads what is in use on this machine.
#[derive(Debug)]
pub struct HostMeter {
    folder: PathBuf,
    last: Option<CpuTime>,
}

/// Time that all CPUs together have spent since the machine was started, in ticks of the kernel.
#[derive(Clone, Copy, Debug)]
struct CpuTime {
    busy: u64,
    total: u64,
}

impl HostMeter {
    /// Of this machine. Measuring begins now.
    pub fn new() -> Self {
        Self::of(Path::new("/proc"))
    }

    pub(super) fn of(folder: &Path) -> Self {
        let mut meter = Self { folder: folder.to_owned(), last: None };
        meter.measure();
        meter
    }

    /// What is in use: memory at this moment, CPUs on average since the last time of asking. `None` when the kernel does not
    /// tell, or no time has passed.
    pub fn measure(&mut self) -> Option<HostUsage> {
        let stat = fs::read_to_string(self.folder.join("stat")).ok()?;
        let now = cpu_time(&stat)?;
        let last = self.last.replace(now)?;
        let cpus = stat.lines().filter(|line| is_one_cpu(line)).count();
        let passed = now.total.checked_sub(last.total).filter(|passed| *passed > 0)?;
        let share = now.busy.saturating_sub(last.busy) as f64 / passed as f64;
        // Two decimals are more than anybody measures.
        let cpus = (share.min(1.0) * cpus as f64 * 100.0).round() / 100.0;
        let memory = memory_in_use(&fs::read_to_string(self.folder.join("meminfo")).ok()?)?;
        Some(HostUsage { cpus, memory })
    }
}

impl Default for HostMeter {
    fn default() -> Self {
        Self::new()
    }
}

/// From the line `cpu user nice system idle iowait irq softirq steal …` of `/proc/stat` (proc(5)). What follows counts time
/// that is in the others already.
fn cpu_time(stat: &str) -> Option<CpuTime> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map(|ticks| ticks.parse().ok()).collect::<Option<_>>()?;
    let idle = ticks.get(3)? + ticks.get(4).copied().unwrap_or(0);
    let total = ticks.iter().sum();
    Some(CpuTime { busy: total - idle, total })
}

fn is_one_cpu(line: &str) -> bool {
    line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// What programs cannot have any more, from `/proc/meminfo`.
fn memory_in_use(meminfo: &str) -> Option<MemoryMb> {
    let kilobytes = |name: &str| {
        let value = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    let used = kilobytes("MemTotal")?.saturating_sub(kilobytes("MemAvailable")?);
    Some(MemoryMb::from_bytes_ceil(used * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str =
        "MemTotal:        4096000 kB\nMemFree:          100000 kB\nMemAvailable:    3072000 kB\nBuffers: 1 kB\n";

    fn stat(user: u64, idle: u64, waiting: u64) -> String {
        format!(
            "cpu  {user} 0 100 {idle} {waiting} 0 0 0 77 0\ncpu0 1 0 0 1 0 0 0 0 0 0\ncpu1 1 0 0 1 0 0 0 0 0 0\nintr 5\n"
        )
    }

    #[test]
    fn what_is_used_is_the_share_of_the_time_since_the_last_look() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("meminfo"), MEMINFO).unwrap();
        fs::write(folder.path().join("stat"), stat(1000, 5000, 500)).unwrap();
        let mut meter = HostMeter::of(folder.path());
        assert_eq!(meter.measure(), None, "no time has passed");
        fs::write(folder.path().join("stat"), stat(1050, 5100, 550)).unwrap();
        assert_eq!(meter.measure(), Some(HostUsage { cpus: 0.5, memory: MemoryMb::new(1000) }));
        fs::write(folder.path().join("stat"), stat(1250, 5100, 550)).unwrap();
        assert_eq!(meter.measure().unwrap().cpus, 2.0);
    }

    #[test]
    fn a_kernel_that_does_not_tell_is_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        let mut meter = HostMeter::of(folder.path());
        assert_eq!(meter.measure(), None);
        for odd in ["", "cpu \n", "cpu  a b c d\n", "cpu  1 2\n"] {
            fs::write(folder.path().join("stat"), odd).unwrap();
            assert_eq!(meter.measure(), None, "{odd:?}");
        }
    }

    #[test]
    fn this_machine_tells() {
        let mut meter = HostMeter::new();
        let begun = std::time::Instant::now();
        let usage = loop {
            if let Some(usage) = meter.measure() {
                break usage;
            }
            assert!(begun.elapsed() < std::time::Duration::from_secs(5), "the clock of the kernel stands still");
        };
        assert!(usage.memory > MemoryMb::ZERO && usage.cpus >= 0.0, "{usage:?}");
    }
}
