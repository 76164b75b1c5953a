//! Hosts that register in etcd: server, agents and etcd as processes of their own, and everything that can happen to each.
//! The hosts are simulated, so that they always answer: what takes one out of service is the registry.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use etcd_client::GetOptions;
use paas_core::testing::docker;
use paas_core::testing::etcd::Etcd;
use paas_core::testing::wire::Wire;
use serde_json::{Value, json};
use support::agent::{Agent, until};
use support::{Api, Server, eventually, program};

/// How long a host may be silent, seconds.
const LEASE: &str = "3";
const TIMEOUT: Duration = Duration::from_secs(30);

/// The agent of a host that registers in etcd.
fn start_agent(registry: &str, id: &str, docker: &str) -> Agent {
    Agent::start(id, docker, &["--registry", registry, "--lease", LEASE, "--log", "warn"], &[])
}

async fn server(registry: &str) -> Server {
    Server::start_with([127, 0, 0, 1].into(), &[], &["--registry", registry]).await
}

/// The engines that are known, each with its status.
async fn engines(api: &Api) -> Vec<String> {
    let engines = api.get("/api/engines").await.body;
    let shown =
        |engine: &Value| format!("{} {}", engine["id"].as_str().unwrap(), engine["health"]["status"].as_str().unwrap());
    engines.as_array().unwrap().iter().map(shown).collect()
}

async fn told(api: &Api, kind: &str, words: &str) -> usize {
    let events = api.get("/api/events?count=1000").await.body;
    let of_them = |event: &&Value| event["type"] == kind && event["message"].as_str().unwrap().contains(words);
    events.as_array().unwrap().iter().filter(of_them).count()
}

