//! Several real hosts in one pool: joining, and sharing the work.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use paas_core::testing::docker;
use reqwest::StatusCode;
use serde_json::{Value, json};
use support::bed::{self, id, idle};
use support::{Api, Server, eventually};
use xtask::bed::Hosts;

#[tokio::test(flavor = "multi_thread")]
async fn hosts_serve_a_moment_after_their_agents_start() {
    let Some(bed) = bed::up("hosts_serve_a_moment_after_their_agents_start", Hosts::new(3)).await else { return };
    let server = Server::start_with(bed.machine(), &[], &[]).await;
    let api = server.admin().await;
    let token = bed::join_token(&api).await;
    let begun = Instant::now();
    let mut agents: Vec<_> = (1..=3).map(|host| bed::start_agent(&bed, host, &server, &token)).collect();
    for host in 1..=3 {
        bed::until(&api, host, "up").await;
        println!("host {host} serves {:?} after the agents were started", begun.elapsed());
    }
    // Each found its name, its address and its size by itself.
    for (position, engine) in api.get("/api/engines").await.body.as_array().unwrap().iter().enumerate() {
        assert_eq!(engine["id"], json!(id(position + 1)));
        assert_eq!(engine["addr"], json!(bed.address(position + 1).unwrap()));
        assert!(engine["cpus"].as_f64().unwrap() >= 1.0 && engine["memory"].as_u64().unwrap() > 0, "{engine}");
    }
    let run = api.post("/api/containers?count=3", idle()).await;
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
    assert_eq!(bed::running(&bed, 3).await, [1, 1, 1]);
    bed::until_true(&bed, &api, &[1, 2, 3]).await;

    // A host that loses its power is known again when it and its agent are back.
    bed.crash(2).unwrap();
    agents[1].wait().unwrap();
    bed::until(&api, 2, "down").await;
    let states = states_by_engine(&api).await;
    assert_eq!((&*states["bed1"], &*states["bed2"], &*states["bed3"]), ("running", "unknown", "running"));
    bed.start(2).unwrap();
    let begun = Instant::now();
    agents[1] = bed::start_agent(&bed, 2, &server, &token);
    bed::until(&api, 2, "up").await;
    println!("host 2 serves again {:?} after its agent was started again", begun.elapsed());
    bed::until_true(&bed, &api, &[1, 2, 3]).await;
    assert_eq!(bed::running(&bed, 3).await, [1, 0, 1], "without a restart policy it stays stopped");
    api.destroy_all(docker::WEB_IMAGE).await;
    bed::until_true(&bed, &api, &[1, 2, 3]).await;
    drop(bed);
    for agent in &mut agents {
        agent.wait().unwrap();
    }
}

