//! The platform inside another program, in ten lines.
//!
//! Memory store, embedded registry, spread scheduler, and one simulated engine: runs anywhere, without Docker.

use paas_core::controller::{Actor, Controller, RunRequest};
use paas_core::model::{ContainerSpec, EngineSpec};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let controller = Controller::builder().build().await?;
    let engine = EngineSpec::new("one".parse()?, "sim://one?cpus=4&memory=8192".parse()?);
    controller.add_engine(&Actor::system(), engine).await?;

    let request = RunRequest { spec: ContainerSpec::new("httpd".parse()?), count: 3, pull: false };
    let summary = controller.run(&Actor::system(), request).await?.finish().await;
    for container in &summary.started {
        println!("{} {} on {}", container.id.short(), container.state, container.engine.id);
    }
    anyhow::ensure!(summary.is_complete(), "some containers were not started: {:?}", summary.failed);
    controller.shutdown().await;
    Ok(())
}
