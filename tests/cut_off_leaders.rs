//! The server that leads loses one of its connections, and the other servers keep theirs: to etcd, to a host, to its clients.
//! Each ends as ARCHITECTURE.md says under "Several servers".

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use futures::future::join_all;
use paas_core::testing::etcd::Etcd;
use paas_core::testing::wire::Wire;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::bed::{self, idle};
use support::group::{Group, Persistent, SERVERS};
use support::{Api, PASSWORD, eventually, signal};
use tokio::net::UnixStream;
use uuid::Uuid;
use xtask::bed::Hosts;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A simulated host. Servers that take turns in leading do not share it: it ends with the server.
fn simulated() -> String {
    format!("one=sim://{}?cpus=8&memory=8192&latency_ms=100", Uuid::now_v7().simple())
}

async fn add_account(client: &Persistent, name: &str) {
    let body = json!({"username": name, "password": PASSWORD, "role": "user"});
    let (status, body) = client.send(Method::POST, "/api/accounts", Some(&body)).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
}

async fn accounts(client: &Persistent) -> Vec<String> {
    let (status, body) = client.send(Method::GET, "/api/accounts", None).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body.as_array().unwrap().iter().map(|account| account["username"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_etcd_another_leads_and_nothing_that_was_answered_is_lost() {
    const NAME: &str = "without_etcd_another_leads_and_nothing_that_was_answered_is_lost";
    let Some(etcd) = Etcd::start(NAME).await else { return };
    let wires = join_all((0..SERVERS).map(|_| Wire::to(etcd.host()))).await;
    let urls: Vec<String> = wires.iter().map(|wire| format!("etcd://{}", wire.host())).collect();
    let urls: [&str; SERVERS] = std::array::from_fn(|number| urls[number].as_str());
    let group = Group::start_in(Group::folder(), &urls, &[simulated()]).await;
    let client = group.client().await;
    add_account(&client, "before").await;
    let (cut_off, _) = group.until_led(&[]).await;
    wires[cut_off].cut();
    // Sent to the one that is cut off as well as to the others, from the first moment on.
    let during = join_all((0..6).map(|number| {
        let client = client.clone();
        async move { add_account(&client, &format!("during-{number}")).await }
    }));
    let cut_off_ones = [cut_off];
    let ((_, took), _) = tokio::join!(group.until_led(&cut_off_ones), during);
    println!("another server led after {took:?}");
    let follows = || async { group.peers[cut_off].role(&group.http).await.as_deref() != Some("leader") };
    assert!(eventually(TIMEOUT, follows).await, "the server without etcd believes that it leads");
    let refused = client.at(cut_off).post("/api/accounts", json!({"username": "refused"})).await;
    assert_eq!((refused.status.as_u16(), &refused.body["code"]), (503, &json!("no_leader")));
    wires[cut_off].heal();
    let sends_on = || async { client.at(cut_off).get("/api/accounts").await.status == 200 };
    assert!(eventually(TIMEOUT, sends_on).await, "the server that is back does not send on");
    let mut expected = vec!["admin".to_owned(), "before".to_owned()];
    expected.extend((0..6).map(|number| format!("during-{number}")));
    assert_eq!(accounts(&client).await, expected);
    let events = client.at(cut_off).get("/api/events?count=1000").await.body;
    let told = events.as_array().unwrap().iter().filter(|event| event["type"] == "add-account").count();
    assert_eq!(told, expected.len(), "{events:#}");
}

/// How an engine is, and which server leads, as any server says it.
async fn status(api: &Api, engine: &str) -> (String, String) {
    let engine = api.get(&format!("/api/engines/{engine}")).await.body;
    let info = api.get("/api/cluster/info").await.body;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&engine["health"]["status"]), text(&info["leader"]))
}

async fn until(api: &Api, engine: &str, wanted: &str) {
    let reached = eventually(bed::CALM, || async { status(api, engine).await.0 == wanted }).await;
    assert!(reached, "{engine} is not {wanted}: {:#}", api.get("/api/engines").await.body);
}

/// What is listed on an engine: state by id.
async fn listed(api: &Api, engine: &str) -> Vec<(String, String)> {
    let all = api.get("/api/containers?all=true").await.body;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let on_it = all.as_array().unwrap().iter().filter(|container| container["engine"]["id"] == engine);
    on_it.map(|container| (text(&container["id"]), text(&container["state"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_one_host_the_leader_goes_on_and_another_leader_has_it() {
    const NAME: &str = "without_one_host_the_leader_goes_on_and_another_leader_has_it";
    let Some(bed) = bed::up(NAME, Hosts::new(2)).await else { return };
    let Some(etcd) = Etcd::start(NAME).await else { return };
    // One address, and for each server a wire of its own behind it.
    let folder = Group::folder();
    let socket = |number: usize| folder.path().join(number.to_string()).join("docker.sock");
    let first = bed.address(1).unwrap().trim_start_matches("tcp://").to_owned();
    let wires: Vec<Wire> = (0..SERVERS).map(|number| Wire::from_socket(&socket(number), first.clone())).collect();
    let sockets: Vec<_> = (0..SERVERS).map(socket).collect();
    let engines = ["bed1=unix:///proc/self/cwd/docker.sock".to_owned(), format!("bed2={}", bed.address(2).unwrap())];
    let mut group = Group::start_in(folder, &[&etcd.url(); SERVERS], &engines).await;
    let client = group.client().await;
    let (leader, _) = group.until_led(&[]).await;
    let other = (leader + 1) % SERVERS;
    let api = client.at(other);
    until(&api, "bed1", "up").await;
    until(&api, "bed2", "up").await;
    let (code, body) = client.send(Method::POST, "/api/containers?count=6", Some(&idle())).await;
    assert_eq!(code, StatusCode::CREATED, "{body}");
    let before = listed(&api, "bed1").await;
    assert!(!before.is_empty() && !listed(&api, "bed2").await.is_empty(), "both hosts have some");

    wires[leader].cut();
    until(&api, "bed1", "down").await;
    assert!(UnixStream::connect(&sockets[other]).await.is_ok(), "another server could reach it");
    let (_, leads) = status(&api, "bed1").await;
    assert_eq!(leads, group.peers[leader].url, "losing a host is no reason to lose the lead");
    assert!(listed(&api, "bed1").await.iter().all(|(_, state)| state == "unknown"));
    let (code, body) = client.send(Method::POST, "/api/containers?count=2", Some(&idle())).await;
    assert_eq!(code, StatusCode::CREATED, "{body}");
    assert!(body.as_array().unwrap().iter().all(|container| container["engine"]["id"] == "bed2"), "{body:#}");
    assert_eq!(bed::running(&bed, 2).await, [before.len(), 8 - before.len()], "what ran runs on");

    wires[leader].heal();
    until(&api, "bed1", "up").await;
    assert_eq!(listed(&api, "bed1").await, before);

    // Cut off again, and this time the leader ends: the next one finds the host as it is.
    wires[leader].cut();
    until(&api, "bed1", "down").await;
    signal("-TERM", group.peers[leader].process.id());
    group.peers[leader].process.wait().unwrap();
    let (next, _) = group.until_led(&[leader]).await;
    let api = client.at(next);
    until(&api, "bed1", "up").await;
    assert_eq!(listed(&api, "bed1").await, before);
    bed::until_true(&bed, &api, &[1, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_clients_the_leader_is_asked_by_the_other_servers() {
    const NAME: &str = "without_its_clients_the_leader_is_asked_by_the_other_servers";
    let Some(etcd) = Etcd::start(NAME).await else { return };
    let group = Group::start(&etcd.url(), &[simulated()]).await;
    let wires = join_all(group.urls().iter().map(|url| Wire::to(url.trim_start_matches("http://").to_owned()))).await;
    let client = group.client_at(wires.iter().map(|wire| format!("http://{}", wire.host())).collect()).await;
    let (leader, _) = group.until_led(&[]).await;
    let other = (leader + 1) % SERVERS;
    until(&client.at(other), "one", "up").await;

    // In the middle of a request: it is asked for again at another server, and done once.
    let asked = client.begun_at(leader);
    let spec = json!({"name": "web", "memory": 16});
    let (answer, ()) = tokio::join!(asked.send(Method::POST, "/api/containers?count=4", Some(&spec)), async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        wires[leader].cut();
    });
    assert_eq!(answer.0, StatusCode::CREATED, "{}", answer.1);
    assert_eq!(answer.1.as_array().unwrap().len(), 4);
    assert!(group.http.get(format!("http://{}/healthz", wires[leader].host())).send().await.is_err(), "it is cut off");
    assert_eq!(listed(&client.at(other), "one").await.len(), 4, "and not twice");

    // The leader leads on: nobody but its clients lost it.
    add_account(&asked, "ann").await;
    assert_eq!(accounts(&asked).await, ["admin", "ann"]);
    let (_, leads) = status(&client.at(other), "one").await;
    assert_eq!(leads, group.peers[leader].url);
    wires[leader].heal();
    assert_eq!(client.at(leader).get("/api/accounts").await.body.as_array().unwrap().len(), 2);
}
