//! A Docker daemon to work with: the one that is there, or one of Debian's packages.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::packages::{self, Need};
use crate::shell;

const SOCKET: &str = "/var/run/docker.sock";

/// Whether a daemon answers at the usual socket.
pub(crate) fn answers() -> bool {
    answers_at(Path::new(SOCKET), Duration::from_secs(5))
}

/// Whether a daemon answers at a socket within a time.
pub(crate) fn answers_at(socket: &Path, deadline: Duration) -> bool {
    ping(socket, deadline).is_ok_and(|answer| answer.contains(" 200 "))
}

fn ping(socket: &Path, deadline: Duration) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(deadline))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A daemon that answers. One that this process had to start is stopped by [`stop`] with the same folder.
///
/// # Errors
/// What stands in the way, in words.
pub(crate) fn ensure(state: &Path) -> Result<()> {
    let needs: &[&[Need]] = if answers() { &[packages::CLIENT] } else { &[packages::CLIENT, packages::DAEMON] };
    packages::ensure(needs)?;
    if answers() {
        return Ok(());
    }
    if !shell::is_root() {
        bail!("no Docker daemon answers at {SOCKET}, and only root can start one: start it, or run this as root");
    }
    println!("Starting a Docker daemon …");
    fs::create_dir_all(state)?;
    let log = state.join("dockerd.log");
    let pid = shell::start(&mut Command::new("dockerd"), &log)?;
    fs::write(pid_file(state), pid.to_string())?;
    if !shell::wait_until(Duration::from_secs(60), || answers() || !shell::is_running(pid, "dockerd")) || !answers() {
        stop(state);
        bail!("dockerd does not come up; the end of {} says:\n{}", log.display(), shell::last_lines(&log, 3));
    }
    Ok(())
}

/// Stops the daemon that [`ensure`] started with this folder, if it did.
pub(crate) fn stop(state: &Path) {
    let file = pid_file(state);
    let Ok(text) = fs::read_to_string(&file) else { return };
    if let Ok(pid) = text.trim().parse()
        && shell::end(pid, "dockerd", Duration::from_secs(30))
    {
        println!("Stopped the Docker daemon that was started for this.");
    }
    if let Err(error) = fs::remove_file(&file) {
        eprintln!("{} stays: {error}", file.display());
    }
}

fn pid_file(state: &Path) -> PathBuf {
    state.join("dockerd.pid")
}

/// Makes an image of busybox that runs `program`, a line of its shell.
pub(crate) fn make_web_image(name: &str, program: &str, state: &Path) -> Result<()> {
    let files = state.join("image");
    let bin = files.join("bin");
    fs::create_dir_all(&bin)?;
    fs::create_dir_all(files.join("www"))?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).is_file());
    fs::copy(busybox.context("busybox is not where Debian puts it")?, bin.join("busybox"))?;
    for applet in ["sh", "httpd", "hostname", "sleep", "wget"] {
        let link = bin.join(applet);
        if !link.exists() {
            std::os::unix::fs::symlink("busybox", &link)?;
        }
    }
    let command = serde_json::to_string(&["/bin/sh", "-c", &format!("trap 'exit 0' TERM; {program}")])?;
    let mut tar = Command::new("tar").arg("-C").arg(&files).args(["-c", "."]).stdout(Stdio::piped()).spawn()?;
    let archive = tar.stdout.take().context("tar gives no output")?;
    let mut import = Command::new("docker");
    import.args(["import", "-c", &format!("CMD {command}"), "-c", "EXPOSE 80", "-", name]).stdin(archive);
    shell::output(&mut import)?;
    if !tar.wait()?.success() {
        bail!("tar failed");
    }
    Ok(())
}
