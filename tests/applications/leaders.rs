//! Three servers, of which the one that leads is killed again and again while versions are rolled out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use paas_core::testing::etcd::Etcd;
use paas_core::testing::tier;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use xtask::bed::{Bed, Hosts};

use super::shop::{Found, found, not_at_rest, of, rests_with, version, web};
use super::support::bed;
use super::support::group::{Group, Persistent};

const HOSTS: [usize; 2] = [1, 2];
const REPLICAS: usize = 2;
/// How often a leader is killed.
const KILLS: usize = 6;
/// How long a rollout takes about: the kills are spread over that time.
const ROLLOUT_MS: u64 = 5000;

/// A version with a command that goes before.
fn shop(number: usize) -> Value {
    let mut component = version(web(REPLICAS), number);
    component["before"] = json!({"command": ["sh", "-c", "sleep 1; echo migrated"], "timeout": "30s"});
    of(component)
}

async fn apply(client: &Persistent, number: usize) -> u64 {
    // Sent again after a leader died, it is there already or under way.
    let (status, body) = client.send(Method::PUT, "/api/apps/shop", Some(&json!({"app": shop(number)}))).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body["revision"].as_u64().unwrap()
}

async fn status(client: &Persistent) -> Value {
    let (status, body) = client.send(Method::GET, "/api/apps/shop", None).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

async fn until_done(bed: &Bed, client: &Persistent, revision: u64) {
    let begun = Instant::now();
    loop {
        let status = status(client).await;
        let wrong = match status["rollout"].is_null() && rests_with(&status, REPLICAS) {
            true => not_at_rest(&found(bed, &HOSTS, "shop").await, "shop", REPLICAS),
            false => Some(String::new()),
        };
        if wrong.is_none() {
            let ended = &status["last_rollout"];
            assert_eq!((&ended["outcome"], &ended["to"]), (&json!("done"), &json!(revision)), "{status:#}");
            return;
        }
        if begun.elapsed() > Duration::from_secs(90) {
            let (_, events) = client.send(Method::GET, "/api/events?count=80", None).await;
            let events: Vec<&str> =
                events.as_array().unwrap().iter().filter_map(|event| event["message"].as_str()).collect();
            panic!("not done: {wrong:?} {status:#}\n{:?}\n{events:#?}", found(bed, &HOSTS, "shop").await);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The fewest replicas that ran at once, looked at all the time.
fn watch(bed: &Arc<Bed>, stop: &CancellationToken) -> tokio::task::JoinHandle<usize> {
    let (bed, stop) = (bed.clone(), stop.clone());
    tokio::spawn(async move {
        let fewest = AtomicUsize::new(usize::MAX);
        while !stop.is_cancelled() {
            let all = found(&bed, &HOSTS, "shop").await;
            let runs = all.iter().filter(|one| one.runs && !one.slot.is_empty()).count();
            fewest.fetch_min(runs, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        fewest.into_inner()
    })
}

/// The commands of before that are kept: that of the newest revision, which ended well.
async fn commands(bed: &Bed) -> Vec<Found> {
    found(bed, &HOSTS, "shop").await.into_iter().filter(|one| one.slot.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_leader_is_killed_a_rollout_ends_as_it_should() {
    const NAME: &str = "whenever_the_leader_is_killed_a_rollout_ends_as_it_should";
    let Some(bed) = bed::up(NAME, Hosts::new(2)).await else { return };
    let Some(etcd) = Etcd::start(NAME).await else { return };
    let bed = Arc::new(bed);
    let mut group = Group::start(&etcd.url(), &bed::engines(&bed, 2)).await;
    let client = group.client().await;
    let mut number = 1;
    let mut revision = apply(&client, number).await;
    until_done(&bed, &client, revision).await;
    let stop = CancellationToken::new();
    let fewest = watch(&bed, &stop);
    let kills = tier::rounds(KILLS);
    for kill in 0..kills {
        let (leader, _) = group.until_led(&[]).await;
        if status(&client).await["rollout"].is_null() {
            assert_eq!(commands(&bed).await.len(), 1, "the command ran before revision {revision}");
            number += 1;
            revision = apply(&client.begun_at(leader), number).await;
        }
        // Each kill is a little later in the rollout than the one before.
        let moment = Duration::from_millis(ROLLOUT_MS * kill as u64 / kills as u64 + 50);
        tokio::time::sleep(moment).await;
        let before = status(&client.begun_at(leader)).await;
        group.peers[leader].process.kill().unwrap();
        group.peers[leader].process.wait().unwrap();
        println!("killed after {moment:?} of revision {revision}: {}", describe(&before));
        let (_, took) = group.until_led(&[leader]).await;
        println!("another leads after {took:?}");
        group.peers[leader].start_again();
    }
    until_done(&bed, &client, revision).await;
    let commands = commands(&bed).await;
    assert_eq!(commands.len(), 1, "{commands:?}");
    assert_eq!(commands[0].name, format!("shop.web.before.r{revision}"));
    stop.cancel();
    let fewest = fewest.await.unwrap();
    println!("{number} versions; never fewer than {fewest} ran");
    assert!(fewest >= REPLICAS, "there were {fewest} at some time");
}

fn describe(status: &Value) -> String {
    let replicas = status["component"]["web"]["replicas"].as_array().cloned().unwrap_or_default();
    let replica = |one: &Value| format!("{} {} {}", one["name"], one["state"], one["reason"]);
    let all = replicas.iter().map(replica).collect::<Vec<_>>().join(", ");
    if status["rollout"].is_null() { format!("it was done; {all}") } else { all }
}
