//! The program `paas-server` itself, as a process.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::{Api, TIMEOUT};

/// The program, in an environment that sets nothing.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paas-server"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PAAS_") {
            command.env_remove(name);
        }
    }
    command.env_remove("DOCKER_HOST").args(arguments).stdin(Stdio::null());
    command
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A server that is killed when dropped.
pub(crate) struct Running {
    pub(crate) process: Child,
    out: BufReader<ChildStdout>,
    /// What it said until it listened.
    pub(crate) said: String,
}

impl Running {
    pub(crate) fn start(folder: &Path, more: &[&str]) -> Self {
        Self::start_with(folder, more, &[])
    }

    /// The same with variables in its environment.
    pub(crate) fn start_with(folder: &Path, more: &[&str], variables: &[(&str, &str)]) -> Self {
        let data = folder.join("data");
        let mut arguments = vec!["--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];
        arguments.extend(more);
        Self::spawn(program(&arguments).envs(variables.iter().copied()).stderr(Stdio::null()))
    }

    /// Starts a command that is a server, and waits until it listens.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut server = Self::of(command.stdout(Stdio::piped()).spawn().unwrap());
        while !server.said.contains("listens on") {
            assert_ne!(server.out.read_line(&mut server.said).unwrap(), 0, "it ended: {}", server.said);
        }
        server
    }

    fn of(mut process: Child) -> Self {
        let out = BufReader::new(process.stdout.take().unwrap());
        Self { process, out, said: String::new() }
    }

    pub(crate) fn url(&self) -> String {
        self.said.trim_end().rsplit(' ').next().unwrap().to_owned()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// The status it ends with, and what it said after it listened.
    pub(crate) async fn end(mut self) -> (Option<i32>, String) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < TIMEOUT, "it does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (status.code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn the_first_password_is_shown_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = Running::start(folder.path(), &["--no-engine"]);
    assert!(first.said.contains("the password "), "{}", first.said);
    let login = format!("paas-cli login --url {} --name admin", first.url());
    assert!(first.said.contains(&login), "{}", first.said);
    let mode = folder.path().join("data").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "nobody else looks into the data");
    first.signal("-TERM");
    let (status, rest) = first.end().await;
    assert_eq!((status, rest.as_str()), (Some(0), ""));
    let second = Running::start(folder.path(), &["--no-engine"]);
    assert!(!second.said.contains("password"), "{}", second.said);
    second.signal("-INT");
    assert_eq!(second.end().await.0, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let engine = "slow=sim://slow?cpus=8&memory=16384&latency_ms=300";
    let server = Running::start(folder.path(), &["--engine", engine]);
    let (_, password) = server.said.split_once("the password ").unwrap();
    let password = password.split_whitespace().next().unwrap();
    let mut api = Api::new(&server.url());
    let login = api.post("/auth/login", &json!({"username": "admin", "password": password})).await;
    api.token = Some(login.json()["token"].as_str().unwrap().to_owned());
    // Takes many seconds, and would be waited for.
    let request = api.request(Method::POST, "/api/containers?count=60").header("accept", "application/x-ndjson");
    let mut running = request.json(&json!({"name": "web", "memory": 64})).send().await.unwrap();
    assert!(running.chunk().await.unwrap().is_some());
    server.signal("-TERM");
    let begun = Instant::now();
    while Api::new(&server.url()).request(Method::GET, "/healthz").send().await.is_ok() {
        assert!(begun.elapsed() < TIMEOUT, "it goes on listening");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.signal("-TERM");
    assert_eq!(server.end().await.0, Some(130));
}

#[tokio::test]
async fn a_server_that_waits_for_its_store_ends_when_it_is_told_to() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = format!("rethinkdb://paas:secret@{}/paas", silent.local_addr().unwrap());
    let mut command = program(&["--listen", "127.0.0.1:0", "--store", &store, "--no-engine"]);
    let process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let server = Running::of(process);
    let connected = tokio::task::spawn_blocking(move || silent.accept().unwrap());
    let connected = tokio::time::timeout(TIMEOUT, connected).await.unwrap().unwrap();
    server.signal("-TERM");
    assert_eq!(server.end().await, (Some(0), String::new()));
    drop(connected);
}

#[tokio::test]
async fn what_hangs_does_not_keep_the_program_from_ending() {
    let arguments = ["--listen", "127.0.0.1:0", "--store", "memory:", "--no-engine", "--shutdown-timeout", "1s"];
    let mut command = program(&arguments);
    // Nobody reads the log, so that in the end each writer hangs.
    let server = Running::spawn(command.args(["--log", "trace"]).stderr(Stdio::piped()));
    let api = Api::new(&server.url());
    let ask = || api.request(Method::GET, "/healthz").timeout(Duration::from_secs(1)).send();
    let begun = Instant::now();
    while ask().await.is_ok() {
        assert!(begun.elapsed() < TIMEOUT, "it answers although its log is full");
    }
    server.signal("-TERM");
    assert_eq!(server.end().await.0, Some(1));
}

#[test]
fn a_password_that_was_given_is_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "chosen by the operator\n").unwrap();
    let server = Running::start(folder.path(), &["--no-engine", "--admin-password-file", file.to_str().unwrap()]);
    assert!(server.said.contains("the password you gave"), "{}", server.said);
    assert!(!server.said.contains("chosen by"), "{}", server.said);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_the_first_password_is_needed_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let arguments = ["--no-engine", "--admin-password-file", file.to_str().unwrap()];
    let data = folder.path().join("data");
    let missing = program(&["--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]).args(arguments).output();
    assert!(stderr(&missing.unwrap()).contains("cannot be read"), "without an account there must be a password");
    std::fs::write(&file, "correct horse battery\n").unwrap();
    let server = Running::start(folder.path(), &arguments);
    server.signal("-TERM");
    assert_eq!(server.end().await.0, Some(0));
    std::fs::remove_file(&file).unwrap();
    let again = Running::start(folder.path(), &arguments);
    let login = json!({"username": "admin", "password": "correct horse battery"});
    assert_eq!(Api::new(&again.url()).post("/auth/login", &login).await.status, 200);
}

#[test]
fn a_second_server_on_one_port_leaves_everything_alone() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), &["--no-engine"]);
    let address = server.url().trim_start_matches("http://").to_owned();
    let other = folder.path().join("other");
    let second = output(&mut program(&["--listen", &address, "--data-dir", other.to_str().unwrap()]));
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains(&address) && stderr(&second).contains("--listen"), "{}", stderr(&second));
    assert!(!other.exists());
}

