//! Running containers: what the controller adds to what the engines take.
//!
//! The baseline in the same run is the same engines, asked directly to create, start and inspect as many containers, with
//! the same number at once per engine.
//!
//! Run with `cargo bench --bench launch`.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use paas_core::controller::{Actor, Controller, RunRequest, Settings};
use paas_core::engine::{CreateRequest, DockerEngine, connect};
use paas_core::model::{ContainerSpec, EngineSpec, LaunchId};
use support::{Figure, median, ms, rounds};

const ENGINES: usize = 10;
const AT_ONCE_PER_ENGINE: usize = 4;
const LATENCY_MS: u64 = 5;

fn spec() -> ContainerSpec {
    let mut spec = ContainerSpec::new("httpd".parse().unwrap());
    spec.bind_ports = vec!["tcp/::80".parse().unwrap()];
    spec
}

fn engines(name: &str) -> Vec<EngineSpec> {
    let address =
        |i| format!("sim://{name}-{i}-{}?cpus=1000&memory=1000000&latency_ms={LATENCY_MS}", uuid::Uuid::now_v7());
    (0..ENGINES).map(|i| EngineSpec::new(format!("e{i}").parse().unwrap(), address(i).parse().unwrap())).collect()
}

async fn directly(engines: &[Arc<dyn DockerEngine>], count: usize) {
    let per_engine = futures::stream::iter(engines.iter().cloned().enumerate()).map(|(i, engine)| async move {
        let mine = (0..count).filter(|n| n % ENGINES == i);
        futures::stream::iter(mine)
            .for_each_concurrent(AT_ONCE_PER_ENGINE, |_| async {
                let launch = LaunchId::new();
                let request = CreateRequest {
                    name: format!("direct-{launch}"),
                    spec: spec(),
                    links: Vec::new(),
                    platform: "bench".into(),
                    engine: "bench".parse().unwrap(),
                    launch,
                    user: String::new(),
                    mark: None,
                    log_rotation: None,
                    replica: None,
                    network: None,
                    hidden_environment: Default::default(),
                };
                let id = engine.create(&request).await.unwrap().id;
                engine.start(&id).await.unwrap();
                engine.inspect(&id).await.unwrap();
            })
            .await;
    });
    per_engine.for_each_concurrent(ENGINES, |engine| engine).await;
}

/// How long the engines take when they are asked by nobody but us.
async fn by_engines(count: usize) -> Duration {
    let engines: Vec<_> = engines("direct").iter().map(|spec| connect(spec).unwrap()).collect();
    let begun = Instant::now();
    directly(&engines, count).await;
    begun.elapsed()
}

/// How long a run takes.
async fn by_controller(count: usize) -> Duration {
    let settings = Settings { starts_per_engine: AT_ONCE_PER_ENGINE, ..Settings::default() };
    let controller = Controller::builder().settings(settings).build().await.unwrap();
    for engine in engines("controller") {
        controller.add_engine(&Actor::system(), engine).await.unwrap();
    }
    let begun = Instant::now();
    let request = RunRequest { spec: spec(), count, pull: false };
    let summary = controller.run(&Actor::system(), request).await.unwrap().finish().await;
    let took = begun.elapsed();
    assert_eq!(summary.started.len(), count);
    controller.shutdown().await;
    took
}

#[tokio::main]
async fn main() {
    for count in [30, 300] {
        let (mut ours, mut directly) = (Vec::new(), Vec::new());
        for _ in 0..rounds(20, 5) {
            directly.push(ms(by_engines(count).await));
            ours.push(ms(by_controller(count).await));
        }
        let what = format!("run {count} on {ENGINES} simulated engines that take {LATENCY_MS} ms");
        Figure::new(what, median(ours), "ms").against(median(directly)).print();
    }
}
