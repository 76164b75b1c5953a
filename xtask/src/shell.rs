//! Running other programs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
}

/// Where builds and the state of these commands go.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Whether a program can be found.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).any(|folder| folder.join(program).is_file())
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uid.and_then(|uid| uid.split_whitespace().nth(1)).is_some_and(|effective| effective == "0")
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{} cannot be run", name(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", name(command));
    }
    Ok(())
}

/// Runs a command to its end and gives its standard output. Its standard error goes where ours goes.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = name(command);
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("{name} cannot be run"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Starts a command that goes on after this process, in a group of its own, with its output in a file. Gives its id.
pub(crate) fn start(command: &mut Command, log: &Path) -> Result<u32> {
    let file = fs::OpenOptions::new().create(true).append(true).open(log);
    let file = file.with_context(|| format!("{} cannot be written", log.display()))?;
    let child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .process_group(0)
        .spawn()
        .with_context(|| format!("{} cannot be run", name(command)))?;
    Ok(child.id())
}

/// Asks a process to end and waits until it did; kills it after `patience`. Only if it still is the program it was.
pub(crate) fn end(pid: u32, program: &str, patience: Duration) -> bool {
    if !is_running(pid, program) {
        return false;
    }
    signal("-TERM", pid);
    if !wait_until(patience, || !is_running(pid, program)) {
        signal("-KILL", pid);
        wait_until(Duration::from_secs(5), || !is_running(pid, program));
    }
    true
}

fn signal(signal: &str, pid: u32) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status();
    if let Err(error) = sent {
        eprintln!("process {pid} cannot be signalled: {error}");
    }
}

/// Whether a process is there, runs that program, and is not merely waiting to be collected.
pub(crate) fn is_running(pid: u32, program: &str) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let called = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
    called.is_some_and(|(called, rest)| program.starts_with(called) && !rest.trim_start().starts_with('Z'))
}

/// Waits until something is so; whether it came to be.
pub(crate) fn wait_until(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if begun.elapsed() > patience {
            return false;
        }
        #[allow(clippy::disallowed_methods, reason = "there is no runtime here to block")]
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The body of a web page.
pub(crate) fn page(host_and_port: &str, path: &str) -> Result<String> {
    let patience = Some(Duration::from_secs(5));
    let mut stream =
        TcpStream::connect(host_and_port).with_context(|| format!("nothing answers at {host_and_port}"))?;
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host_and_port}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.trim().to_owned()),
        _ => bail!("no page at {host_and_port}{path}: {}", answer.lines().next().unwrap_or("empty answer")),
    }
}

fn name(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
