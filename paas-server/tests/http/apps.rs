//! Applications over HTTP: what is refused and how, their output, their rollouts, and hosts that are lost.

use std::time::Duration;

use futures::StreamExt;
use paas_core::engine::SimulatedEngine;
use paas_core::model::{EngineStatus, SimulatedHost};
use paas_core::wire::PREVIOUS_OUTPUT;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Api, Server, TIMEOUT, eventually, unique};

/// One component of an image, as quick as it can be.
fn web(image: &str, replicas: u32) -> Value {
    let update = json!({"monitor": "50ms", "drain": "50ms"});
    json!({"component": {"web": {"image": image, "replicas": replicas, "port": 80, "memory": 64, "update": update}}})
}

async fn put(api: &Api, path: &str, body: &Value) -> Answer {
    Answer::of(api.request(Method::PUT, path).json(body)).await
}

impl Server {
    async fn until_settled(&self, ready: usize) {
        let app = || self.controller.app("shop");
        let is_so = || app().is_ok_and(|app| app.summary.ready == ready && app.rollout.is_none());
        eventually("the application is as declared", is_so).await;
    }
}

async fn shop(replicas: u32) -> (Server, Api) {
    let server = Server::start().await;
    let api = server.login("user").await;
    assert_eq!(put(&api, "/api/apps/shop", &json!({"app": web("web:1", replicas)})).await.status, 200);
    server.until_settled(replicas as usize).await;
    (server, api)
}

#[tokio::test]
async fn what_is_not_there_is_not_found_whatever_is_asked_of_it() {
    let (_server, api) = shop(1).await;
    for (method, path, body) in [
        (Method::GET, "", Value::Null),
        (Method::DELETE, "", Value::Null),
        (Method::GET, "/revisions", Value::Null),
        (Method::GET, "/revisions/1", Value::Null),
        (Method::GET, "/diff?from=1&to=2", Value::Null),
        (Method::POST, "/rollback", Value::Null),
        (Method::POST, "/scale", json!({"replicas": 2})),
        (Method::POST, "/restart", Value::Null),
        (Method::POST, "/stop", Value::Null),
        (Method::POST, "/start", Value::Null),
        (Method::GET, "/rollout", Value::Null),
        (Method::GET, "/logs", Value::Null),
        (Method::GET, "/logs?previous=true", Value::Null),
        (Method::POST, "/exec", json!({"command": ["ls"]})),
        (Method::POST, "/run", json!({"command": ["ls"]})),
    ] {
        let request = api.request(method.clone(), &format!("/api/apps/none{path}"));
        let answer = Answer::of(if body.is_null() { request } else { request.json(&body) }).await;
        let problem = answer.is_problem(404, "app_not_found");
        assert!(problem["detail"].as_str().unwrap().contains("'none'"), "{method} {path}: {problem}");
    }
    for (method, path, body) in [
        (Method::GET, "/api/apps/shop/revisions/9", Value::Null),
        (Method::GET, "/api/apps/shop/diff?from=1&to=9", Value::Null),
        (Method::POST, "/api/apps/shop/rollback", json!({"to": 9})),
    ] {
        let request = api.request(method, path);
        let answer = Answer::of(if body.is_null() { request } else { request.json(&body) }).await;
        let problem = answer.is_problem(404, "revision_not_found");
        assert!(problem["detail"].as_str().unwrap().contains('9'), "{path}: {problem}");
    }
}

