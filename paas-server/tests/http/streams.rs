//! What is told as it happens: progress, live events, logs.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use paas_core::engine::SimulatedEngine;
use paas_core::events::Notice;
use paas_core::model::SimulatedHost;
use paas_core::wire::LOG_BROKE_OFF;
use paas_server::serve::ServeOptions;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::{Answer, Api, Server, Start, TIMEOUT, eventually};
use crate::tricky::{CUT, HALF};

async fn stream(api: &Api, path: &str, body: &Value) -> Answer {
    let request = api.request(Method::POST, path).header("accept", "application/x-ndjson");
    Answer::of(if body.is_null() { request } else { request.json(body) }).await
}

fn events(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_run_is_told_step_by_step() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let answer = stream(&user, "/api/containers?count=2&pull=true", &json!({"name": "web", "memory": 64})).await;
    assert_eq!(answer.status, 200);
    let lines = answer.lines();
    let events = events(&lines);
    assert_eq!(events[..2], ["decided", "decided"], "{lines:?}");
    assert!(events.contains(&"pulled"), "{lines:?}");
    assert_eq!(events.iter().filter(|&&event| event == "started").count(), 2);
    let summary = json!({"event": "summary", "requested": 2, "started": 2, "destroyed": 0, "failed": 0});
    assert_eq!(lines.last(), Some(&summary));
    let started = lines.iter().find(|line| line["event"] == "started").unwrap();
    assert_eq!(started["container"]["state"], "running");
}

#[tokio::test]
async fn failures_are_part_of_the_stream() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let answer = stream(&user, "/api/containers?count=2", &json!({"name": HALF, "memory": 64})).await;
    assert_eq!(answer.status, 200);
    let lines = answer.lines();
    let failed = lines.iter().find(|line| line["event"] == "failed").unwrap();
    assert_eq!(failed["engine"], "one");
    assert_eq!(lines.last().unwrap()["failed"], 1);
}

#[tokio::test]
async fn what_is_refused_before_the_first_step_is_no_stream() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let huge = json!({"name": "web", "memory": 100_000});
    stream(&user, "/api/containers", &huge).await.is_problem(409, "no_room");
    stream(&user, "/api/containers/none/scale?count=2", &Value::Null).await.is_problem(404, "container_not_found");
}

#[tokio::test]
async fn scaling_is_told_step_by_step() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let id = server.run("web", 1).await[0].to_string();
    let path = |count| format!("/api/containers/{id}/scale?count={count}");
    let up = stream(&user, &path(3), &Value::Null).await.lines();
    assert_eq!(up.last().unwrap()["started"], 2, "{up:?}");
    let down = stream(&user, &path(1), &Value::Null).await.lines();
    assert_eq!(events(&down), ["destroyed", "destroyed", "summary"], "{down:?}");
}

#[tokio::test]
async fn hanging_up_does_not_stop_what_was_begun() {
    let server = Server::with(Start { engine: "cpus=8&memory=16384&latency_ms=50", ..Start::default() }).await;
    let user = server.login("user").await;
    let request = user.request(Method::POST, "/api/containers?count=4").header("accept", "application/x-ndjson");
    let mut response = request.json(&json!({"name": "web", "memory": 64})).send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    drop(response);
    eventually("all four run", || server.controller.containers(false).len() == 4).await;
}

