//! Applications: declaring them, changing them, and looking at them.

mod change;
pub(super) mod configs;
mod exec;
mod hosts;
mod images;
mod look;
mod orphans;
mod rebalance;
mod run;
mod secrets;

pub use look::PreviousOutput;

use std::sync::Arc;

use super::{Actor, Controller, ControllerError, Result};
use crate::apps::reconciler::App;
use crate::apps::secrets::Outlines;
use crate::apps::{Desired, RolloutReason};
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
