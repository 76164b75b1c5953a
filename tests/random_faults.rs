//! Real hosts that fail at random while containers are run, scaled and destroyed: in the end everything is accounted for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use paas_core::testing::tier;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::Api;
use support::bed::{self, idle};
use xtask::bed::{Bed, Hosts};

/// Repeats a schedule: the number that a failure names.
const SEED_VARIABLE: &str = "PAAS_TEST_SEED";
const HOSTS: usize = 3;
const FAULTS: usize = 12;

/// What can happen to a host.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Cut,
    Heal,
    Kill,
    Crash,
    Start,
}

/// How a host is, by what was done to it.
#[derive(Clone, Copy, Debug, Default)]
struct Condition {
    cut: bool,
    crashed: bool,
    daemon_dead: bool,
}

impl Condition {
    fn is_whole(self) -> bool {
        !(self.cut || self.crashed || self.daemon_dead)
    }

    /// Something that mends it, at random.
    fn mend(self, random: &mut StdRng) -> Option<Fault> {
        let possible = [(self.crashed || self.daemon_dead, Fault::Start), (self.cut, Fault::Heal)];
        pick(random, &possible)
    }

    /// Something that breaks it more, at random.
    fn break_more(self, random: &mut StdRng) -> Option<Fault> {
        let possible = [
            (!self.crashed, Fault::Crash),
            (!self.crashed && !self.cut, Fault::Cut),
            (!self.crashed && !self.daemon_dead, Fault::Kill),
        ];
        pick(random, &possible)
    }

    fn carry_out(&mut self, bed: &Bed, host: usize, fault: Fault) {
        match fault {
            Fault::Cut => bed.cut(host).unwrap(),
            Fault::Heal => bed.heal(host).unwrap(),
            Fault::Kill => bed.kill(host).unwrap(),
            Fault::Crash => bed.crash(host).unwrap(),
            Fault::Start => bed.start(host).unwrap(),
        }
        *self = match fault {
            Fault::Cut => Self { cut: true, ..*self },
            Fault::Heal => Self { cut: false, ..*self },
            Fault::Kill => Self { daemon_dead: true, ..*self },
            // Its cable is new when it is back.
            Fault::Crash => Self { crashed: true, cut: false, daemon_dead: false },
            Fault::Start => Self { crashed: false, daemon_dead: false, ..*self },
        };
    }
}

fn pick(random: &mut StdRng, faults: &[(bool, Fault)]) -> Option<Fault> {
    let possible: Vec<Fault> = faults.iter().filter_map(|(possible, fault)| possible.then_some(*fault)).collect();
    possible.get(random.random_range(0..possible.len().max(1))).copied()
}

/// What happens next, and to which host. One is always whole, or nothing would be started any more.
fn next(random: &mut StdRng, conditions: &[Condition; HOSTS]) -> (usize, Fault) {
    let is_last = |host: usize| (1..=HOSTS).all(|other| other == host || !conditions[other - 1].is_whole());
    loop {
        let host = random.random_range(1..=HOSTS);
        let condition = conditions[host - 1];
        let fault = match condition.is_whole() {
            true if is_last(host) => None,
            true => condition.break_more(random),
            false if random.random_bool(0.6) => condition.mend(random),
            false => condition.break_more(random),
        };
        if let Some(fault) = fault {
            return (host, fault);
        }
    }
}

/// What the platform said became of containers.
#[derive(Debug, Default)]
struct Ledger {
    started: BTreeSet<String>,
    destroyed: BTreeSet<String>,
    /// Whether these are there nobody knows: the answer was that the host does not answer.
    uncertain: BTreeSet<String>,
    /// Requests that were not accounted for.
    complaints: Vec<String>,
}