#[test]
fn a_flag_comes_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("paas.toml");
    let content = "listen = \"127.0.0.1:1\"\nstore = \"memory:\"\noverbooking = 3\nno_engine = true\n";
    std::fs::write(&file, content).unwrap();
    let mut command = program(&["--print-config", "--listen", "127.0.0.1:3"]);
    command.env("PAAS_CONFIG", &file).env("PAAS_LISTEN", "127.0.0.1:2").env("PAAS_OVERBOOKING", "2");
    command.env("PAAS_ADMIN_PASSWORD", "not to be printed").env("PAAS_PLATFORM", "of-before");
    let printed = stdout(&output(&mut command));
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines.contains(&"listen = \"127.0.0.1:3\""), "{printed}");
    assert!(lines.contains(&"overbooking = 2.0"), "{printed}");
    assert!(lines.contains(&"store = \"memory:\""), "{printed}");
    assert!(lines.contains(&"no_engine = true"), "{printed}");
    assert!(lines.contains(&"platform = \"of-before\""), "{printed}");
    assert!(lines.contains(&"registry = \"embedded:\""), "{printed}");
    assert!(!printed.contains("not to be printed"));
}

#[test]
fn an_empty_variable_is_one_that_is_not_there() {
    let mut command = program(&["--print-config"]);
    for name in
        ["PAAS_LISTEN", "PAAS_STORE", "PAAS_ENGINE", "PAAS_NO_ENGINE", "PAAS_OVERBOOKING", "PAAS_LOG", "PAAS_CONFIG"]
    {
        command.env(name, "");
    }
    let printed = output(&mut command);
    assert_eq!(printed.status.code(), Some(0), "{}", stderr(&printed));
    assert_eq!(printed.stdout, output(&mut program(&["--print-config"])).stdout);
    let folder = tempfile::tempdir().unwrap();
    let mut agent = program(&["agent", "--registry", "embedded:"]);
    let refused = stderr(&output(agent.env("PAAS_AGENT_ID", "").env("PAAS_AGENT_LEASE", "").env("PAAS_SERVER", "")));
    assert!(refused.contains("that registry is inside a server"), "{refused}");
    let blank = stderr(&output(&mut program(&["agent", "--registry", "embedded:", "--label", "ssd,=eu"])));
    assert!(blank.contains("labels: \"=eu\" must be 1 to 128 printable characters"), "{blank}");
    let mut store = program(&["store", "adopt", "x", "--data-dir", folder.path().to_str().unwrap()]);
    let refused = stderr(&output(store.env("PAAS_STORE", "").env("PAAS_LOG", "")));
    assert!(refused.contains("there is no file"), "{refused}");
    // A flag that is empty was meant.
    assert_eq!(output(&mut program(&["--listen", ""])).status.code(), Some(2));
}

