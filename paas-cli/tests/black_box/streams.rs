//! Logs and live events.

use std::process::Stdio;

use paas_core::wire::LOG_BROKE_OFF;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::{Answer, Home, Server, TIMEOUT};

fn event(number: u8) -> String {
    format!(
        r#"{{"id":"01949e5a-0000-7000-8000-00000000000{number}","type":"login","time":"2026-01-31T12:00:0{number}Z","message":"event {number}","tags":[]}}"#
    )
}

fn live(number: u8) -> String {
    format!("event: login\nid: {number}\ndata: {}\n\n", event(number))
}

async fn next_line(child: &mut Child) -> String {
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.as_mut().unwrap());
    timeout(TIMEOUT, reader.read_line(&mut line)).await.expect("a line in time").unwrap();
    line
}

async fn interrupt(child: &Child) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
}

#[tokio::test]
async fn a_log_is_copied_byte_for_byte() {
    let log = Answer::pieces("text/plain", &["one\r\n\u{1b}[31m", "two", ""]);
    let mut server = Server::start([("GET /api/containers/a/logs", log)]).await;
    let home = Home::logged_in(&server);
    let done = home.run(&["log", "a"]).await;
    assert_eq!(done.expect(0).stdout, "one\r\n\u{1b}[31mtwo");
    assert_eq!(server.asked_once().line, "GET /api/containers/a/logs?stdout=true&stderr=true");

    let arguments =
        ["log", "a", "-f", "--tail", "5", "--stderr", "--timestamps", "--since", "2026-01-31T12:00:00+01:00"];
    home.run(&arguments).await.expect(0);
    let asked = server.asked_once().line;
    let (_, query) = asked.split_once('?').unwrap();
    assert_eq!(query, "follow=true&stderr=true&timestamps=true&tail=5&since=2026-01-31T11%3A00%3A00Z");
}

#[tokio::test]
async fn a_log_that_breaks_off_is_a_failure() {
    let log = Answer::pieces("text/plain", &["one\n"]).broken_off();
    let server = Server::start([("GET /api/containers/a/logs", log)]).await;
    let done = Home::logged_in(&server).run(&["log", "a"]).await;
    assert_eq!(done.expect(1).stdout, "one\n");
    assert!(done.stderr.contains("broke off"), "{}", done.stderr);
}

#[tokio::test]
async fn why_a_log_breaks_off_is_told_where_the_server_says_it() {
    let last = format!("\n{LOG_BROKE_OFF}cannot read the output: Error grabbing logs\n");
    let (first, rest) = last.split_at(30);
    let log = Answer::pieces("text/plain", &["one\n", first, rest]).broken_off();
    let server = Server::start([("GET /api/containers/a/logs", log)]).await;
    let done = Home::logged_in(&server).run(&["log", "a"]).await;
    assert_eq!(done.expect(1).stdout, format!("one\n{last}"));
    assert_eq!(done.stderr, "paas-cli: the log breaks off: cannot read the output: Error grabbing logs\n");
    // A container may write what it likes, and its log ends all the same.
    let log = Answer::pieces("text/plain", &["one\n", &last]);
    let server = Server::start([("GET /api/containers/a/logs", log)]).await;
    assert_eq!(Home::logged_in(&server).run(&["log", "a"]).await.expect(0).stderr, "");
}

#[tokio::test]
async fn a_log_is_written_as_it_comes_and_ends_with_ctrl_c() {
    let log = Answer::pieces("text/plain", &["first\n"]).without_end();
    let server = Server::start([("GET /api/containers/a/logs", log)]).await;
    let home = Home::logged_in(&server);
    let mut child = home.command(&["log", "a", "--follow"]).spawn().unwrap();
    assert_eq!(next_line(&mut child).await, "first\n");
    interrupt(&child).await;
    let output = timeout(TIMEOUT, child.wait_with_output()).await.expect("it ends").unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(130), &b""[..]));
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_a_log_quietly() {
    let piece = "x".repeat(1 << 16);
    let pieces = vec![piece.as_str(); 64];
    let server = Server::start([("GET /api/containers/a/logs", Answer::pieces("text/plain", &pieces))]).await;
    let home = Home::logged_in(&server);
    let mut child = home.command(&["log", "a"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut few = [0; 10];
    timeout(TIMEOUT, child.stdout.as_mut().unwrap().read_exact(&mut few)).await.expect("bytes in time").unwrap();
    drop(child.stdout.take());
    let output = timeout(TIMEOUT, child.wait_with_output()).await.expect("it ends").unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[tokio::test]
async fn events_are_followed_until_the_server_ends_them() {
    let live = format!(": hello\n\n{}event: missed\ndata: 3\n\n{}", live(2), live(3));
    let mut server = Server::start([
        ("GET /api/events/live", Answer::pieces("text/event-stream", &[&live[..50], &live[50..]])),
        ("GET /api/events?count=2", Answer::json(&format!("[{},{}]", event(2), event(1)))),
    ])
    .await;
    let home = Home::logged_in(&server);

    let done = home.run(&["events", "--follow"]).await;
    let messages: Vec<_> = done.expect(0).stdout.lines().map(|line| line[line.len() - 7..].to_owned()).collect();
    assert_eq!(messages, ["event 2", "event 3"]);
    assert_eq!(done.stderr, "paas-cli: 3 events were missed; list them without --follow\n");
    assert_eq!(server.asked_once().header("accept"), Some("text/event-stream"));

    let with_past = home.run(&["events", "2", "--follow", "--output", "json"]).await;
    assert_eq!(with_past.expect(0).stdout, format!("{}\n{}\n{}\n", event(1), event(2), event(3)));

    let quiet = home.run(&["events", "-f", "-q"]).await;
    assert_eq!(quiet.expect(0).stdout.lines().count(), 2);
}

#[tokio::test]
async fn an_interrupted_run_says_that_it_goes_on() {
    let steps = Answer::steps(&[r#"{"event":"decided","index":0,"engine":"one"}"#]).without_end();
    let mut server = Server::start([("POST /api/containers", steps)]).await;
    let home = Home::logged_in(&server);
    let child = home.command(&["run", "--name", "httpd"]).spawn().unwrap();
    // Once it has asked, it listens for the interruption.
    timeout(TIMEOUT, async {
        while server.asked().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("it asks");
    interrupt(&child).await;
    let output = timeout(TIMEOUT, child.wait_with_output()).await.expect("it ends").unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "paas-cli: interrupted; what was begun goes on\n");
}
