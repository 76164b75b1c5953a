//! What each command needs of the machine, and how it gets there: the one list of Debian's packages.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell;

/// A program, and the package of Debian that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    pub(crate) program: &'static str,
    package: &'static str,
    /// Arguments that the program must succeed with, where being there is not enough.
    proof: &'static [&'static str],
}

const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package, proof: &[] }
}

/// To build the workspace: the build script of the client of etcd calls protoc, and includes what comes with protoc. Debian
/// has that in a package of its own, which protoc's only recommends.
pub(crate) const BUILD: &[Need] = &[
    need("protoc", "protobuf-compiler"),
    Need {
        program: "protoc",
        package: "libprotobuf-dev",
        proof: &["--descriptor_set_out=/dev/null", "google/protobuf/descriptor.proto"],
    },
];

/// To work with a Docker daemon that answers already, and to make an image without a registry.
pub(crate) const CLIENT: &[Need] = &[need("docker", "docker.io"), need("busybox", "busybox-static")];

/// To start a Docker daemon.
pub(crate) const DAEMON: &[Need] =
    &[need("dockerd", "docker.io"), need("iptables", "iptables"), need("update-ca-certificates", "ca-certificates")];

/// For several hosts on one machine.
pub(crate) const BED: &[Need] = &[
    need("dockerd", "docker.io"),
    need("docker", "docker.io"),
    need("iptables", "iptables"),
    need("ip", "iproute2"),
    need("unshare", "util-linux"),
    need("nsenter", "util-linux"),
    need("mount", "mount"),
    need("tini", "tini"),
];

/// For hosts of the bed that are reached over TLS.
pub(crate) const TLS: &[Need] = &[need("openssl", "openssl")];

/// For hosts of the bed that run Podman.
pub(crate) const PODMAN: &[Need] = &[need("podman", "podman"), need("runc", "runc")];

/// What tests start besides Docker: a registry of hosts, a registry of images with a password, certificates.
pub(crate) const TESTS: &[Need] = &[
    need("etcd", "etcd-server"),
    need("docker-registry", "docker-registry"),
    need("htpasswd", "apache2-utils"),
    need("openssl", "openssl"),
];

/// Installs what is missing of these.
///
/// # Errors
/// What is missing, and why it cannot be installed.
pub(crate) fn ensure(needs: &[&[Need]]) -> Result<()> {
    if let Some(obstacle) = obstacle(needs) {
        bail!("{obstacle}");
    }
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let packages = packages(&missing);
    install(&packages)?;
    let still: Vec<&str> = missing.iter().filter(|need| is_missing(need)).map(|need| need.program).collect();
    if !still.is_empty() {
        bail!("{} is installed, but there is still no {}", packages.join(", "), still.join(", "));
    }
    Ok(())
}

/// What is missing of these and cannot be installed here, if anything, and what to do about it.
pub(crate) fn obstacle(needs: &[&[Need]]) -> Option<String> {
    let missing = missing(needs);
    if missing.is_empty() {
        return None;
    }
    let advice = format!("apt-get install {}", packages(&missing).join(" "));
    let mut programs: Vec<&str> = missing.iter().map(|need| need.program).collect();
    programs.sort_unstable();
    programs.dedup();
    let programs = programs.join(", ");
    if !shell::has("apt-get") {
        return Some(format!(
            "missing: {programs}; and this is no Debian: install what '{advice}' would install there"
        ));
    }
    if !shell::is_root() {
        return Some(format!("missing: {programs}; and only root can install: run '{advice}' as root"));
    }
    None
}

/// Everything that building, testing and the bed need.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_everything() -> Result<()> {
    ensure(&[BUILD, CLIENT, DAEMON, BED, TLS, PODMAN, TESTS])
}

fn missing(needs: &[&[Need]]) -> Vec<Need> {
    needs.iter().flat_map(|needs| needs.iter().copied()).filter(is_missing).collect()
}

fn is_missing(need: &Need) -> bool {
    !shell::has(need.program) || !need.proof.is_empty() && !succeeds(need)
}

fn succeeds(need: &Need) -> bool {
    let mut command = Command::new(need.program);
    // Elsewhere than in the project, whose files might be taken for what is looked for.
    command.args(need.proof).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn packages(missing: &[Need]) -> Vec<&'static str> {
    let mut packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn install(packages: &[&str]) -> Result<()> {
    println!("Installing {} …", packages.join(" "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-y"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        shell::run(&mut command)
    };
    apt(&["update"]).context("the lists of Debian's packages cannot be fetched")?;
    let mut arguments = vec!["install", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_package_is_named_once() {
        assert_eq!(packages(&[BED[2], BED[0], BED[1]]), ["docker.io", "iptables"]);
    }

    #[test]
    fn what_is_there_is_not_installed() {
        ensure(&[&[need("sh", "no-such-package")]]).unwrap();
        ensure(&[&[Need { proof: &["-c", "exit 0"], ..need("sh", "no-such-package") }]]).unwrap();
    }

    #[test]
    fn a_program_that_is_there_and_does_not_work_is_missing() {
        assert!(is_missing(&Need { proof: &["-c", "exit 1"], ..need("sh", "no-such-package") }));
    }
}