#[tokio::test]
async fn a_platform_of_which_nothing_is_here_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let engine = format!("one=sim://{}?cpus=8&memory=16384", crate::support::unique("platform"));
    let server = Running::start(folder.path(), &["--engine", &engine, "--platform", "of-befor"]);
    let told = "Warning: no container of platform of-befor is here (1 engine read so far). Is the id right?";
    assert!(server.said.contains(told), "{}", server.said);
}

#[tokio::test]
async fn with_no_time_to_shut_down_it_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), &["--no-engine", "--shutdown-timeout", "0"]);
    server.signal("-TERM");
    assert_eq!(server.end().await.0, Some(0));
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("paas.toml");
    std::fs::write(&file, "lisen = \"127.0.0.1:1\"\n").unwrap();
    let misspelt = output(&mut program(&["--config", file.to_str().unwrap()]));
    assert_eq!(misspelt.status.code(), Some(1));
    assert!(stderr(&misspelt).contains("lisen") && stderr(&misspelt).contains("line 1"), "{}", stderr(&misspelt));
    let missing = output(&mut program(&["--tls-cert", "/nowhere/c.pem", "--tls-key", "/nowhere/k.pem"]));
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("/nowhere/c.pem cannot be read"), "{}", stderr(&missing));
    let nowhere = output(&mut program(&["--listen", "127.0.0.1:0", "--data-dir", "/dev/null/data"]));
    assert_eq!(nowhere.status.code(), Some(1));
    let said = stderr(&nowhere);
    assert!(said.contains("/dev/null/data") && said.contains("--data-dir"), "{said}");
    let folder_for_file = folder.path().join("data");
    std::fs::create_dir_all(folder_for_file.join("paas.db")).unwrap();
    let no_file = output(&mut program(&["--listen", "127.0.0.1:0", "--data-dir", folder_for_file.to_str().unwrap()]));
    assert_eq!(no_file.status.code(), Some(1));
    let said = stderr(&no_file);
    assert!(
        said.contains(folder_for_file.to_str().unwrap()) && said.contains("choose another with --data-dir"),
        "{said}"
    );
    let place = folder.path().to_str().unwrap();
    let no_key = ["--listen", "127.0.0.1:0", "--data-dir", place, "--secret-key-file", place];
    let said = stderr(&output(&mut program(&no_key)));
    assert!(said.contains(&format!("the key file {place} is a folder; name a file")), "{said}");
    let unknown = output(&mut program(&["--store", "floppy:", "--listen", "127.0.0.1:0"]));
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("sqlite:PATH"), "{}", stderr(&unknown));
    assert_eq!(output(&mut program(&["--no-such-flag"])).status.code(), Some(2));
}

#[test]
fn help_and_version_are_printed() {
    let help = output(program(&["--help"]).env("PAAS_STORE", "rethinkdb://paas:hush-hush@db/paas"));
    assert!(!stdout(&help).contains("hush-hush"), "the environment is not printed");
    assert_eq!(help.status.code(), Some(0));
    for word in ["--listen", "PAAS_LISTEN", "--engine", "PAAS_ADMIN_PASSWORD", "127.0.0.1:5002"] {
        assert!(stdout(&help).contains(word), "{word}");
    }
    let version = stdout(&output(&mut program(&["--version"])));
    assert_eq!(version.trim(), format!("paas-server {}", env!("CARGO_PKG_VERSION")));
}