/// Reads a stream until `end` is in what came so far.
async fn read_until(response: &mut Response, end: &str) -> String {
    let mut text = String::new();
    let reading = async {
        while !text.contains(end) {
            let chunk = response.chunk().await.unwrap().unwrap_or_else(|| panic!("ended before {end:?}: {text:?}"));
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    timeout(TIMEOUT, reading).await.unwrap_or_else(|_| panic!("there never is {end:?}"));
    text
}

/// Waits until a stream is at its end.
async fn until_end(response: Response) {
    let all = response.bytes_stream().for_each(|_| std::future::ready(()));
    timeout(TIMEOUT, all).await.expect("the stream ends");
}

#[tokio::test]
async fn a_stream_of_events_is_taken_up_where_it_broke_off() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let mut live = user.open("/api/events/live").await;
    server.run("web", 1).await;
    let text = read_until(&mut live, "event: run-container").await + &read_until(&mut live, "\n\n").await;
    drop(live);
    let heard: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let id = server.run("other", 1).await[0].to_string();
    eventually("recorded", || !server.controller.container(&id).unwrap().name.is_empty()).await;
    let request = user.request(Method::GET, "/api/events/live").header("last-event-id", *heard.last().unwrap());
    let mut live = request.send().await.unwrap();
    assert_eq!(live.status(), 200);
    let again = read_until(&mut live, &id).await + &read_until(&mut live, "\n\n").await;
    assert!(heard.iter().all(|id| !again.contains(&format!("id: {id}\n"))), "nothing is told twice: {again}");
    assert!(!again.contains("event: missed"), "{again}");
    drop(live);
    let unknown = user
        .request(Method::GET, "/api/events/live")
        .header("last-event-id", paas_core::model::EventId::first_at(jiff::Timestamp::now()).to_string());
    let mut live = unknown.send().await.unwrap();
    read_until(&mut live, "event: missed\ndata: 1\n\n").await;
    let answer = Answer::of(user.request(Method::GET, "/api/events/live").header("last-event-id", "yesterday")).await;
    answer.is_problem(400, "invalid_request");
}

#[tokio::test]
async fn events_are_told_as_they_happen() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let mut live = user.open("/api/events/live").await;
    assert_eq!(live.headers()["content-type"], "text/event-stream");
    let id = server.run("web", 1).await[0].to_string();
    let text = read_until(&mut live, "event: run-container").await + &read_until(&mut live, "\n\n").await;
    let message = text.split("\n\n").find(|message| message.contains("event: run-container")).unwrap();
    let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    let event: Value = serde_json::from_str(field("data:")).unwrap();
    assert_eq!((&event["type"], &event["container"]), (&json!("run-container"), &json!(id)));
    assert_eq!(field("id:"), event["id"]);
}

#[tokio::test]
async fn live_events_end_with_the_login() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let live = user.open("/api/events/live").await;
    assert_eq!(user.post("/account/logout", &Value::Null).await.status, 204);
    until_end(live).await;
}

/// A connection that asks for something and has read nothing but the head of the answer.
async fn asks_and_does_not_read(server: &Server, user: &Api, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // The less the system keeps for us, the less has to happen until nothing more can be sent.
    socket.set_recv_buffer_size(4096).unwrap();
    let port = server.url.rsplit(':').next().unwrap().parse().unwrap();
    let mut connection = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap();
    let token = user.token.as_ref().unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    connection.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{head:?}");
    connection
}

