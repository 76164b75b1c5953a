//! Compares what is recorded with what was observed.

mod failure;
mod place;
mod presence;
mod rebalance;
mod repair;
mod sizes;
mod status;
mod surplus;
mod twins;
mod update;
mod view;

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::desired::Placed;
use super::{
    Action, BeforeState, Cause, Desired, Goal, Instance, Observed, ObservedContainer, Outcome, RolloutReason, Slot,
    Step, Subject, Verdict, Witness,
};
use crate::model::app::{ComponentName, ComponentSpec};
use crate::scheduler::{Scheduler, Snapshot};
use crate::wire::app::Period;
use failure::Failure;
#[cfg(test)]
pub(super) use rebalance::scores;
pub use rebalance::{Move, rebalance};
pub(super) use status::loops_since;
use update::Budget;
use view::View;

/// What is to be done next for one application, each with its cause. Nothing but waiting, or nothing at all, where it is as it is
/// recorded.
///
/// `snapshot` is what `scheduler` chooses hosts from. The steps are carried out in their order, those of different slots also at
/// once; after any of them, when something happens, and at the earliest time that one waits for, plan again.
pub fn plan(
    desired: &Desired,
    observed: &Observed,
    snapshot: &Snapshot,
    scheduler: &dyn Scheduler,
    now: Timestamp,
) -> Vec<Step> {
    let mut planner = Planner::new(desired, observed, snapshot, scheduler, now);
    if desired.observe_only {
        planner.wait(Subject::App, None, Cause::ObserveOnly);
        return planner.steps;
    }
    if desired.goal == Goal::Run && !desired.revisions.contains_key(&desired.target) {
        // Without it, everything would be too many.
        planner.wait(Subject::App, None, Cause::UnknownRevision(desired.target));
        return planner.steps;
    }
    match desired.goal {
        Goal::Run => planner.run(),
        Goal::Stop => planner.stop_all(),
        Goal::Destroy => planner.destroy_all(),
    }
    planner.steps
}

/// What is known while a plan is made.
struct Planner<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    /// The containers of each slot, without the twins.
    by_slot: BTreeMap<&'a Slot, Vec<&'a ObservedContainer>>,
    /// Containers of which another host shows the same. None is removed, and where a slot must never have two nothing is started
    /// beside them.
    twins: Vec<&'a ObservedContainer>,
    scheduler: &'a dyn Scheduler,
    now: Timestamp,
    /// What is free, less what this plan takes.
    snapshot: Cow<'a, Snapshot>,
    /// How many replicas of each component each host has, with those of this plan.
    placed: Placed,
    /// When the rollout has made no progress for too long.
    deadline: Option<Timestamp>,
    steps: Vec<Step>,
    /// Why the rollout cannot go on, if it cannot.
    failure: Option<Failure>,
}

/// The slots of one component.
struct Component<'a> {
    name: &'a ComponentName,
    spec: &'a ComponentSpec,
    views: Vec<View<'a>>,
}

/// A component in a plan.
struct Turn<'a, 'c> {
    component: &'c Component<'a>,
    /// Whether its slots may get their first container, or another one; or why not yet.
    may_roll: Result<(), Cause>,
    /// Until then, what is there is looked after as it was recorded, and not by the target.
    recorded: Option<Component<'a>>,
}

impl<'a> Turn<'a, '_> {
    /// By what it is looked after.
    fn tended(&self) -> &Component<'a> {
        self.recorded.as_ref().unwrap_or(self.component)
    }
}

impl Component<'_> {
    /// Whether every slot has what it is to have, and nothing old is left.
    fn is_settled(&self) -> bool {
        self.views.iter().all(View::is_settled)
    }

    /// How many may be replaced at a time.
    fn parallel(&self) -> usize {
        self.spec.update.parallel.of(self.views.len())
    }

    /// How many slots have nothing that serves.
    fn unavailable(&self) -> usize {
        self.views.iter().filter(|view| !view.is_available()).count()
    }
}