async fn states_by_engine(api: &Api) -> BTreeMap<String, String> {
    let listed = api.get("/api/containers?all=true").await.body;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(|one| (text(&one["engine"]["id"]), text(&one["state"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_containers_are_ten_on_each_of_three_equal_hosts() {
    const NAME: &str = "thirty_containers_are_ten_on_each_of_three_equal_hosts";
    let Some(bed) = bed::up(NAME, Hosts::new(3)).await else { return };
    let (_server, api) = bed::serve(&bed, 3).await;
    let begun = Instant::now();
    let spec = json!({"name": bed::IMAGE, "cpus": 0.05, "memory": 8, "bind_ports": [{"container_port": 80}]});
    let run = api.post("/api/containers?count=30", spec).await;
    println!("30 containers took {:?}", begun.elapsed());
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
    assert_eq!(bed::running(&bed, 3).await, [10, 10, 10]);
    bed::until_true(&bed, &api, &[1, 2, 3]).await;
    for container in run.body.as_array().unwrap() {
        let host: usize = container["engine"]["id"].as_str().unwrap().trim_start_matches("bed").parse().unwrap();
        let url = format!("http://{}:{}/", bed.ip(host), container["ports"][0]["port"]);
        let page = || async { reqwest::get(&url).await.is_ok_and(|page| page.status().is_success()) };
        assert!(eventually(Duration::from_secs(20), page).await, "{url} does not answer");
    }
    // Fewer, and the hosts still share alike.
    let first = run.body[0]["id"].as_str().unwrap();
    let scaled = api.call(&format!("/api/containers/{first}/scale?count=6")).await;
    assert_eq!(scaled.status, StatusCode::NO_CONTENT, "{}", scaled.body);
    assert_eq!(bed::running(&bed, 3).await, [2, 2, 2]);
    api.destroy_all(bed::IMAGE).await;
    assert_eq!(bed::running(&bed, 3).await, [0, 0, 0]);
    bed::until_true(&bed, &api, &[1, 2, 3]).await;
}

/// Size of a host and what it has reserved: thousandths of a CPU, MB.
#[derive(Clone, Copy)]
struct Size {
    cpus: f64,
    memory: f64,
    reserved_cpus: f64,
    reserved_memory: f64,
    containers: usize,
}

impl Size {
    fn new(cpus: f64, memory: f64) -> Self {
        Self { cpus, memory, reserved_cpus: 0.0, reserved_memory: 0.0, containers: 0 }
    }

    fn fits(&self, cpus: f64, memory: f64) -> bool {
        self.reserved_cpus + cpus <= self.cpus + 1e-9 && self.reserved_memory + memory <= self.memory
    }

    /// As the requirements have it, written down again.
    fn score(&self, cpus: f64, memory: f64) -> f64 {
        (1.0 - (self.reserved_cpus + cpus) / self.cpus) * 65.0
            + (1.0 - (self.reserved_memory + memory) / self.memory) * 35.0
    }
}

/// Where so many containers go, each choice seeing the ones before it: by trying all hosts for every one.
fn by_hand(sizes: &mut [Size], count: usize, cpus: f64, memory: f64) -> Vec<usize> {
    for _ in 0..count {
        let mut best: Option<usize> = None;
        for host in 0..sizes.len() {
            if !sizes[host].fits(cpus, memory) {
                continue;
            }
            let is_better = best.is_none_or(|best| {
                let (one, other) = (sizes[host].score(cpus, memory), sizes[best].score(cpus, memory));
                one > other + 1e-9 || ((one - other).abs() <= 1e-9 && sizes[host].containers < sizes[best].containers)
            });
            if is_better {
                best = Some(host);
            }
        }
        let chosen = &mut sizes[best.expect("there is room")];
        chosen.reserved_cpus += cpus;
        chosen.reserved_memory += memory;
        chosen.containers += 1;
    }
    sizes.iter().map(|size| size.containers).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_different_size_share_as_the_score_says() {
    const NAME: &str = "hosts_of_different_size_share_as_the_score_says";
    let Some(bed) = bed::up(NAME, Hosts::new(3)).await else { return };
    let server = Server::start(&[]).await;
    let api = server.admin().await;
    let mut sizes = [Size::new(2.0, 1024.0), Size::new(1.0, 4096.0), Size::new(0.5, 512.0)];
    for (position, size) in sizes.iter().enumerate() {
        let host = position + 1;
        let spec = json!({"id": id(host), "addr": bed.address(host).unwrap(), "cpus": size.cpus, "memory": size.memory as u64});
        assert_eq!(api.post("/api/engines", spec).await.status, StatusCode::CREATED);
        bed::until(&api, host, "up").await;
    }
    // Two kinds, one after the other: the second sees what the first has taken.
    for (count, cpus, memory) in [(13, 0.05, 48), (8, 0.1, 16)] {
        let mut spec = idle();
        spec["cpus"] = json!(cpus);
        spec["memory"] = json!(memory);
        let run = api.post(&format!("/api/containers?count={count}"), spec).await;
        assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
        let expected = by_hand(&mut sizes, count, cpus, f64::from(memory));
        println!("{count} of {cpus} CPUs and {memory} MB: {expected:?} are to be there");
        assert_eq!(bed::running(&bed, 3).await, expected);
    }
    bed::until_true(&bed, &api, &[1, 2, 3]).await;
    let no_room = json!({"name": bed::IMAGE, "cpus": 1.5, "memory": 16});
    let refused = api.post("/api/containers?count=2", no_room).await;
    assert_eq!((refused.status, &refused.body["code"]), (StatusCode::CONFLICT, &json!("no_room")), "{}", refused.body);
    api.destroy_all(bed::IMAGE).await;
}
