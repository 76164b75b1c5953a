//! Hosts that join by themselves.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::program::program;
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

/// The program, killed when dropped.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An agent whose environment names a proxy.
fn agent(server: &str, token: &str, proxy: &str) -> Agent {
    let docker = format!("sim://{}", unique("agent"));
    let arguments = ["agent", "--server", server, "--id", "agent", "--docker", &docker, "--advertise", &docker];
    let mut command = program(&arguments);
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, proxy);
    }
    command.env_remove("NO_PROXY").env_remove("no_proxy").env("PAAS_JOIN_TOKEN", token);
    Agent(command.stderr(Stdio::null()).spawn().unwrap())
}

#[tokio::test]
async fn an_agent_reaches_a_server_on_its_own_machine_without_a_proxy() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let token = admin.post("/api/join-tokens", &Value::Null).await.json()["token"].as_str().unwrap().to_owned();
    // Nobody listens there.
    let _agent = agent(&server.url, &token, "http://127.0.0.1:9");
    until(&admin, "agent", "up").await;
}

#[tokio::test]
async fn an_agent_whose_host_is_refused_says_why() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let token = admin.post("/api/join-tokens", &Value::Null).await.json()["token"].as_str().unwrap().to_owned();
    let docker = format!("sim://{}", server.host);
    let arguments = ["agent", "--server", &server.url, "--id", "twin", "--docker", &docker, "--advertise", &docker];
    let mut command = program(&arguments);
    let mut agent = Agent(command.env("PAAS_JOIN_TOKEN", token).stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(agent.0.stderr.take().unwrap());
    let first = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        line
    });
    let first = tokio::time::timeout(TIMEOUT, first).await.unwrap().unwrap();
    assert!(first.contains("not registered; trying on"), "{first}");
    assert!(first.contains("of engine one; it is refused"), "{first}");
}

#[tokio::test]
async fn an_agent_reaches_a_server_elsewhere_as_the_environment_says() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let _agent = agent("http://paas.invalid:5002", "token", &format!("http://{}", proxy.local_addr().unwrap()));
    let asked = tokio::task::spawn_blocking(move || {
        let mut asked = String::new();
        BufReader::new(proxy.accept().unwrap().0).read_line(&mut asked).unwrap();
        asked
    });
    let asked = tokio::time::timeout(TIMEOUT, asked).await.unwrap().unwrap();
    assert!(asked.starts_with("POST http://paas.invalid:5002/join/engines/agent "), "{asked}");
}
