//! Ending without breaking anything off.

use std::time::Duration;

use paas_core::engine::SimulatedEngine;
use paas_core::model::SimulatedHost;
use paas_server::serve::{ServeError, ServeOptions};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{Server, Start, TIMEOUT, eventually};

const SLOW: &str = "cpus=8&memory=16384&latency_ms=300";

/// Starts a run of three containers and waits until it is under way.
async fn run_under_way(server: &Server, accept: &'static str) -> JoinHandle<(u16, String)> {
    run_many(server, 3, accept).await
}

async fn run_many(server: &Server, count: u64, accept: &'static str) -> JoinHandle<(u16, String)> {
    let user = server.login("user").await;
    let request = user.request(Method::POST, &format!("/api/containers?count={count}")).header("accept", accept);
    let running = tokio::spawn(async move {
        let response = request.json(&json!({"name": "web", "memory": 64})).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    });
    eventually("room is reserved", || server.controller.cluster_info().reserved_memory.mb() == count * 64).await;
    running
}

#[tokio::test]
async fn a_run_under_way_is_answered_in_full() {
    let mut server = Server::with(Start { engine: SLOW, ..Start::default() }).await;
    let running = run_under_way(&server, "application/json").await;
    server.stop.cancel();
    let (status, text) = running.await.unwrap();
    assert_eq!(status, 201, "{text}");
    let started: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(started.as_array().unwrap().len(), 3);
    timeout(TIMEOUT, &mut server.serving).await.unwrap().unwrap().unwrap();
    let late = server.anonymous().request(Method::GET, "/healthz").send().await;
    assert!(late.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_stream_of_progress_is_sent_to_its_end() {
    let mut server = Server::with(Start { engine: SLOW, ..Start::default() }).await;
    let running = run_under_way(&server, "application/x-ndjson").await;
    server.stop.cancel();
    let (status, text) = running.await.unwrap();
    assert_eq!(status, 200);
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["started"]), (&json!("summary"), &json!(3)), "{text}");
    timeout(TIMEOUT, &mut server.serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_launch_that_nobody_waits_for_is_waited_for() {
    let mut server = Server::with(Start { engine: SLOW, ..Start::default() }).await;
    run_under_way(&server, "application/json").await.abort();
    server.stop.cancel();
    timeout(TIMEOUT, &mut server.serving).await.unwrap().unwrap().unwrap();
    let containers = server.controller.containers(true);
    assert_eq!(containers.len(), 3, "all of them were started, and none half");
}

#[tokio::test]
async fn what_takes_too_long_is_abandoned() {
    let options = ServeOptions { shutdown_timeout: Duration::from_millis(200), ..ServeOptions::default() };
    let mut server = Server::with(Start { engine: SLOW, options, ..Start::default() }).await;
    // One engine starts a few at once, so these take many seconds.
    let running = run_many(&server, 60, "application/json").await;
    server.stop.cancel();
    let ended = timeout(TIMEOUT, &mut server.serving).await.unwrap().unwrap();
    assert!(matches!(ended, Err(ServeError::TimedOut(_))), "{ended:?}");
    running.abort();
}

#[tokio::test]
async fn a_host_that_hangs_does_not_hold_up_the_end() {
    let options = ServeOptions { shutdown_timeout: Duration::from_millis(300), ..ServeOptions::default() };
    let mut server = Server::with(Start { options, ..Start::default() }).await;
    let ids = server.run("web", 1).await;
    let host = SimulatedEngine::named(&SimulatedHost::new(server.host.as_str()));
    host.set_hanging(true);
    let user = server.login("user").await;
    let path = format!("/api/containers/{}/stop", ids[0]);
    let stopping = tokio::spawn(async move { user.request(Method::POST, &path).send().await.is_ok() });
    eventually("the host was asked", || host.asked("stop").now == 1).await;
    server.stop.cancel();
    let ended = timeout(TIMEOUT, &mut server.serving).await.unwrap().unwrap();
    assert!(matches!(ended, Err(ServeError::TimedOut(_))), "{ended:?}");
    stopping.abort();
}

#[tokio::test]
async fn a_server_without_work_ends_at_once() {
    let mut server = Server::start().await;
    // A connection that is kept open holds nothing up.
    let admin = server.admin().await;
    assert_eq!(admin.get("/api/containers").await.status, 200);
    server.stop.cancel();
    timeout(TIMEOUT, &mut server.serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn with_no_time_to_wait_nothing_is_waited_for_and_that_is_no_failure() {
    for engine in ["cpus=8&memory=16384", SLOW] {
        let options = ServeOptions { shutdown_timeout: Duration::ZERO, ..ServeOptions::default() };
        let mut server = Server::with(Start { engine, options, ..Start::default() }).await;
        let running = match engine {
            SLOW => Some(run_many(&server, 60, "application/json").await),
            _ => None,
        };
        server.stop.cancel();
        let ended = timeout(TIMEOUT, &mut server.serving).await.unwrap().unwrap();
        assert!(ended.is_ok(), "{ended:?}");
        running.inspect(JoinHandle::abort);
    }
}
