//! One round: what is to be done next is planned, written down, and begun.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use super::{App, Apps, Making, Target};
use crate::apps::documents::Beside;
use crate::apps::{Action, Desired, Goal, Observed, Outcome, RolloutReason, Slot, Step, plan};
use crate::executor::Executor;
use crate::model::app::LastLines;
use crate::model::{Event, EventKind, ExactImage, Scarce};
use crate::store::records::{EndedRecord, OutcomeRecord};
use crate::store::{Result, Write};

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// At once.
    Again,
    /// At that time at the latest, where there is one.
    At(Option<Timestamp>),
}

impl Apps {
    /// Looks after an application once.
    ///
    /// # Errors
    /// The store did not answer, or did not take the steps: none of them is begun.
    pub(super) async fn round(self: &Arc<Self>, executor: &Executor, app: &Arc<App>) -> Result<Next> {
        let held = self.documents(app).await?;
        if !held.documents().is_there() || held.documents().is_foreign() {
            return Ok(Next::At(None));
        }
        let now = self.now();
        let known = executor.cluster.replicas(&app.name);
        self.look_for_newer(app, held.desired(), &known);
        app.probe(&executor.cluster, held.desired(), &known, &self.clock);
        let mut desired = self.as_it_counts(held.desired());
        desired.seen = known.iter().map(|container| container.labels.revision).max().unwrap_or_default();
        let observed = self.observe(executor, app, &desired, now);
        if !desired.observe_only {
            desired.note_gone(&observed);
        }
        self.remove_old_commands(executor, app, &desired);
        let mut steps = self.steps_of_before(executor, app, &mut desired);
        steps.extend(
            executor
                .cluster
                .with_snapshot(|snapshot| plan(&desired, &observed, snapshot, &**executor.cluster.scheduler(), now)),
        );
        leave_commands_of_what_ends(&mut steps);
        let until = steps.iter().filter_map(time_to_wait_for).min();
        steps.retain(|step| !step.action.is_wait());
        app.leave_what_is_in_flight(&mut steps);
        let is_to_go = desired.goal == Goal::Destroy && !desired.observe_only;
        if steps.is_empty() && is_to_go && !app.is_busy() {
            return self.forget_when_nothing_is_left(executor, app, held).await;
        }
        let mut beside = Beside::default();
        let volumes = slots_without_volume(&steps);
        // Before what is rolled back is stopped and removed.
        let output = match app.output_of_failure(&steps) {
            Ok(output) => output,
            Err(witness) => {
                drop(held);
                self.read_last_lines(executor, app, &witness).await;
                return Ok(Next::Again);
            }
        };
        for step in steps.iter().filter(|step| !waits_for_volume(step, &volumes)) {
            beside.ended = beside.ended.or(end_of(&desired, step, output.as_ref(), now));
            if let Action::Rollback { to } = step.action {
                beside.message = format!("rolled back from {}, to what {to} was", desired.target);
            }
            desired.record(step, now);
            if let (Action::Rollback { .. }, Some(rollout)) = (&step.action, &mut desired.rollout) {
                rollout.output.clone_from(&output);
            }
        }
        (desired.observe_only, desired.heal_now) = (held.desired().observe_only, held.desired().heal_now);
        let change = held.documents().change_to(desired, &beside, now)?;
        let events: Vec<Event> = steps.iter().filter_map(|step| event_of(app, step)).collect();
        if steps.is_empty() && change.is_empty() {
            return Ok(Next::At(until));
        }
        let insertions = events.iter().map(|event| self.publisher.insertion(event)).collect::<Result<Vec<Write>>>()?;
        let desired = change.desired();
        held.commit(change, insertions).await?;
        for event in events {
            self.publisher.publish(event).await;
        }
        self.begin(executor, app, &desired, steps, now);
        Ok(Next::Again)
    }

    /// What is kept of an application, with what holds for all of them.
    pub(super) fn as_it_counts(&self, desired: &Desired) -> Desired {
        let mut desired = Desired {
            observe_only: self.observes_only(),
            heal_now: self.heal_now.load(Ordering::Relaxed),
            ..desired.clone()
        };
        // The time in which nobody worked on it is none that it took.
        if let Some(rollout) = &mut desired.rollout {
            rollout.progressed = rollout.progressed.max(*self.acts_since.lock());
        }
        desired
    }

