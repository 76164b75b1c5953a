//! File systems in memory, as Docker writes them: `/run`, `/tmp:size=64m,mode=1777`.

use std::collections::BTreeSet;

use super::Invalid;
use super::validation::shortened;
use super::volume;

/// What Docker takes without a value.
const FLAGS: [&str; 30] = [
    "async",
    "atime",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "private",
    "relatime",
    "ro",
    "rprivate",
    "rshared",
    "rslave",
    "runbindable",
    "rw",
    "shared",
    "slave",
    "strictatime",
    "suid",
    "sync",
    "unbindable",
];

/// Path and options of one, both as written.
pub(crate) fn parts(tmpfs: &str) -> (&str, &str) {
    tmpfs.split_once(':').unwrap_or((tmpfs, ""))
}

/// Checks all of a container, which has the volumes named as well.
///
/// # Errors
/// Names the first that no host takes, and what would be right.
pub(super) fn validate(all: &[String], volumes: &[String]) -> Result<(), Invalid> {
    let mut targets: BTreeSet<String> = volumes.iter().map(|volume| volume::target(volume)).collect();
    for tmpfs in all {
        let wrong = |why: &str| Err(Invalid::new("tmpfs", format!("{:?}: {why}", shortened(tmpfs))));
        let (path, options) = parts(tmpfs);
        if !path.starts_with('/') || path.contains('\0') {
            return wrong("the path must be absolute; write /path or /path:size=64m");
        }
        let target = volume::cleaned(path);
        if target.is_empty() {
            return wrong("nothing can be mounted in the place of everything; name a directory");
        }
        if !targets.insert(target) {
            return wrong("something else is mounted at that path already");
        }
        if let Some(option) = options.split(',').find(|option| !options.is_empty() && !is_option(option)) {
            let option = shortened(option);
            return wrong(&format!(
                "{option:?} is no option; write flags such as noexec, size=64m, mode=1777, uid=1000"
            ));
        }
    }
    Ok(())
}

fn is_option(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('=') {
        None => FLAGS.contains(&text),
        Some(("size" | "nr_inodes" | "nr_blocks", value)) => {
            digits(value.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G', '%']).unwrap_or(value))
        }
        Some(("mode", value)) => digits(value) && u32::from_str_radix(value, 8).is_ok_and(|mode| mode <= 0o7777),
        Some(("uid" | "gid", value)) => digits(value) && value.parse::<u32>().is_ok(),
        Some(("mpol", value)) => !value.is_empty(),
        Some(_) => false,
    }
}
