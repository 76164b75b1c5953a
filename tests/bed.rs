//! The bed that the other tests rely on: it comes up, fails as machines do, and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use paas_core::testing::docker;
use support::{eventually, program};
use xtask::bed::{Bed, Hosts};

/// A bed, or a loud skip.
fn bed(test: &str, hosts: &Hosts) -> Option<Bed> {
    if let Some(obstacle) = Bed::obstacle() {
        docker::skip(test, &obstacle);
        return None;
    }
    Some(Bed::up(hosts).unwrap())
}

/// Whether the daemon of a host answers over the network.
fn answers(bed: &Bed, host: usize) -> bool {
    let ask = || {
        let address = SocketAddr::from((bed.ip(host), 2375));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer.contains(" 200 "))
    };
    ask().is_ok_and(|is_well| is_well)
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What may be left of a bed on this machine: links, mounts, control groups, processes, files.
fn traces(folder: &Path) -> Vec<String> {
    let mut traces = Vec::new();
    let links = output(Command::new("ip").args(["-o", "link"]));
    traces.extend(links.lines().filter(|line| line.contains("paas-bed")).map(str::to_owned));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let folder_name = folder.display().to_string();
    traces.extend(mounts.lines().filter(|line| line.contains(&folder_name)).map(str::to_owned));
    for root in fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()) {
        let groups = [root.clone(), root.join("paas-bed")];
        traces.extend(
            groups
                .iter()
                .filter(|group| group.ends_with("paas-bed") && group.exists())
                .map(|group| group.display().to_string()),
        );
    }
    for process in fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()) {
        let told = |file: &str| fs::read(process.join(file)).unwrap_or_default();
        let all = [told("environ"), told("cmdline")].concat();
        if String::from_utf8_lossy(&all).contains(&folder_name) {
            traces.push(format!("{}: {}", process.display(), String::from_utf8_lossy(&told("cmdline"))));
        }
    }
    if folder.exists() {
        traces.push(folder_name);
    }
    traces
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_come_fail_and_leave_nothing_behind() {
    let Some(bed) = bed("hosts_come_fail_and_leave_nothing_behind", &Hosts::new(2)) else { return };
    let folder = bed.socket(1).ancestors().nth(2).unwrap().to_owned();
    assert!(answers(&bed, 1) && answers(&bed, 2));
    assert_eq!(bed.address(2).unwrap(), "tcp://10.77.0.3:2375");
    let identity = |host| output(bed.docker(host).args(["info", "--format", "{{.ID}} {{.Name}}"]));
    let (first, second) = (identity(1), identity(2));
    assert!(first.ends_with(" bed1") && second.ends_with(" bed2") && first[..40] != second[..40], "{first}, {second}");

    // What is there stays as it is; what is missing is added.
    bed.add(&Hosts::new(2)).unwrap();
    bed.add(&Hosts::new(3).tls([3])).unwrap();
    assert_eq!(identity(1), first);
    assert_eq!(bed.address(3).unwrap(), "https://10.77.0.4:2376");
    let refused = bed.add(&Hosts::new(3).podman([1])).unwrap_err().to_string();
    assert!(refused.contains("host 1 is there already"), "{refused}");

    // Hosts reach each other, and a program on one is on it.
    let mut name = bed.command(2, Path::new("hostname")).unwrap();
    assert_eq!(output(&mut name), "bed2");
    let mut reach = bed.command(1, Path::new("docker")).unwrap();
    assert_eq!(output(reach.args(["--host", "tcp://10.77.0.3:2375", "info", "--format", "{{.Name}}"])), "bed2");

    // People may look while a program works with it.
    let status = output(Command::new(program("xtask")).args(["bed", "status"]));
    assert_eq!(status.matches(" up ").count(), 6, "{status}");
    let by_hand = output(Command::new(program("xtask")).args(["bed", "docker", "2", "info", "--format", "{{.Name}}"]));
    assert_eq!(by_hand, "bed2");
    let on_it = output(Command::new(program("xtask")).args([
        "bed",
        "exec",
        "2",
        "sh",
        "-c",
        "hostname; docker info -f {{.Name}}",
    ]));
    assert_eq!(on_it, "bed2\nbed2");
    assert!(!Command::new(program("xtask")).args(["bed", "exec", "9", "true"]).output().unwrap().status.success());
    assert!(!Command::new(program("xtask")).args(["bed", "docker", "9", "ps"]).output().unwrap().status.success());

    // Over TLS only who has a certificate is heard.
    let files = bed.client_files();
    let mut heard = Command::new("docker");
    heard.args(["--host", "tcp://10.77.0.4:2376", "--tlsverify"]);
    heard.arg("--tlscacert").arg(files.ca).arg("--tlscert").arg(files.cert).arg("--tlskey").arg(files.key);
    assert_eq!(output(heard.args(["info", "--format", "{{.Name}}"])), "bed3");
    let mut unheard = Command::new("docker");
    unheard.args(["--host", "tcp://10.77.0.4:2376", "--tls", "version"]);
    assert!(!unheard.output().unwrap().status.success());

    bed.cut(2).unwrap();
    assert!(!answers(&bed, 2) && answers(&bed, 1));
    assert_eq!(identity(2), second, "its own socket works also while it is cut off");
    bed.heal(2).unwrap();
    assert!(eventually(Duration::from_secs(5), || async { answers(&bed, 2) }).await);
    bed.kill(1).unwrap();
    assert!(!answers(&bed, 1));
    bed.start(1).unwrap();
    assert!(answers(&bed, 1));
    bed.stop(1).unwrap();
    assert!(!answers(&bed, 1));
    bed.crash(2).unwrap();
    assert!(!answers(&bed, 2));
    for refused in [bed.cut(2), bed.kill(2), bed.stop(2)] {
        assert!(refused.unwrap_err().to_string().contains("has crashed"));
    }
    assert!(bed.cut(9).unwrap_err().to_string().contains("no host 9"));
    // Twice is as good as once.
    bed.crash(2).unwrap();
    bed.start(2).unwrap();
    bed.start(2).unwrap();
    assert!(answers(&bed, 2));
    assert_eq!(identity(2), second, "the disk survives");

    assert!(!traces(&folder).is_empty());
    drop(bed);
    assert_eq!(traces(&folder), Vec::<String>::new());
}

