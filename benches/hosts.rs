//! Launching, scaling and destroying on three real Docker hosts, against a bare program that asks Docker for the same and does
//! nothing else. Both see the same daemons in turn, several times; what counts is the ratio.
//!
//! Run with `cargo bench --bench hosts`, as root: it makes a bed. `-- 30`, `90`, `fast`, `slow`, `page` and `scale` choose parts of it.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "support/bare.rs"]
mod bare;
mod support;
#[path = "../tests/support/mod.rs"]
mod system;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bare::Bare;
use futures::StreamExt;
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::process::machine_busy_seconds;
use support::{Figure, median, rounds};
use system::{Api, Server, bed, eventually};
use xtask::bed::{Bed, Hosts};

const HOSTS: usize = 3;
/// How many containers of one host a bare program works on at once: the best of these is the baseline.
const AT_ONCE: [usize; 4] = [1, 2, 4, 8];
/// The same where no latency is asked for: the quickest of these, or within noise of it, wherever all were measured.
const MOST_AT_ONCE: usize = 4;
/// What each host is held to, in CPUs: a third of a machine of two, and hardly anything.
const SHARES: [(&str, f64); 2] = [("fast", 0.6), ("slow", 0.2)];
/// What one launch of several containers took, seconds.
#[derive(Clone, Copy, Debug)]
struct Launch {
    /// Until all of them ran.
    wall: f64,
    /// Until the caller heard of the first.
    first: f64,
    /// From when Docker began to make a container until it ran: the middle of all.
    each: f64,
    /// CPU time of the whole machine meanwhile.
    cpu: f64,
}

/// The platform over the bed.
struct Platform {
    server: Server,
    api: Api,
}

impl Platform {
    async fn over(bed: &Bed) -> Self {
        let (server, api) = bed::serve(bed, HOSTS).await;
        Self { server, api }
    }

    /// Sends a change and reads the stream of its progress: when the first container was told of, and when all were done.
    async fn progress(&self, path: &str, body: Option<Value>) -> (f64, f64) {
        let begun = Instant::now();
        let mut request = self.api.request(Method::POST, path).header("accept", "application/x-ndjson");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let (mut first, mut text) = (None, String::new());
        let mut pieces = answer.bytes_stream();
        while let Some(piece) = pieces.next().await {
            text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
            if first.is_none() && (text.contains(r#""event":"started""#) || text.contains(r#""event":"destroyed""#)) {
                first = Some(begun.elapsed().as_secs_f64());
            }
        }
        let summary: Value = serde_json::from_str(text.trim_end().lines().last().unwrap()).unwrap();
        assert_eq!((&summary["event"], &summary["failed"]), (&json!("summary"), &json!(0)), "{summary}");
        (first.unwrap(), begun.elapsed().as_secs_f64())
    }

    async fn run(&self, bare: &Bare, count: usize) -> Launch {
        let busy = machine_busy_seconds();
        let (first, wall) = self.progress(&format!("/api/containers?count={count}"), Some(spec())).await;
        let cpu = machine_busy_seconds() - busy;
        Launch { wall, first, each: median(bare.start_times().await), cpu }
    }

    async fn scale(&self, count: usize) -> f64 {
        let group = self.api.containers_of(bed::IMAGE).await;
        let id = group[0]["id"].as_str().unwrap();
        self.progress(&format!("/api/containers/{id}/scale?count={count}"), None).await.1
    }

    /// Runs containers with the command line and gets a page from each.
    async fn run_with_command_line(&self, programs: &std::path::Path, bed: &Bed, count: usize) -> f64 {
        let begun = Instant::now();
        let mut command = Command::new(programs.join("paas-cli"));
        command.env("PAAS_URL", &self.server.url).env("PAAS_TOKEN", &self.api.token);
        command.args(["--output", "json", "run", "--name", bed::IMAGE, "--count", &count.to_string()]);
        command.args(["--memory", "32", "--cpus", "0.05", "--port", "tcp/::80"]);
        let output =
            tokio::task::spawn_blocking(move || command.stderr(Stdio::null()).output().unwrap()).await.unwrap();
        assert!(output.status.success());
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        let started = summary["started"].as_array().unwrap();
        assert_eq!(started.len(), count);
        let pages = started.iter().map(|container| {
            let host: usize = container["engine"]["id"].as_str().unwrap().trim_start_matches("bed").parse().unwrap();
            page(format!("http://{}:{}/", bed.ip(host), container["ports"][0]["port"]))
        });
        join_all(pages).await;
        begun.elapsed().as_secs_f64()
    }
}

async fn page(url: String) {
    let is_there = || async { reqwest::get(&url).await.is_ok_and(|page| page.status().is_success()) };
    assert!(eventually(Duration::from_secs(20), is_there).await, "{url} does not answer");
}

/// What the bare program asks for, too.
fn spec() -> Value {
    json!({"name": bed::IMAGE, "memory": 32, "cpus": 0.05, "bind_ports": [{"container_port": 80}]})
}

/// The middle of several launches, each figure by itself.
fn middle(launches: &[Launch]) -> Launch {
    let of = |figure: fn(&Launch) -> f64| median(launches.iter().map(figure).collect());
    let (wall, first, each) = (of(|one| one.wall), of(|one| one.first), of(|one| one.each));
    Launch { wall, first, each, cpu: of(|one| one.cpu) }
}

#[tokio::main]
async fn main() {
    if let Some(obstacle) = Bed::obstacle() {
        println!("SKIPPED: launching on real hosts: {obstacle}");
        return;
    }
    let programs = support::release::build();
    let bed = bed::up("benchmark", Hosts::new(HOSTS)).await.unwrap();
    let bare = Bare::over(&bed, HOSTS, bed::IMAGE).await;
    let platform = Platform::over(&bed).await;
    // What the first container of all costs is nobody's ordinary case.
    bare.launch(HOSTS, 1).await;
    bare.remove_all(4).await;

    let single = one_at_a_time(&bare).await;
    println!("a single container takes {single:.2} s");
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == part);
    if is_wanted("30") {
        launching(&bare, &platform, "", 30, rounds(8, 1)).await;
    }
    if is_wanted("90") {
        launching(&bare, &platform, "", 90, rounds(8, 1)).await;
    }
    for (name, cpus) in SHARES {
        if is_wanted(name) {
            (1..=HOSTS).for_each(|host| bed.limit_cpus(host, Some(cpus)).unwrap());
            launching(&bare, &platform, &format!(" of {cpus} CPUs each"), 30, rounds(8, 1)).await;
            (1..=HOSTS).for_each(|host| bed.limit_cpus(host, None).unwrap());
        }
    }
    if is_wanted("page") {
        command_line(&bare, &platform, &programs, &bed).await;
    }
    if is_wanted("scale") {
        scaling(&bare, &platform, rounds(8, 1)).await;
    }
}

