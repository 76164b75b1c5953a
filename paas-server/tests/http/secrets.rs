//! Secrets of applications over HTTP: a value goes in and does not come out.

use std::sync::Arc;

use paas_core::store::{KeyRange, MemoryStore, Store, tables};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Api, Server, Start};

const URL: &str = "/api/apps/shop/secrets/url";
const PLANTED: &str = "hunter2-planted";

async fn put(api: &Api, path: &str, body: &Value, key: &str) -> Answer {
    Answer::of(api.request(Method::PUT, path).header("Idempotency-Key", key).json(body)).await
}

#[tokio::test]
async fn a_value_goes_in_and_comes_out_nowhere() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let server = Server::with(Start { store: Some(store.clone()), ..Start::default() }).await;
    let api = server.login("user").await;
    let set = put(&api, URL, &json!({"value": PLANTED}), "one").await;
    assert_eq!((set.status, set.json()), (200, json!({"version": 1, "changed": true})));
    let again = put(&api, URL, &json!({"value": PLANTED}), "one").await;
    assert_eq!((again.header("idempotent-replayed"), again.json()), ("true", set.json()));
    put(&api, URL, &json!({"value": "another"}), "one").await.is_problem(422, "key_reused");
    let binary = put(&api, "/api/apps/shop/secrets/cert", &json!({"base64": "AP8="}), "two").await;
    assert_eq!(binary.json()["version"], 1);
    let list = api.get("/api/apps/shop/secrets").await.json();
    let names: Vec<_> =
        list.as_array().unwrap().iter().map(|secret| (&secret["name"], &secret["versions"][0]["used"])).collect();
    assert_eq!(names, [(&json!("cert"), &json!(false)), (&json!("url"), &json!(false))]);
    assert_eq!(api.get("/api/apps/none/secrets").await.json(), json!([]));

    // What is wrong is not repeated, since answers are kept.
    for (number, wrong) in
        [json!({"value": 1, "base64": PLANTED}), json!({"valeu": PLANTED}), json!(PLANTED), json!({"value": ""})]
            .iter()
            .enumerate()
    {
        let problem = put(&api, URL, wrong, &format!("wrong {number}").replace(' ', "-")).await;
        problem.is_problem(400, "invalid_request");
        assert!(!problem.text.contains(PLANTED), "{}", problem.text);
    }
    let large = put(&api, URL, &json!({"value": "x".repeat((64 << 10) + 1)}), "large").await;
    assert!(large.is_problem(400, "invalid_request")["detail"].as_str().unwrap().contains("64 KB"));
    put(&api, URL, &json!({"value": "x", "roll": true}), "roll").await.is_problem(404, "app_not_found");
    put(&api, "/api/apps/shop/secrets/no%20name", &json!({"value": "x"}), "name")
        .await
        .is_problem(400, "invalid_request");

    for table in tables::ALL {
        for document in store.list(table, &KeyRange::all()).await.unwrap() {
            assert!(!document.body.to_string().contains(PLANTED), "{table} {}: {}", document.key, document.body);
        }
    }
    assert_eq!(api.delete(URL).await.status, 204);
    api.delete(URL).await.is_problem(404, "secret_not_found");
}