impl Ledger {
    /// Takes a stream of progress: what it tells must add up to what was asked for.
    fn take_progress(&mut self, what: &str, text: &str) {
        let steps: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |kind: &'static str| steps.iter().filter(move |step| step["event"] == kind);
        self.started.extend(of("started").map(|step| text_of(&step["container"]["id"])));
        self.destroyed.extend(of("destroyed").map(|step| text_of(&step["container"])));
        let told = (of("started").count(), of("destroyed").count(), of("failed").count());
        let summary = steps.last().cloned().unwrap_or_default();
        let number = |field: &str| summary[field].as_u64().unwrap_or(u64::MAX) as usize;
        if summary["event"] != "summary" || told != (number("started"), number("destroyed"), number("failed")) {
            self.complaints.push(format!("{what}: {told:?} were told of, and then {summary}"));
        }
        // A container that could not be destroyed may be gone all the same.
        self.uncertain.extend(of("failed").filter_map(|step| Some(step["container"].as_str()?.to_owned())));
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Asks for something at random, and notes what was answered.
async fn ask(api: Api, mut random: StdRng, ledger: Arc<Mutex<Ledger>>) {
    let known: Vec<String> = ledger.lock().unwrap().started.iter().cloned().collect();
    let choice = random.random_range(0..10);
    if choice < 5 || known.is_empty() {
        let mut spec = idle();
        let policy = ["no", "always", "on-failure"][random.random_range(0..3)];
        spec["restart_policy"] = json!({"name": policy});
        spec["memory"] = json!(16 * random.random_range(1..4_u64));
        let path = format!("/api/containers?count={}", random.random_range(1..7));
        stream(&api, &path, Some(spec), &ledger).await;
        return;
    }
    let id = known[random.random_range(0..known.len())].clone();
    if choice < 8 {
        let path = format!("/api/containers/{id}/scale?count={}", random.random_range(1..6));
        stream(&api, &path, None, &ledger).await;
        return;
    }
    let answer = api.delete(&format!("/api/containers/{id}")).await;
    let mut ledger = ledger.lock().unwrap();
    match answer.status {
        StatusCode::NO_CONTENT => {
            ledger.destroyed.insert(id);
        }
        StatusCode::NOT_FOUND => {}
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::CONFLICT => {
            ledger.uncertain.insert(id);
        }
        _ => ledger.complaints.push(format!("destroy: {answer:?}")),
    }
}

/// Runs or scales, and takes what the stream of progress tells.
async fn stream(api: &Api, path: &str, body: Option<Value>, ledger: &Mutex<Ledger>) {
    let mut request = api.request(Method::POST, path).header("Accept", "application/x-ndjson");
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.timeout(Duration::from_secs(120)).send().await;
    let (status, text) = match answer {
        Ok(answer) => (answer.status(), answer.text().await),
        Err(error) => return ledger.lock().unwrap().complaints.push(format!("{path}: {error}")),
    };
    let mut ledger = ledger.lock().unwrap();
    match (status, text) {
        (StatusCode::OK, Ok(text)) => ledger.take_progress(path, &text),
        // Refused as a whole: no room on what is left, or the container is gone.
        (StatusCode::CONFLICT | StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE, Ok(_)) => {}
        (status, text) => ledger.complaints.push(format!("{path}: {status} {text:?}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_fail_at_random_lose_nothing_and_bring_nothing_back() {
    const NAME: &str = "hosts_that_fail_at_random_lose_nothing_and_bring_nothing_back";
    let Some(bed) = bed::up(NAME, Hosts::new(HOSTS).live_restore([2, 3])).await else { return };
    let seed = std::env::var(SEED_VARIABLE).ok().map(|text| text.parse().unwrap());
    let seed: u64 = seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    println!("again with {SEED_VARIABLE}={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut server, api) = bed::serve(&bed, HOSTS).await;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut conditions = [Condition::default(); HOSTS];
    let mut requests = Vec::new();
    for turn in 1..=tier::rounds(FAULTS) {
        for _ in 0..random.random_range(1..4) {
            let own = StdRng::seed_from_u64(random.random());
            requests.push(tokio::spawn(ask(api.clone(), own, ledger.clone())));
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
        let (host, fault) = next(&mut random, &conditions);
        println!("{turn}: {fault:?} on host {host}");
        tokio::task::block_in_place(|| conditions[host - 1].carry_out(&bed, host, fault));
        tokio::time::sleep(Duration::from_millis(random.random_range(0..4000))).await;
    }
    for request in requests {
        request.await.unwrap();
    }
    for (position, condition) in conditions.into_iter().enumerate() {
        let host = position + 1;
        tokio::task::block_in_place(|| {
            if condition.cut {
                bed.heal(host).unwrap();
            }
            bed.start(host).unwrap();
        });
    }
    let ledger = Arc::try_unwrap(ledger).unwrap().into_inner().unwrap();
    until_accounted(&bed, &api, &ledger).await;

    // Nothing of this was only in the server's memory.
    server.kill();
    server.start_again().await;
    let api = server.admin().await;
    until_accounted(&bed, &api, &ledger).await;
    api.destroy_all(bed::IMAGE).await;
    assert_eq!(bed::running(&bed, HOSTS).await, [0; HOSTS]);
}

/// Compares what the platform said of its work with what the daemons have, and says what is not so.
async fn account(bed: &Bed, api: &Api, ledger: &Ledger) -> Result<(), String> {
    if !ledger.complaints.is_empty() {
        return Err(format!("{:#?}", ledger.complaints));
    }
    let mut there = BTreeMap::new();
    for host in 1..=HOSTS {
        for (id, state) in bed::really_on(bed, host).await? {
            if let Some((other, _)) = there.insert(id.clone(), (host, state)) {
                return Err(format!("{id} is on host {host} and on host {other}"));
            }
        }
    }
    for id in ledger.started.iter().filter(|id| !ledger.destroyed.contains(*id) && !ledger.uncertain.contains(*id)) {
        if !there.contains_key(id) {
            return Err(format!("{id} was started and is lost"));
        }
    }
    for (id, (host, state)) in &there {
        if !ledger.started.contains(id) || ledger.destroyed.contains(id) {
            return Err(format!("{id}, {state} on host {host}, was destroyed, or never started by anybody"));
        }
    }
    let events = api.get("/api/events?count=10000").await.body;
    let removed = events.as_array().unwrap().iter().filter(|event| event["type"] == "clean-up");
    let mut seen = BTreeSet::new();
    if let Some(twice) = removed.map(|event| event["container"].to_string()).find(|id| !seen.insert(id.clone())) {
        return Err(format!("{twice} was cleaned up twice"));
    }
    let tally = (ledger.started.len(), ledger.destroyed.len(), ledger.uncertain.len(), seen.len(), there.len());
    println!(
        "started {}, destroyed {}, uncertain {}, cleaned up {}, there {}",
        tally.0, tally.1, tally.2, tally.3, tally.4
    );
    Ok(())
}

/// Waits until platform, daemons and ledger agree: what interrupted launches left goes when its host is back.
async fn until_accounted(bed: &Bed, api: &Api, ledger: &Ledger) {
    let all: Vec<usize> = (1..=HOSTS).collect();
    let begun = Instant::now();
    loop {
        bed::until_true(bed, api, &all).await;
        match account(bed, api, ledger).await {
            Ok(()) => break,
            Err(difference) => assert!(begun.elapsed() < bed::CALM, "{difference}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("calm {:?} after everything was mended", begun.elapsed());
}