    /// What would be done next for an application by a server that does not only observe. Nothing is done.
    pub(crate) fn look_ahead(&self, executor: &Executor, app: &App, desired: &Desired) -> Vec<Step> {
        let desired = Desired { observe_only: false, ..self.as_it_counts(desired) };
        self.look_as(executor, app, &desired, &BTreeMap::new()).1
    }

    /// What there is of an application, and what would be done next if it were to be as `desired` says. Nothing is done. `scarce` is
    /// what was found out of images beside what is known already.
    pub(crate) fn look(
        &self,
        executor: &Executor,
        app: &App,
        desired: &Desired,
        scarce: &BTreeMap<ExactImage, Scarce>,
    ) -> (Observed, Vec<Step>) {
        self.look_as(executor, app, &self.as_it_counts(desired), scarce)
    }

    fn look_as(
        &self,
        executor: &Executor,
        app: &App,
        desired: &Desired,
        scarce: &BTreeMap<ExactImage, Scarce>,
    ) -> (Observed, Vec<Step>) {
        let now = self.now();
        let mut observed = self.observe(executor, app, desired, now);
        observed.scarce.extend(scarce.clone());
        let scheduler = &**executor.cluster.scheduler();
        let steps = executor.cluster.with_snapshot(|snapshot| plan(desired, &observed, snapshot, scheduler, now));
        (observed, steps)
    }

    /// Has steps carried out: those of one slot one after the other, those of different slots at once.
    fn begin(
        self: &Arc<Self>,
        executor: &Executor,
        app: &Arc<App>,
        desired: &Arc<Desired>,
        steps: Vec<Step>,
        now: Timestamp,
    ) {
        let mut by_target: BTreeMap<Target, Vec<Step>> = BTreeMap::new();
        for step in steps {
            if let Some(target) = target_in_docker(&step.action) {
                by_target.entry(target).or_default().push(step);
            }
        }
        for (target, steps) in by_target {
            let making = making(&steps, now);
            let (apps, of, carried) = (self.clone(), app.clone(), executor.clone());
            let (desired, steps_of) = (desired.clone(), target.clone());
            self.spawn_in_flight(executor.clone(), app, target, making, async move {
                apps.carry_out(&carried, &of, &steps_of, &desired, steps).await;
            });
        }
    }

    /// Does something for a target in a task of its own, until the server ends. Nothing else is done for the target meanwhile.
    pub(super) fn spawn_in_flight(
        &self,
        executor: Executor,
        app: &Arc<App>,
        target: Target,
        making: Option<Making>,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        app.in_flight.lock().insert(target.clone(), making);
        let done = InFlight { app: app.clone(), target };
        let tracker = executor.cluster.background().tracker().clone();
        tracker.spawn(async move {
            executor.closing.run_until_cancelled(work).await;
            drop(done);
        });
    }
}

/// Steps are under way until this is dropped.
struct InFlight {
    app: Arc<App>,
    target: Target,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.app.in_flight.lock().remove(&self.target);
        self.app.wake();
    }
}

impl App {
    /// Leaves the steps of which none is under way for the same. Those that end a rollout, or turn it round, belong together: all
    /// of them are taken, or none for now. Otherwise a slot would have a version that is not rolled out any more.
    fn leave_what_is_in_flight(&self, steps: &mut Vec<Step>) {
        match steps.iter().any(turns_rollout) && steps.iter().any(|step| self.is_in_flight(step)) {
            true => steps.clear(),
            false => steps.retain(|step| !self.is_in_flight(step)),
        }
    }

    /// Whether steps are under way for what a step is of.
    fn is_in_flight(&self, step: &Step) -> bool {
        target(&step.action).is_some_and(|target| self.in_flight.lock().contains_key(&target))
    }
}

/// Whether a step ends a rollout, or turns it round.
fn turns_rollout(step: &Step) -> bool {
    matches!(step.action, Action::Finish(_) | Action::Rollback { .. })
}

