//! What is said when something goes wrong, and with which exit status.

use std::time::{Duration, Instant};

use crate::support::{Answer, Home, Server, nowhere};

/// The line that a refusal leads to, after its exit status.
async fn line_of(answer: Answer) -> String {
    let server = Server::start([("GET /api/containers", answer)]).await;
    let done = Home::logged_in(&server).run(&["containers", "--retry-for", "0"]).await;
    assert_eq!(done.stdout, "");
    format!("{} {}", done.status, done.stderr.trim_end().replace(&server.url(), "URL"))
}

#[tokio::test]
async fn every_refusal_has_its_line_and_status() {
    let mut lines = Vec::new();
    let ambiguous = r#"{"status":400,"code":"container_ambiguous","detail":"2 containers have such an id",
        "candidates":["a1","a2"]}"#;
    for answer in [
        Answer::problem(400, "invalid_request", "memory: must be 6 to 1073741824 MB"),
        Answer::new(400, "application/problem+json", ambiguous),
        Answer::problem(401, "unauthenticated", "send a token"),
        Answer::problem(403, "forbidden", "the role user does not open /api/accounts"),
        Answer::problem(404, "container_not_found", "no container has an id that starts with 'x'"),
        Answer::problem(409, "no_room", "no engine has room: 1 of 2 is full,\\n1 of 2 is down"),
        Answer::problem(429, "throttled", "too many attempts").with_header("retry-after", "7"),
        Answer::problem(500, "internal", "something broke"),
        Answer::problem(503, "shutting_down", "the server is shutting down; try again in a moment"),
        Answer::new(502, "text/html", "<html>Bad Gateway</html>"),
        Answer::new(307, "text/plain", "").with_header("location", "http://leader.example:5002/api/containers"),
        Answer::new(200, "text/html", "<html>hello</html>"),
        Answer::json("[{\"id\": 7}]"),
        Answer::pieces("application/json", &["[", "{"]).broken_off(),
    ] {
        lines.push(line_of(answer).await);
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn no_server_is_told_as_such() {
    let url = nowhere().await;
    let began = Instant::now();
    let done = Home::new().run(&["containers", "--url", &url]).await;
    let line =
        format!("paas-cli: no server answers at {url}; start one with paas-server, or name another with --url\n");
    assert_eq!(done.expect(1).stderr, line);
    assert!(began.elapsed() < Duration::from_secs(10), "at once: there is no other to ask");
}

#[tokio::test]
async fn a_server_that_hangs_up_is_told_as_such() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            drop(connection);
        }
    });
    let done = Home::new().run(&["engines", "--url", &url, "--retry-for", "1"]).await;
    assert!(done.expect(1).stderr.starts_with(&format!("paas-cli: the connection to {url} broke off")), "{done:?}");
}

#[tokio::test]
async fn wrong_usage_has_its_own_status() {
    let home = Home::new();
    for arguments in [
        &["nonsense"][..],
        &["run"],
        &["scale", "a"],
        &["containers", "--url", "localhost:port"],
        &["containers", "--url", "ftp://host"],
        &["containers", "--url", "https://a.example,http://b.example"],
        &["run", "--name", "web", "--key", "two words"],
        &["scale", "a", "2", "--key", ""],
        &["containers", "--ca", "/does/not/exist"],
        &["run", "--name", "web", "--memory", "1"],
        &["run", "--file", "/does/not/exist"],
    ] {
        let done = home.run(arguments).await;
        assert_eq!(done.expect(2).stdout, "", "{arguments:?}");
        assert!(!done.stderr.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn without_a_command_the_help_is_shown() {
    let done = Home::new().run(&[]).await;
    assert_eq!(done.expect(2).stdout, "");
    assert!(done.stderr.contains("Usage: paas-cli"));
    assert!(Home::new().run(&["--help"]).await.expect(0).stdout.contains("Usage: paas-cli"));
    assert_eq!(
        Home::new().run(&["--version"]).await.expect(0).stdout,
        format!("paas-cli {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[tokio::test]
async fn completion_needs_neither_server_nor_login() {
    let home = Home::new();
    std::fs::write(home.credentials(), "damaged").unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(&["completion", shell]).await;
        assert!(script.expect(0).stdout.contains("clusterinfo"), "{shell}");
    }
}
