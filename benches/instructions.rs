//! Instructions: what the paths cost that requests take most, as callgrind counts them. A count is the same in every run, whatever
//! else the machine does.
//!
//! Run with `cargo bench --profile profiling --bench instructions`. The program runs itself under valgrind, once for each path,
//! and the accounts stay in `target/instructions`: `callgrind_annotate` says which function took what share. Everything is in
//! one thread, the client of a request included.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod support;

use std::hint::black_box;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::BoxStream;
use paas_core::auth::{AuthSettings, HashCost};
use paas_core::controller::{Actor, Controller, RunRequest, Settings};
use paas_core::engine::SimulatedEngine;
use paas_core::events::Notice;
use paas_core::model::{ContainerSpec, EngineAddress, EngineSpec, MemoryMb, SimulatedHost, TAG_DOCKER};
use paas_core::scheduler::{Scheduler, Snapshot, Spread};
use paas_server::serve::{ServeOptions, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use support::burst::EVENTS_OF_A_LIFE;
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

const WAYS: [Way; 8] = [
    Way { name: "decide", unit: "per decision, 1,000 engines", times: 2_000, go: decide },
    Way { name: "batch", unit: "per placement, 10,000 on 1,000 engines", times: 10_000, go: batch },
    Way { name: "launch", unit: "per container, 10 simulated engines", times: 500, go: launch },
    Way { name: "event", unit: "per event of a host, kept and told to one", times: 1_000, go: keep_events },
    Way { name: "told", unit: "per event and listener over HTTP, of 20", times: 20_000, go: tell_events },
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

fn keep_events(times: usize) {
    let runtime = runtime();
    let (controller, mut events) = runtime.block_on(async {
        let controller = platform(10).await;
        // With the first container a host tells of its image as well.
        let mut events = controller.live_events();
        let_happen(10);
        hear(&mut events, 10 * (EVENTS_OF_A_LIFE + 1)).await;
        (controller, events)
    });
    counted(|| {
        runtime.block_on(async {
            let_happen(times / EVENTS_OF_A_LIFE);
            hear(&mut events, times).await;
        });
    });
    drop(controller);
}

/// Waits for so many events of hosts.
async fn hear(events: &mut BoxStream<'static, Notice>, mut count: usize) {
    while count > 0 {
        match events.next().await.unwrap() {
            Notice::Event(event) => count -= usize::from(event.tags.iter().any(|tag| tag == TAG_DOCKER)),
            Notice::Lagged(missed) => panic!("{missed} were missed"),
        }
    }
}

/// Containers come and go on the ten hosts of a platform.
fn let_happen(lives: usize) {
    for number in 0..lives {
        let host = SimulatedEngine::named(&host(10, number % 10));
        let id = host.outsider_run("web:1".parse().unwrap(), None);
        host.outsider_remove(&id).unwrap();
    }
}

fn tell_events(times: usize) {
    const LISTENERS: usize = 20;
    let runtime = runtime();
    let mut connections = runtime.block_on(async {
        let controller = platform(10).await;
        let token = controller.login("admin", "benchmarks have no secrets").await.unwrap().token;
        let address = served(controller);
        let mut connections = Vec::new();
        for _ in 0..LISTENERS {
            let mut connection = TcpStream::connect(address).await.unwrap();
            connection.write_all(&load::get("/api/events/live", &token)).await.unwrap();
            // The head of the answer.
            assert!(connection.read(&mut [0; 1024]).await.unwrap() > 0);
            connections.push(connection);
        }
        let_happen(10);
        join_all(connections.iter_mut().map(|one| read_events(one, 10 * (EVENTS_OF_A_LIFE + 1)))).await;
        connections
    });
    let events = times / LISTENERS;
    counted(|| {
        runtime.block_on(async {
            let_happen(events / EVENTS_OF_A_LIFE);
            join_all(connections.iter_mut().map(|one| read_events(one, events))).await;
        });
    });
}

/// Reads until so many events came, each of which has one brace that opens.
async fn read_events(connection: &mut TcpStream, mut count: usize) {
    let mut buffer = vec![0; 64 << 10];
    while count > 0 {
        let read = connection.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the connection stands");
        count -= buffer[..read].iter().filter(|&&byte| byte == b'{').count();
    }
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
        until_quiet(&controller).await;
        let token = controller.login("admin", "benchmarks have no secrets").await.unwrap().token;
        let middle = controller.containers(true)[1_500].id.clone();
        let mut connection = load::Connection::open(served(controller)).await.unwrap();
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

/// Waits until nothing is recorded any more of what was done before.
async fn until_quiet(controller: &Controller) {
    let newest = async || controller.events(1).await.unwrap().first().map(|event| event.id);
    let mut last = newest().await;
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let now = newest().await;
        if now == last {
            return;
        }
        last = now;
    }
}

/// Where a server listens from now on.
fn served(controller: Controller) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, controller, ServeOptions::default(), CancellationToken::new()));
    address
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
        let spec =
            EngineSpec::new(format!("e{number}").parse().unwrap(), EngineAddress::Simulated(host(engines, number)));
        controller.add_engine(&Actor::system(), spec).await.unwrap();
    }
    controller
}

/// One of so many hosts.
fn host(of: usize, number: usize) -> SimulatedHost {
    let address = format!("sim://counted-{of}-{number}?cpus=64&memory=131072").parse();
    match address.unwrap() {
        EngineAddress::Simulated(host) => host,
        other => unreachable!("{other}"),
    }
}

/// Runs containers of one small spec; how many were started.
async fn run(controller: &Controller, count: usize) -> usize {
    let mut spec = ContainerSpec::new("httpd".parse().unwrap());
    spec.memory = Some(MemoryMb::new(16));
    spec.bind_ports = vec!["tcp/::80".parse().unwrap()];
    let request = RunRequest { spec, count, pull: false };
    controller.run(&Actor::system(), request).await.unwrap().finish().await.started.len()
}