/// A signal to a process, as a person would send it.
fn signal(signal: &str, pid: &str) {
    output(Command::new("sh").args(["-c", "kill \"$@\"", "kill", signal, pid]));
}

/// The process that runs a command, found by its first word and another one of it.
fn process(first: &str, another: &str) -> Option<String> {
    let is_it = |process: &Path| {
        let command = fs::read_to_string(process.join("cmdline")).unwrap_or_default();
        command.split('\0').next() == Some(first) && command.split('\0').any(|word| word.contains(another))
    };
    let mut processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let found = processes.find(|process| is_it(process))?;
    Some(found.file_name()?.to_str()?.to_owned())
}

fn daemon_of(bed: &Bed, host: usize) -> String {
    process("dockerd", &bed.socket(host).display().to_string()).expect("a daemon runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_go_although_their_processes_are_stopped() {
    let Some(bed) = bed("hosts_go_although_their_processes_are_stopped", &Hosts::new(2)) else { return };
    let folder = bed.socket(1).ancestors().nth(2).unwrap().to_owned();

    // A stopped daemon ends when it is asked to, and is crashed with its host.
    signal("-STOP", &daemon_of(&bed, 1));
    bed.stop(1).unwrap();
    bed.start(1).unwrap();
    signal("-STOP", &daemon_of(&bed, 1));
    bed.crash(1).unwrap();
    bed.start(1).unwrap();
    assert!(answers(&bed, 1));

    // One is stopped, and so is a program that was started on the host; the other is frozen, as by 'docker pause'.
    signal("-STOP", &daemon_of(&bed, 1));
    let mut program = bed.command(1, Path::new("sleep")).unwrap().arg("98765").spawn().unwrap();
    assert!(eventually(Duration::from_secs(5), || async { process("sleep", "98765").is_some() }).await);
    signal("-STOP", &program.id().to_string());
    for file in ["freezer/paas-bed/h2/freezer.state", "paas-bed/h2/cgroup.freeze"] {
        let file = Path::new("/sys/fs/cgroup").join(file);
        if file.exists() {
            fs::write(&file, if file.ends_with("cgroup.freeze") { "1" } else { "FROZEN" }).unwrap();
        }
    }
    drop(bed);
    let _ = program.kill();
    program.wait().unwrap();
    assert_eq!(traces(&folder), Vec::<String>::new());
}

#[test]
fn the_command_says_what_is_wrong() {
    const NAME: &str = "the_command_says_what_is_wrong";
    if let Some(obstacle) = Bed::obstacle() {
        return docker::skip(NAME, &obstacle);
    }
    let refused = |arguments: &[&str]| {
        let output = Command::new(program("xtask")).arg("bed").args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["cut", "9"]).contains("the bed has no host 9"));
    assert!(refused(&["up", "0"]).contains("1..=250"));
    assert!(refused(&["up", "2", "--tls", "3"]).contains("no host 3 among 2"));
    assert!(refused(&["up"]).contains("<N>"));
    // Also when nothing is there.
    assert!(output(Command::new(program("xtask")).args(["bed", "down"])).is_empty());
}
