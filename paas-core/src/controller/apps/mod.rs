//! Applications: declaring them, changing them, and looking at them.

mod change;
pub(super) mod configs;
mod exec;
mod hosts;
mod images;
mod look;
mod rebalance;
mod run;
mod secrets;

pub use look::PreviousOutput;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Actor, Controller, ControllerError, Result};
use crate::apps::reconciler::App;
use crate::apps::secrets::Outlines;
use crate::apps::{Desired, RolloutReason, Slot};
use crate::cluster::ReplicaContainer;
use crate::engine::ReplicaLabels;
use crate::model::Invalid;
use crate::model::app::{AppName, AppSpec, ComponentName};
use crate::wire::app::{AppRequest, ApplyRequest};
pub use secrets::RollSecret;
use secrets::take_newest;

impl Controller {
    fn known_app(&self, name: &str) -> Result<Arc<App>> {
        self.shared.apps.known(name).filter(|app| app.shown().is_some()).ok_or_else(|| not_found(name))
    }

    /// What an application is to be, if it may be that.
    fn check_app(
        &self,
        actor: &Actor,
        name: &AppName,
        request: &AppRequest,
        current: Option<&AppSpec>,
        secrets: &Outlines,
    ) -> Result<AppSpec> {
        let mut request = request.clone();
        let given = request.app.get_or_insert_with(|| name.to_string());
        if given != name.as_str() {
            let message = format!("must be {name} as in the path, not {given:?}");
            return Err(Invalid::new("app", message).into());
        }
        let mut spec = request.normalise(current)?;
        take_newest(&mut spec, secrets)?;
        self.check_policy_of_app(actor, &spec)?;
        Ok(spec)
    }

    /// The first revision of an application of which containers are left, as of a store that was lost, has a number that none of
    /// them has: they are of another one.
    fn count_on_from_orphans(&self, desired: &mut Desired) {
        if current_of(desired).is_none() {
            let left = self.shared.cluster.replicas(&desired.app);
            desired.target = left.iter().map(|container| container.labels.revision).max().unwrap_or_default();
        }
    }

    /// Whether there is a container that is as an application says, of a slot that has none of its own by its record: of a store
    /// that is older than what runs.
    fn has_something_to_adopt(&self, desired: &Desired, spec: &AppSpec) -> bool {
        let containers = self.shared.cluster.replicas(&desired.app);
        let slot_of = |container: &ReplicaContainer| {
            let ReplicaLabels { component, slot, .. } = &container.labels;
            slot.map(|number| Slot { component: component.clone(), number })
        };
        let is_recorded = |container: &ReplicaContainer, slot: &Slot| {
            let replica = desired.replicas.get(slot);
            replica.is_some_and(|replica| replica.made.contains(&container.labels.generation))
                && !desired.is_of_another(&container.labels)
        };
        let filled: BTreeSet<Slot> = containers
            .iter()
            .filter_map(|container| slot_of(container).filter(|slot| is_recorded(container, slot)))
            .collect();
        containers.iter().any(|container| {
            let component = spec.components.get(&container.labels.component);
            let is_same = component.is_some_and(|component| component.fingerprint() == container.labels.fingerprint);
            is_same && slot_of(container).is_some_and(|slot| !filled.contains(&slot))
        })
    }

    /// Refuses what `actor` may not ask of a host, also where somebody else declared it.
    fn check_policy_of_app(&self, actor: &Actor, spec: &AppSpec) -> Result<()> {
        spec.components.values().try_for_each(|component| self.check_policy_of_run(actor, &component.container_spec()))
    }
}

fn not_found(name: &str) -> ControllerError {
    ControllerError::AppNotFound { name: name.to_owned() }
}

/// What is to run, if there is such an application.
fn current_of(desired: &Desired) -> Option<&Arc<AppSpec>> {
    desired.revisions.get(&desired.target)
}

fn reason_of(request: &ApplyRequest) -> RolloutReason {
    if request.adopt { RolloutReason::Adopt } else { RolloutReason::Apply }
}

/// The component that is meant: the one that is named, or the only one.
fn only_component(spec: &AppSpec, named: Option<&ComponentName>) -> Result<ComponentName> {
    let names = || spec.components.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match named {
        Some(name) if spec.components.contains_key(name) => Ok(name.clone()),
        Some(name) => Err(Invalid::new("component", format!("there is no {name}; there are {}", names())).into()),
        None => match spec.components.keys().collect::<Vec<_>>()[..] {
            [only] => Ok(only.clone()),
            _ => Err(Invalid::new("component", format!("say which: {}", names())).into()),
        },
    }
}

/// The program of a command.
fn program_of(command: &[String]) -> Result<&str> {
    let missing = || Invalid::new("command", "is empty; give a program and its arguments");
    Ok(command.first().map(String::as_str).filter(|program| !program.is_empty()).ok_or_else(missing)?)
}
