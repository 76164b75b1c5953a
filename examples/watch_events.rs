//! Watching what happens: every change by a user, and everything that the Docker hosts report.

use futures::StreamExt;
use paas_core::controller::{Actor, Controller, RunRequest};
use paas_core::events::Notice;
use paas_core::model::{ContainerSpec, EngineSpec, EventKind};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let controller = Controller::builder().build().await?;
    let mut notices = controller.live_events();

    let actor = Actor::admin("ann".parse()?);
    controller.add_engine(&actor, EngineSpec::new("one".parse()?, "sim://watched".parse()?)).await?;
    let request = RunRequest { spec: ContainerSpec::new("httpd".parse()?), count: 1, pull: false };
    let started = controller.run(&actor, request).await?.finish().await.started;
    for container in &started {
        controller.destroy(&actor, container.id.as_str()).await?;
    }

    while let Some(notice) = notices.next().await {
        match notice {
            Notice::Event(event) => {
                let who = event.user.as_ref().map_or("-", |user| user.as_str());
                println!("{:<18} {:<4} {}", event.kind, who, event.message);
                if event.kind == EventKind::DestroyContainer {
                    break;
                }
            }
            Notice::Lagged(count) => println!("too slow: {count} events were missed"),
        }
    }
    controller.shutdown().await;
    Ok(())
}