/// Lets more happen on the host than anybody keeps for a reader that does not read.
async fn let_much_happen(server: &Server) {
    let mut told = server.controller.live_events();
    let host = SimulatedEngine::named(&SimulatedHost::new(server.host.clone()));
    for _ in 0..20 {
        let mut last = None;
        for _ in 0..50 {
            let id = host.outsider_run("web:1".parse().unwrap(), None);
            host.outsider_remove(&id).unwrap();
            last = Some(id);
        }
        let until_told = async {
            let is_last = |notice: &Notice| {
                matches!(notice, Notice::Event(event)
                    if event.container == last && event.kind.as_str() == "destroy")
            };
            while !is_last(&told.next().await.unwrap()) {}
        };
        timeout(TIMEOUT, until_told).await.expect("all of it is told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_events_that_does_not_read_is_dropped_with_a_notice() {
    let reader_timeout = Duration::from_secs(10);
    let options = ServeOptions { reader_timeout, ..ServeOptions::default() };
    let server = Server::with(Start { options, send_buffer: Some(4096), ..Start::default() }).await;
    let user = server.login("user").await;
    let connection = asks_and_does_not_read(&server, &user, "/api/events/live").await;
    let_much_happen(&server).await;
    // Too long for the one, and not long enough for the other.
    tokio::time::sleep(reader_timeout + Duration::from_millis(500)).await;
    let told = whole(connection).await;
    assert!(told.contains("event: start\n"));
    assert!(told.ends_with("event: dropped\ndata: 10\n\n\r\n0\r\n\r\n"), "{}", &told[told.len() - 200..]);
}

/// What is left to be read of an answer in pieces that comes to its end.
async fn whole(mut connection: TcpStream) -> String {
    let mut told = Vec::new();
    let reading = async {
        while !told.ends_with(b"\r\n0\r\n\r\n") {
            assert!(connection.read_buf(&mut told).await.unwrap() > 0, "the connection stands");
        }
    };
    timeout(TIMEOUT, reading).await.expect("the answer ends");
    String::from_utf8(told).unwrap()
}

/// What is left to be read, and how it ends.
async fn rest_of(mut connection: TcpStream) -> (String, std::io::Result<usize>) {
    let mut rest = Vec::new();
    let end = timeout(TIMEOUT, connection.read_to_end(&mut rest)).await.expect("the server closes the connection");
    (String::from_utf8_lossy(&rest).into_owned(), end)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_events_that_does_not_read_at_all_is_disconnected() {
    let options = ServeOptions { reader_timeout: Duration::from_millis(300), ..ServeOptions::default() };
    let server = Server::with(Start { options, send_buffer: Some(4096), ..Start::default() }).await;
    let user = server.login("user").await;
    let connection = asks_and_does_not_read(&server, &user, "/api/events/live").await;
    let_much_happen(&server).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (told, end) = rest_of(connection).await;
    assert!(!told.contains("event: dropped"), "it is too late to tell it");
    assert!(end.is_err() || !told.ends_with("\r\n0\r\n\r\n"), "and nobody takes it for the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_may_be_read_as_slowly_as_one_likes() {
    let options = ServeOptions { reader_timeout: Duration::from_millis(300), ..ServeOptions::default() };
    let engine = "cpus=1000&memory=1000000";
    let server = Server::with(Start { options, send_buffer: Some(4096), engine, ..Start::default() }).await;
    let user = server.login("user").await;
    server.run("web", 2000).await;
    let connection = asks_and_does_not_read(&server, &user, "/api/containers").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let list = whole(connection).await;
    assert!(list.len() > 600_000, "more than anybody keeps for it: {}", list.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_events_that_does_not_read_does_not_keep_the_server_from_ending() {
    let mut server = Server::with(Start { send_buffer: Some(4096), ..Start::default() }).await;
    let user = server.login("user").await;
    let _connection = asks_and_does_not_read(&server, &user, "/api/events/live").await;
    let_much_happen(&server).await;
    server.stop.cancel();
    let ended = timeout(Duration::from_secs(20), &mut server.serving).await;
    ended.expect("it need not wait until its time for that is over").unwrap().unwrap();
}

#[tokio::test]
async fn streams_without_an_end_are_ended_at_shutdown() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let id = &server.run("web", 1).await[0];
    let live = user.open("/api/events/live").await;
    let mut log = user.open(&format!("/api/containers/{id}/logs?follow=true")).await;
    read_until(&mut log, "last").await;
    server.stop.cancel();
    until_end(live).await;
    until_end(log).await;
}

#[tokio::test]
async fn a_log_is_sent_as_it_was_written() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let id = &server.run("web", 1).await[0];
    for (query, text) in [
        ("", "first\noops\nlast\n"),
        ("?stdout=true", "first\nlast\n"),
        ("?stderr=true", "oops\n"),
        ("?stdout=true&stderr=true&tail=1", "last\n"),
        ("?timestamps=true&tail=1&since=2026-01-01T00:00:00Z", "2026-01-02T03:04:05Z last\n"),
        ("?tail=0&since=1767323045", ""),
    ] {
        let answer = user.get(&format!("/api/containers/{id}/logs{query}")).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, text), "{query}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
}

#[tokio::test]
async fn a_log_that_breaks_off_says_why_in_its_last_line() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let id = &server.run(CUT, 1).await[0];
    for query in ["", "?follow=true"] {
        let mut log = user.open(&format!("/api/containers/{id}/logs{query}")).await;
        let mut text = String::new();
        let end = loop {
            match timeout(TIMEOUT, log.chunk()).await.expect("it ends") {
                Ok(Some(chunk)) => text.push_str(&String::from_utf8_lossy(&chunk)),
                end => break end,
            }
        };
        assert!(end.is_err(), "nobody takes this for the end of the log");
        let (output, last) = text.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(output, "first\noops\nlast\n");
        assert!(last.starts_with(LOG_BROKE_OFF), "{last}");
        assert!(last.ends_with("Error grabbing logs: bad value"), "{last}");
    }
}

#[tokio::test]
async fn a_log_is_followed() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let id = &server.run("web", 1).await[0];
    let mut log = user.open(&format!("/api/containers/{id}/logs?follow=true")).await;
    read_until(&mut log, "last\n").await;
    // Nothing more comes, and it does not end.
    assert!(timeout(Duration::from_millis(200), log.chunk()).await.is_err());
}
