//! A scheduler of one's own: always the engine with the shortest name that has room.
//!
//! The filters are the library's, so labels, ports and room are respected; only the choice is ours. It is held against the
//! conformance suite first, and then places the containers of a platform.
//!
//! The suite comes with the feature `testing` of `paas-core`; in a program of your own it stands in a test.

use std::sync::Arc;

use paas_core::controller::{Actor, Controller, RunRequest};
use paas_core::model::{ContainerSpec, EngineId, EngineSpec};
use paas_core::scheduler::{PlacementRequest, Refusal, Scheduler, Snapshot, judge};

/// Prefers short names.
#[derive(Debug)]
struct ShortestName;

impl Scheduler for ShortestName {
    fn place(&self, snapshot: &Snapshot, request: &PlacementRequest) -> Result<Vec<EngineId>, Refusal> {
        let mut snapshot = snapshot.clone();
        let mut placed = Vec::new();
        for _ in 0..request.count {
            let fitting = snapshot.engines().filter(|engine| judge(engine, request).fits());
            let Some(best) = fitting.map(|engine| engine.id.clone()).min_by_key(|id| (id.as_str().len(), id.clone()))
            else {
                return Err(Refusal::explain(&snapshot, request, placed.len()));
            };
            snapshot.reserve(&best, request);
            placed.push(best);
        }
        Ok(placed)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    paas_core::testing::scheduler::conforms(&ShortestName);
    println!("does what a scheduler must do");

    let controller = Controller::builder().scheduler(Arc::new(ShortestName)).build().await?;
    for id in ["a-long-name", "short", "medium-name"] {
        let address = format!("sim://own-{id}?cpus=2&memory=600").parse()?;
        controller.add_engine(&Actor::system(), EngineSpec::new(id.parse()?, address)).await?;
    }
    let request = RunRequest { spec: ContainerSpec::new("httpd".parse()?), count: 3, pull: false };
    let started = controller.run(&Actor::system(), request).await?.finish().await.started;
    for container in &started {
        println!("{} on {}", container.id.short(), container.engine.id);
    }
    let on_short = started.iter().filter(|container| container.engine.id.as_str() == "short").count();
    anyhow::ensure!(on_short == 2, "two containers fit on the engine with the shortest name, and {on_short} are there");
    controller.shutdown().await;
    Ok(())
}
