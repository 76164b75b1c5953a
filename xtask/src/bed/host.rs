//! One host: namespaces and control groups of its own, held by one process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::processes::{FOLDER, KEPT, PART, SWITCH};
use super::{cgroups, processes};
use crate::shell;

const SCRIPT: &str = include_str!("host.sh");
const ENTER: &str = include_str!("enter.sh");

/// Where a host keeps what survives a crash.
pub(super) fn folder(bed: &Path, host: usize) -> PathBuf {
    bed.join(format!("host{host}"))
}

/// Makes sure that a host is there, without network and daemon. Gives the process that holds it.
pub(super) fn hold(bed: &Path, host: usize, kept: bool) -> Result<u32> {
    if let Some(pid) = processes::ready(host) {
        return Ok(pid);
    }
    let folder = folder(bed, host);
    for name in ["etc-docker", "data"] {
        fs::create_dir_all(folder.join(name))?;
    }
    cgroups::make(host)?;
    let script = folder.join("host.sh");
    fs::write(&script, SCRIPT)?;
    let mut command = Command::new("setsid");
    command.arg("--fork").arg("sh").arg(&script).arg("join").arg(&folder).arg(host.to_string());
    let pid = start(command, bed, host, kept, &folder.join("host.log"))?;
    cgroups::open(host)?;
    Ok(pid)
}

/// Makes sure that the switch is there, without cables. Gives the process that holds it.
pub(super) fn hold_switch(bed: &Path, kept: bool) -> Result<u32> {
    if let Some(pid) = processes::ready(SWITCH) {
        return Ok(pid);
    }
    fs::create_dir_all(bed)?;
    let mut command = Command::new("setsid");
    command.args(["--fork", "unshare", "--net", "sleep", "infinity"]);
    start(command, bed, SWITCH, kept, &bed.join("switch.log"))
}

fn start(mut command: Command, bed: &Path, part: usize, kept: bool, log: &Path) -> Result<u32> {
    command.env(FOLDER, bed).env(PART, part.to_string()).env(KEPT, if kept { "1" } else { "0" });
    let mut first = shell::spawn(&mut command, log)?;
    first.wait()?;
    let (mut pid, mut missed) = (None, 0);
    let ready = || {
        pid = processes::ready(part);
        // A process that becomes another program has no environment for a moment, and is not seen.
        let is_there = processes::holders().iter().any(|holder| holder.part == part);
        missed = if is_there { 0 } else { missed + 1 };
        pid.is_some() || missed > 20
    };
    shell::wait_until(Duration::from_secs(20), ready);
    match pid {
        Some(pid) => Ok(pid),
        None => {
            let name = if part == SWITCH { "the switch".to_owned() } else { format!("host {part}") };
            bail!("{name} of the bed cannot be made; {} says:\n{}", log.display(), shell::last_lines(log, 5))
        }
    }
}

/// A command that runs as one of a host's processes. With `detached` it goes on after this process, and is nobody's child.
pub(super) fn enter(holder: u32, program: &str, detached: bool) -> Command {
    let nsenter = ["nsenter", "--net", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--target"];
    let before: &[&str] = if detached { &["setsid", "--fork"] } else { &[] };
    let words: Vec<&str> = before.iter().copied().chain(nsenter).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(holder.to_string()).args(["sh", "-c", ENTER, "enter", program]);
    command.stdin(Stdio::null());
    command
}

/// Ends everything that a host runs, at once.
pub(super) fn end(host: usize) -> Result<()> {
    let pids: Vec<u32> =
        processes::holders().into_iter().filter(|holder| holder.part == host).map(|holder| holder.pid).collect();
    cgroups::thaw(host);
    processes::kill(&pids)?;
    cgroups::remove(host).with_context(|| format!("host {host} has ended"))
}
