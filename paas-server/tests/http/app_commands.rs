//! Commands that are run for applications, over HTTP.

use std::time::Duration;

use paas_core::engine::SimulatedEngine;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Api, Server, TIMEOUT, eventually};

/// A server with an application `shop`, of which one replica of `web` is ready.
async fn shop() -> (Server, Api) {
    let server = Server::start().await;
    let api = server.login("user").await;
    let web = json!({"image": "web:1", "port": 80, "memory": 64, "update": {"monitor": "50ms", "drain": "50ms"}});
    let applied =
        Answer::of(api.request(Method::PUT, "/api/apps/shop").json(&json!({"app": {"component": {"web": web}}}))).await;
    assert_eq!(applied.status, 200, "{applied:?}");
    let is_ready = || server.controller.app("shop").is_ok_and(|app| app.summary.ready == 1 && app.rollout.is_none());
    eventually("the application is ready", is_ready).await;
    (server, api)
}

fn command(command: &[&str]) -> Value {
    json!({"component": "web", "command": command})
}

#[tokio::test]
async fn what_a_command_writes_is_streamed_with_its_status() {
    let (server, api) = shop().await;
    let done = api.post("/api/apps/shop/exec", &command(&["echo", "hello", "world"])).await;
    assert_eq!(done.status, 200, "{done:?}");
    let output = json!({"event": "output", "stream": "stdout", "text": "hello world\n"});
    assert_eq!(done.lines(), [output, json!({"event": "ended", "status": 0})]);
    let failed = api.post("/api/apps/shop/exec", &json!({"slot": 1, "command": ["false"]})).await;
    assert_eq!(failed.lines(), [json!({"event": "ended", "status": 1})]);
    let events = server.controller.events(10).await.unwrap();
    assert_eq!(events.iter().filter(|event| event.kind.as_str() == "exec-app").count(), 2, "{events:?}");
}

#[tokio::test]
async fn what_cannot_be_run_is_a_problem_and_no_stream() {
    let (server, api) = shop().await;
    for (path, body, status, code) in [
        ("/api/apps/none/exec", command(&["ls"]), 404, "app_not_found"),
        ("/api/apps/shop/exec", command(&[]), 400, "invalid_request"),
        ("/api/apps/shop/exec", json!({"component": "db", "command": ["ls"]}), 400, "invalid_request"),
        ("/api/apps/shop/exec", json!({"component": "web"}), 400, "invalid_request"),
        ("/api/apps/shop/exec", json!({"component": "web", "command": ["ls"], "tty": true}), 400, "invalid_request"),
        ("/api/apps/shop/exec", json!({"slot": 2, "command": ["ls"]}), 409, "conflict"),
    ] {
        api.post(path, &body).await.is_problem(status, code);
    }
    let keyed = api.request(Method::POST, "/api/apps/shop/exec").header("idempotency-key", "once");
    let refused = Answer::of(keyed.json(&command(&["ls"]))).await.is_problem(400, "invalid_request");
    assert_eq!(refused["field"], "Idempotency-Key");
    let host = server.simulated();
    assert_eq!(host.asked("exec").times, 0);
}

#[tokio::test]
async fn a_server_that_shuts_down_says_so_in_the_last_line() {
    let (server, api) = shop().await;
    let request = api.request(Method::POST, "/api/apps/shop/exec").json(&command(&["sleep", "infinity"]));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    server.stop.cancel();
    let text = tokio::time::timeout(TIMEOUT, answer.text()).await.expect("the stream ends").unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "broken-off", "{last}");
}

#[tokio::test]
async fn a_host_that_ends_the_container_meanwhile_ends_the_command() {
    let (server, api) = shop().await;
    let answer =
        api.request(Method::POST, "/api/apps/shop/exec").json(&command(&["sleep", "infinity"])).send().await.unwrap();
    let host = server.simulated();
    let (_, container) = server.controller.app_containers("shop", None).unwrap().remove(0);
    tokio::time::sleep(Duration::from_millis(50)).await;
    host.outsider_stop(&container.id).unwrap();
    let text = tokio::time::timeout(TIMEOUT, answer.text()).await.expect("the stream ends").unwrap();
    assert!(text.contains("ended"), "{text}");
}

fn commands(host: &SimulatedEngine) -> Vec<paas_core::model::ContainerId> {
    let all = host.really_there().into_iter();
    all.filter(|found| found.name.contains(".run.")).map(|found| found.id).collect()
}

#[tokio::test]
async fn a_command_that_is_run_once_tells_its_status_when_its_container_is_gone() {
    let (server, api) = shop().await;
    let host = server.simulated();
    let answer = api.request(Method::POST, "/api/apps/shop/run").json(&command(&["rake"])).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    host.outsider_end(&commands(&host)[0], 2).unwrap();
    let text = tokio::time::timeout(TIMEOUT, answer.text()).await.expect("the stream ends").unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last, json!({"event": "ended", "status": 2}));
    assert!(commands(&host).is_empty());
    api.post("/api/apps/none/run", &command(&["ls"])).await.is_problem(404, "app_not_found");
    let large = json!({"image": "web:1", "port": 80, "memory": 9000, "update": {"monitor": "50ms", "drain": "50ms"}});
    let file = json!({"app": {"component": {"web": large}}, "supersede": true});
    assert_eq!(Answer::of(api.request(Method::PUT, "/api/apps/shop").json(&file)).await.status, 200);
    let is_there = || host.really_there().iter().any(|found| found.reserved.memory.mb() == 9000);
    eventually("the large one is there", is_there).await;
    api.post("/api/apps/shop/run", &command(&["ls"])).await.is_problem(409, "no_room");
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_the_command_that_it_had_run() {
    let (server, api) = shop().await;
    let host = server.simulated();
    let answer = api.request(Method::POST, "/api/apps/shop/run").json(&command(&["rake"])).send().await.unwrap();
    assert_eq!(commands(&host).len(), 1);
    drop(answer);
    eventually("the container is removed", || commands(&host).is_empty()).await;
    // Also one that does not wait until it has begun.
    host.set_latency(Duration::from_millis(200));
    let request = api.request(Method::POST, "/api/apps/shop/run").json(&command(&["rake"]));
    api.hang_up(request, async {
        while commands(&host).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    eventually("the container is removed", || commands(&host).is_empty()).await;
}
