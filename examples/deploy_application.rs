//! Declares an application, waits until it runs, and has a container of it come back that somebody removed.

use std::time::Duration;

use paas_core::controller::{Actor, Controller};
use paas_core::model::EngineSpec;
use paas_core::wire::app::{AppState, ApplyRequest, read_files};

const FILE: &str = "app = 'shop'\n[component.web]\nimage = 'httpd'\nreplicas = 3\nupdate = { monitor = '0s' }\n";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let controller = Controller::builder().build().await?;
    for host in ["one", "two"] {
        let address = format!("sim://{host}?cpus=4&memory=8192").parse()?;
        controller.add_engine(&Actor::system(), EngineSpec::new(host.parse()?, address)).await?;
    }
    let request = ApplyRequest { app: read_files(&[("paas.toml", FILE)], |_| None)?, ..ApplyRequest::default() };
    println!("revision {}", controller.apply_app(&Actor::system(), "shop", request).await?.revision);
    until_running(&controller).await?;
    let (name, container) = controller.app_containers("shop", None)?.remove(0);
    controller.destroy(&Actor::system(), container.id.as_str()).await?;
    println!("{name} is removed, and comes back");
    until_running(&controller).await
}

async fn until_running(controller: &Controller) -> anyhow::Result<()> {
    while controller.app("shop")?.summary.state != AppState::Running {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("{} of 3 run", controller.app("shop")?.summary.ready);
    Ok(())
}