impl<'a> Planner<'a> {
    fn new(
        desired: &'a Desired,
        observed: &'a Observed,
        snapshot: &'a Snapshot,
        scheduler: &'a dyn Scheduler,
        now: Timestamp,
    ) -> Self {
        let (by_slot, twins) = twins::by_slot(desired, observed);
        Self {
            desired,
            observed,
            by_slot,
            twins,
            scheduler,
            now,
            snapshot: Cow::Borrowed(snapshot),
            placed: desired.placed(),
            deadline: failure::deadline(desired),
            steps: Vec::new(),
            failure: None,
        }
    }

    fn step(&mut self, action: Action, cause: Cause) {
        self.steps.push(Step { action, cause });
    }

    /// Notes that something waits: at the latest until the rollout has no more time.
    fn wait(&mut self, subject: Subject, until: Option<Timestamp>, cause: Cause) {
        let deadline = self.deadline.filter(|&deadline| deadline > self.now);
        let until = until.into_iter().chain(deadline).min();
        self.step(Action::Wait { subject, until }, cause);
    }

    fn run(&mut self) {
        let desired = self.desired;
        let components: Vec<Component<'a>> =
            desired.components().map(|(name, spec)| Component { name, spec, views: self.views(name, spec) }).collect();
        let is_settled = components.iter().all(Component::is_settled);
        // What is to go later goes on serving until then.
        let left = self.left(&components, is_settled);
        let mut turns: Vec<Turn<'a, '_>> =
            components.iter().map(|component| self.turn(component, &components)).collect();
        turns.extend(left.iter().map(|component| Turn {
            component,
            may_roll: Err(Cause::OthersFirst),
            recorded: None,
        }));
        for turn in &turns {
            turn.tended().views.iter().for_each(|view| self.care(turn.tended(), view));
        }
        components.iter().for_each(|component| self.note_failed_create(component));
        // What is missing has the room first, then what has to leave its host, and what is replaced has what is left.
        turns.iter().for_each(|turn| self.heal(turn));
        let mut budgets: Vec<Budget> = turns.iter().map(|turn| self.budget(turn.tended())).collect();
        for (turn, budget) in turns.iter().zip(&mut budgets) {
            self.relocate(turn.tended(), budget);
        }
        turns.iter().for_each(|turn| self.fill_new(turn));
        for (turn, budget) in turns.iter().zip(&mut budgets) {
            match &turn.may_roll {
                Ok(()) => self.replace(turn.component, budget),
                Err(reason) => self.keep_all_for_now(turn, reason),
            }
        }
        self.show_stray_orphans(&turns);
        self.show_twins();
        self.remove_surplus(&components, is_settled);
        if self.failure.is_none() && !is_settled && self.deadline.is_some_and(|deadline| self.now >= deadline) {
            self.note_no_progress(&components);
        }
        if let Some(failure) = self.failure.take() {
            self.steps.clear();
            self.fail(&components, failure);
        } else if is_settled && self.steps.iter().all(|step| step.action.is_wait()) && !self.surplus_serves(&components)
        {
            self.finish();
        }
    }

    fn show_twins(&mut self) {
        for container in self.twins.clone() {
            let Some(slot) = &container.slot else { continue };
            let cause = Cause::Twin(instance(slot, container));
            if self.steps.iter().all(|step| step.cause != cause) {
                self.wait(Subject::Slot(slot.clone()), None, cause);
            }
        }
    }

