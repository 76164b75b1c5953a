//! The Docker daemon of a host, or Podman's service in its place.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{host, network, processes, tls};
use crate::{docker, shell};

/// How a daemon is run. Remembered in the folder of the host, so that it starts again as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kind {
    /// Podman's service, and not dockerd.
    pub(super) podman: bool,
    /// Reached over TLS, with certificates on both sides.
    pub(super) tls: bool,
    /// Containers go on while the daemon is away, also when it comes back.
    pub(super) live_restore: bool,
}

impl Kind {
    pub(super) fn save(self, folder: &Path) -> Result<()> {
        let kind = json!({"podman": self.podman, "tls": self.tls, "live_restore": self.live_restore});
        Ok(fs::write(folder.join("kind.json"), kind.to_string())?)
    }

    pub(super) fn of(folder: &Path) -> Option<Self> {
        let kind: Value = serde_json::from_str(&fs::read_to_string(folder.join("kind.json")).ok()?).ok()?;
        let is = |name: &str| kind[name] == true;
        Some(Self { podman: is("podman"), tls: is("tls"), live_restore: is("live_restore") })
    }

    /// The name of the program.
    fn program(self) -> &'static str {
        if self.podman { "podman" } else { "dockerd" }
    }

    /// Where clients on the machine reach the daemon.
    pub(super) fn address(self, host: usize) -> String {
        let address = network::address(host);
        if self.tls { format!("https://{address}:2376") } else { format!("tcp://{address}:2375") }
    }
}

/// Everything about the daemon of one host.
#[derive(Debug)]
pub(super) struct Daemon<'a> {
    pub(super) bed: &'a Path,
    pub(super) host: usize,
    pub(super) kind: Kind,
    /// The process that holds the host.
    pub(super) holder: u32,
}

impl Daemon<'_> {
    /// The processes of the daemon itself; containers and what watches over them are not among them.
    fn processes(&self) -> Vec<u32> {
        processes::of_host(self.holder, &[self.kind.program()])
    }

    /// Starts it unless it runs. Does not wait until it answers.
    pub(super) fn start(&self) -> Result<()> {
        if !self.processes().is_empty() {
            return Ok(());
        }
        let folder = host::folder(self.bed, self.host);
        // After a kill the numbers in these may be those of other processes, and the daemon would refuse to start.
        for stale in ["run/docker.pid", "run/docker/containerd/containerd.pid"] {
            let _ = fs::remove_file(processes::inside(self.holder, stale));
        }
        let _ = fs::remove_file(socket(self.bed, self.host));
        let runs = if self.kind.podman { self.podman(&folder) } else { vec![self.dockerd(&folder)?] };
        for arguments in runs {
            let mut command = host::enter(self.holder, &arguments[0], true);
            command.args(&arguments[1..]);
            shell::spawn(&mut command, &log(self.bed, self.host))?.wait()?;
        }
        Ok(())
    }

    fn dockerd(&self, folder: &Path) -> Result<Vec<String>> {
        let socket = socket(self.bed, self.host);
        let mut arguments = vec![
            "dockerd".to_owned(),
            format!("--data-root={}", folder.join("data").display()),
            format!("--host=unix://{}", socket.display()),
            "--exec-opt=native.cgroupdriver=cgroupfs".to_owned(),
        ];
        let address = network::address(self.host);
        if self.kind.tls {
            let files = tls::make(self.bed, self.host)?;
            arguments.push(format!("--host=tcp://{address}:2376"));
            arguments.push("--tlsverify".to_owned());
            arguments.push(format!("--tlscacert={}", files.ca.display()));
            arguments.push(format!("--tlscert={}", files.cert.display()));
            arguments.push(format!("--tlskey={}", files.key.display()));
        } else {
            // Without this it waits for fifteen seconds, so that people see how unsafe it is.
            arguments.extend([format!("--host=tcp://{address}:2375"), "--tls=false".to_owned()]);
        }
        if self.kind.live_restore {
            arguments.push("--live-restore".to_owned());
        }
        Ok(arguments)
    }

    /// One service listens at one address, so there are two. What it knows of running containers is below /run, or it would
    /// not notice that the host crashed. crun, its usual runtime, refuses groups of both versions at once.
    fn podman(&self, folder: &Path) -> Vec<Vec<String>> {
        let service = |address: String| {
            let root = format!("--root={}", folder.join("data").display());
            let words = [
                "podman",
                &root,
                "--runroot=/run/podman/root",
                "--tmpdir=/run/podman/tmp",
                "--runtime=runc",
                "--cgroup-manager=cgroupfs",
                "--events-backend=file",
                "system",
                "service",
                "--time=0",
                &address,
            ];
            words.map(str::to_owned).to_vec()
        };
        let socket = socket(self.bed, self.host);
        vec![
            service(format!("unix://{}", socket.display())),
            service(format!("tcp://{}:2375", network::address(self.host))),
        ]
    }

    /// Waits until it answers.
    pub(super) fn wait(&self) -> Result<()> {
        let socket = socket(self.bed, self.host);
        let answers = || docker::answers_at(&socket, Duration::from_secs(1));
        let (mut seen, mut died) = (false, false);
        shell::wait_until(Duration::from_secs(60), || {
            let runs = !self.processes().is_empty();
            seen |= runs;
            died = seen && !runs;
            died || answers()
        });
        if !died && answers() {
            return Ok(());
        }
        let log = log(self.bed, self.host);
        bail!(
            "the {} of host {} {}; the end of {} says:\n{}",
            self.kind.program(),
            self.host,
            if died { "ended" } else { "does not answer" },
            log.display(),
            shell::last_lines(&log, 5)
        );
    }

    /// Kills it, and leaves containers as they are.
    pub(super) fn kill(&self) -> Result<()> {
        processes::kill(&self.processes())
    }

    /// Asks it to end, and waits until it did.
    pub(super) fn stop(&self) -> Result<()> {
        let pids = self.processes();
        for &pid in &pids {
            shell::signal("-TERM", pid);
            // One that was stopped would not hear that.
            shell::signal("-CONT", pid);
        }
        processes::gone(&pids, Duration::from_secs(60))
    }

    /// Whether it answers now.
    pub(super) fn answers(&self) -> bool {
        !self.processes().is_empty() && docker::answers_at(&socket(self.bed, self.host), Duration::from_secs(2))
    }
}

/// A socket of the daemon that works also while the host is cut off.
pub(super) fn socket(bed: &Path, host: usize) -> PathBuf {
    host::folder(bed, host).join("docker.sock")
}

/// What the daemon says.
pub(super) fn log(bed: &Path, host: usize) -> PathBuf {
    host::folder(bed, host).join("daemon.log")
}
