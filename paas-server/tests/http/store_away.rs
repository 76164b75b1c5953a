//! A store that is away, full or read-only, as clients see it.

use std::sync::Arc;

use paas_core::store::MemoryStore;
use paas_core::testing::store::FailingStore;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, Server, Start, eventually};

#[tokio::test]
async fn with_a_full_disk_an_operator_can_log_in_look_stop_and_destroy() {
    let store = Arc::new(FailingStore::new(Arc::new(MemoryStore::new())));
    let server = Server::with(Start { store: Some(store.clone()), ..Start::default() }).await;
    let ids = server.run("web", 2).await;
    store.fail_after_writes(Some(0));
    let mut api = server.anonymous();
    let login = api.post("/auth/login", &json!({"username": "admin", "password": PASSWORD})).await;
    assert_eq!(login.status, 200, "{login:?}");
    assert!(login.json()["warning"].is_string() && !login.header("x-paas-warning").is_empty());
    api.token = login.json()["token"].as_str().map(str::to_owned);
    assert_eq!(api.get("/api/containers").await.json().as_array().unwrap().len(), 2);
    for (method, path) in [
        (Method::POST, format!("/api/containers/{}/stop", ids[0])),
        (Method::DELETE, format!("/api/containers/{}", ids[0])),
        (Method::DELETE, format!("/api/containers/{}", ids[1])),
    ] {
        let send = || api.request(method.clone(), &path).header("idempotency-key", format!("{method}{path}"));
        let (first, again) = (Answer::of(send()).await, Answer::of(send()).await);
        assert_eq!((first.status, again.status), (204, 204), "{path}: {first:?} {again:?}");
        assert_eq!(again.header("idempotent-replayed"), "true", "{path}");
        assert!(!first.header("x-paas-warning").is_empty(), "{path}");
    }
    assert!(server.controller.containers(true).is_empty());
    let said = server.anonymous().get("/healthz").await;
    assert_eq!(said.status, 200);
    let said = said.json();
    assert_eq!((&said["status"], &said["store"]), (&json!("ok"), &json!("unavailable")), "{said}");
    assert_eq!(said["store_fails"], json!(["writes"]), "{said}");
    assert!(said["store_fails_since"].is_string() && said["records_waiting"].as_u64() > Some(3));
    // What would change records is not done, and nothing of it is kept.
    let account = json!({"username": "anna", "password": PASSWORD, "role": "user"});
    let add = || api.request(Method::POST, "/api/accounts").json(&account).header("idempotency-key", "add");
    let refused = Answer::of(add()).await;
    refused.is_problem(503, "store_unavailable");
    assert_eq!(refused.header("x-paas-warning"), "", "nothing was done whose record could follow");
    let run = || {
        let request = api.request(Method::POST, "/api/containers").json(&json!({"name": "web", "memory": 64}));
        request.header("idempotency-key", "run")
    };
    Answer::of(run()).await.is_problem(503, "store_unavailable");
    assert!(server.controller.containers(true).is_empty());
    store.fail_after_writes(None);
    let (added, started) = (Answer::of(add()).await, Answer::of(run()).await);
    assert_eq!((added.status, added.header("idempotent-replayed")), (204, ""), "{added:?}");
    assert_eq!((started.status, started.header("idempotent-replayed")), (201, ""), "{started:?}");
    eventually("every record is there", || server.controller.store_state().records_waiting == 0).await;
    let events = server.controller.events(1000).await.unwrap();
    let destroyed = events.iter().filter(|event| event.kind.to_string() == "destroy-container").count();
    assert_eq!(destroyed, 2);
    assert_eq!(api.post("/account/logout", &Value::Null).await.header("x-paas-warning"), "");
}

#[tokio::test]
async fn a_store_that_comes_and_goes_is_told_by_healthz() {
    let store = Arc::new(FailingStore::new(Arc::new(MemoryStore::new())));
    let server = Server::with(Start { store: Some(store.clone()), ..Start::default() }).await;
    let admin = server.admin().await;
    store.fail_after_reads(Some(0));
    admin.get("/api/events").await.is_problem(503, "store_unavailable");
    let said = admin.get("/healthz").await.json();
    assert!(said["store_last_failure"].is_string(), "{said}");
    assert_eq!((&said["store"], &said["store_fails"]), (&json!("unavailable"), &json!(["reads"])), "{said}");
    store.fail_after_reads(None);
    assert_eq!(admin.get("/api/events").await.status, 200);
    assert_eq!(admin.get("/healthz").await.json()["store"], "ok");
}

#[tokio::test]
async fn a_token_whose_end_cannot_be_recorded_is_warned_of() {
    let store = Arc::new(FailingStore::new(Arc::new(MemoryStore::new())));
    let server = Server::with(Start { store: Some(store.clone()), ..Start::default() }).await;
    let of_before = server.admin().await;
    store.fill(true);
    let mut fresh = server.anonymous();
    let login = fresh.post("/auth/login", &json!({"username": "admin", "password": PASSWORD})).await;
    // The same sentence, since nothing follows that would make the token outlive the server.
    assert_eq!(login.json()["warning"], json!(login.header("x-paas-warning")));
    assert!(login.header("x-paas-warning").contains("until the server is started again"), "{login:?}");
    fresh.token = login.json()["token"].as_str().map(str::to_owned);
    let said = fresh.get("/healthz").await.json();
    assert_eq!((&said["store"], &said["store_fails"]), (&json!("full"), &json!(["writes"])), "{said}");
    assert!(said["store_detail"].as_str().is_some_and(|detail| detail.contains("make room")), "{said}");
    let ended = of_before.post("/account/logout", &Value::Null).await;
    assert_eq!(ended.status, 204);
    assert!(ended.header("x-paas-warning").contains("the token is good again"), "{ended:?}");
    assert_eq!(of_before.get("/api/engines").await.status, 401);
    // The store never had this one.
    let ended = fresh.post("/account/logout", &Value::Null).await;
    assert_eq!((ended.status, ended.header("x-paas-warning")), (204, ""));
    let admin = server.admin().await;
    for (path, body) in [
        ("/api/accounts", json!({"username": "anna", "password": PASSWORD, "role": "user"})),
        ("/account/passwdchange", json!({"password": "another password", "old_password": PASSWORD})),
    ] {
        let refused = admin.post(path, &body).await;
        refused.is_problem(503, "store_unavailable");
        assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.contains("make room")), "{refused:?}");
    }
}
