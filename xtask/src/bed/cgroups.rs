//! Control groups of the hosts: one for each host in every hierarchy, which the host sees as its root.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::shell;

const MOUNTED: &str = "/sys/fs/cgroup";
/// Above the groups of all hosts.
const BED: &str = "paas-bed";
/// Below the group of a host: its processes that are in no container.
const SYSTEM: &str = "system";

/// The roots of all hierarchies: a single one in version 2, one for each kind of resource in version 1.
fn roots() -> Result<Vec<PathBuf>> {
    let mounted = Path::new(MOUNTED);
    if mounted.join("cgroup.procs").exists() {
        return Ok(vec![mounted.to_owned()]);
    }
    let entries = fs::read_dir(mounted).with_context(|| format!("there are no control groups at {MOUNTED}"))?;
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    // Where two kinds of resource share a hierarchy, there is a link for each.
    let roots: Vec<PathBuf> =
        folders.filter(|folder| !folder.is_symlink() && folder.join("cgroup.procs").exists()).collect();
    if roots.is_empty() {
        bail!("no control groups are mounted at {MOUNTED}");
    }
    Ok(roots)
}

/// Makes the groups of a host.
pub(super) fn make(host: usize) -> Result<()> {
    for root in roots()? {
        let bed = root.join(BED);
        let group = bed.join(name(host));
        fs::create_dir_all(&group).with_context(|| format!("{} cannot be made", group.display()))?;
        pass_on(&root);
        pass_on(&bed);
        let system = group.join(SYSTEM);
        fs::create_dir_all(&system)?;
        for (folder, above) in [(&bed, &root), (&group, &bed), (&system, &group)] {
            inherit_cpus(folder, above)?;
        }
    }
    Ok(())
}

/// Lets a host divide what it has among its containers, once no process is left in the group itself.
pub(super) fn open(host: usize) -> Result<()> {
    for root in roots()? {
        pass_on(&root.join(BED).join(name(host)));
    }
    Ok(())
}

/// In version 2 the children of a group are limited only in what the group says. In version 1 there is no such file.
fn pass_on(group: &Path) {
    let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) else { return };
    for controller in controllers.split_whitespace() {
        // What cannot be passed on here, a container cannot be limited in; the daemon says so if it matters.
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// In version 1 a new group has no CPUs at all, and no process can enter it.
fn inherit_cpus(group: &Path, above: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (to, from) = (group.join(file), above.join(file));
        let is_empty = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.trim().is_empty());
        if is_empty(&to) && !is_empty(&from) && !group.join("cgroup.controllers").exists() {
            fs::copy(&from, &to).with_context(|| format!("{} cannot be written", to.display()))?;
        }
    }
    Ok(())
}

/// Memory that the processes and containers of a host hold, in bytes, without the pages of files.
pub(super) fn memory(host: usize) -> Option<u64> {
    let value = |key: &str, text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().parse::<u64>().ok()
    };
    roots().ok()?.into_iter().find_map(|root| {
        let text = fs::read_to_string(root.join(BED).join(name(host)).join("memory.stat")).ok()?;
        value("total_rss ", &text).or_else(|| value("anon ", &text))
    })
}

/// Holds everything on a host, its daemon and its containers together, to so many CPUs, or to none in particular.
pub(super) fn limit_cpus(host: usize, cpus: Option<f64>) -> Result<()> {
    const PERIOD: u32 = 100_000;
    let quota = cpus.map(|cpus| ((cpus * f64::from(PERIOD)) as i64).max(1000));
    for root in roots()? {
        let group = root.join(BED).join(name(host));
        // The one is of version 1, the other of version 2.
        for (file, value) in [
            ("cpu.cfs_quota_us", quota.unwrap_or(-1).to_string()),
            ("cpu.max", format!("{} {PERIOD}", quota.map_or("max".to_owned(), |quota| quota.to_string()))),
        ] {
            let file = group.join(file);
            if file.exists() {
                return fs::write(&file, value).with_context(|| format!("{} cannot be written", file.display()));
            }
        }
    }
    bail!("no control group here limits CPUs")
}

/// Lets go on what is frozen on a host, as a container is that was paused: in version 1 it could not even be killed.
pub(super) fn thaw(host: usize) {
    for root in roots().unwrap_or_default() {
        thaw_tree(&root.join(BED).join(name(host)));
    }
}

fn thaw_tree(group: &Path) {
    // Each file is there in one of the versions, and missing where nothing can be frozen.
    for (file, thawed) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        if group.join(file).exists() {
            let _ = fs::write(group.join(file), thawed);
        }
    }
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            thaw_tree(&entry.path());
        }
    }
}

/// Removes the groups of a host whose processes have ended.
pub(super) fn remove(host: usize) -> Result<()> {
    remove_below(&name(host))
}

/// Removes the groups of all hosts.
pub(super) fn remove_all() -> Result<()> {
    remove_below("")
}

fn remove_below(name: &str) -> Result<()> {
    let groups: Vec<PathBuf> = roots()?.into_iter().map(|root| root.join(BED).join(name)).collect();
    // The kernel takes a moment to let go of processes that have ended.
    let gone = shell::wait_until(Duration::from_secs(5), || {
        for group in &groups {
            remove_tree(group);
        }
        !groups.iter().any(|group| group.exists())
    });
    if !gone {
        bail!("control groups stay: {}", groups.iter().find(|group| group.exists()).unwrap_or(&groups[0]).display());
    }
    Ok(())
}

/// Groups are removed from below; the files in them go by themselves.
fn remove_tree(group: &Path) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // Tried again by the caller.
    let _ = fs::remove_dir(group);
}

fn name(host: usize) -> String {
    format!("h{host}")
}
