//! Clients that connect and say nothing, or too slowly, keep nobody else out.

use std::process::Stdio;
use std::time::Duration;

use paas_server::serve::ServeOptions;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::program::{Running, program};
use crate::support::{Api, PASSWORD, Server, Start, TIMEOUT};

/// The program, held to so many open files, soft and hard.
fn limited(soft: u32, hard: u32, log: &std::path::Path) -> Running {
    let server = program(&["--listen", "127.0.0.1:0", "--store", "memory:", "--no-engine"]);
    let mut shell = std::process::Command::new("sh");
    let limits = format!(r#"ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$0" "$@""#);
    shell.arg("-c").arg(limits).arg(server.get_program()).args(server.get_args()).stdin(Stdio::null());
    for (name, value) in server.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let log = std::fs::File::create(log).unwrap();
    Running::spawn(shell.env("PAAS_ADMIN_PASSWORD", PASSWORD).stderr(log))
}

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.trim_start_matches("http://")).await.unwrap()
}

/// Whether the other side has closed the connection, without waiting for it.
async fn is_closed(connection: &mut TcpStream) -> bool {
    timeout(Duration::from_millis(1), connection.read(&mut [0; 1])).await.is_ok()
}

#[tokio::test]
async fn who_connects_and_says_nothing_keeps_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let server = limited(200, 200, &log);
    let url = server.url();
    let mut api = Api::new(&url);
    let login = json!({"username": "admin", "password": PASSWORD});
    api.token = Some(api.post("/auth/login", &login).await.json()["token"].as_str().unwrap().to_owned());
    // Goes on reading all the while.
    let live = api.open("/api/events/live").await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(connect(&url).await);
    }
    // Far less than the time after which a silent connection is closed anyway.
    let prompt = Duration::from_secs(10);
    let other = Api::new(&url);
    let answer = timeout(prompt, other.post("/auth/login", &login)).await.expect("others are answered meanwhile");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(timeout(prompt, api.get("/api/engines")).await.unwrap().status, 200);
    let mut left = 0;
    for connection in &mut idle {
        left += usize::from(!is_closed(connection).await);
    }
    assert!(left <= 100, "{left} are left");
    assert_eq!(api.delete("/api/accounts/nobody").await.status, 404, "the token is as good as before");
    drop(live);
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("as many connections are open as there may be"), "{said}");
}

#[tokio::test]
async fn as_many_files_may_be_open_as_the_system_lets_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let server = limited(100, 400, &log);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.process.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["400", "400"]);
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("raised the limit of open files"), "{said}");
}

#[tokio::test]
async fn a_stream_that_is_read_with_a_login_is_not_closed_for_strangers() {
    let options = ServeOptions { max_connections: 20, ..ServeOptions::default() };
    let server = Server::with(Start { options, ..Start::default() }).await;
    let user = server.login("user").await;
    let mut live = user.open("/api/events/live").await;
    let mut strangers = Vec::new();
    for _ in 0..100 {
        strangers.push(connect(&server.url).await);
    }
    server.run("web", 1).await;
    let message = timeout(TIMEOUT, live.chunk()).await.unwrap().unwrap();
    assert!(message.is_some_and(|message| !message.is_empty()));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_408() {
    let options = ServeOptions { body_timeout: Duration::from_millis(100), ..ServeOptions::default() };
    let server = Server::with(Start { options, ..Start::default() }).await;
    let mut connection = connect(&server.url).await;
    let head = "POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{\"username\":";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(TIMEOUT, connection.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_timeout"), "{answer}");
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_ends_the_connection() {
    let options = ServeOptions { head_timeout: Duration::from_millis(300), ..ServeOptions::default() };
    let server = Server::with(Start { options, ..Start::default() }).await;
    let mut connection = connect(&server.url).await;
    connection.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    let (mut reader, mut writer) = connection.split();
    let trickle = async {
        // A header a moment, without end: something is always happening.
        while writer.write_all(b"x: y\r\n").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let mut answer = Vec::new();
    let end = async {
        // Ends in whatever way a connection ends.
        let _ = reader.read_to_end(&mut answer).await;
    };
    let either = async {
        tokio::select! { () = trickle => {}, () = end => {} }
    };
    timeout(TIMEOUT, either).await.expect("it is closed");
    assert!(!String::from_utf8_lossy(&answer).contains("200"));
    assert_eq!(server.anonymous().get("/healthz").await.status, 200);
}
