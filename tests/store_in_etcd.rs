//! A server whose state is in etcd.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use paas_core::testing::etcd::Etcd;
use serde_json::json;
use support::{Server, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_after_server_and_etcd_were_killed() {
    const NAME: &str = "what_was_answered_is_there_after_server_and_etcd_were_killed";
    let Some(mut etcd) = Etcd::start(NAME).await else { return };
    let mut server =
        Server::start_with([127, 0, 0, 1].into(), &[], &["--store", &etcd.url(), "--registry", &etcd.url()]).await;
    let api = server.admin().await;
    let changes = async {
        for number in 0.. {
            let body = json!({"username": format!("user-{number}"), "password": support::PASSWORD, "role": "user"});
            let request = api.request(reqwest::Method::POST, "/api/accounts").json(&body).send().await;
            if !request.is_ok_and(|answer| answer.status() == 204) {
                return number;
            }
        }
        unreachable!("it is killed before");
    };
    let kill = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        server.kill();
        etcd.kill();
    };
    let (answered, ()) = tokio::join!(changes, kill);
    etcd.start_again().await;
    server.start_again().await;
    let api = server.admin().await;
    let accounts = api.get("/api/accounts").await.body;
    let events = api.get("/api/events?count=10000").await.body;
    println!("{answered} accounts were added before the end");
    assert!(answered > 0);
    for number in 0..answered {
        let name = format!("user-{number}");
        assert!(accounts.as_array().unwrap().iter().any(|account| account["username"] == name), "{name} is lost");
        let told = |event: &serde_json::Value| {
            event["type"] == "add-account" && event["message"].as_str().unwrap().contains(&name)
        };
        assert!(events.as_array().unwrap().iter().any(told), "that {name} was added is lost");
    }

    // While the store is away the server says so, and it works again when that is back.
    etcd.stop().await;
    let body = json!({"username": "late", "password": support::PASSWORD, "role": "user"});
    let refused = api.post("/api/accounts", body.clone()).await;
    assert_eq!((refused.status.as_u16(), &refused.body["code"]), (503, &json!("store_unavailable")));
    etcd.start_again().await;
    let added = || async { api.post("/api/accounts", body.clone()).await.status == 204 };
    assert!(eventually(Duration::from_secs(20), added).await);
}
