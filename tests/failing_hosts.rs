//! Several real hosts of which some fail: cut off, without power, without their daemon, and back again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::bed::{self, id, idle};
use support::{Answer, Api, eventually};
use xtask::bed::{Bed, Hosts};

/// How long a dead host may go on getting work, generously: at default settings two probes of a second find it out.
const FOUND_OUT: Duration = Duration::from_secs(5);
/// How long a host that answers again may be without work, generously.
const TAKEN_BACK: Duration = Duration::from_secs(6);

/// Runs containers on one host, and gives their ids.
async fn run_on(api: &Api, host: usize, count: usize, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut spec = idle();
    spec["type"] = json!("host");
    spec["labels"] = json!([format!("host:{}", id(host))]);
    change(&mut spec);
    let run = api.post(&format!("/api/containers?count={count}"), spec).await;
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
    ids(&run.body)
}

fn ids(containers: &Value) -> Vec<String> {
    containers.as_array().unwrap().iter().map(|container| container["id"].as_str().unwrap().to_owned()).collect()
}

async fn state(api: &Api, container: &str) -> String {
    let shown = api.get(&format!("/api/containers/{container}")).await;
    shown.body["state"].as_str().unwrap_or_else(|| panic!("{shown:?}")).to_owned()
}

/// Waits until a host that just failed is found out; how long that took.
async fn found_out(api: &Api, host: usize) -> Duration {
    let took = bed::until(api, host, "down").await;
    assert!(took < FOUND_OUT, "it took {took:?}");
    took
}

/// Waits until a host that just came back takes work again; how long that took.
async fn taken_back(api: &Api, host: usize) -> Duration {
    let took = bed::until(api, host, "up").await;
    assert!(took < TAKEN_BACK, "it took {took:?}");
    took
}

/// Goes on restarting a container until told to stop; the longest that one restart took.
fn keep_busy(
    api: &Api,
    container: String,
    stop: tokio_util::sync::CancellationToken,
) -> tokio::task::JoinHandle<Duration> {
    let api = api.clone();
    tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let answer = api.call(&format!("/api/containers/{container}/restart?timeout=1")).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
            longest = longest.max(begun.elapsed());
        }
        longest
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_cut_off_holds_nobody_up_and_comes_back_with_everything() {
    const NAME: &str = "a_host_that_is_cut_off_holds_nobody_up_and_comes_back_with_everything";
    let Some(bed) = bed::up(NAME, Hosts::new(3)).await else { return };
    let (_server, api) = bed::serve(&bed, 3).await;
    let cut_off = run_on(&api, 2, 4, |_| {}).await;
    let busy = [run_on(&api, 1, 1, |_| {}).await.remove(0), run_on(&api, 3, 1, |_| {}).await.remove(0)];
    bed::until_true(&bed, &api, &[1, 2, 3]).await;

    let stop = tokio_util::sync::CancellationToken::new();
    let others = busy.map(|container| keep_busy(&api, container, stop.clone()));
    // In flight while the host vanishes, and begun when nobody knows yet that it did.
    let in_flight = in_background(&api, Method::POST, &format!("/api/containers/{}/restart?timeout=1", cut_off[0]));
    let begun = Instant::now();
    bed.cut(2).unwrap();
    let too_late = in_background(&api, Method::DELETE, &format!("/api/containers/{}", cut_off[1]));
    let down = found_out(&api, 2).await;
    let list = Instant::now();
    let listed = api.get("/api/containers?all=true").await.body;
    println!("cut off: down after {down:?}, a list took {:?}", list.elapsed());
    assert_eq!(listed.as_array().unwrap().iter().filter(|one| one["state"] == "unknown").count(), 4, "{listed:#}");
    for (what, answer) in [("in flight", in_flight.await.unwrap()), ("begun after", too_late.await.unwrap())] {
        println!("{what}: {} after {:?}: {}", answer.status, begun.elapsed(), answer.body["detail"]);
        let done = answer.status == StatusCode::NO_CONTENT && what == "in flight";
        assert!(done || answer.status == StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "requests to it ended after {:?}", begun.elapsed());
    // Known to be down, it is told at once.
    let asked = Instant::now();
    let refused = api.call(&format!("/api/containers/{}/stop?timeout=1", cut_off[2])).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?} to say so", asked.elapsed());
    stop.cancel();
    for other in others {
        let longest = other.await.unwrap();
        println!("meanwhile a restart elsewhere took {longest:?} at most");
        assert!(longest < Duration::from_secs(8), "an operation elsewhere took {longest:?}");
    }

    // Things happen there that nobody sees.
    let mut unseen = bed.docker(2);
    assert!(unseen.args(["rm", "--force", &cut_off[2]]).status().unwrap().success());
    let mut unseen = bed.docker(2);
    assert!(
        unseen.args(["run", "--detach", "--memory", "16m", "--cpus", "0.01", bed::IMAGE]).status().unwrap().success()
    );
    bed.heal(2).unwrap();
    let back = taken_back(&api, 2).await;
    let agreed = bed::until_true(&bed, &api, &[1, 2, 3]).await;
    println!("healed: up after {back:?}, everything known {agreed:?} later");
    assert_eq!(api.get(&format!("/api/containers/{}", cut_off[2])).await.status, StatusCode::NOT_FOUND);
    assert_eq!(state(&api, &cut_off[3]).await, "running");
    api.destroy_all(bed::IMAGE).await;
    bed::until_true(&bed, &api, &[1, 2, 3]).await;
}

