//! Hosts that join by themselves: server and agent as processes of their own, and a real Docker host.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Command;
use std::time::Duration;

use paas_core::testing::docker;
use serde_json::{Value, json};
use support::agent::{Agent, until};
use support::{Api, Server, eventually, program};

/// An agent beside the Docker host, which registers it at the server.
fn start_agent(server: &Server, token: &str, docker: &str, id: &str) -> Agent {
    let arguments = ["--server", &server.url, "--label", "joined", "--lease", "10"];
    Agent::start(id, docker, &arguments, &[("PAAS_JOIN_TOKEN", token)])
}

async fn join_token(api: &Api) -> String {
    api.post("/api/join-tokens", Value::Null).await.body["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_serves_as_long_as_its_agent_says_so() {
    let Some(address) = docker::daemon("a_host_serves_as_long_as_its_agent_says_so").await else { return };
    let (docker, image) = (address.to_string(), docker::web_image(&address).await);
    let mut server = Server::start(&[]).await;
    let api = server.admin().await;
    let token = join_token(&api).await;

    let mut agent = start_agent(&server, &token, &docker, "self");
    let joined = until(&api, "self", "up").await;
    println!("the host served {joined:?} after its agent was started");
    let spec = json!({"name": image, "memory": 8, "cpus": 0.05, "labels": ["joined"], "args": ["sleep", "3600"]});
    let run = api.post("/api/containers", spec.clone()).await;
    assert_eq!(run.status, 201, "{}", run.body);
    let path = format!("/api/containers/{}", run.body[0]["id"].as_str().unwrap());

    // Told to leave, it is gone at once; what runs there is neither running nor gone.
    agent.terminate();
    let left = until(&api, "self", "down").await;
    assert!(left < Duration::from_secs(5), "after {left:?}, and not only when its lease was over");
    assert_eq!(api.get(&path).await.body["state"], "unknown");
    assert_eq!(api.post("/api/containers", spec).await.status, 409);

    // Back again, and the server too: it had known of the host only from the agent.
    let mut agent = start_agent(&server, &token, &docker, "self");
    until(&api, "self", "up").await;
    assert_eq!(api.get(&path).await.body["state"], "running");
    server.kill();
    server.start_again().await;
    let api = server.admin().await;
    until(&api, "self", "up").await;
    assert_eq!(api.get("/api/engines").await.body.as_array().unwrap().len(), 1);

    // Killed, it is gone when its time is over, though its Docker still answers.
    agent.kill();
    until(&api, "self", "down").await;
    let _agent = start_agent(&server, &token, &docker, "self");
    until(&api, "self", "up").await;
    assert_eq!(api.delete(&path).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_with_one_id_and_one_host_with_two_are_refused() {
    const NAME: &str = "two_hosts_with_one_id_and_one_host_with_two_are_refused";
    let Some(address) = docker::daemon(NAME).await else { return };
    let docker = address.to_string();
    let server = Server::start(&[]).await;
    let api = server.admin().await;
    let token = join_token(&api).await;
    let _first = start_agent(&server, &token, &docker, "self");
    until(&api, "self", "up").await;
    let _same_id = start_agent(&server, &token, "sim://another", "self");
    let _same_host = start_agent(&server, &token, &docker, "other");
    let refused = || async {
        let events = api.get("/api/events?count=1000").await.body;
        events.as_array().unwrap().iter().any(|event| event["type"] == "refuse-engine" && event["engine"] == "other")
    };
    assert!(eventually(Duration::from_secs(10), refused).await);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let engines = api.get("/api/engines").await.body;
    assert_eq!((engines.as_array().unwrap().len(), &engines[0]["addr"]), (1, &json!(docker)), "{engines:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_leaves_and_comes_back_again_and_again_is_one_engine() {
    const TIMES: usize = 20;
    const NAME: &str = "a_host_that_leaves_and_comes_back_again_and_again_is_one_engine";
    let Some(address) = docker::daemon(NAME).await else { return };
    let (docker, image) = (address.to_string(), docker::web_image(&address).await);
    let server = Server::start(&[]).await;
    let api = server.admin().await;
    let token = join_token(&api).await;
    let mut agent = start_agent(&server, &token, &docker, "n1");
    until(&api, "n1", "up").await;
    let spec = json!({"name": image, "memory": 8, "cpus": 0.05, "args": ["sleep", "3600"]});
    let run = api.post("/api/containers", spec).await;
    assert_eq!(run.status, 201, "{}", run.body);
    let path = format!("/api/containers/{}", run.body[0]["id"].as_str().unwrap());
    let engines = async || {
        let engines = api.get("/api/engines").await.body;
        engines.as_array().unwrap().iter().map(|engine| engine["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for _ in 0..TIMES {
        agent.terminate();
        until(&api, "n1", "down").await;
        assert_eq!(engines().await, ["n1"]);
        agent = start_agent(&server, &token, &docker, "n1");
        until(&api, "n1", "up").await;
        assert_eq!(engines().await, ["n1"]);
    }
    assert_eq!(api.get(&path).await.body["state"], "running");
    let events = api.get("/api/events?count=1000").await.body;
    let changes = |status: &str| {
        let is_one = |event: &&Value| event["engine"] == "n1" && event["status"] == status;
        events.as_array().unwrap().iter().filter(is_one).count()
    };
    assert_eq!((changes("down"), changes("up")), (TIMES, TIMES + 1), "{events:#}");

    // By another name it is the same host, and the old name is gone.
    agent.terminate();
    let _renamed = start_agent(&server, &token, &docker, "n2");
    until(&api, "n2", "up").await;
    assert_eq!(engines().await, ["n2"]);
    assert_eq!(api.get(&path).await.body["engine"]["id"], "n2");
    assert_eq!(api.delete(&path).await.status, 204);
}

#[test]
fn an_agent_says_what_it_misses() {
    let run = |arguments: &[&str], token: &str| {
        let mut command = Command::new(program("paas-server"));
        let output = command.arg("agent").args(arguments).env("PAAS_JOIN_TOKEN", token).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(&[], "").contains("--server"));
    assert!(run(&["--server", "http://127.0.0.1:1"], "").contains("there is no join token"));
    assert!(run(&["--server", "ftp://127.0.0.1"], "token").contains("no address of a server"));
    assert!(run(&["--server", "http://no.such.host.invalid"], "token").contains("--advertise"));
}