/// A rollout that ends or is turned round runs no more commands: they would be run for the revision that comes after it.
fn leave_commands_of_what_ends(steps: &mut Vec<Step>) {
    if steps.iter().any(turns_rollout) {
        steps.retain(|step| !matches!(step.action, Action::RunBefore(_)));
    }
}

fn time_to_wait_for(step: &Step) -> Option<Timestamp> {
    match &step.action {
        Action::Wait { until, .. } => *until,
        _ => None,
    }
}

/// The slots of which a volume is made.
pub(super) fn slots_without_volume(steps: &[Step]) -> BTreeSet<Slot> {
    let slot = |step: &Step| match &step.action {
        Action::CreateVolume { slot, .. } => Some(slot.clone()),
        _ => None,
    };
    steps.iter().filter_map(slot).collect()
}

/// Whether a step makes a container whose volume is to be there first: that it is there is recorded with the container.
pub(super) fn waits_for_volume(step: &Step, slots: &BTreeSet<Slot>) -> bool {
    matches!(&step.action, Action::Create { replica, .. } if slots.contains(&replica.slot))
}

/// What a step is of, where it is of one slot or one command.
fn target(action: &Action) -> Option<Target> {
    match action {
        Action::RunBefore(component) => Some(Target::Before(component.clone())),
        other => other.slot().cloned().map(Target::Slot),
    }
}

/// The same, where Docker is asked for it.
fn target_in_docker(action: &Action) -> Option<Target> {
    match action {
        Action::Assign { .. }
        | Action::Adopt { .. }
        | Action::Admit(_)
        | Action::Drain(_)
        | Action::Stay(_)
        | Action::Complete(_)
        | Action::Forget(_) => None,
        other => target(other),
    }
}

fn making(steps: &[Step], now: Timestamp) -> Option<Making> {
    steps.iter().find_map(|step| match &step.action {
        Action::Create { replica, revision, .. } => {
            Some(Making { replica: replica.clone(), revision: *revision, since: now })
        }
        _ => None,
    })
}

/// How a rollout ended, if it ends by that step.
fn end_of(desired: &Desired, step: &Step, output: Option<&LastLines>, now: Timestamp) -> Option<EndedRecord> {
    let Action::Finish(outcome) = &step.action else { return None };
    let rollout = desired.rollout.as_ref();
    let (why, output) = match (outcome, rollout.map(|rollout| &rollout.reason)) {
        (Outcome::Done, _) => (String::new(), None),
        (Outcome::RolledBack, Some(RolloutReason::Rollback { why })) => {
            (why.clone(), rollout.and_then(|rollout| rollout.output.clone()))
        }
        _ => (step.cause.to_string(), output.cloned()),
    };
    Some(EndedRecord { to: desired.target, outcome: OutcomeRecord::from(*outcome), why, output, at: now })
}

/// The event that tells of a step. What only brings the records in line is none.
fn event_of(app: &App, step: &Step) -> Option<Event> {
    let kind = match &step.action {
        Action::Finish(_) | Action::Rollback { .. } => EventKind::Rollout,
        Action::Assign { .. } | Action::Complete(_) | Action::Forget(_) | Action::Wait { .. } => return None,
        _ => EventKind::Replica,
    };
    let mut event = Event::new(kind, format!("{}: {step}", app.name)).tagged("app");
    event.name = Some(app.name.to_string());
    event.engine = step.action.replica().map(|replica| replica.engine.clone());
    event.reason = Some(step.cause.to_string());
    Some(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::Cause;

    #[test]
    fn a_rollout_that_is_turned_round_runs_no_more_commands() {
        let step = |action| Step { action, cause: Cause::Declared };
        let run = || step(Action::RunBefore("db".parse().unwrap()));
        for turn in [Action::Rollback { to: 1 }, Action::Finish(Outcome::Stopped)] {
            let mut steps = vec![run(), step(turn.clone())];
            leave_commands_of_what_ends(&mut steps);
            assert_eq!(steps, [step(turn)]);
        }
        let mut steps = vec![run()];
        leave_commands_of_what_ends(&mut steps);
        assert_eq!(steps, [run()]);
    }
}
