//! Engines, the cluster, images, health.

use serde_json::json;

use crate::support::{Server, unique};
use crate::tricky::MISSING;

#[tokio::test]
async fn engines_are_added_shown_and_deleted() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let addr = format!("sim://{}?cpus=2&memory=1000", unique("two"));
    let login = json!({"username": "puller", "password": "secret of the registry"});
    let spec = json!({"id": "two", "addr": addr, "labels": ["ssd"], "registry_login": login});
    let added = admin.post("/api/engines", &spec).await;
    assert_eq!((added.status, added.header("location")), (201, "/api/engines/two"));
    let engine = added.json();
    assert_eq!((&engine["id"], &engine["health"]["status"]), (&json!("two"), &json!("up")));
    assert_eq!((&engine["cpus"], &engine["memory"]), (&json!(2.0), &json!(1000)));
    assert_eq!((&engine["labels"], &engine["simulated"]), (&json!(["ssd"]), &json!(true)));
    assert_eq!(engine["registry_user"], "puller");
    for path in ["/api/engines", "/api/engines/two"] {
        assert!(!admin.get(path).await.text.contains("secret of the registry"));
    }
    assert_eq!(admin.get("/api/engines").await.json().as_array().unwrap().len(), 2);
    assert_eq!(admin.delete("/api/engines/two").await.status, 204);
    admin.get("/api/engines/two").await.is_problem(404, "engine_not_found");
}

#[tokio::test]
async fn an_engine_is_drained_before_it_is_deleted() {
    let server = Server::start().await;
    server.add_engine("two", &format!("sim://{}", unique("two"))).await;
    let admin = server.admin().await;
    server.run("web", 2).await;
    assert_eq!(admin.post("/api/engines/two/drain", &json!(null)).await.json()["draining"], true);
    let kept = admin.delete("/api/engines/two?force=false").await;
    kept.is_problem(409, "conflict");
    assert!(kept.text.contains("still run on engine two"), "{}", kept.text);
    assert_eq!(admin.post("/api/engines/two/undrain", &json!(null)).await.json()["draining"], false);
    admin.post("/api/engines/nobody/drain", &json!(null)).await.is_problem(404, "engine_not_found");
    assert_eq!(admin.delete("/api/engines/two?force=true").await.status, 204);
}

#[tokio::test]
async fn the_cluster_is_the_sum_of_its_engines() {
    let server = Server::start().await;
    let user = server.login("user").await;
    server.run("web", 3).await;
    let info = user.get("/api/cluster/info").await.json();
    assert_eq!((&info["cpus"], &info["memory"]), (&json!(8.0), &json!(16384)));
    assert_eq!((&info["reserved_memory"], &info["running_count"]), (&json!(3 * 64), &json!(3)));
    assert_eq!(
        (&info["engine_count"], &info["engines_up"], &info["simulated_count"]),
        (&json!(1), &json!(1), &json!(1))
    );
}

#[tokio::test]
async fn an_image_is_pulled_where_it_is_asked_for() {
    let server = Server::start().await;
    server.add_engine("two", &format!("sim://{}", unique("two"))).await;
    let admin = server.admin().await;
    let everywhere = admin.post("/api/images/pull", &json!({"name": "httpd"})).await;
    assert_eq!(everywhere.status, 200);
    let lines = everywhere.lines();
    let pulled: Vec<_> = lines.iter().filter(|line| line["event"] == "pulled").collect();
    assert_eq!(pulled.len(), 2, "{lines:?}");
    let summary = json!({"event": "summary", "requested": 2, "started": 2, "destroyed": 0, "failed": 0});
    assert_eq!(lines.last(), Some(&summary));
    let failed = admin.post("/api/images/pull", &json!({"name": MISSING, "engines": ["two"]})).await.lines();
    assert_eq!((&failed[0]["event"], &failed[0]["engine"]), (&json!("failed"), &json!("two")));
    assert_eq!(failed.last().unwrap()["failed"], 1);
}

#[tokio::test]
async fn a_server_says_that_it_is_there() {
    let server = Server::start().await;
    let answer = server.anonymous().get("/healthz").await;
    assert_eq!(answer.status, 200);
    let said = answer.json();
    assert_eq!((&said["status"], &said["version"]), (&json!("ok"), &json!(env!("CARGO_PKG_VERSION"))));
    assert_eq!(said["store"], "ok", "{said}");
}
