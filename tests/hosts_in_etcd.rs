//! Several real hosts that register in a real etcd: how soon they serve, and that nothing which happens to etcd, to the
//! server or to an agent costs a host.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Child;
use std::time::{Duration, Instant};

use paas_core::registry::open_registry;
use paas_core::testing::docker;
use paas_core::testing::etcd::Etcd;
use paas_core::testing::wire::Wire;
use reqwest::StatusCode;
use serde_json::Value;
use support::bed::{self, id, idle};
use support::{Api, Server, eventually, signal};
use xtask::bed::{Bed, Hosts};

const HOSTS: usize = 3;
const ALL: [usize; HOSTS] = [1, 2, 3];
/// How often the hosts join, to say how long that takes.
const ROUNDS: usize = 10;
/// How long etcd is away: for several leases.
const AWAY: Duration = Duration::from_secs(30);

/// A real etcd that the hosts reach, or a loud skip.
async fn etcd(test: &str, bed: &Bed) -> Option<Etcd> {
    Etcd::start_at(test, bed.machine().into()).await
}

/// Starts the agent of a host, which registers in etcd.
fn agent(bed: &Bed, host: usize, server: &Server, etcd: &Etcd) -> Child {
    bed::agent(bed, host, server, &["--registry", &etcd.url()])
}

fn terminate(agent: &mut Child) {
    signal("-TERM", bed::inner(agent));
    assert!(agent.wait().unwrap().success());
}

/// Ends it at once, so that its host leaves when its lease is over.
fn kill(agent: &mut Child) {
    signal("-KILL", bed::inner(agent));
    agent.wait().unwrap();
}

async fn events(api: &Api, kind: &str, words: &str) -> usize {
    let events = api.get("/api/events?count=1000").await.body;
    let of_them = |event: &&Value| event["type"] == kind && event["message"].as_str().unwrap().contains(words);
    events.as_array().unwrap().iter().filter(of_them).count()
}

/// Every host is there once.
async fn each_is_there_once(api: &Api) {
    let engines = api.get("/api/engines").await.body;
    let ids: Vec<&str> = engines.as_array().unwrap().iter().map(|engine| engine["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ALL.map(id), "{engines:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_register_in_etcd_serve_a_moment_later() {
    const NAME: &str = "hosts_that_register_in_etcd_serve_a_moment_later";
    let Some(bed) = bed::up(NAME, Hosts::new(HOSTS)).await else { return };
    let Some(etcd) = etcd(NAME, &bed).await else { return };
    let server = Server::start_with(bed.machine(), &[], &["--registry", &etcd.url()]).await;
    let api = server.admin().await;
    let mut all = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let mut agents = ALL.map(|host| agent(&bed, host, &server, &etcd));
        let served = ALL.map(|host| {
            let api = api.clone();
            async move {
                bed::until(&api, host, "up").await;
                begun.elapsed()
            }
        });
        all.push(futures::future::join_all(served).await.into_iter().max().unwrap());
        agents.iter_mut().for_each(terminate);
        // So that the next round begins with hosts that nobody knows.
        for host in ALL {
            bed::until(&api, host, "down").await;
            assert_eq!(api.delete(&format!("/api/engines/{}", id(host))).await.status, StatusCode::NO_CONTENT);
        }
    }
    all.sort_unstable();
    println!(
        "{HOSTS} hosts served {:?} after their agents were started at once (median of {ROUNDS}; the goal is 1 s), {all:?}",
        all[ROUNDS / 2]
    );
    assert_eq!(events(&api, "add-engine", "registered itself").await, ROUNDS * HOSTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_happens_around_hosts_costs_one() {
    const NAME: &str = "nothing_that_happens_around_hosts_costs_one";
    let Some(bed) = bed::up(NAME, Hosts::new(HOSTS)).await else { return };
    let Some(mut etcd) = etcd(NAME, &bed).await else { return };
    let wire = Wire::to(etcd.host()).await;
    let registry = format!("etcd://{}", wire.host());
    let mut server = Server::start_with(bed.machine(), &[], &["--registry", &registry]).await;
    let api = server.admin().await;
    let mut agents = ALL.map(|host| agent(&bed, host, &server, &etcd));
    for host in ALL {
        bed::until(&api, host, "up").await;
    }
    let run = api.post("/api/containers?count=6", idle()).await;
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);

    // etcd is away for half a minute. Meanwhile an agent is killed, whose lease nobody can end, and so is the server.
    etcd.stop().await;
    let begun = Instant::now();
    kill(&mut agents[0]);
    tokio::time::sleep(AWAY / 3).await;
    server.kill();
    server.start_again().await;
    let api = server.admin().await;
    for host in ALL {
        bed::until(&api, host, "up").await;
    }
    bed::until_true(&bed, &api, &ALL).await;
    let run = api.post("/api/containers?count=3", idle()).await;
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
    tokio::time::sleep(AWAY.saturating_sub(begun.elapsed())).await;
    etcd.start_again().await;
    // Its Docker still answers, and nobody speaks for it any more.
    bed::until(&api, 1, "down").await;
    each_is_there_once(&api).await;
    agents[0] = agent(&bed, 1, &server, &etcd);
    bed::until(&api, 1, "up").await;
    bed::until_true(&bed, &api, &ALL).await;

    // The server is cut off while one host leaves, another's agent is killed, and etcd forgets that all this happened.
    wire.cut();
    terminate(&mut agents[1]);
    kill(&mut agents[2]);
    let registry = open_registry(&etcd.url()).unwrap();
    assert!(eventually(bed::CALM, || async { registry.list().await.unwrap().members.len() == 1 }).await);
    etcd.compact().await;
    wire.heal();
    bed::until(&api, 2, "down").await;
    bed::until(&api, 3, "down").await;
    each_is_there_once(&api).await;
    agents[1] = agent(&bed, 2, &server, &etcd);
    agents[2] = agent(&bed, 3, &server, &etcd);
    for host in ALL {
        bed::until(&api, host, "up").await;
    }
    each_is_there_once(&api).await;

    // An agent that is killed and started again at once: nobody notices.
    let left = events(&api, "engine-status", "left the registry").await;
    kill(&mut agents[0]);
    agents[0] = agent(&bed, 1, &server, &etcd);
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(bed::status(&api, 1).await, "up");
    assert_eq!(events(&api, "engine-status", "left the registry").await, left);
    assert_eq!(events(&api, "refuse-engine", "").await, 0);
    assert_eq!(events(&api, "delete-engine", "").await, 0);
    bed::until_true(&bed, &api, &ALL).await;

    // A daemon that dies takes its host out of the registry, though its agent lives, and brings it back.
    bed.kill(2).unwrap();
    assert!(
        eventually(bed::CALM, || async { events(&api, "engine-status", "bed2 left the registry").await > 1 }).await
    );
    bed.start(2).unwrap();
    bed::until(&api, 2, "up").await;
    bed::until_true(&bed, &api, &ALL).await;
    api.destroy_all(docker::WEB_IMAGE).await;
    agents.iter_mut().for_each(terminate);
}
