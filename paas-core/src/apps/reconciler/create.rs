//! What a replica's container is made of.

use std::sync::Arc;

use jiff::Timestamp;

use super::probe::published_for_check;
use super::secrets::Fault;
use super::{App, Apps};
use crate::apps::convert::{network_name, volume_name};
use crate::apps::documents::Beside;
use crate::apps::{Desired, Instance, Slot};
use crate::engine::{AppNetwork, EngineError, EngineErrorKind, ReplicaLabels};
use crate::executor::{Executor, NewReplica};
use crate::model::app::{ComponentName, ComponentSpec};
use crate::model::{ContainerSpec, EngineId};
use crate::store::Result;

impl Apps {
    /// Makes the container of a replica and starts it.
    pub(super) async fn create(
        &self,
        executor: &Executor,
        app: &App,
        desired: &Desired,
        replica: &Instance,
        revision: u64,
    ) -> Result<(), Fault> {
        let Instance { slot, generation, engine } = replica;
        let component = component(desired, revision, &slot.component)?;
        let mut spec = container_spec(executor, component, engine);
        spec.volumes = volumes(app, component, slot);
        spec.volumes.extend(component.file_folders().into_iter().map(str::to_owned));
        let opened = self.open_secrets(&app.name, component).await?;
        let volumes = component.pinned_volumes().map(|name| volume_name(&app.name, slot, name)).collect();
        let new = NewReplica {
            name: replica.container_name(&app.name),
            labels: ReplicaLabels {
                app: app.name.clone(),
                declared: desired.declared,
                component: slot.component.clone(),
                slot: Some(slot.number),
                generation: *generation,
                revision,
                fingerprint: component.fingerprint(),
                image_id: component.image_id.clone(),
                run: None,
            },
            network: network(app, &spec, Some(&slot.component)),
            spec,
            hidden_environment: opened.environment(component),
            files: opened.files().to_vec(),
            volumes,
        };
        let made = executor.make_replica(engine, &new).await;
        made.map(drop).map_err(|error| opened.hide_in(error).into())
    }

    /// Writes down that a container could not be made.
    pub(super) async fn note_failure(
        &self,
        app: &Arc<App>,
        replica: &Instance,
        error: &EngineError,
        of_host: bool,
    ) -> Result<()> {
        let Instance { slot, generation, engine } = replica;
        let note = |desired: &mut Desired, now| {
            desired.note_failure(slot, *generation, engine, error.to_string(), of_host, now);
        };
        self.note(app, note).await
    }

    /// Writes down that a host could not get an image.
    pub(super) async fn note_failed_fetch(
        &self,
        app: &Arc<App>,
        slot: &Slot,
        revision: u64,
        engine: &EngineId,
        error: &EngineError,
        of_host: bool,
    ) -> Result<()> {
        let note = |desired: &mut Desired, now| {
            desired.note_failed_fetch(slot, revision, engine, error.to_string(), of_host, now);
        };
        self.note(app, note).await
    }

    /// Writes down what became of something that was begun.
    pub(super) async fn note(&self, app: &Arc<App>, note: impl FnOnce(&mut Desired, Timestamp)) -> Result<()> {
        let held = self.documents(app).await?;
        let mut desired = Desired::clone(held.desired());
        let now = self.now();
        note(&mut desired, now);
        let change = held.documents().change_to(desired, &Beside::default(), now)?;
        held.commit(change, Vec::new()).await
    }
}

/// What a component is in a revision.
pub(super) fn component<'a>(
    desired: &'a Desired,
    revision: u64,
    name: &ComponentName,
) -> Result<&'a ComponentSpec, EngineError> {
    desired.component(revision, name).ok_or_else(|| {
        let detail = format!("revision {revision} has no component {name}");
        EngineError::new(EngineErrorKind::Refused, "make the container", detail)
    })
}

/// What Docker is asked for on an engine, with a port for the check of health where that needs one.
pub(super) fn container_spec(executor: &Executor, component: &ComponentSpec, engine: &EngineId) -> ContainerSpec {
    let mut spec = component.container_spec();
    let address = executor.cluster.engine_spec(engine).map(|engine| engine.addr.clone());
    spec.bind_ports.extend(address.and_then(|address| published_for_check(component, &address)));
    spec
}

/// The network of the application, in which other components find one by its name.
pub(super) fn network(app: &App, spec: &ContainerSpec, alias: Option<&ComponentName>) -> Option<AppNetwork> {
    let aliases = alias.map(ToString::to_string).into_iter().collect();
    (spec.network_mode == "bridge").then(|| AppNetwork { name: network_name(&app.name), aliases })
}

fn volumes(app: &App, component: &ComponentSpec, slot: &Slot) -> Vec<String> {
    let mount = |(target, volume): (&String, &crate::model::app::VolumeMount)| {
        let name = if volume.pins() { volume_name(&app.name, slot, &volume.source) } else { volume.source.clone() };
        volume.mount(&name, target)
    };
    component.volumes.iter().map(mount).collect()
}
