//! Containers that run one command of a component and are no replicas: what the component has, without its ports and without the
//! volumes of its slots.

use super::App;
use super::create::{container_spec, network};
use super::secrets::Opened;
use crate::apps::Desired;
use crate::engine::{EngineError, ReplicaLabels};
use crate::executor::{Executor, NewReplica};
use crate::model::app::{ComponentName, ComponentSpec};
use crate::model::{ContainerId, ContainerSpec, EngineId, Logging, RestartPolicy};
use crate::scheduler::{PlacementRequest, Refusal};

/// A command of a component that runs in a container of its own.
pub(super) struct Once<'a> {
    pub(super) component: &'a ComponentName,
    pub(super) spec: &'a ComponentSpec,
    pub(super) revision: u64,
    pub(super) command: Vec<String>,
    /// Docker's name of the container, which no other of the application ever has.
    pub(super) name: String,
    /// The number of one that somebody asked for; absent for the one that goes before the component is replaced.
    pub(super) run: Option<u32>,
}

/// Chooses a host for a command of a component, beside what the component uses: `only` that one, where it is given.
pub(super) async fn place(
    executor: &Executor,
    desired: &Desired,
    component: &ComponentSpec,
    only: Option<EngineId>,
) -> Result<EngineId, Refusal> {
    let spec = reduced(component, component.container_spec());
    let mut request = PlacementRequest { only, ..PlacementRequest::new(&spec, 1) };
    if let Some(hosts) = desired.hosts_of_used(component) {
        request.except.extend(executor.cluster.reaches().into_keys().filter(|engine| !hosts.contains(engine)));
    }
    // The room is reserved again when the container is made, by its own launch.
    let places = executor.cluster.place_anywhere(request).await?;
    let none = || Refusal { asked: 1, possible: 0, engines: 0, reasons: vec!["no host was chosen".to_owned()] };
    places.first().map(|place| place.engine().clone()).ok_or_else(none)
}

/// Makes the container on a host and starts it.
pub(super) async fn make(
    executor: &Executor,
    app: &App,
    engine: &EngineId,
    once: Once<'_>,
    opened: &Opened,
) -> Result<ContainerId, EngineError> {
    let Once { component, spec: declared, revision, command, name, run } = once;
    let mut spec = reduced(declared, container_spec(executor, declared, engine));
    (spec.args, spec.health, spec.restart_policy) = (command, None, RestartPolicy::No);
    if run.is_some() {
        // Somebody reads all of it, perhaps more slowly than it is written; it goes with the container.
        let options = [("max-size".to_owned(), "-1".to_owned())].into();
        spec.logging = Some(Logging { driver: Some("json-file".to_owned()), options });
    }
    let new = NewReplica {
        name,
        labels: ReplicaLabels {
            app: app.name.clone(),
            component: component.clone(),
            slot: None,
            generation: revision,
            revision,
            fingerprint: String::new(),
            run,
        },
        network: network(app, &spec, None),
        spec,
        hidden_environment: opened.environment(declared),
        files: opened.files().to_vec(),
        volumes: Vec::new(),
    };
    executor.make_replica(engine, &new).await.map_err(|error| opened.hide_in(error))
}

/// Without what only one container at a time can have.
fn reduced(component: &ComponentSpec, mut spec: ContainerSpec) -> ContainerSpec {
    spec.bind_ports.clear();
    spec.volumes = component.container_spec().volumes;
    spec.volumes.retain(|volume| volume.starts_with('/'));
    spec.volumes.extend(component.file_folders().into_iter().map(str::to_owned));
    spec
}
