//! Clients that hang up in the middle of a change: it is made to its end, and its key holds.

use std::sync::Arc;
use std::time::Duration;

use paas_core::store::MemoryStore;
use paas_core::store::tables::REQUESTS;
use paas_core::testing::store::GatedStore;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Api, PASSWORD, Server, Start, eventually, unique};

async fn gated() -> (Arc<GatedStore>, Server) {
    let store = Arc::new(GatedStore::new(Arc::new(MemoryStore::new())));
    (store.clone(), Server::with(Start { store: Some(store), ..Start::default() }).await)
}

fn request(api: &Api, key: &str, method: Method, path: &str, body: &Value) -> reqwest::RequestBuilder {
    let request = api.request(method, path).header("idempotency-key", key);
    if body.is_null() { request } else { request.json(body) }
}

#[tokio::test]
async fn every_change_is_made_to_its_end_and_once() {
    let (store, server) = gated().await;
    let admin = server.admin().await;
    let stopped = server.run("web", 1).await[0].to_string();
    let destroyed = server.run("web", 1).await[0].to_string();
    let none = Value::Null;
    let account = json!({"username": "anna", "password": PASSWORD, "role": "user"});
    let engine = json!({"id": "two", "addr": format!("sim://{}", unique("two"))});
    let login = json!({"server": "registry.test", "username": "ann", "password": "p"});
    let container = json!({"name": "web", "memory": 64});
    let of = |verb: &str| format!("/api/containers/{stopped}/{verb}");
    let changes = [
        (Method::POST, "/api/accounts".to_owned(), &account, 204),
        (Method::DELETE, "/api/accounts/anna".to_owned(), &none, 204),
        (Method::POST, "/api/engines".to_owned(), &engine, 201),
        (Method::POST, "/api/engines/two/drain".to_owned(), &none, 200),
        (Method::POST, "/api/engines/two/undrain".to_owned(), &none, 200),
        (Method::DELETE, "/api/engines/two".to_owned(), &none, 204),
        (Method::POST, "/api/registry-logins".to_owned(), &login, 204),
        (Method::DELETE, "/api/registry-logins/registry.test".to_owned(), &none, 204),
        (Method::POST, of("stop"), &none, 204),
        (Method::POST, of("start"), &none, 204),
        (Method::POST, of("restart"), &none, 204),
        (Method::DELETE, format!("/api/containers/{destroyed}"), &none, 204),
        (Method::POST, "/api/containers?count=2".to_owned(), &container, 201),
        (Method::POST, of("scale?count=4"), &none, 204),
    ];
    for (method, path, body, status) in changes {
        let key = format!("{method}{path}");
        store.close();
        admin.hang_up(request(&admin, &key, method.clone(), &path, body), store.until_one_waits_for(REQUESTS)).await;
        store.open();
        // It waits for the one whose client is gone, and gets its answer.
        let again = Answer::of(request(&admin, &key, method.clone(), &path, body)).await;
        assert_eq!((again.status, again.header("idempotent-replayed")), (status, "true"), "{key}: {again:?}");
    }
    let events = server.controller.events(1000).await.unwrap();
    let kinds =
        |kind: &str| events.iter().filter(|event| event.kind.to_string() == kind && event.user.is_some()).count();
    for kind in
        ["add-account", "delete-account", "drain-engine", "stop-container", "restart-container", "scale-container"]
    {
        assert_eq!(kinds(kind), 1, "{kind}");
    }
    assert_eq!(server.controller.engines().len(), 1);
    let next = server.controller.containers(false).len();
    assert_eq!(next, 4, "one that was scaled to four, of which two were started before");
}

#[tokio::test]
async fn a_restart_whose_client_gave_up_is_done_once() {
    let server = Server::with(Start { engine: "cpus=8&memory=16384&latency_ms=300", ..Start::default() }).await;
    let user = server.login("user").await;
    let id = server.run("web", 1).await[0].to_string();
    let path = format!("/api/containers/{id}/restart?timeout=6");
    for (key, restarts) in [(Some("r"), 1), (None, 2)] {
        let send = || {
            let request = user.request(Method::POST, &path);
            if let Some(key) = key { request.header("idempotency-key", key) } else { request }
        };
        let short = tokio::time::sleep(Duration::from_millis(150));
        user.hang_up(send(), short).await;
        let restarted = || async {
            let events = server.controller.events(1000).await.unwrap();
            events.iter().filter(|event| event.kind.to_string() == "restart-container").count()
        };
        if key.is_some() {
            let again = Answer::of(send()).await;
            assert_eq!((again.status, again.header("idempotent-replayed")), (204, "true"));
        }
        while restarted().await < restarts {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(restarted().await, restarts, "with a key once, and without one to its end");
    }
}

#[tokio::test]
async fn the_answer_to_a_stream_is_kept_when_its_reader_is_gone() {
    let server = Server::with(Start { engine: "cpus=8&memory=16384&latency_ms=50", ..Start::default() }).await;
    let user = server.login("user").await;
    let send = || {
        let request = user.request(Method::POST, "/api/containers?count=3").json(&json!({"name": "web", "memory": 64}));
        request.header("idempotency-key", "stream").header("accept", "application/x-ndjson")
    };
    let mut begun = send().send().await.unwrap();
    assert!(begun.chunk().await.unwrap().is_some());
    drop(begun);
    let again = Answer::of(send()).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.lines().last().unwrap()["started"], 3);
}

#[tokio::test]
async fn a_request_that_hangs_is_answered_in_time_and_goes_on() {
    let store = Arc::new(GatedStore::new(Arc::new(MemoryStore::new())));
    let options = paas_server::serve::ServeOptions { request_timeout: Duration::from_secs(1), ..Default::default() };
    let server = Server::with(Start { store: Some(store.clone()), options, ..Start::default() }).await;
    let admin = server.admin().await;
    store.close();
    let account = json!({"username": "anna", "password": PASSWORD, "role": "user"});
    let late = Answer::of(request(&admin, "late", Method::POST, "/api/accounts", &account)).await;
    late.is_problem(504, "timed_out");
    store.open();
    let again = Answer::of(request(&admin, "late", Method::POST, "/api/accounts", &account)).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (204, "true"));
    eventually("the account is there", || true).await;
    server.login("anna").await;
}