fn in_background(api: &Api, method: Method, path: &str) -> tokio::task::JoinHandle<Answer> {
    let (api, path) = (api.clone(), path.to_owned());
    tokio::spawn(async move {
        match method {
            Method::DELETE => api.delete(&path).await,
            _ => api.call(&path).await,
        }
    })
}

/// How many of these were started on each engine.
fn by_engine(containers: &Value) -> BTreeMap<String, usize> {
    let mut by_engine = BTreeMap::new();
    for container in containers.as_array().into_iter().flatten() {
        *by_engine.entry(container["engine"]["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    by_engine
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_run_while_a_host_loses_its_power_runs_on_the_others() {
    const NAME: &str = "what_is_run_while_a_host_loses_its_power_runs_on_the_others";
    let Some(bed) = bed::up(NAME, Hosts::new(3)).await else { return };
    let (_server, api) = bed::serve(&bed, 3).await;
    bed.crash(2).unwrap();
    let (run, down) = tokio::join!(api.post("/api/containers?count=30", idle()), bed::until(&api, 2, "down"));
    println!("crashed: down after {down:?}; 30 containers: {}, {:?}", run.status, by_engine(&run.body));
    assert!(down < FOUND_OUT, "it took {down:?}");
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
    assert_eq!(run.body.as_array().unwrap().len(), 30);
    bed::until_true(&bed, &api, &[1, 3]).await;
    let there = [bed::really_on(&bed, 1).await.unwrap().len(), bed::really_on(&bed, 3).await.unwrap().len()];
    assert_eq!(there.iter().sum::<usize>(), 30, "on the others are {there:?}");
    // Nothing of it turns up on the one that was away.
    bed.start(2).unwrap();
    taken_back(&api, 2).await;
    bed::until_true(&bed, &api, &[1, 2, 3]).await;
    assert!(bed::really_on(&bed, 2).await.unwrap().is_empty());
    api.destroy_all(bed::IMAGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_of_a_run_is_accounted_for() {
    const NAME: &str = "a_crash_in_the_middle_of_a_run_is_accounted_for";
    let Some(bed) = bed::up(NAME, Hosts::new(3)).await else { return };
    let (_server, api) = bed::serve(&bed, 3).await;
    let run = tokio::spawn({
        let api = api.clone();
        async move { api.post("/api/containers?count=30", idle()).await }
    });
    let some_there = || async { bed::really_on(&bed, 2).await.is_ok_and(|there| there.len() >= 7) };
    assert!(eventually(Duration::from_secs(30), some_there).await);
    bed.crash(2).unwrap();
    let down = found_out(&api, 2).await;
    let run = run.await.unwrap();
    let (started, failed) = match run.status {
        StatusCode::CREATED => (&run.body, 0),
        StatusCode::MULTI_STATUS => (&run.body["started"], run.body["failed"].as_array().unwrap().len()),
        _ => panic!("{run:?}"),
    };
    println!("crashed half way: down after {down:?}; {:?} started, {failed} failed", by_engine(started));
    assert_eq!(started.as_array().unwrap().len() + failed, 30, "{run:?}");
    bed::until_true(&bed, &api, &[1, 3]).await;
    let on = by_engine(started);
    for host in [1, 3] {
        assert_eq!(bed::really_on(&bed, host).await.unwrap().len(), on[&id(host)], "on host {host}");
    }
    for container in started.as_array().unwrap().iter().filter(|one| one["engine"]["id"] == json!(id(2))) {
        assert_eq!(state(&api, container["id"].as_str().unwrap()).await, "unknown");
    }
    bed.start(2).unwrap();
    taken_back(&api, 2).await;
    bed::until_true(&bed, &api, &[1, 2, 3]).await;
    // Those that had begun there and run elsewhere now are gone; those that had been started there are known again.
    let left = || async { bed::really_on(&bed, 2).await.unwrap().len() };
    let expected = on.get(&id(2)).copied().unwrap_or_default();
    assert!(eventually(bed::CALM, || async { left().await == expected }).await, "{} of {expected}", left().await);
    bed::until_true(&bed, &api, &[1, 2, 3]).await;
    api.destroy_all(bed::IMAGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lost_its_power_comes_back_with_what_it_starts_again() {
    const NAME: &str = "a_host_that_lost_its_power_comes_back_with_what_it_starts_again";
    let Some(bed) = bed::up(NAME, Hosts::new(2)).await else { return };
    let (_server, api) = bed::serve(&bed, 2).await;
    let mut policies = BTreeMap::new();
    for policy in ["always", "unless-stopped", "on-failure", "no"] {
        let of_it = run_on(&api, 2, 2, |spec| spec["restart_policy"] = json!({"name": policy})).await;
        policies.insert(policy, of_it);
    }
    // Stopped by hand, it is to stay so.
    let stopped = policies["unless-stopped"][1].clone();
    assert_eq!(api.call(&format!("/api/containers/{stopped}/stop?timeout=1")).await.status, StatusCode::NO_CONTENT);
    bed.crash(2).unwrap();
    let down = found_out(&api, 2).await;
    bed.start(2).unwrap();
    let back = taken_back(&api, 2).await;
    let agreed = bed::until_true(&bed, &api, &[1, 2]).await;
    println!("down {down:?} after the crash; up {back:?} after its Docker answered, everything known {agreed:?} later");
    for (policy, of_it) in &policies {
        for container in of_it {
            let runs = *policy != "no" && *container != stopped;
            let wanted = if runs { "running" } else { "stopped" };
            let so = || async { state(&api, container).await == wanted };
            assert!(eventually(bed::CALM, so).await, "with {policy}: {}", state(&api, container).await);
        }
    }
    bed::until_true(&bed, &api, &[1, 2]).await;
    api.destroy_all(bed::IMAGE).await;
    bed::until_true(&bed, &api, &[1, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_away_for_a_moment_is_listened_to_and_not_only_read() {
    const NAME: &str = "a_host_that_was_away_for_a_moment_is_listened_to_and_not_only_read";
    let Some(bed) = bed::up(NAME, Hosts::new(1)).await else { return };
    let (_server, api) = bed::serve(&bed, 1).await;
    // So soon that nobody was told of the end of what the server had been listening to.
    bed.crash(1).unwrap();
    found_out(&api, 1).await;
    bed.start(1).unwrap();
    taken_back(&api, 1).await;
    let mut by_hand = bed.docker(1);
    assert!(by_hand.args(["run", "--detach", "--name", "by-hand", bed::IMAGE]).status().unwrap().success());
    let begun = Instant::now();
    let shown = || async { api.get("/api/containers/by-hand").await.status == StatusCode::OK };
    assert!(eventually(Duration::from_secs(5), shown).await, "what happens there does not show");
    println!("what was started there by hand showed after {:?}", begun.elapsed());
}

/// Fetches a page from the published port of a container.
async fn page(bed: &Bed, host: usize, container: &Value) -> bool {
    let url = format!("http://{}:{}/", bed.ip(host), container["ports"][0]["port"]);
    let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().unwrap();
    client.get(url).send().await.is_ok_and(|page| page.status().is_success())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_killed_is_followed_again_whatever_became_of_its_containers() {
    const NAME: &str = "a_daemon_that_was_killed_is_followed_again_whatever_became_of_its_containers";
    let Some(bed) = bed::up(NAME, Hosts::new(2).live_restore([2])).await else { return };
    let (_server, api) = bed::serve(&bed, 2).await;
    let mut shown = BTreeMap::new();
    for host in [1, 2] {
        for policy in ["always", "no"] {
            let of_it = run_on(&api, host, 1, |spec| {
                spec.as_object_mut().unwrap().remove("args");
                spec["restart_policy"] = json!({"name": policy});
                spec["bind_ports"] = json!([{"container_port": 80}]);
            });
            let container = api.get(&format!("/api/containers/{}", of_it.await[0])).await.body;
            let serves = || async { page(&bed, host, &container).await };
            assert!(eventually(Duration::from_secs(10), serves).await);
            shown.insert((host, policy), container);
        }
    }
    for host in [1, 2] {
        bed.kill(host).unwrap();
        println!("the daemon of host {host} was killed: down after {:?}", found_out(&api, host).await);
    }
    for ((host, _), container) in &shown {
        assert!(page(&bed, *host, container).await, "containers go on without the daemon");
        assert_eq!(state(&api, container["id"].as_str().unwrap()).await, "unknown");
    }
    for host in [2, 1] {
        let begun = Instant::now();
        bed.start(host).unwrap();
        let started = begun.elapsed();
        println!("host {host}: the daemon took {started:?} to start, then {:?} until up", taken_back(&api, host).await);
    }
    bed::until_true(&bed, &api, &[1, 2]).await;
    for ((host, policy), container) in &shown {
        // Without live restore the daemon kills what it finds, and starts again what it is told to.
        let wanted = if *host == 2 || *policy == "always" { "running" } else { "stopped" };
        let container = container["id"].as_str().unwrap();
        let so = || async { state(&api, container).await == wanted };
        assert!(eventually(bed::CALM, so).await, "host {host}, {policy}: {}", state(&api, container).await);
    }
    assert!(page(&bed, 2, &shown[&(2, "no")]).await, "it had never ended");
    bed::until_true(&bed, &api, &[1, 2]).await;
    api.destroy_all(bed::IMAGE).await;
    bed::until_true(&bed, &api, &[1, 2]).await;
}