async fn run(api: &Api, count: usize) -> Value {
    let spec = json!({"name": "web:1", "memory": 8, "cpus": 0.05});
    let answer = api.post(&format!("/api/containers?count={count}"), spec).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_serves_as_long_as_its_lease_is_kept() {
    let Some(etcd) = Etcd::start("a_host_serves_as_long_as_its_lease_is_kept").await else { return };
    let server = server(&etcd.url()).await;
    let api = server.admin().await;
    let mut joined = Vec::new();
    let (mut a, mut b) = (None, None);
    for (id, agent) in [("a", &mut a), ("b", &mut b)] {
        let begun = Instant::now();
        *agent = Some(start_agent(&etcd.url(), id, &format!("sim://{id}")));
        until(&api, id, "up").await;
        joined.push(begun.elapsed());
    }
    println!("hosts served {joined:?} after their agents were started");
    let placed = run(&api, 10).await;
    let on_a = placed.as_array().unwrap().iter().filter(|container| container["engine"]["id"] == "a").count();
    assert_eq!(on_a, 5);

    // Told to leave, it is gone at once.
    a.unwrap().terminate();
    let left = until(&api, "a", "down").await;
    assert!(left < Duration::from_secs(2), "after {left:?}, and not only when its lease was over");
    let states = api.get("/api/containers?all=true").await.body;
    let unknown = states.as_array().unwrap().iter().filter(|container| container["state"] == "unknown").count();
    assert_eq!(unknown, 5, "neither running nor gone");

    // Killed, it is gone when its lease is over, though its Docker still answers.
    b.as_mut().unwrap().kill();
    let gone = until(&api, "b", "down").await;
    println!("a host whose agent was killed was out of service after {gone:?}, with a lease of {LEASE} s");
    let refused = api.post("/api/containers", json!({"name": "web:1", "memory": 8})).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    let _again = [start_agent(&etcd.url(), "a", "sim://a"), start_agent(&etcd.url(), "b", "sim://b")];
    until(&api, "a", "up").await;
    until(&api, "b", "up").await;
    assert_eq!(api.get("/api/cluster/info").await.body["running_count"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_happens_to_etcd_costs_an_engine() {
    let Some(mut etcd) = Etcd::start("nothing_that_happens_to_etcd_costs_an_engine").await else { return };
    let mut server = server(&etcd.url()).await;
    let api = server.admin().await;
    api.post("/api/engines", json!({"id": "hand", "addr": "sim://hand"})).await;
    let _agents = ["a", "b"].map(|id| start_agent(&etcd.url(), id, &format!("sim://{id}")));
    for id in ["a", "b", "hand"] {
        until(&api, id, "up").await;
    }
    let all_up = vec!["a up".to_owned(), "b up".to_owned(), "hand up".to_owned()];

    // Away for longer than a lease lasts: the platform goes on with what it knows.
    etcd.stop().await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(engines(&api).await, all_up);
    run(&api, 3).await;
    etcd.start_again().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(engines(&api).await, all_up);

    // Away when the server starts.
    etcd.kill();
    server.kill();
    server.start_again().await;
    let api = server.admin().await;
    assert!(server.log().contains("starting without the registry"), "{}", server.log());
    for id in ["a", "b", "hand"] {
        until(&api, id, "up").await;
    }
    run(&api, 3).await;
    etcd.start_again().await;
    let follows = || async { server.log().contains("the registry answers again") };
    assert!(eventually(TIMEOUT, follows).await, "{}", server.log());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(engines(&api).await, all_up);

    // Hung for a while.
    etcd.pause().await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(engines(&api).await, all_up);
    assert_eq!(told(&api, "engine-status", "left the registry").await, 0);
    etcd.resume();
    // Leases ran out meanwhile by its own clock: it may say so before the agents have registered again, which they do at once.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(engines(&api).await, all_up);
    let left = told(&api, "engine-status", "left the registry").await;

    // It lost everything it knew: the agents find that out, and say again that they are there.
    etcd.stop().await;
    etcd.lose_data();
    etcd.start_again().await;
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert_eq!(engines(&api).await, all_up);
    assert_eq!(told(&api, "engine-status", "left the registry").await, left);
    assert_eq!(told(&api, "delete-engine", "").await, 0);
    assert_eq!(told(&api, "refuse-engine", "").await, 0);
    // And it is the registry's word again that counts.
    drop(_agents);
    until(&api, "a", "down").await;
    until(&api, "b", "down").await;
    assert_eq!(engines(&api).await, ["a down", "b down", "hand up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_nobody_reached_for_longer_than_a_lease_costs_no_engine() {
    const NAME: &str = "an_etcd_that_nobody_reached_for_longer_than_a_lease_costs_no_engine";
    let Some(etcd) = Etcd::start(NAME).await else { return };
    let wire = Wire::to(etcd.host()).await;
    let url = format!("etcd://{}", wire.host());
    let server = server(&url).await;
    let api = server.admin().await;
    let _agents = ["a", "b"].map(|id| start_agent(&url, id, &format!("sim://{id}")));
    for id in ["a", "b"] {
        until(&api, id, "up").await;
    }
    wire.cut();
    let client = etcd.client().await;
    let ran_out = || async {
        let members = client.kv_client().get("/paas/registry/members/", Some(GetOptions::new().with_prefix())).await;
        members.unwrap().kvs().is_empty()
    };
    assert!(eventually(TIMEOUT, ran_out).await);
    wire.heal();
    let came_back = || async { !ran_out().await };
    assert!(eventually(TIMEOUT, came_back).await);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(engines(&api).await, ["a up", "b up"]);
    assert_eq!(told(&api, "engine-status", "left the registry").await, 0);
    assert_eq!(run(&api, 4).await.as_array().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_cut_off_learns_what_it_missed_even_if_etcd_has_forgotten() {
    const NAME: &str = "a_server_that_was_cut_off_learns_what_it_missed_even_if_etcd_has_forgotten";
    let Some(etcd) = Etcd::start(NAME).await else { return };
    let wire = Wire::to(etcd.host()).await;
    let server = server(&format!("etcd://{}", wire.host())).await;
    let api = server.admin().await;
    let mut a = start_agent(&etcd.url(), "a", "sim://a");
    until(&api, "a", "up").await;
    wire.cut();
    a.terminate();
    let _b = start_agent(&etcd.url(), "b", "sim://b");
    let client = etcd.client().await;
    let registered = || async {
        let members = client.kv_client().get("/paas/registry/members/b", None).await.unwrap();
        !members.kvs().is_empty()
    };
    assert!(eventually(TIMEOUT, registered).await);
    etcd.compact().await;
    assert_eq!(engines(&api).await, ["a up"]);
    wire.heal();
    until(&api, "b", "up").await;
    until(&api, "a", "down").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_with_one_id_and_one_host_with_two_are_refused() {
    let Some(etcd) = Etcd::start("two_hosts_with_one_id_and_one_host_with_two_are_refused").await else { return };
    let server = server(&etcd.url()).await;
    let api = server.admin().await;
    let mut first = start_agent(&etcd.url(), "a", "sim://a");
    until(&api, "a", "up").await;
    let _same_id = start_agent(&etcd.url(), "a", "sim://another");
    let _same_daemon = start_agent(&etcd.url(), "b", "sim://a");
    let refused = || async {
        told(&api, "refuse-engine", "sim://another").await == 1 && told(&api, "refuse-engine", "of engine a").await == 1
    };
    assert!(eventually(TIMEOUT, refused).await, "{:#}", api.get("/api/events").await.body);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(refused().await, "each is told once");
    assert_eq!(engines(&api).await, ["a up"]);
    // When the first is gone, the second has its id.
    first.terminate();
    let other = || async {
        api.get("/api/engines/a").await.body["addr"].as_str().is_some_and(|addr| addr.starts_with("sim://another"))
    };
    assert!(eventually(TIMEOUT, other).await);
    until(&api, "a", "up").await;
    until(&api, "b", "up").await;
}

fn output(arguments: &[&str], registry: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program("paas-server"));
    command.args(arguments).env("PAAS_REGISTRY", registry).env("PAAS_DATA_DIR", folder.path());
    command.env("PAAS_LISTEN", "127.0.0.1:0").env("PAAS_NO_ENGINE", "true").output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_must_put_right_is_said_at_once_and_without_the_password() {
    const NAME: &str = "what_a_person_must_put_right_is_said_at_once_and_without_the_password";
    let Some(etcd) = Etcd::start(NAME).await else { return };
    etcd.ask_for_passwords("paas", "right-word", "/paas").await;
    let host = etcd.host();
    for arguments in [&["--log", "debug"][..], &["agent", "--log", "debug", "--docker", "sim://a"]] {
        for (registry, said) in [
            (format!("etcd://paas:wrong-word@{host}"), "authentication failed"),
            (format!("etcd://{host}"), "user name is empty"),
            (format!("etcd://paas:right-word@{host}/elsewhere"), "permission denied"),
            (format!("etcd://paas:right-word@{host}?ca=/no/such/file"), "/no/such/file"),
            ("etcd://paas:right-word@".to_owned(), "is no host and port"),
        ] {
            let output = output(arguments, &registry);
            let talk = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
            assert!(!output.status.success() && talk.contains(said), "{arguments:?} {registry}: {talk}");
            assert!(!talk.contains("-word"), "{talk}");
        }
    }
    let both = output(&["agent", "--server", "http://127.0.0.1:1"], &etcd.url());
    assert!(String::from_utf8_lossy(&both.stderr).contains("give one of them"));
    let embedded = output(&["agent"], "embedded:");
    assert!(String::from_utf8_lossy(&embedded.stderr).contains("--server"));
    let printed = output(&["--print-config"], "etcd://paas:right-word@one,two/p");
    assert!(String::from_utf8_lossy(&printed.stdout).contains("registry = \"etcd://paas:***@one,two/p\""));

    // With the right one everything works, over restarts of etcd too.
    let registry = format!("etcd://paas:right-word@{host}");
    let server = server(&registry).await;
    let api = server.admin().await;
    let _agent = start_agent(&registry, "a", "sim://a");
    until(&api, "a", "up").await;
    assert!(!server.log().contains("right-word"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_host_registers_with_what_its_daemon_and_its_kernel_say() {
    const NAME: &str = "a_docker_host_registers_with_what_its_daemon_and_its_kernel_say";
    let Some(address) = docker::daemon(NAME).await else { return };
    let Some(etcd) = Etcd::start(NAME).await else { return };
    let docker = address.to_string();
    let image = docker::web_image(&address).await;
    let server = server(&etcd.url()).await;
    let api = server.admin().await;
    let mut agent = start_agent(&etcd.url(), "real", &docker);
    until(&api, "real", "up").await;
    let engine = api.get("/api/engines/real").await.body;
    assert!(engine["cpus"].as_f64().unwrap() > 0.0 && engine["docker_version"].is_string(), "{engine:#}");
    let spec = json!({"name": image, "memory": 8, "cpus": 0.05, "args": ["sleep", "3600"]});
    let placed = api.post("/api/containers", spec).await;
    assert_eq!(placed.status, 201, "{}", placed.body);
    agent.kill();
    until(&api, "real", "down").await;
    let _again = start_agent(&etcd.url(), "real", &docker);
    until(&api, "real", "up").await;
    api.destroy_all(image).await;
}
