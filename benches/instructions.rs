//! Instructions: what the paths cost that requests take most, as callgrind counts them. A count is the same in every run, whatever
//! else the machine does.
//!
//! Run with `cargo bench --profile profiling --bench instructions`. The program runs itself under valgrind, once for each path,
//! and the accounts stay in `target/instructions`: `callgrind_annotate` says which function took what share. Everything is in
//! one thread, the client of a request included.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod support;

use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use paas_core::auth::{AuthSettings, HashCost};
use paas_core::controller::{Actor, Controller, RunRequest, Settings};
use paas_core::model::{ContainerSpec, EngineSpec, MemoryMb};
use paas_core::scheduler::{Scheduler, Snapshot, Spread};
use paas_server::serve::{ServeOptions, serve};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use support::decide::{Dice, any_request, request, used_engines};
use support::{Figure, load};

/// Where the accounts are kept.
const FOLDER: &str = "target/instructions";

/// A path: what is done, how many times over, and the unit of one time.
struct Way {
    name: &'static str,
    unit: &'static str,
    times: usize,
    go: fn(usize),
}

const WAYS: [Way; 6] = [
    Way { name: "decide", unit: "per decision, 1,000 engines", times: 2_000, go: decide },
    Way { name: "batch", unit: "per placement, 10,000 on 1,000 engines", times: 10_000, go: batch },
    Way { name: "launch", unit: "per container, 10 simulated engines", times: 500, go: launch },
    Way { name: "request", unit: "per request for one container", times: 500, go: ask_for_one },
    Way { name: "page", unit: "per container of a page of 100", times: 2_000, go: ask_for_pages },
    Way { name: "list", unit: "per container of a whole list of 3,000", times: 3_000, go: ask_for_all },
];

fn main() -> Result<()> {
    // Cargo says `--bench`, and this program to itself which path to go.
    if let Some(way) = WAYS.iter().find(|way| std::env::args().skip(1).any(|argument| argument == way.name)) {
        (way.go)(way.times);
        return Ok(());
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIPPED: counting instructions: there is no valgrind");
        return Ok(());
    }
    std::fs::create_dir_all(FOLDER)?;
    for way in &WAYS {
        let counted = count(way.name)? as f64 / way.times as f64;
        if counted == 0.0 {
            println!("SKIPPED: counting instructions: functions have no names here; run it with `--profile profiling`");
            return Ok(());
        }
        Figure::new(format!("{}, {}", way.name, way.unit), counted, "instructions").print();
    }
    Ok(())
}

/// How many instructions are executed within [`counted`] on a path.
fn count(name: &str) -> Result<u64> {
    let account = Path::new(FOLDER).join(format!("{name}.callgrind"));
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--toggle-collect=*instructions*counted*"]);
    valgrind.arg(format!("--callgrind-out-file={}", account.display()));
    let done = valgrind.arg(std::env::current_exe()?).arg(name).output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{name}: {said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected :")).context("valgrind gives no count")?;
    Ok(collected.1.trim().parse()?)
}

/// What is counted. A function of its own, for callgrind to know it by.
#[inline(never)]
fn counted<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

fn decide(times: usize) {
    let mut snapshot = used_engines(1_000);
    let mut dice = Dice::new(7);
    for number in 0..times {
        let request = any_request(&mut dice, number as u64);
        let chosen = counted(|| Spread::default().place(&snapshot, &request));
        for id in chosen.into_iter().flatten() {
            snapshot.reserve(&id, &request);
        }
    }
}

fn batch(times: usize) {
    let snapshot: Snapshot = used_engines(1_000);
    let request = request(times, true);
    assert_eq!(counted(|| Spread::default().place(&snapshot, &request)).unwrap().len(), times);
}

fn launch(times: usize) {
    let runtime = runtime();
    let controller = runtime.block_on(platform(10));
    let summary = counted(|| runtime.block_on(run(&controller, times)));
    assert_eq!(summary, times);
}

fn ask_for_one(times: usize) {
    ask(|id| format!("/api/containers/{id}"), times);
}

fn ask_for_pages(times: usize) {
    ask(|id| format!("/api/containers?limit=100&after={id}"), times / 100);
}

fn ask_for_all(_: usize) {
    ask(|_| "/api/containers".to_owned(), 1);
}

/// Asks a server in this process so many times; `path` is made of the id of one container in the middle of 3,000.
fn ask(path: impl Fn(&str) -> String, times: usize) {
    let runtime = runtime();
    let (mut connection, request) = runtime.block_on(async {
        let controller = platform(100).await;
        assert_eq!(run(&controller, 3_000).await, 3_000);
        let token = controller.login("admin", "benchmarks have no secrets").await.unwrap().token;
        let middle = controller.containers(true)[1_500].id.clone();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, controller, ServeOptions::default(), CancellationToken::new()));
        let mut connection = load::Connection::open(address).await.unwrap();
        let request = load::get(&path(middle.as_str()), &token);
        // What is done once only is done now.
        assert_eq!(connection.ask(&request).await.unwrap().0, 200);
        (connection, request)
    });
    counted(|| {
        runtime.block_on(async {
            for _ in 0..times {
                connection.ask(&request).await.unwrap();
            }
        });
    });
}

/// One thread, so that what is counted is everything and nothing else.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A platform on simulated engines that answer at once.
async fn platform(engines: usize) -> Controller {
    let auth = AuthSettings { hash_cost: HashCost { memory_kib: 8, passes: 1 }, ..AuthSettings::default() };
    let settings = Settings { auth, ..Settings::default() };
    let controller = Controller::builder().settings(settings).build().await.unwrap();
    controller.ensure_admin(Some("benchmarks have no secrets".to_owned())).await.unwrap();
    for number in 0..engines {
        let address = format!("sim://counted-{engines}-{number}?cpus=64&memory=131072");
        let spec = EngineSpec::new(format!("e{number}").parse().unwrap(), address.parse().unwrap());
        controller.add_engine(&Actor::system(), spec).await.unwrap();
    }
    controller
}

/// Runs containers of one small spec; how many were started.
async fn run(controller: &Controller, count: usize) -> usize {
    let mut spec = ContainerSpec::new("httpd".parse().unwrap());
    spec.memory = Some(MemoryMb::new(16));
    spec.bind_ports = vec!["tcp/::80".parse().unwrap()];
    let request = RunRequest { spec, count, pull: false };
    controller.run(&Actor::system(), request).await.unwrap().finish().await.started.len()
}
