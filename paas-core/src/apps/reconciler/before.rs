//! The command that runs once before a component is replaced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::create::component;
use super::once::{self, Once, Where};
use super::secrets::Fault;
use super::{App, Apps, Target};
use crate::apps::{Action, BeforeState, Cause, Desired, Goal, Step, Subject};
use crate::cluster::{EngineReach, ReplicaContainer};
use crate::engine::{EngineError, EngineErrorKind};
use crate::executor::Executor;
use crate::model::app::{BeforeCommand, ComponentName};
use crate::model::{ContainerState, EngineId};

/// When a container is removed again that could not be removed.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a host that may have the command is waited for. Then nobody knows how the command ended.
const LOST: Duration = Duration::from_secs(60);
/// How a command ended of which nobody says how it did.
const ENDED_SOMEHOW: i64 = 126;

impl Apps {
    /// Notes how commands ended that were running, and gives the steps for those of which nothing is left: each is run at least
    /// once.
    pub(super) fn steps_of_before(&self, executor: &Executor, app: &App, desired: &mut Desired) -> Vec<Step> {
        let now = self.now();
        let target = desired.target;
        let mut steps = Vec::new();
        // One that is stopped or goes runs no commands; and by a store that may be an old one nothing is done.
        if desired.goal != Goal::Run || desired.observe_only {
            return steps;
        }
        let Some(rollout) = desired.rollout.clone() else { return steps };
        let states = rollout.before.clone();
        // In this order: what is on a host that answered already is known.
        let (reaches, commands) = (executor.cluster.reaches(), executor.cluster.replicas(&app.name));
        for name in states.into_iter().filter_map(|(name, state)| (state == BeforeState::Running).then_some(name)) {
            if app.in_flight.lock().contains_key(&Target::Before(name.clone())) {
                continue;
            }
            let Some(before) = desired.component(target, &name).and_then(|component| component.before.clone()) else {
                continue;
            };
            let is_it = |container: &&ReplicaContainer| is_command(container, &name, desired);
            let on_host = |container: &&ReplicaContainer| reaches.get(&container.engine) == Some(&EngineReach::Up);
            // One that was given up with its host may be back, beside the one that is run in its place.
            let asked = rollout.before_on.get(&name);
            let counts = |container: &&ReplicaContainer| asked.is_none_or(|engine| *engine == container.engine);
            match commands.iter().filter(is_it).filter(counts).find(on_host) {
                // Made, and the server ended before it was started.
                Some(container) if container.state == ContainerState::Created => {
                    steps.push(Step { action: Action::RunBefore(name), cause: Cause::NotStarted });
                }
                Some(container) => {
                    let exit = exit_of(container, &before, now);
                    steps.extend(exit.is_none().then(|| waits_for_end_of(&name, container, &before)));
                    desired.note_before_started(&name, exit, now);
                }
                None => match rollout.before_on.get(&name).map(|engine| self.may_come_back(&reaches, engine, now)) {
                    // No host was asked for it, or that one was read and does not have it.
                    None | Some(None) => steps.push(Step { action: Action::RunBefore(name), cause: Cause::Declared }),
                    // It may run there, or have ended.
                    Some(Some(true)) => {}
                    Some(Some(false)) => desired.note_before(&name, BeforeState::Unknown, now),
                },
            }
        }
        steps
    }

