//! Tests of the translations, of hosts that fail, and of a real host.

mod apps;
mod broken;
mod fake;
mod lifecycle;
mod making;
mod odd_daemons;
mod output;
mod pulling;
mod real;
mod streams;
mod translation;
mod versions;

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;

use super::Docker;
use crate::engine::{CreateRequest, DockerEngine, ObservedContainer};
use crate::model::{ContainerId, ContainerSpec, EngineAddress, LaunchId};
use crate::testing::docker;

/// A real host, and a prefix for the names of what a test makes there.
struct Host {
    engine: Docker,
    raw: bollard::Docker,
    address: EngineAddress,
    prefix: String,
}

impl Host {
    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn request(&self, name: &str, spec: ContainerSpec) -> CreateRequest {
        CreateRequest {
            name: self.name(name),
            spec,
            links: Vec::new(),
            platform: "test".into(),
            engine: "here".parse().unwrap(),
            launch: LaunchId::new(),
            user: "somebody".into(),
            mark: None,
            log_rotation: None,
            replica: None,
            network: None,
            hidden_environment: Default::default(),
        }
    }

    async fn create(&self, name: &str, spec: ContainerSpec) -> ContainerId {
        self.engine.create(&self.request(name, spec)).await.unwrap().id
    }

    async fn run(&self, name: &str, spec: ContainerSpec) -> ContainerId {
        let id = self.create(name, spec).await;
        self.engine.start(&id).await.unwrap();
        id
    }

    async fn listed(&self, id: &ContainerId) -> Option<ObservedContainer> {
        self.engine.list().await.unwrap().into_iter().find(|container| container.id == *id)
    }

    async fn clean_up(&self) {
        for container in self.engine.list().await.unwrap() {
            if container.name.trim_start_matches('/').starts_with(&self.prefix) {
                let _ = self.engine.remove(&container.id).await;
            }
        }
    }
}

/// A container of the test image.
fn web() -> ContainerSpec {
    let mut spec = ContainerSpec::new(docker::WEB_IMAGE.parse().unwrap());
    spec.memory = Some(crate::model::MemoryMb::new(32));
    spec
}

/// A container that runs a shell script.
fn shell(script: &str) -> ContainerSpec {
    ContainerSpec { args: ["/bin/sh", "-c", script].map(str::to_owned).into(), ..web() }
}

/// Runs a test on a real host, if there is one, and removes what it made, even when it fails.
async fn on_real_host(test: &str, body: impl AsyncFnOnce(&Host)) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let Some(address) = docker::daemon(test).await else { return };
    docker::web_image(&address).await;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let host = Host {
        engine: Docker::new(&address, None).unwrap(),
        raw: docker::client(&address).await,
        prefix: format!("paas-core-test-{}-{number}-", std::process::id()),
        address,
    };
    let outcome = AssertUnwindSafe(body(&host)).catch_unwind().await;
    host.clean_up().await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}
