//! What a process takes, as the kernel says.

/// Clock ticks a second in `/proc/PID/stat`, as on every Linux.
const TICKS: f64 = 100.0;

/// CPU time of a process, seconds; `self` is this one.
pub fn cpu_seconds(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // User and system time are the 14th and 15th field; two stand before the end of the name.
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS
}

/// Resident memory of a process, megabytes (10^6 bytes); `self` is this one. NaN when there is no such process.
pub fn resident_mb(process: &str) -> f64 {
    status_kib(process, "VmRSS:") * 1024.0 / 1e6
}

/// The most that a process had resident, megabytes.
pub fn peak_mb(process: &str) -> f64 {
    status_kib(process, "VmHWM:") * 1024.0 / 1e6
}

fn status_kib(process: &str, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN)
}

/// How many seconds the cores of this machine were busy since it started, all together, with everything that runs on it.
pub fn machine_busy_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks =
        stat.lines().next().unwrap_or_default().split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0.0));
    // user, nice, system, idle, iowait, irq, softirq. What a hypervisor took follows, and is nobody's here.
    let busy: f64 =
        ticks.take(7).enumerate().filter(|(field, _)| ![3, 4].contains(field)).map(|(_, ticks)| ticks).sum::<f64>();
    busy / TICKS
}
