//! Volumes as Docker writes them: `/path`, `name:/path`, `/host/path:/path`, each with `:mode` where there is a source.
//!
//! The rules are those of Docker's parser for Linux and of its driver `local`.

use std::collections::BTreeSet;

use super::Invalid;
use super::validation::shortened;

const FORMS: &str = "write /path, name:/path or /host/path:/path, with :ro or another mode behind it";
/// Longest path, and longest part of one, in bytes: `PATH_MAX` and `NAME_MAX` of Linux.
const MAX_PATH: usize = 4095;
const MAX_NAME: usize = 255;

/// What may be mounted below `/proc`; anything else runc refuses.
const OF_PROC: [&str; 10] = [
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/loadavg",
    "proc/meminfo",
    "proc/slabinfo",
    "proc/stat",
    "proc/swaps",
    "proc/sys/crypto/fips_enabled",
    "proc/sys/kernel/ns_last_pid",
    "proc/uptime",
];

/// Checks all volumes of a container.
///
/// # Errors
/// Names the volume that no host takes, and what would be right.
pub(super) fn validate(volumes: &[String]) -> Result<(), Invalid> {
    let mut targets = BTreeSet::new();
    for volume in volumes {
        let wrong = |why: &str| Invalid::new("volumes", format!("{:?}: {why}", shortened(volume)));
        let parts: Vec<&str> = volume.split(':').collect();
        let (source, target, mode) = match *parts.as_slice() {
            [target] => (None, target, None),
            [source, target] => (Some(source), target, None),
            [source, target, mode] => (Some(source), target, Some(mode)),
            _ => return Err(wrong(FORMS)),
        };
        if volume.contains('\0') {
            return Err(wrong("a path has no zero byte"));
        }
        for path in source.into_iter().chain([target]) {
            if path.len() > MAX_PATH || path.split('/').any(|part| part.len() > MAX_NAME) {
                return Err(wrong("the path is longer than Linux takes"));
            }
        }
        if let Some(source) = source {
            check_source(source).map_err(wrong)?;
            check_mode(mode.unwrap_or_default(), source.starts_with('/')).map_err(wrong)?;
        }
        if !target.starts_with('/') {
            return Err(wrong("the path inside must be absolute; write it with a / before it"));
        }
        let target = cleaned(target);
        if target.is_empty() {
            return Err(wrong("nothing can be mounted in the place of everything; name a directory"));
        }
        let is_of_host = source.is_some_and(|source| source.starts_with('/') && cleaned(source) == "proc");
        if target == "proc" && !is_of_host || target.starts_with("proc/") && !OF_PROC.contains(&&*target) {
            return Err(wrong("nothing can be mounted in the place of what the kernel shows in /proc"));
        }
        // Where one has no source, Docker lets the other have its way.
        if source.is_some() && !targets.insert(target) {
            return Err(wrong("another volume is mounted at that path already"));
        }
    }
    Ok(())
}

fn check_source(source: &str) -> Result<(), &'static str> {
    if source.starts_with('/') {
        return Ok(());
    }
    if source.contains('/') || source.starts_with(['.', '~']) {
        return Err("the path on the host must be absolute; nobody knows what it would be relative to there");
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if source.len() < 2 || !source.as_bytes()[0].is_ascii_alphanumeric() || !source.bytes().all(plain) {
        return Err(
            "a volume's name is at least two letters, digits, '_', '.' or '-', and begins with one of the first two",
        );
    }
    Ok(())
}

/// At most one word of each kind, and of some only where they mean something.
fn check_mode(mode: &str, is_directory: bool) -> Result<(), &'static str> {
    let mut kinds = BTreeSet::new();
    for word in mode.split(',').filter(|_| !mode.is_empty()) {
        let kind = match word {
            "ro" | "rw" => 0,
            "z" | "Z" => 1,
            "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" if is_directory => 2,
            "nocopy" if !is_directory => 3,
            "consistent" | "cached" | "delegated" => 4,
            "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" => {
                return Err("only a directory of the host can be shared with it");
            }
            "nocopy" => return Err("nocopy is for volumes, not for directories of the host"),
            _ => return Err("the mode is ro or rw, perhaps with z or Z, a propagation such as rslave, or nocopy"),
        };
        if !kinds.insert(kind) {
            return Err("the mode says the same thing twice");
        }
    }
    Ok(())
}

/// The path inside of a volume that is written as it should be, as [`cleaned`] has it.
pub(super) fn target(volume: &str) -> String {
    let mut parts = volume.split(':');
    let first = parts.next().unwrap_or_default();
    cleaned(parts.next().unwrap_or(first))
}

/// A path without what does not change where it leads. Empty for the root itself.
pub(super) fn cleaned(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(volumes: &[&str]) -> Result<(), Invalid> {
        validate(&volumes.iter().map(|&volume| volume.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_docker_takes_is_taken() {
        for volume in [
            "/data",
            "data:/data",
            "v1.2_x-y:/data/",
            "/srv/www:/www:ro",
            "/srv/www:/www:",
            "/a:/b:ro,z,rslave,cached",
            "data:/b:nocopy,rw",
            "data:/b:z",
            "/:/host",
            "/tmp:/sys",
            "/proc:/proc",
            "/lxcfs/meminfo:/proc/meminfo",
            "/x:/process",
            "/a/../b:/c/./d",
        ] {
            check(&[volume]).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        // One that is only there to be there gives way.
        check(&["/x", "/tmp:/x"]).unwrap();
        check(&["/a:/x", "/a:/y"]).unwrap();
    }

    #[test]
    fn what_no_host_takes_is_refused() {
        let long = format!("data:/{}", "d".repeat(256));
        let very_long = format!("data:{}", "/d".repeat(2048));
        let long_name = format!("{}:/data", "v".repeat(256));
        for volume in [
            "",
            ":",
            ":/data",
            "./data:/data",
            "~/d:/d",
            ".:/d",
            "..:/d",
            "data/sub:/x",
            "x:/x",
            "-x:/x",
            "v\u{e9}:/x",
            "a b:/x",
            "data",
            "data:relative",
            "data:",
            "relative",
            "/",
            "/tmp:/",
            "/tmp:/..",
            "/a:/proc",
            "data:/proc",
            "/proc",
            "/tmp:/proc/x",
            "/tmp:/x/../proc//y",
            "/tmp://",
            "/a:/b:banana",
            "/a:/b:RO",
            "/a:/b:ro,rw",
            "/a:/b:ro,",
            "/a:/b:nocopy",
            "data:/b:shared",
            "/x:ro",
            "/a:/b:ro:rw",
            "/a\0:/b",
            &long,
            &very_long,
            &long_name,
        ] {
            let wrong = check(&[volume]).expect_err(&format!("{volume:?} was taken"));
            assert_eq!(wrong.field, "volumes");
        }
        for twice in [["/tmp:/x", "data:/x/"], ["/a:/x", "/b:/y/../x"]] {
            assert!(check(&twice).unwrap_err().message.contains("already"));
        }
        assert!(check(&["./data:/data"]).unwrap_err().message.contains("absolute"));
    }
}
