//! Hosts that join by themselves.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Api, Server, TIMEOUT, unique};

/// What an agent says of a simulated host.
fn heartbeat(id: &str, session: Uuid, address: &str) -> Value {
    let member = json!({"id": id, "addr": address, "cpus": 4, "memory": 8192, "labels": ["joined"],
        "daemon_id": address, "docker_version": "simulated"});
    json!({"session": session, "ttl_seconds": 2, "member": member})
}

async fn until(api: &Api, id: &str, status: &str) {
    let reached = async {
        while api.get(&format!("/api/engines/{id}")).await.json()["health"]["status"] != status {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, reached).await.unwrap_or_else(|_| panic!("{id} is not {status}"));
}

#[tokio::test]
async fn a_host_with_a_join_token_serves_until_it_leaves() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let made = admin.post("/api/join-tokens", &Value::Null).await;
    assert_eq!(made.status, 201);
    let (token, token_id) = (made.json()["token"].as_str().unwrap().to_owned(), made.json()["id"].clone());
    let listed = admin.get("/api/join-tokens").await;
    assert!(listed.json()[0]["id"] == token_id && !listed.text.contains(&token), "{}", listed.text);

    let host = Api { token: Some(token), ..server.anonymous() };
    let (session, address) = (Uuid::now_v7(), format!("sim://{}", unique("joined")));
    let said = heartbeat("joined", session, &address);
    assert_eq!(host.post("/join/engines/joined", &said).await.status, 204);
    until(&admin, "joined", "up").await;
    let engine = admin.get("/api/engines/joined").await.json();
    assert_eq!(engine["labels"], json!(["joined"]));

    let another = heartbeat("joined", Uuid::now_v7(), &format!("sim://{}", unique("another")));
    host.post("/join/engines/joined", &another).await.is_problem(409, "conflict");
    host.post("/join/engines/other", &said).await.is_problem(400, "invalid_request");
    host.get("/api/engines").await.is_problem(401, "unauthenticated");
    host.delete("/join/engines/joined").await.is_problem(400, "invalid_request");

    assert_eq!(host.delete(&format!("/join/engines/joined?session={session}")).await.status, 204);
    until(&admin, "joined", "down").await;

    let path = format!("/api/join-tokens/{}", token_id.as_str().unwrap());
    assert_eq!(admin.delete(&path).await.status, 204);
    host.post("/join/engines/joined", &said).await.is_problem(401, "unauthenticated");
    admin.delete(&path).await.is_problem(404, "join_token_not_found");
}

#[tokio::test]
async fn a_host_that_is_not_heard_any_more_gets_no_work() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let token = admin.post("/api/join-tokens", &Value::Null).await.json()["token"].as_str().unwrap().to_owned();
    let host = Api { token: Some(token), ..server.anonymous() };
    let said = heartbeat("silent", Uuid::now_v7(), &format!("sim://{}", unique("silent")));
    assert_eq!(host.post("/join/engines/silent", &said).await.status, 204);
    until(&admin, "silent", "up").await;
    until(&admin, "silent", "down").await;
}
