//! Changes that are sent again with their key.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Api, Server, Start};

async fn with_key(api: &Api, key: &str, method: Method, path: &str, body: &Value) -> Answer {
    let request = api.request(method, path).header("idempotency-key", key);
    Answer::of(if body.is_null() { request } else { request.json(body) }).await
}

async fn run(api: &Api, key: &str, count: usize) -> Answer {
    let body = json!({"name": "web", "memory": 64});
    with_key(api, key, Method::POST, &format!("/api/containers?count={count}"), &body).await
}

#[tokio::test]
async fn a_run_that_is_sent_again_gets_the_first_answer() {
    let server = Server::start().await;
    let (user, admin) = (server.login("user").await, server.admin().await);
    let first = run(&user, "one", 3).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, ""));
    let again = run(&user, "one", 3).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, "true"));
    assert_eq!((again.json(), again.header("content-type")), (first.json(), "application/json"));
    assert_eq!(server.controller.containers(true).len(), 3);

    assert_ne!(run(&admin, "one", 3).await.json(), first.json(), "the keys of others are others");
    assert_ne!(run(&user, "two", 3).await.json(), first.json());
    assert_eq!(server.controller.containers(true).len(), 9);
    run(&user, "one", 4).await.is_problem(422, "key_reused");
    assert_eq!(server.controller.containers(true).len(), 9);
}

#[tokio::test]
async fn those_that_are_sent_at_once_get_one_answer() {
    let server = Server::with(Start { engine: "cpus=8&memory=16384&latency_ms=50", ..Start::default() }).await;
    let user = server.login("user").await;
    let answers = futures::future::join_all((0..5).map(|_| run(&user, "same", 2))).await;
    assert!(answers.iter().all(|answer| answer.status == 201 && answer.json() == answers[0].json()));
    assert_eq!(server.controller.containers(true).len(), 2);
}

#[tokio::test]
async fn a_stream_is_given_again_whole() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let send = async || {
        let request = user.request(Method::POST, "/api/containers?count=2").json(&json!({"name": "web", "memory": 64}));
        Answer::of(request.header("idempotency-key", "stream").header("accept", "application/x-ndjson")).await
    };
    let first = send().await;
    let again = send().await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.lines(), first.lines());
    assert_eq!(server.controller.containers(true).len(), 2);
}

#[tokio::test]
async fn a_client_that_hung_up_is_told_of_what_it_began() {
    let server = Server::with(Start { engine: "cpus=8&memory=16384&latency_ms=50", ..Start::default() }).await;
    let user = server.login("user").await;
    let request = user.request(Method::POST, "/api/containers?count=4").json(&json!({"name": "web", "memory": 64}));
    let request = request.header("idempotency-key", "hung-up").header("accept", "application/x-ndjson");
    let mut begun = request.send().await.unwrap();
    assert!(begun.chunk().await.unwrap().is_some());
    drop(begun);
    let again = run(&user, "hung-up", 4).await;
    assert_eq!((again.status, again.json().as_array().unwrap().len()), (201, 4));
    assert_eq!(server.controller.containers(true).len(), 4);
}

#[tokio::test]
async fn every_change_can_be_sent_again() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let id = server.run("web", 1).await[0].to_string();
    let none = Value::Null;
    let account = json!({"username": "anna", "password": "correct horse battery", "role": "user"});
    let engine = json!({"id": "two", "addr": format!("sim://{}", crate::support::unique("two"))});
    let stop = format!("/api/containers/{id}/stop");
    let container = format!("/api/containers/{id}");
    for (method, path, body, status) in [
        (Method::POST, stop.as_str(), &none, 204),
        (Method::DELETE, container.as_str(), &none, 204),
        (Method::POST, "/api/accounts", &account, 204),
        (Method::POST, "/api/engines", &engine, 201),
        (Method::DELETE, "/api/engines/two", &none, 204),
        (Method::DELETE, "/api/accounts/nobody", &none, 404),
    ] {
        let key = format!("{method}{path}");
        let first = with_key(&admin, &key, method.clone(), path, body).await;
        let again = with_key(&admin, &key, method, path, body).await;
        assert_eq!((first.status, again.status), (status, status), "{key}: {first:?}");
        assert_eq!(again.text, first.text, "{key}");
        assert_eq!(again.header("idempotent-replayed"), "true", "{key}");
    }
}

#[tokio::test]
async fn of_a_join_token_that_is_asked_for_again_the_last_is_good() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let mut made = Vec::new();
    for _ in 0..2 {
        let answer = with_key(&admin, "token", Method::POST, "/api/join-tokens", &Value::Null).await;
        assert_eq!((answer.status, answer.header("idempotent-replayed")), (201, ""));
        made.push(answer.json());
    }
    assert_ne!(made[0]["token"], made[1]["token"], "what is kept nowhere cannot be given again");
    let listed = admin.get("/api/join-tokens").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["id"], made[1]["id"]);
}

#[tokio::test]
async fn what_was_not_tried_is_tried_when_it_is_sent_again() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let denied = with_key(&user, "key", Method::POST, "/api/join-tokens", &Value::Null).await;
    denied.is_problem(403, "forbidden");
    let mut wrong = user.clone();
    wrong.token = Some("wrong".to_owned());
    run(&wrong, "other", 1).await.is_problem(401, "unauthenticated");
    assert_eq!(run(&user, "other", 1).await.status, 201);
    // What was tried and failed for good is an answer like any other.
    let huge = json!({"name": "web", "memory": 100_000});
    for replayed in ["", "true"] {
        let refused = with_key(&user, "huge", Method::POST, "/api/containers", &huge).await;
        refused.is_problem(409, "no_room");
        assert_eq!(refused.header("idempotent-replayed"), replayed);
    }
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let long = "x".repeat(256);
    for key in ["", "two words", &long] {
        run(&user, key, 1).await.is_problem(400, "invalid_request");
    }
    assert!(server.controller.containers(true).is_empty());
    let reads = with_key(&user, "reads", Method::GET, "/api/containers", &Value::Null).await;
    assert_eq!((reads.status, reads.header("idempotent-replayed")), (200, ""));
    let two = user.request(Method::POST, "/api/containers").json(&json!({"name": "web"}));
    let two = Answer::of(two.header("idempotency-key", "a").header("idempotency-key", "b")).await;
    two.is_problem(400, "invalid_request");
    assert_eq!(two.json()["field"], "Idempotency-Key");
}