    /// Has containers of commands removed that are not of the revision that is to run, or run on although they are not waited for,
    /// and all of an application that goes. The others are kept for their output. Goes by what is written down: one that takes too
    /// long is removed when that is, since it would be run again otherwise.
    pub(super) fn remove_old_commands(self: &Arc<Self>, executor: &Executor, app: &Arc<App>, desired: &Desired) {
        // What was begun for a revision that differs in the number of replicas only goes on.
        let oldest = desired.rollout.as_ref().map_or(desired.target, |rollout| rollout.first);
        let is_old = |container: &ReplicaContainer| {
            let labels = &container.labels;
            let state = desired.rollout.as_ref().and_then(|rollout| rollout.before.get(&labels.component));
            let runs_on = container.state.holds_resources() && state != Some(&BeforeState::Running);
            let is_over = match labels.run {
                Some(_) => self.is_left_over(app, container),
                None => labels.revision < oldest || runs_on || desired.is_of_another(labels),
            };
            labels.slot.is_none() && (is_over || desired.goal == Goal::Destroy)
        };
        let commands = executor.cluster.replicas(&app.name).into_iter().filter(is_old);
        for container in commands.filter(|_| !desired.observe_only) {
            let target = match container.labels.run {
                Some(number) => Target::Run(number),
                None => Target::Before(container.labels.component.clone()),
            };
            if app.in_flight.lock().contains_key(&target) {
                continue;
            }
            let (apps, executor, desired) = (self.clone(), executor.clone(), desired.clone());
            self.spawn_in_flight(executor.clone(), app, target, None, async move {
                if let Err(error) = apps.remove_and_keep_output(&executor, &desired, container).await {
                    tracing::warn!(%error, "the container of a command stays");
                    tokio::time::sleep(AGAIN).await;
                }
            });
        }
    }

    /// Whether a host that does not answer is waited for; nothing where it answers.
    fn may_come_back(
        &self,
        reaches: &BTreeMap<EngineId, EngineReach>,
        engine: &EngineId,
        now: Timestamp,
    ) -> Option<bool> {
        let is_given_up = || self.caution.lost().contains(engine);
        match reaches.get(engine) {
            Some(EngineReach::Up) => None,
            Some(
                EngineReach::NotRead { since } | EngineReach::Silent { since } | EngineReach::DaemonGone { since },
            ) => {
                let silent = Duration::try_from(now.duration_since(*since)).unwrap_or_default();
                Some(silent < LOST && !is_given_up())
            }
            None => Some(false),
        }
    }

    /// Starts the command of a component, on any host. That it could not be started is written down, with the host that was asked: the
    /// next try is on another one, and the planner says when it was the last.
    pub(super) async fn run_before(
        &self,
        executor: &Executor,
        app: &Arc<App>,
        desired: &Desired,
        name: &ComponentName,
    ) -> Result<(), Fault> {
        let mut engine = None;
        let made = self.start_before(executor, app, desired, name, &mut engine).await;
        if let Err(Fault::Engine(error)) = &made {
            let (why, component) = (error.to_string(), desired.component(desired.target, name));
            let of_host = self.is_of_host(executor, app, component, error).await;
            let may_be_there = error.kind() == EngineErrorKind::Unreachable;
            let note = |desired: &mut Desired, _| {
                desired.note_before_failed(name, engine.as_ref(), why, of_host, may_be_there);
            };
            self.note(app, note).await.map_err(Fault::Store)?;
        }
        made
    }

    async fn start_before(
        &self,
        executor: &Executor,
        app: &Arc<App>,
        desired: &Desired,
        name: &ComponentName,
        asked: &mut Option<EngineId>,
    ) -> Result<(), Fault> {
        let is_made = |container: &ReplicaContainer| is_command(container, name, desired);
        let made = executor.cluster.replicas(&app.name).into_iter().find(is_made);
        let revision = made.as_ref().map_or(desired.target, |container| container.labels.revision);
        let component = component(desired, revision, name)?;
        let opened = self.open_secrets(&app.name, component).await?;
        let command = component.before.as_ref().map(|before| before.command.clone()).unwrap_or_default();
        let refused = |refusal: crate::scheduler::Refusal| {
            EngineError::new(EngineErrorKind::Unable, "run the command of before", refusal.to_string())
        };
        let is_up = |engine: &EngineId| executor.cluster.reaches().get(engine) == Some(&EngineReach::Up);
        let only = made.map(|container| container.engine).filter(is_up);
        let failed = desired.rollout.as_ref().and_then(|rollout| rollout.before_failed.get(name));
        let avoid = failed.map(|failed| failed.avoid.clone()).unwrap_or_default();
        let place = Where { only, avoid };
        let engine = self.place_once(executor, app, desired, component, place).await.map_err(refused)?;
        self.note(app, |desired, _| desired.note_before_on(name, &engine)).await.map_err(Fault::Store)?;
        *asked = Some(engine.clone());
        let container = format!("{}.{name}.before.r{revision}", app.name);
        let declared = desired.declared;
        let once = Once { component: name, declared, spec: component, revision, command, name: container, run: None };
        let new = once::container(executor, app, &engine, once, &opened);
        let made = executor.make_replica(&engine, &new).await;
        Ok(made.map(drop).map_err(|error| opened.hide_in(error))?)
    }
}

