//! The processes of the bed, found by what the kernel says of them: no file has to be true for the bed to be found and ended.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::shell;

/// In the environment of everything that holds a part of the bed: the folder of the bed.
pub(super) const FOLDER: &str = "PAAS_BED";
/// Which part it is: the number of a host, or 0 for the switch between them.
pub(super) const PART: &str = "PAAS_BED_PART";
/// `1` when the bed is to stay until somebody takes it down, and not only as long as the program that made it.
pub(super) const KEPT: &str = "PAAS_BED_KEPT";

/// The part of the bed that the hosts are plugged in to.
pub(super) const SWITCH: usize = 0;

/// A process that holds a part of the bed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: u32,
    pub(super) part: usize,
    pub(super) folder: PathBuf,
    pub(super) kept: bool,
    /// Whether the part is there already: its namespaces are made, and what happens in them by itself is done.
    pub(super) ready: bool,
}

/// Everything that holds a part of a bed, also half made.
pub(super) fn holders() -> Vec<Holder> {
    pids().filter_map(holder).collect()
}

fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn holder(pid: u32) -> Option<Holder> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let (folder, part, kept) = marks(&environment)?;
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let ready = match part {
        SWITCH => command.trim() == "sleep" && namespace(pid, "net") != namespace(std::process::id(), "net"),
        // The last thing that a host does before it waits is to become this.
        _ => command.trim() == "tini",
    };
    Some(Holder { pid, part, folder, kept, ready })
}

fn marks(environment: &[u8]) -> Option<(PathBuf, usize, bool)> {
    let text = String::from_utf8_lossy(environment);
    let value = |name: &str| text.split('\0').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    Some((value(FOLDER)?.into(), value(PART)?.parse().ok()?, value(KEPT) == Some("1")))
}

fn namespace(pid: u32, kind: &str) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok().map(|metadata| metadata.ino())
}

/// The process that holds a part of the bed, once the part is ready.
pub(super) fn ready(part: usize) -> Option<u32> {
    holders().into_iter().find(|holder| holder.part == part && holder.ready).map(|holder| holder.pid)
}

/// The processes of a host that run one of these programs, outside containers.
pub(super) fn of_host(holder: u32, programs: &[&str]) -> Vec<u32> {
    let Some(host) = namespace(holder, "pid") else { return Vec::new() };
    let runs = |pid: u32| programs.iter().any(|program| shell::is_running(pid, program));
    pids().filter(|&pid| namespace(pid, "pid") == Some(host) && runs(pid)).collect()
}

/// Kills processes, and with one that holds a host everything on the host, and waits until they are gone.
///
/// A host is only gone when the last of its processes was collected. Some are children of programs outside (nsenter), and
/// those stop when their child is stopped: they have to be woken, or they would never collect it.
///
/// # Errors
/// When one does not go.
pub(super) fn kill(pids: &[u32]) -> Result<()> {
    let parents: BTreeSet<u32> = pids.iter().flat_map(|&pid| parents_outside(pid)).collect();
    for &pid in pids {
        shell::signal("-KILL", pid);
    }
    let mut outcome = Ok(());
    // One may stop a moment after it was woken, when it hears that its child was stopped before that was killed.
    for _ in 0..10 {
        for &parent in &parents {
            shell::signal("-CONT", parent);
        }
        outcome = gone(pids, Duration::from_secs(2));
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// The parents of a host's processes that are not on the host themselves.
fn parents_outside(holder: u32) -> Vec<u32> {
    let host = namespace(holder, "pid");
    if host.is_none() || host == namespace(std::process::id(), "pid") {
        return Vec::new();
    }
    let on_it = |pid: u32| namespace(pid, "pid") == host;
    pids().filter(|&pid| on_it(pid)).filter_map(shell::parent).filter(|&parent| parent > 1 && !on_it(parent)).collect()
}

/// Waits until processes are gone.
///
/// # Errors
/// When one does not go in time.
pub(super) fn gone(pids: &[u32], deadline: Duration) -> Result<()> {
    let there = |pid: &&u32| shell::is_running(**pid, &shell::program(**pid));
    if !shell::wait_until(deadline, || !pids.iter().any(|pid| there(&pid))) {
        let stay: Vec<String> =
            pids.iter().filter(there).map(|pid| format!("{pid} ({})", shell::program(*pid))).collect();
        bail!("after {deadline:?} there still is process {}", stay.join(", "));
    }
    Ok(())
}

/// A path as the host sees it, for this process.
pub(super) fn inside(holder: u32, path: &str) -> PathBuf {
    Path::new("/proc").join(holder.to_string()).join("root").join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_holder_is_known_by_its_environment() {
        let marked = b"PATH=/bin\0PAAS_BED=/somewhere\0PAAS_BED_PART=3\0PAAS_BED_KEPT=1\0";
        assert_eq!(marks(marked), Some(("/somewhere".into(), 3, true)));
        assert_eq!(marks(b"PAAS_BED=/somewhere\0PAAS_BED_PART=0\0"), Some(("/somewhere".into(), 0, false)));
        assert_eq!(marks(b"PAAS_BEDROOM=/x\0PAAS_BED_PART=3\0"), None);
        assert_eq!(marks(b"PAAS_BED=/x\0PAAS_BED_PART=three\0"), None);
        assert_eq!(marks(b""), None);
    }
}