    fn turn<'c>(&mut self, component: &'c Component<'a>, components: &[Component<'a>]) -> Turn<'a, 'c> {
        let may_roll = self.may_roll(component, unsettled_dependency(component, components));
        let recorded = may_roll.is_err().then(|| self.recorded(component));
        Turn { component, may_roll, recorded }
    }

    /// What was there before is put right at once.
    fn heal(&mut self, turn: &Turn<'a, '_>) {
        for view in turn.tended().views.iter().filter(|view| view.is_empty() && view.replica.is_some()) {
            if self.to_adopt(view).is_none() {
                self.fill(turn.tended(), view);
            }
        }
    }

    /// What is new waits until it may be.
    fn fill_new(&mut self, turn: &Turn<'a, '_>) {
        let may_begin = match &turn.may_roll {
            Ok(()) if !self.desired.is_target_good() => Err(Cause::RolloutStopped(self.desired.target)),
            may_roll => may_roll.clone(),
        };
        for view in turn.tended().views.iter().filter(|view| view.is_empty() && view.replica.is_none()) {
            match &may_begin {
                _ if self.to_adopt(view).is_some() => {}
                Err(cause) => self.wait(Subject::Slot(view.slot.clone()), None, cause.clone()),
                Ok(()) => self.fill(turn.tended(), view),
            }
        }
    }

    /// Whether slots of a component may get their first container, or another one: its dependencies are ready, and its command
    /// of before has ended well.
    fn may_roll(&mut self, component: &Component<'a>, unsettled: Option<&ComponentName>) -> Result<(), Cause> {
        let Some(rollout) = &self.desired.rollout else { return Ok(()) };
        if component.views.iter().all(View::is_settled) {
            return Ok(());
        }
        if let Some(name) = unsettled {
            return Err(Cause::WaitsForComponent(name.clone()));
        }
        let is_applied = matches!(rollout.reason, RolloutReason::Apply | RolloutReason::Adopt);
        let Some(before) = component.spec.before.as_ref().filter(|_| is_applied) else { return Ok(()) };
        let needs_it = component.views.iter().any(|view| view.fit.is_none() && self.to_adopt(view).is_none());
        match rollout.before.get(component.name) {
            _ if !needs_it => Ok(()),
            Some(BeforeState::Ended(0)) => Ok(()),
            Some(BeforeState::Running) => Err(self.before_runs(component.name, rollout)),
            Some(BeforeState::Unknown) if !before.retry => {
                let why = format!("nobody knows how the command before {} ended: its host is lost", component.name);
                let component = component.name.clone();
                self.failure.get_or_insert(Failure { component, why, witness: None, may_roll_back: false });
                Err(Cause::BeforeRuns)
            }
            Some(BeforeState::Ended(code)) => {
                let limit = Period::from_millis(before.timeout_ms);
                let why = match *code {
                    BeforeState::TOOK_TOO_LONG => {
                        format!("the command before {} took longer than {limit}, or ended with {code}", component.name)
                    }
                    code => format!("the command before {} ended with {code}", component.name),
                };
                let component = component.name.clone();
                let witness = Some(Witness::Before(component.clone()));
                self.failure.get_or_insert(Failure { component, why, witness, may_roll_back: true });
                Err(Cause::BeforeRuns)
            }
            None | Some(BeforeState::Unknown) => {
                self.step(Action::RunBefore(component.name.clone()), Cause::Declared);
                Err(Cause::BeforeRuns)
            }
        }
    }

    fn finish(&mut self) {
        match self.desired.rollout.as_ref().map(|rollout| &rollout.reason) {
            None => {}
            // One without a reason was asked for.
            Some(RolloutReason::Rollback { why }) if !why.is_empty() => {
                let verdict = Verdict { why: why.clone(), witness: None };
                self.step(Action::Finish(Outcome::RolledBack), Cause::GateFailed(verdict));
            }
            Some(_) => self.step(Action::Finish(Outcome::Done), Cause::AllReady),
        }
    }
}

/// The first of the components that are to be ready before another one, and are not.
fn unsettled_dependency<'c>(component: &'c Component<'_>, components: &[Component<'_>]) -> Option<&'c ComponentName> {
    let is_unsettled =
        |name: &&ComponentName| components.iter().any(|other| other.name == *name && !other.is_settled());
    component.spec.dependencies().find(is_unsettled)
}

/// The container as an instance of its slot.
fn instance(slot: &Slot, container: &ObservedContainer) -> Instance {
    Instance { slot: slot.clone(), generation: container.generation, engine: container.engine.clone() }
}