/// Whether a container is of the command of a component in the rollout that is under way.
pub(super) fn is_command(container: &ReplicaContainer, component: &ComponentName, desired: &Desired) -> bool {
    let labels = &container.labels;
    let rollout = desired.rollout.as_ref().filter(|_| !desired.is_of_another(labels));
    let is_of_it = rollout.is_some_and(|rollout| (rollout.first..=rollout.to).contains(&labels.revision));
    labels.slot.is_none() && labels.run.is_none() && labels.component == *component && is_of_it
}

/// A command runs, until its time is over at the latest.
fn waits_for_end_of(name: &ComponentName, container: &ReplicaContainer, before: &BeforeCommand) -> Step {
    let over = |began: Timestamp| began.saturating_add(Duration::from_millis(before.timeout_ms)).ok();
    let until = container.run.started.and_then(over);
    Step { action: Action::Wait { subject: Subject::Component(name.clone()), until }, cause: Cause::BeforeRuns }
}

/// How a command ended, if it did, or has to.
fn exit_of(container: &ReplicaContainer, before: &BeforeCommand, now: jiff::Timestamp) -> Option<i64> {
    match container.state {
        ContainerState::Stopped => Some(container.run.exit_code.unwrap_or(ENDED_SOMEHOW)),
        _ => {
            let ran = Duration::try_from(now.duration_since(container.run.started?)).unwrap_or_default();
            (ran >= Duration::from_millis(before.timeout_ms)).then_some(BeforeState::TOOK_TOO_LONG)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::apps::{Rollout, RolloutReason};
    use crate::engine::{ReplicaLabels, RunState};
    use crate::model::ContainerSpec;

    #[test]
    fn the_command_of_an_earlier_application_of_that_name_is_another_one() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        let declared = |declared| Desired {
            declared,
            rollout: Some(Rollout::new(1, RolloutReason::Apply, now)),
            ..Desired::none("shop".parse().unwrap())
        };
        let command = |declared| ReplicaContainer {
            labels: ReplicaLabels {
                app: "shop".parse().unwrap(),
                declared,
                component: "web".parse().unwrap(),
                slot: None,
                generation: 1,
                revision: 1,
                fingerprint: String::new(),
                image_id: None,
                run: None,
            },
            id: "0123456789ab".parse().unwrap(),
            name: "shop.web.before.r1".to_owned(),
            engine: "one".parse().unwrap(),
            state: ContainerState::Stopped,
            created: now,
            exits: Vec::new(),
            run: RunState::default(),
            spec: Arc::new(ContainerSpec::new("web:1".parse().unwrap())),
            limits_known: true,
            ports: Vec::new(),
        };
        let web: ComponentName = "web".parse().unwrap();
        let is_it = |own, other| is_command(&command(other), &web, &declared(own));
        assert!(is_it(Some(now), Some(now)));
        assert!(!is_it(Some(now), Some(Timestamp::UNIX_EPOCH)));
        // What a version wrote that did not note it.
        assert!(is_it(None, Some(now)) && is_it(Some(now), None) && is_it(None, None));
    }
}
