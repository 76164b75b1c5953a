//! Containers that run one command of a component and are no replicas: what the component has, without its ports and without the
//! volumes of its slots.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::create::{container_spec, network};
use super::secrets::Opened;
use super::{App, Apps};
use crate::apps::Desired;
use crate::apps::desired::hosts_of_used;
use crate::engine::ReplicaLabels;
use crate::executor::{Executor, NewReplica};
use crate::model::app::{ComponentName, ComponentSpec};
use crate::model::{ContainerSpec, EngineId, RestartPolicy};
use crate::scheduler::{PlacementRequest, Refusal};

/// A command of a component that runs in a container of its own.
pub(super) struct Once<'a> {
    pub(super) component: &'a ComponentName,
    /// When its application was declared.
    pub(super) declared: Option<Timestamp>,
    pub(super) spec: &'a ComponentSpec,
    pub(super) revision: u64,
    pub(super) command: Vec<String>,
    /// Docker's name of the container, which no other of the application ever has.
    pub(super) name: String,
    /// The number of one that somebody asked for; absent for the one that goes before the component is replaced.
    pub(super) run: Option<u32>,
}

/// Where the container of a command may be.
#[derive(Clone, Debug, Default)]
pub(super) struct Where {
    /// The one host that will do, where there is only one.
    pub(super) only: Option<EngineId>,
    /// Hosts that are asked only where no other takes it.
    pub(super) avoid: BTreeSet<EngineId>,
}

impl Apps {
    /// Chooses a host for a command of a component: beside what the component uses, and one that has its image where no registry
    /// does.
    pub(super) async fn place_once(
        &self,
        executor: &Executor,
        app: &App,
        desired: &Desired,
        component: &ComponentSpec,
        place: Where,
    ) -> Result<EngineId, Refusal> {
        let Where { only, avoid } = place;
        let spec = reduced(component, component.container_spec());
        let mut request = PlacementRequest { only, ..PlacementRequest::new(&spec, 1) };
        let scarce = app.scarce_images(self.now()).remove(&component.exact_image());
        let has_image = scarce.map(|scarce| scarce.hosts);
        for hosts in hosts_of_used(&desired.placed(), component).into_iter().chain(has_image) {
            request.except.extend(executor.cluster.reaches().into_keys().filter(|engine| !hosts.contains(engine)));
        }
        let mut elsewhere = request.clone();
        elsewhere.except.extend(avoid.iter().cloned());
        // The room is reserved again when the container is made, by its own launch.
        let places = match executor.cluster.place_anywhere(elsewhere).await {
            Err(_) if !avoid.is_empty() => executor.cluster.place_anywhere(request).await?,
            places => places?,
        };
        let none = || Refusal { asked: 1, possible: 0, engines: 0, reasons: vec!["no host was chosen".to_owned()] };
        places.first().map(|place| place.engine().clone()).ok_or_else(none)
    }
}

/// The container, as it is to be made on a host.
pub(super) fn container(
    executor: &Executor,
    app: &App,
    engine: &EngineId,
    once: Once<'_>,
    opened: &Opened,
) -> NewReplica {
    let Once { component, declared, spec: of, revision, command, name, run } = once;
    let mut spec = reduced(of, container_spec(executor, of, engine));
    (spec.args, spec.health, spec.restart_policy) = (command, None, RestartPolicy::No);
    NewReplica {
        name,
        labels: ReplicaLabels {
            app: app.name.clone(),
            declared,
            component: component.clone(),
            slot: None,
            generation: revision,
            revision,
            fingerprint: String::new(),
            image_id: of.image_id.clone(),
            run,
        },
        network: network(app, &spec, None),
        spec,
        hidden_environment: opened.environment(of),
        files: opened.files().to_vec(),
        volumes: Vec::new(),
    }
}

/// Without what only one container at a time can have.
fn reduced(component: &ComponentSpec, mut spec: ContainerSpec) -> ContainerSpec {
    spec.bind_ports.clear();
    spec.volumes = component.container_spec().volumes;
    spec.volumes.retain(|volume| volume.starts_with('/'));
    spec.volumes.extend(component.file_folders().into_iter().map(str::to_owned));
    spec
}