#[tokio::test]
async fn what_does_not_fit_to_what_is_there_is_a_conflict_that_says_what_to_do() {
    let (server, api) = shop(1).await;
    let detail = |problem: Value| problem["detail"].as_str().unwrap().to_owned();
    let late = json!({"app": web("web:2", 1), "base": 0});
    let changed = put(&api, "/api/apps/shop", &late).await.is_problem(409, "app_changed");
    assert!(detail(changed).contains("plan again"));
    // One that hangs in its rollout.
    let host = server.simulated();
    host.set_latency(Duration::from_millis(300));
    assert_eq!(put(&api, "/api/apps/shop", &json!({"app": web("web:2", 1)})).await.status, 200);
    for (path, body) in [("restart", Value::Null), ("rollback", json!({"to": 1}))] {
        let request = api.request(Method::POST, &format!("/api/apps/shop/{path}"));
        let answer = Answer::of(if body.is_null() { request } else { request.json(&body) }).await;
        assert!(detail(answer.is_problem(409, "rollout_under_way")).contains("--supersede"));
    }
    let second = put(&api, "/api/apps/shop", &json!({"app": web("web:3", 1)})).await;
    assert!(detail(second.is_problem(409, "rollout_under_way")).contains("revision 2"));
    let instead = json!({"app": web("web:3", 1), "supersede": true});
    assert_eq!(put(&api, "/api/apps/shop", &instead).await.json(), json!({"revision": 3, "changed": true}));
    host.set_latency(Duration::ZERO);
    server.until_settled(1).await;
    let id = server.controller.app_containers("shop", None).unwrap().remove(0).1.id.to_string();
    let stopped = api.post(&format!("/api/containers/{id}/stop"), &Value::Null).await;
    assert!(detail(stopped.is_problem(409, "managed_by_application")).contains("app stop shop"));
    host.set_hanging(true);
    assert_eq!(api.delete("/api/apps/shop").await.status, 204);
    let removed = put(&api, "/api/apps/shop", &json!({"app": web("web:4", 1)})).await;
    assert!(detail(removed.is_problem(409, "conflict")).contains("is being removed"));
    api.post("/api/apps/shop/scale", &json!({"replicas": 2})).await.is_problem(409, "conflict");
    host.set_hanging(false);
}

#[tokio::test]
async fn what_cannot_be_meant_names_its_field() {
    let (_server, api) = shop(1).await;
    for (body, field) in [
        (json!({"app": {"app": "other", "component": {}}}), "app.app"),
        (json!({"app": {"component": {"web": {"image": "web:1", "replica": 2}}}}), "app.component.web.replica"),
        (json!({"app": {"component": {"web": {}}}}), "component.web.image"),
        (json!({"app": web("web:1", 1), "bases": 3}), "bases"),
        (json!({"app": web("reg.io/missing:1", 1)}), "component.web.image"),
    ] {
        let problem = put(&api, "/api/apps/shop", &body).await.is_problem(400, "invalid_request");
        assert_eq!(problem["field"], field, "{problem}");
    }
    for (path, field) in [
        ("/api/apps/Shop", "app"),
        ("/api/apps/shop/diff?from=1", "to"),
        ("/api/apps/shop/logs?component=WEB", "component"),
        ("/api/apps/shop/logs?component=db", "component"),
        ("/api/apps/shop/logs?tail=-1", "tail"),
        ("/api/apps/shop/logs?previous=true&follow=true", "follow"),
        ("/api/apps/shop/logs?previous=yes", "previous"),
    ] {
        let problem = api.get(path).await.is_problem(400, "invalid_request");
        assert!(problem["field"].as_str().is_some_and(|found| found.contains(field)), "{path}: {problem}");
    }
    for verb in ["stop", "start"] {
        let problem = api.post(&format!("/api/apps/shop/{verb}"), &json!({"x": 1})).await;
        assert_eq!(problem.is_problem(400, "invalid_request")["field"], "x");
    }
    let problem = api.post("/api/apps/shop/scale", &json!({"component": "db", "replicas": 2})).await;
    assert_eq!(problem.is_problem(400, "invalid_request")["field"], "component");
}

