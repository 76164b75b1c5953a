//! Running other programs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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

/// Runs a command to its end. What it says is told only if it fails.
pub(crate) fn quietly(command: &mut Command) -> Result<()> {
    let name = name(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{name} cannot be run"))?;
    if !output.status.success() {
        bail!("{name} failed: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Starts a command that goes on after this process, in a group of its own, with its output in a file. Gives its id.
pub(crate) fn start(command: &mut Command, log: &Path) -> Result<u32> {
    Ok(spawn(command.process_group(0), log)?.id())
}

/// Starts a command with its output in a file.
pub(crate) fn spawn(command: &mut Command, log: &Path) -> Result<Child> {
    let file = fs::OpenOptions::new().create(true).append(true).open(log);
    let file = file.with_context(|| format!("{} cannot be written", log.display()))?;
    let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn();
    child.with_context(|| format!("{} cannot be run", name(command)))
}

/// The end of a file, for a message.
pub(crate) fn last_lines(file: &Path, count: usize) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Asks a process to end and waits until it did; kills it after `deadline`. Only if it still is the program it was.
pub(crate) fn end(pid: u32, program: &str, deadline: Duration) -> bool {
    if !is_running(pid, program) {
        return false;
    }
    signal("-TERM", pid);
    // One that was stopped would not hear that.
    signal("-CONT", pid);
    if !wait_until(deadline, || !is_running(pid, program)) {
        signal("-KILL", pid);
        wait_until(Duration::from_secs(5), || !is_running(pid, program));
    }
    true
}

/// Sends a signal to a process, which may have ended already.
pub(crate) fn signal(signal: &str, pid: u32) {
    // The program of that name is in a package of its own; every shell has the command.
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill \"$@\"", "kill", signal, &pid.to_string()]);
    let sent = kill.stderr(Stdio::null()).status();
    if let Err(error) = sent {
        eprintln!("process {pid} cannot be signalled: {error}");
    }
}

/// Whether a process is there, runs that program, and is not merely waiting to be collected.
pub(crate) fn is_running(pid: u32, program: &str) -> bool {
    // The kernel keeps this much of a name.
    let kept = program.get(..15).unwrap_or(program);
    matches!(stat(pid), Some((name, state)) if name == kept && state != 'Z')
}

/// The parent of a process.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The name of the program that a process runs; empty when there is no such process.
pub(crate) fn program(pid: u32) -> String {
    stat(pid).map(|(name, _)| name).unwrap_or_default()
}

/// Name and state of a process.
fn stat(pid: u32) -> Option<(String, char)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    Some((name.to_owned(), rest.trim_start().chars().next()?))
}

/// Waits.
#[allow(clippy::disallowed_methods, reason = "there is no runtime here to block")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Waits until something is so; whether it came to be.
pub(crate) fn wait_until(deadline: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if begun.elapsed() > deadline {
            return false;
        }
        pause(Duration::from_millis(20));
    }
}

/// The body of a web page.
pub(crate) fn page(host_and_port: &str, path: &str) -> Result<String> {
    let deadline = Some(Duration::from_secs(5));
    let mut stream =
        TcpStream::connect(host_and_port).with_context(|| format!("nothing answers at {host_and_port}"))?;
    stream.set_read_timeout(deadline)?;
    stream.set_write_timeout(deadline)?;
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
