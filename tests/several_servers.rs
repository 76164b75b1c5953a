//! Three servers side by side, on real hosts and a real etcd: whichever leads is killed, stopped or cut off again and again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use paas_core::testing::etcd::Etcd;
use paas_core::testing::tier;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::bed::{self, idle};
use support::group::Group;
use support::{Api, eventually, signal};
use uuid::Uuid;
use xtask::bed::Hosts;

/// Chooses the faults again that a failed run had.
const SEED_VARIABLE: &str = "PAAS_TEST_SEED";

fn seed() -> u64 {
    let given = std::env::var(SEED_VARIABLE).ok().map(|text| text.parse().unwrap());
    let seed = given.unwrap_or_else(rand::random);
    println!("the same faults again: {SEED_VARIABLE}={seed}");
    seed
}

/// A description that no other request of the test has.
fn marked(round: usize) -> Value {
    let mut spec = idle();
    spec["environment"] = json!({ "ROUND": round.to_string() });
    spec
}

/// How many containers of each round run, as the platform lists them.
async fn per_round(api: &Api) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for container in api.get("/api/containers").await.body.as_array().unwrap() {
        let round = container["image"]["environment"]["ROUND"].as_str().unwrap().parse().unwrap();
        *counts.entry(round).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_leads_dies_or_stops_and_every_request_takes_effect_once() {
    const NAME: &str = "whichever_leads_dies_or_stops_and_every_request_takes_effect_once";
    let Some(bed) = bed::up(NAME, Hosts::new(3)).await else { return };
    let Some(etcd) = Etcd::start(NAME).await else { return };
    let mut group = Group::start(&etcd.url(), &bed::engines(&bed, 3)).await;
    let client = group.client().await;
    let mut random = StdRng::seed_from_u64(seed());
    let mut asked: BTreeMap<usize, usize> = BTreeMap::new();
    let mut first_of: BTreeMap<usize, String> = BTreeMap::new();
    let mut failovers = Vec::new();
    let rounds = tier::rounds(20);
    for round in 0..rounds {
        let (leader, _) = group.until_led(&[]).await;
        let count = random.random_range(1..=4);
        let run = tokio::spawn({
            let (client, spec) = (client.clone(), marked(round));
            async move { client.send(Method::POST, &format!("/api/containers?count={count}"), Some(&spec)).await }
        });
        // An older group changes its size at the same time.
        let scaled = (round > 0).then(|| (random.random_range(0..round), random.random_range(1..=3)));
        let scale = scaled.map(|(older, size)| {
            let (client, path) = (client.clone(), format!("/api/containers/{}/scale?count={size}", first_of[&older]));
            tokio::spawn(async move { client.send(Method::POST, &path, None).await })
        });
        tokio::time::sleep(Duration::from_millis(random.random_range(0..900))).await;
        let stops = random.random_bool(0.4);
        if stops {
            signal("-STOP", group.peers[leader].process.id());
        } else {
            group.peers[leader].process.kill().unwrap();
            group.peers[leader].process.wait().unwrap();
        }
        let (_, took) = group.until_led(&[leader]).await;
        failovers.push(took);
        if stops {
            // It wakes up believing that it leads.
            signal("-CONT", group.peers[leader].process.id());
        } else {
            group.peers[leader].start_again();
        }
        let (status, body) = run.await.unwrap();
        assert_eq!(status, StatusCode::CREATED, "round {round}: {body}");
        assert_eq!(body.as_array().unwrap().len(), count, "{body}");
        first_of.insert(round, body[0]["id"].as_str().unwrap().to_owned());
        asked.insert(round, count);
        if let (Some((older, size)), Some(scale)) = (scaled, scale) {
            let (status, body) = scale.await.unwrap();
            assert_eq!(status, StatusCode::NO_CONTENT, "round {round}: {body}");
            asked.insert(older, size);
            let listed = client.at(group.until_led(&[]).await.0).get("/api/containers").await.body;
            let of_older = |one: &&Value| one["image"]["environment"]["ROUND"] == json!(older.to_string());
            let left = listed.as_array().unwrap().iter().find(of_older);
            let left = left.unwrap_or_else(|| panic!("nothing of round {older} is left: {listed:#}"));
            first_of.insert(older, left["id"].as_str().unwrap().to_owned());
        }
    }
    failovers.sort();
    println!("another led after {:?} (median), {:?} at most", failovers[rounds / 2], failovers[rounds - 1]);
    assert!(failovers[rounds / 2] < Duration::from_secs(8), "{failovers:?}");
    let (leader, _) = group.until_led(&[]).await;
    let api = client.at(leader);
    let settled = || async { per_round(&api).await == asked };
    assert!(eventually(bed::CALM, settled).await, "asked {asked:?}, there are {:?}", per_round(&api).await);
    // What the platform lists is what the daemons say, so what was asked for is what runs.
    bed::until_true(&bed, &api, &[1, 2, 3]).await;
    assert_eq!(per_round(&api).await, asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_its_registry_stops_and_goes_on_when_it_is_back() {
    const NAME: &str = "a_leader_without_its_registry_stops_and_goes_on_when_it_is_back";
    let Some(mut etcd) = Etcd::start(NAME).await else { return };
    let host = format!("one=sim://{}?cpus=8&memory=8192", Uuid::now_v7().simple());
    let group = Group::start(&etcd.url(), &[host]).await;
    let client = group.client().await;
    let (status, body) = client.send(Method::POST, "/api/containers?count=2", Some(&marked(1))).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    etcd.stop().await;
    let nobody_leads = || async {
        let mut leads = false;
        for peer in &group.peers {
            leads |= peer.role(&group.http).await.as_deref() == Some("leader");
        }
        !leads
    };
    assert!(eventually(Duration::from_secs(15), nobody_leads).await, "somebody leads without the registry");
    let refused = group.http.get(format!("{}/api/engines", group.peers[0].url)).bearer_auth(&client.token);
    let refused = refused.send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "no_leader");
    etcd.start_again().await;
    let (leader, took) = group.until_led(&[]).await;
    println!("a server led {took:?} after the registry was back");
    let api = client.at(leader);
    assert_eq!(api.get("/api/engines").await.body.as_array().unwrap().len(), 1);
    let (status, body) = client.send(Method::POST, "/api/containers", Some(&marked(2))).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
}
