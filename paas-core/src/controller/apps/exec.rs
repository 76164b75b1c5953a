//! Commands in the containers of replicas.

use std::cmp::Reverse;

use futures::stream::BoxStream;

use super::{current_of, not_found, only_component, program_of};
use crate::apps::{Backend, Slot};
use crate::cluster::ReplicaContainer;
use crate::controller::{Actor, Controller, ControllerError, Result};
use crate::engine::{EngineError, ExecChunk};
use crate::model::{ContainerId, ContainerState, EngineId, EngineStatus, Event, EventKind, HealthStatus};
use crate::wire::app::ExecRequest;

impl Controller {
    /// Runs a command in the container of a replica, without a terminal and without input, and gives what comes of it. Answers
    /// when the command has been started and its event is kept, which names the program and nothing of its arguments: those may
    /// be secrets.
    ///
    /// Dropping the stream does not end the command: Docker lets it go on in its container.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`]; [`ControllerError::Invalid`] for a component that there is not;
    /// [`ControllerError::NotAllowed`] where the container has what `actor` may not ask of a host;
    /// [`ControllerError::Conflict`] where no replica is ready, or the one that is named has no container;
    /// [`ControllerError::Engine`].
    pub async fn exec_app(
        &self,
        actor: &Actor,
        name: &str,
        request: ExecRequest,
    ) -> Result<BoxStream<'static, Result<ExecChunk, EngineError>>> {
        self.check_open()?;
        let program = program_of(&request.command)?.to_owned();
        let (replica, container) = self.replica_for(actor, name, &request)?;
        let name = name.to_owned();
        // Whoever hangs up in between leaves a command that was started, and so one with an event.
        self.owned(actor, move |controller, actor| async move {
            let target = controller.target(controller.resolve(container.as_str())?)?;
            let started = target.connection.exec(&target.container.id, &request.command);
            let output = controller.shared.cluster.while_up(&target.engine, started).await;
            let output = output.map_err(|source| target.failed(source))?;
            let mut event =
                Event::new(EventKind::ExecApp, format!("{name}: runs {program:?} in {replica}")).tagged("app");
            event.name = Some(name);
            controller.record(actor.sign(event.on(&target.engine).of(&container))).await?;
            Ok(controller.shared.cluster.each_while_up(&target.engine, output))
        })
        .await
    }

    /// The container of the replica that is named, or of the first one that is ready, with the name of the replica.
    fn replica_for(&self, actor: &Actor, name: &str, request: &ExecRequest) -> Result<(String, ContainerId)> {
        let app = self.known_app(name)?;
        let documents = app.shown().ok_or_else(|| not_found(name))?;
        let desired = documents.desired();
        let spec = current_of(desired).ok_or_else(|| not_found(name))?;
        let component = only_component(spec, request.component.as_ref())?;
        let serves = |found: &ReplicaContainer| {
            let slot = Slot { component: component.clone(), number: found.labels.slot.unwrap_or_default() };
            let backends = desired.replicas.get(&slot).map(|replica| &replica.backends);
            let serves =
                backends.and_then(|backends| backends.get(&found.labels.generation)) == Some(&Backend::Serving);
            serves && found.state == ContainerState::Running
        };
        let mut found = self.shared.cluster.replicas(&app.name);
        found.retain(|found| found.labels.component == component && found.labels.slot.is_some());
        // Of one slot that which takes traffic comes first, then the newest.
        found.sort_by_key(|found| (found.labels.slot, !serves(found), Reverse(found.labels.generation)));
        let chosen = match request.slot {
            Some(slot) => found.iter().find(|found| found.labels.slot == Some(slot)),
            None => found.iter().find(|found| serves(found) && self.is_up(&found.engine) && !is_unhealthy(found)),
        };
        let chosen = chosen.ok_or_else(|| {
            let reason = match request.slot {
                Some(slot) => {
                    format!("{name}/{component}.{slot} has no container; 'app show {name}' shows what there is")
                }
                None => format!(
                    "no replica of {name}/{component} is ready: 'app show {name}' says why; one that runs all the same \
                     can be named, as in {name}/{component}.1"
                ),
            };
            ControllerError::Conflict { reason }
        })?;
        // A shell in a container is worth what the container may do, whoever declared it.
        let own = desired.component_of(&chosen.labels).or_else(|| spec.components.get(&component));
        own.map_or(Ok(()), |own| self.check_policy_of_run(actor, &own.container_spec()))?;
        Ok((format!("{component}.{}", chosen.labels.slot.unwrap_or_default()), chosen.id.clone()))
    }

    fn is_up(&self, engine: &EngineId) -> bool {
        self.shared.cluster.status(engine) == Some(EngineStatus::Up)
    }
}

fn is_unhealthy(found: &ReplicaContainer) -> bool {
    found.run.health == Some(HealthStatus::Unhealthy)
}