/// What one container takes when nothing else is done.
async fn one_at_a_time(bare: &Bare) -> f64 {
    let mut single = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        bare.launch(1, 1).await;
        single.push(begun.elapsed().as_secs_f64());
        bare.remove_all(1).await;
    }
    median(single)
}

/// Launches so many containers by the bare program and by the platform, on hosts of some size.
async fn launching(bare: &Bare, platform: &Platform, of_size: &str, count: usize, rounds: usize) {
    let mut directly: Vec<(usize, Vec<Launch>)> = AT_ONCE.iter().map(|&at_once| (at_once, Vec::new())).collect();
    let mut ours = Vec::new();
    for _ in 0..rounds {
        for (at_once, launches) in &mut directly {
            let (begun, busy) = (Instant::now(), machine_busy_seconds());
            let first = bare.launch(count, *at_once).await;
            let (wall, cpu) = (begun.elapsed().as_secs_f64(), machine_busy_seconds() - busy);
            launches.push(Launch { wall, first, each: median(bare.start_times().await), cpu });
            bare.remove_all(4).await;
        }
        ours.push(platform.run(bare, count).await);
        println!("{count} by the platform, one of several: {:?}", ours.last().unwrap());
        platform.api.destroy_all(bed::IMAGE).await;
    }
    let directly: Vec<(usize, Launch)> = directly.iter().map(|(at_once, all)| (*at_once, middle(all))).collect();
    for (at_once, launch) in &directly {
        println!("{count} directly, {at_once} at once per host: {launch:?}");
    }
    let ours = middle(&ours);
    println!("{count} by the platform: {ours:?}");
    let Some((at_once, best)) = directly.iter().min_by(|(_, one), (_, other)| one.wall.total_cmp(&other.wall)) else {
        return;
    };
    println!("{count} directly: {at_once} at once per host are the best");
    let figure = |what: &str, ours, best, most| {
        Figure::new(format!("run {count} on {HOSTS} hosts{of_size}{what}"), ours, "s")
            .against(best)
            .ratio_at_most(most)
            .print();
    };
    figure("", ours.wall, best.wall, 1.10);
    figure(": each, p50", ours.each, best.each, 1.0);
    figure(": first outcome", ours.first, best.first, 1.0);
}

/// From the command to a page from each of 30.
async fn command_line(bare: &Bare, platform: &Platform, programs: &std::path::Path, bed: &Bed) {
    let ours = platform.run_with_command_line(programs, bed, 30).await;
    platform.api.destroy_all(bed::IMAGE).await;
    let begun = Instant::now();
    bare.launch(30, MOST_AT_ONCE).await;
    join_all(bare.pages().await.into_iter().map(page)).await;
    let directly = begun.elapsed().as_secs_f64();
    bare.remove_all(4).await;
    Figure::new("30 by the command line, to a page from each", ours, "s").against(directly).print();
}

/// From 90 to 3 and back.
async fn scaling(bare: &Bare, platform: &Platform, rounds: usize) {
    let (mut launches, mut removals) = ([const { Vec::new() }; AT_ONCE.len()], [const { Vec::new() }; AT_ONCE.len()]);
    let (mut down, mut up) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for ((at_once, launches), removals) in AT_ONCE.into_iter().zip(&mut launches).zip(&mut removals) {
            let begun = Instant::now();
            bare.launch(87, at_once).await;
            launches.push(begun.elapsed().as_secs_f64());
            let begun = Instant::now();
            bare.remove_all(at_once).await;
            removals.push(begun.elapsed().as_secs_f64());
        }
        platform.run(bare, 90).await;
        down.push(platform.scale(3).await);
        up.push(platform.scale(90).await);
        let begun = Instant::now();
        platform.api.destroy_all(bed::IMAGE).await;
        println!("90 destroyed, each by a request of its own: {:.2} s", begun.elapsed().as_secs_f64());
    }
    let (launched, removed) = (best("launched", launches), best("removed", removals));
    Figure::new("scale 90 to 3", median(down), "s").against(removed).ratio_at_most(1.10).print();
    Figure::new("scale 3 to 90", median(up), "s").against(launched).ratio_at_most(1.10).print();
}

/// The shortest of what a bare program took for 87, at so many at once.
fn best(what: &str, taken: [Vec<f64>; AT_ONCE.len()]) -> f64 {
    let middles = taken.map(median);
    for (at_once, middle) in AT_ONCE.iter().zip(middles) {
        println!("87 {what} directly, {at_once} at once per host: {middle:.2} s");
    }
    middles.into_iter().fold(f64::INFINITY, f64::min)
}
