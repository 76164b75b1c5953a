//! Applications: what two thousand replicas cost a server that has nothing to do, and ten thousand, against as many containers of
//! `run`, and how long one is planned.
//!
//! Run with `cargo bench --bench apps`; the short form leaves the ten thousand out. Hosts are simulated within the server. A kilobyte is 1000 bytes.

mod support;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use jiff::Timestamp;
use paas_core::apps::{Action, Desired, Goal, Observed, ObservedContainer, Reach, plan};
use paas_core::model::{ContainerState, Cpus, EngineId, MemoryMb, Resources};
use paas_core::scheduler::{EngineState, Snapshot, Spread};
use paas_core::wire::app::read_files;
use serde_json::json;

use support::process::{cpu_seconds, resident_mb};
use support::server::{Server, simulated};
use support::{Figure, is_short, rounds};

/// How many hosts there are, and how many applications of one component each.
#[derive(Clone, Copy)]
struct Size {
    engines: usize,
    apps: usize,
}

const USUAL: Size = Size { engines: 20, apps: 200 };
const LARGE: Size = Size { engines: 1000, apps: 1000 };
const REPLICAS: usize = 10;

impl Size {
    fn containers(self) -> usize {
        self.apps * REPLICAS
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    planning()?;
    at_rest(USUAL).await?;
    if !is_short() {
        at_rest(LARGE).await?;
    }
    Ok(())
}

async fn at_rest(size: Size) -> Result<()> {
    let (run_cpu, run_mb) = idle(size, async |server, token| server.run(token, size.containers()).await).await?;
    let (app_cpu, app_mb) = idle(size, async |server, token| deploy(size, server, token).await).await?;
    let of = format!("{} applications of {REPLICAS} on {}", size.apps, size.engines);
    Figure::new(format!("idle CPU, {of}, more than as many of `run`"), app_cpu - run_cpu, "% of a core")
        .at_most(1.0)
        .print();
    let each = (app_mb - run_mb) * 1e3 / size.containers() as f64;
    Figure::new(format!("memory of one replica, {of}, more than of one of `run`"), each, "kB").at_most(2.0).print();
    Ok(())
}

/// What a server with that many containers takes while nobody asks it anything: of a core in percent, and of memory in megabytes.
async fn idle(size: Size, start: impl AsyncFnOnce(&Server, &str) -> Result<()>) -> Result<(f64, f64)> {
    let server = Server::start(&simulated(size.engines)).await?;
    let token = server.token().await?;
    start(&server, &token).await?;
    let begun = Instant::now();
    while server.read(&token, "/api/cluster/info").await?["container_count"] != size.containers() {
        ensure!(begun.elapsed() < Duration::from_secs(120), "the containers are not there in two minutes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The gates of what was started last, and the drain of what was replaced.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let watched_for = Duration::from_secs(rounds(60, 20));
    let before = cpu_seconds(&server.pid());
    tokio::time::sleep(watched_for).await;
    let share = (cpu_seconds(&server.pid()) - before) / watched_for.as_secs_f64() * 100.0;
    Ok((share, resident_mb(&server.pid())))
}

async fn deploy(size: Size, server: &Server, token: &str) -> Result<()> {
    let begun = Instant::now();
    for number in 0..size.apps {
        let component = json!({
            "image": "httpd", "replicas": REPLICAS, "cpus": 0.02, "memory": 16, "port": 80,
            "env": {"GREETING": "hello", "LANG": "C"}, "update": {"monitor": "0s"},
        });
        server
            .put(token, &format!("/api/apps/app-{number}"), json!({"app": {"component": {"web": component}}}))
            .await?;
    }
    let each = begun.elapsed().as_secs_f64() * 1e3 / size.apps as f64;
    Figure::new(format!("applying one of {} applications", size.apps), each, "ms").print();
    Ok(())
}

/// Ten replicas on twenty engines, at rest; and then with one engine silent, as each of two hundred applications sees it.
fn planning() -> Result<()> {
    let text = format!("app = 'shop'\n[component.web]\nimage = 'httpd'\nreplicas = {REPLICAS}\nport = 80\n");
    let spec = read_files(&[("paas.toml", &text)], |_| None)?.normalise(None)?;
    let now = Timestamp::now();
    let (mut desired, mut observed, snapshot) = (Desired::first(spec, now), Observed::default(), engines()?);
    observed.engines = snapshot.engines().map(|engine| (engine.id.clone(), Reach::Up)).collect();
    let scheduler = Spread::default();
    let time = |desired: &Desired, observed: &Observed| {
        const TIMES: u32 = 1000;
        let begun = Instant::now();
        for _ in 0..TIMES {
            black_box(plan(black_box(desired), observed, &snapshot, &scheduler, now));
        }
        begun.elapsed().as_secs_f64() * 1e3 / f64::from(TIMES)
    };
    Figure::new("planning a first apply of 10 replicas on 20 engines", time(&desired, &observed), "ms")
        .at_most(1.0)
        .print();
    for step in plan(&desired, &observed, &snapshot, &scheduler, now) {
        desired.record(&step, now);
        if let Action::Create { replica, revision, .. } = step.action {
            observed.containers.push(ObservedContainer {
                name: replica.container_name(&desired.app),
                engine: replica.engine,
                slot: Some(replica.slot),
                generation: replica.generation,
                of_another: false,
                revision,
                state: ContainerState::Running,
                since: now,
                created: now,
                health: paas_core::apps::Health::Healthy { since: now - Duration::from_secs(60) },
                exit_code: None,
                exits: Vec::new(),
                sizes: None,
                fingerprint: None,
                complaint: Default::default(),
                network_lost: false,
            });
        }
    }
    desired.goal = Goal::Run;
    for step in plan(&desired, &observed, &snapshot, &scheduler, now) {
        desired.record(&step, now);
    }
    Figure::new("planning it where nothing is to be done", time(&desired, &observed), "ms").at_most(1.0).print();
    let lost: Option<EngineId> = observed.containers.first().map(|container| container.engine.clone());
    let since = now - Duration::from_secs(10);
    observed.engines.extend(lost.map(|lost| (lost, Reach::Silent { since })));
    let all = time(&desired, &observed) * USUAL.apps as f64 / 1e3;
    Figure::new("planning 200 applications of which each lost a replica", all, "s").at_most(1.0).print();
    Ok(())
}

fn engines() -> Result<Snapshot> {
    let total = Resources { cpus: Cpus::from_milli(16_000), memory: MemoryMb::new(32_768) };
    let ids: BTreeMap<usize, EngineId> =
        (0..USUAL.engines).map(|number| Ok((number, format!("e{number:02}").parse()?))).collect::<Result<_>>()?;
    let mut snapshot = Snapshot::default();
    ids.into_values().for_each(|id| snapshot.insert(EngineState::new(id, total)));
    Ok(snapshot)
}