#[tokio::test]
async fn the_output_of_replicas_is_there_while_they_run_and_after_they_are_replaced() {
    let (server, api) = shop(2).await;
    let logs = api.get("/api/apps/shop/logs?tail=1").await;
    assert_eq!((logs.status, logs.header("content-type")), (200, "text/plain; charset=utf-8"));
    assert_eq!(logs.text, "web.1 | last\nweb.2 | last\n");
    assert_eq!(api.get("/api/apps/shop/logs?component=web").await.text.lines().count(), 6);
    assert_eq!(api.get("/api/apps/shop/logs?previous=true").await.text, "", "nothing was removed");

    // Who follows reads on when another one takes its place.
    let followed = api.open("/api/apps/shop/logs?follow=true").await;
    assert_eq!(put(&api, "/api/apps/shop", &json!({"app": web("web:2", 2)})).await.status, 200);
    let mut chunks = followed.bytes_stream();
    let mut text = String::new();
    let all = async {
        while text.matches("web.1 | first").count() < 2 || text.matches("web.2 | first").count() < 2 {
            text.push_str(std::str::from_utf8(&chunks.next().await.unwrap().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(TIMEOUT, all).await.expect("the output of those that are started later comes too");
    server.until_settled(2).await;
    let host = server.simulated();
    eventually("the old ones are gone", || host.really_there().len() == 2).await;

    let previous = api.get("/api/apps/shop/logs?previous=true").await.text;
    let lines: Vec<&str> = previous.lines().collect();
    assert_eq!(lines.len(), 8, "{previous}");
    assert!(
        lines[0].starts_with(&format!("web.1.1 | {PREVIOUS_OUTPUT}revision 1, on one, removed 20")),
        "{}",
        lines[0]
    );
    assert_eq!(lines[1..4], ["web.1.1 | first", "web.1.1 | oops", "web.1.1 | last"]);
    let tail = api.get("/api/apps/shop/logs?previous=true&tail=1&component=web").await.text;
    assert_eq!(tail.lines().map(|line| line.split(" | ").nth(1).unwrap()).filter(|line| *line == "last").count(), 2);
    assert_eq!(tail.lines().count(), 4);
}

#[tokio::test]
async fn a_rollout_is_told_until_it_has_ended() {
    let (server, api) = shop(1).await;
    let ended = api.get("/api/apps/shop/rollout").await.lines();
    assert_eq!((ended.len(), &ended[0]["last_rollout"]["outcome"]), (1, &json!("done")), "{ended:?}");
    let host = server.simulated();
    host.set_latency(Duration::from_millis(100));
    assert_eq!(put(&api, "/api/apps/shop", &json!({"app": web("web:2", 1)})).await.status, 200);
    let steps = api.get("/api/apps/shop/rollout").await.lines();
    let (last, before) = steps.split_last().unwrap();
    assert!(!before.is_empty() && before.iter().all(|step| step["rollout"]["to"] == 2), "{before:#?}");
    assert_eq!((&last["revision"], &last["last_rollout"]["outcome"]), (&json!(2), &json!("done")));
    assert_eq!(last.get("rollout"), None);
    assert!(steps.windows(2).all(|pair| pair[0] != pair[1]), "only what is different");

    // It ends with the server as well, and that is no end of the rollout.
    host.set_hanging(true);
    let request = json!({"app": web("web:3", 1)});
    assert_eq!(put(&api, "/api/apps/shop", &request).await.status, 200);
    let mut cut = api.open("/api/apps/shop/rollout").await;
    let mut text = cut.chunk().await.unwrap().unwrap().to_vec();
    server.stop.cancel();
    text.extend(tokio::time::timeout(TIMEOUT, cut.bytes()).await.expect("it ends").unwrap());
    let text = String::from_utf8(text).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["rollout"]["to"], 3);
    host.set_hanging(false);
}

#[tokio::test]
async fn a_host_is_lost_only_when_it_is_and_names_what_is_lost_with_it() {
    let server = Server::start().await;
    let (name, admin) = (unique("two"), server.admin().await);
    server.add_engine("two", &format!("sim://{name}?cpus=8&memory=16384")).await;
    // Its volume goes where its label is.
    assert_eq!(admin.post("/api/engines/one/drain", &Value::Null).await.status, 200);
    let update = json!({"monitor": "50ms", "drain": "50ms"});
    let db = json!({"image": "db:1", "port": 5432, "memory": 64, "volumes": ["data:/data"], "update": update});
    assert_eq!(put(&admin, "/api/apps/shop", &json!({"app": {"component": {"db": db}}})).await.status, 200);
    server.until_settled(1).await;
    assert_eq!(admin.post("/api/engines/one/undrain", &Value::Null).await.status, 200);

    let lost = async |path: &str| admin.post(path, &Value::Null).await;
    lost("/api/engines/none/lost").await.is_problem(404, "engine_not_found");
    let refused = lost("/api/engines/two/lost").await.is_problem(409, "conflict");
    assert!(refused["detail"].as_str().unwrap().contains("answers; drain it"), "{refused}");
    let host = SimulatedEngine::named(&SimulatedHost::new(name));
    host.set_reachable(false);
    let is_down = || server.controller.engine("two").is_ok_and(|engine| engine.health.status == EngineStatus::Down);
    eventually("the host is down", is_down).await;
    let refused = lost("/api/engines/two/lost").await.is_problem(409, "conflict");
    assert!(refused["detail"].as_str().unwrap().contains("shop/db.1 data"), "{refused}");
    let answer = lost("/api/engines/two/lost?lose_volumes=true").await;
    assert_eq!((answer.status, answer.json()), (200, json!(["shop/db.1 data"])));
    let replica = || server.controller.app("shop").unwrap().component["db"].replicas[0].clone();
    let is_on_one = || replica().state == "ready" && replica().engine.is_some_and(|engine| engine.as_str() == "one");
    eventually("the replica is on the other host, with an empty volume", is_on_one).await;
    let user = server.login("user").await;
    user.post("/api/engines/two/lost", &Value::Null).await.is_problem(403, "forbidden");
    // What comes back is put aside.
    host.set_reachable(true);
    eventually("the container of the lost host is stopped or gone", || {
        host.really_there().iter().all(|found| !found.state.holds_resources())
    })
    .await;
}

#[tokio::test]
async fn replicas_move_to_a_host_that_is_new() {
    let (server, _) = shop(6).await;
    let admin = server.admin().await;
    let nothing = admin.post("/api/reconcile/rebalance", &Value::Null).await;
    assert_eq!((nothing.status, nothing.json()), (200, json!([])));
    server.add_engine("two", &format!("sim://{}?cpus=8&memory=16384", unique("two"))).await;
    let large = json!({"image": "web:1", "replicas": 4, "port": 80, "memory": 2000, "update": {"monitor": "50ms", "drain": "50ms"}});
    admin.post("/api/engines/two/drain", &Value::Null).await;
    let file = json!({"app": {"component": {"web": large}}});
    assert_eq!(put(&admin, "/api/apps/shop", &file).await.status, 200);
    server.until_settled(4).await;
    admin.post("/api/engines/two/undrain", &Value::Null).await;
    let dry = admin.post("/api/reconcile/rebalance?dry_run=true", &Value::Null).await.json();
    assert_eq!((&dry[0]["app"], &dry[0]["from"], &dry[0]["to"]), (&json!("shop"), &json!("one"), &json!("two")));
    assert!(dry[0]["gain"].as_f64().unwrap() > 1.0, "{dry}");
    let moved = admin.post("/api/reconcile/rebalance", &Value::Null).await;
    assert_eq!(moved.json(), dry);
    let is_on_two = || {
        let app = server.controller.app("shop").unwrap();
        let replicas = &app.component["web"].replicas;
        app.summary.ready == 4 && replicas.iter().any(|one| one.engine.as_ref().is_some_and(|id| id.as_str() == "two"))
    };
    eventually("a replica is on the other host", is_on_two).await;
    admin.post("/api/reconcile/rebalance?dry_run=maybe", &Value::Null).await.is_problem(400, "invalid_request");
}
