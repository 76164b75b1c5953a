//! Keeps what is as it should be, and puts right what is not.

use jiff::Timestamp;

use super::failure::Failure;
use super::place::is_exclusive;
use super::status::{Drain, Status, after, calm_at, drained_at, ended, ends_well, start_ms, was_stopped};
use super::view::{Candidate, Standing, View};
use super::{Component, Planner, sizes};
use crate::apps::{
    Action, Backend, Cause, Health, Instance, ObservedContainer, Replica, RolloutReason, Subject, Witness,
};
use crate::model::ContainerState;
use crate::model::app::ComponentSpec;
use crate::wire::app::Period;

/// How long a container may be unhealthy before it is restarted.
const SICK_MS: u64 = 60_000;
/// How long nothing is restarted while more than half of the replicas are unhealthy.
const MAJORITY_SICK_MS: u64 = 300_000;
/// How long a crash loop lasts before another host is tried, once.
const CRASH_LOOP_MS: u64 = 300_000;

impl<'a> Planner<'a> {
    /// Looks after the container that is as it should be, and takes away what is too many.
    pub(super) fn care(&mut self, component: &Component<'a>, view: &View<'a>) {
        for &container in &view.rest {
            self.step(Action::Remove(view.instance(container)), Cause::Elsewhere);
        }
        if let Some(kept) = view.kept.filter(|kept| kept.state.holds_resources() && self.is_up(&kept.engine)) {
            self.step(Action::Stop(view.instance(kept)), Cause::KeptRuns);
        }
        self.take_care_of_orphans(view);
        let subject = || Subject::Slot(view.slot.clone());
        if let Some((cause, until)) = &view.unseen {
            return self.wait(subject(), *until, cause.clone());
        }
        if let Some(completed) = &view.completed {
            return self.settle_completed(view, completed);
        }
        let Some(fit) = &view.fit else { return };
        let replica = view.instance(fit.container);
        match &fit.standing {
            Standing::Held(cause, until) => self.wait(subject(), *until, cause.clone()),
            Standing::Known(status) => {
                if let Some(why) = self.gate_failure(view, fit.container, status) {
                    let witness = Some(Witness::Replica(replica));
                    let component = component.name.clone();
                    self.failure.get_or_insert(Failure { component, why, witness, may_roll_back: true });
                    return;
                }
                let starts = matches!(status, Status::NotStarted | Status::Ended);
                if let Some(reason) = self.excluded(view, &[fit.container.generation]).filter(|_| starts) {
                    return self.make_way(component, view, fit, reason);
                }
                match status {
                    Status::Ready => self.settle(component, view, fit, true),
                    Status::Completed => {
                        self.settle(component, view, fit, false);
                        self.note_completion(view, replica);
                    }
                    Status::Starting(until) => self.wait(subject(), Some(*until), Cause::Starting),
                    Status::Monitored(until) => self.wait(subject(), Some(*until), Cause::Monitored),
                    Status::NotStarted => self.step(Action::Start(replica), Cause::NotStarted),
                    Status::Paused => self.step(Action::Start(replica), Cause::Paused),
                    Status::Ended => self.step(Action::Start(replica), ended(fit.container, view.replica)),
                    Status::Sick(since) => self.treat_sick(component, view, fit.container, *since),
                    Status::NetworkLost => self.step(Action::Remove(replica), Cause::NetworkLost),
                    Status::CrashLooping(since) => self.treat_crash_loop(component, view, fit.container, *since),
                }
            }
        }
    }

    /// A container that is as it should be cannot be started beside one that is not, as after a rollout that another one replaced:
    /// the other drains and stops first, and goes when this one is ready.
    fn make_way(&mut self, component: &Component<'a>, view: &View<'a>, fit: &Candidate<'a>, reason: Cause) {
        let subject = Subject::Slot(view.slot.clone());
        let runs = |old: &&Candidate<'a>| old.container.state.holds_resources();
        let Some(old) = view.old.as_ref().filter(runs) else { return self.wait(subject, None, reason) };
        let Standing::Known(status) = &old.standing else { return self.wait(subject, None, reason) };
        // It makes way for nothing where something else is in the way.
        if let Some(reason) = self.excluded(view, &[fit.container.generation, old.container.generation]) {
            return self.wait(subject, None, reason);
        }
        let instance = view.instance(old.container);
        let cause = old.unfit.clone().unwrap_or(Cause::Replaced);
        match drained_at(view.replica, old.container.generation, view.spec) {
            Drain::Serving if status.is_good() && self.smaller_by(component) >= component.parallel() => {
                self.wait(subject, None, Cause::OthersFirst);
            }
            Drain::Serving if status.is_good() => self.step(Action::Drain(instance), cause),
            Drain::Until(until) if status.is_good() && self.now < until => {
                self.wait(subject, Some(until), Cause::Draining);
            }
            _ => self.step(Action::Stop(instance), cause),
        }
    }

    /// How many of a component serve nobody, with those that this plan takes away.
    fn smaller_by(&self, component: &Component<'a>) -> usize {
        let is_drained = |step: &&crate::apps::Step| matches!(&step.action, Action::Drain(replica) if replica.slot.component == *component.name);
        component.unavailable() + self.steps.iter().filter(is_drained).count()
    }

    /// Why a container that a rollout has made does not pass its gate.
    fn gate_failure(&self, view: &View<'a>, container: &ObservedContainer, status: &Status) -> Option<String> {
        let name = view.instance(container);
        let ended = match (container.exits.len(), container.exit_code) {
            (0 | 1, Some(code)) => format!("{name} ended with {code}"),
            (0 | 1, None) => format!("{name} ended"),
            (times, Some(code)) => format!("{name} ended {times} times, at last with {code},"),
            (times, None) => format!("{name} ended {times} times"),
        };
        if !self.is_in_gate(view, container) {
            // It passed its gate, and failed before the others have passed theirs.
            let has_failed = !container.exits.is_empty() && container.exit_code.is_some_and(|code| code != 0);
            let counts = has_failed && self.is_of_rollout(view, container) && !self.is_rollback();
            return counts.then(|| format!("{ended} after it was ready"));
        }
        match status {
            Status::Ended if was_stopped(container, view.replica) => None,
            Status::Ended | Status::CrashLooping(_) => Some(format!("{ended} before it was ready")),
            Status::Sick(_) => Some(format!("{name} {}", not_healthy(container, view.spec))),
            // That one has ended well may be known before it is seen to have ended.
            Status::Starting(_) | Status::Monitored(_)
                if !container.exits.is_empty() && !ends_well(container, view.spec) =>
            {
                Some(format!("{ended} before it was ready"))
            }
            _ => None,
        }
    }

    /// Whether a container was made by the rollout that is under way, and has not passed its gate.
    pub(super) fn is_in_gate(&self, view: &View<'a>, container: &ObservedContainer) -> bool {
        let is_in_pool = |replica: &Replica| replica.backends.contains_key(&container.generation);
        self.is_of_rollout(view, container) && !view.replica.is_some_and(is_in_pool)
    }

    fn is_rollback(&self) -> bool {
        let reason = self.desired.rollout.as_ref().map(|rollout| &rollout.reason);
        matches!(reason, Some(RolloutReason::Rollback { .. }))
    }

    /// Whether a container was made by the rollout that is under way.
    fn is_of_rollout(&self, view: &View<'a>, container: &ObservedContainer) -> bool {
        // What was made again of an older revision says nothing about the one that is rolled out.
        let is_target = self.desired.rollout.as_ref().is_some_and(|rollout| rollout.to == view.revision);
        is_target && view.replica.is_some_and(|replica| container.generation > replica.before_rollout)
    }

    /// A container is good: the record, Docker and the pool are to say so, and its predecessor goes.
    fn settle(&mut self, component: &Component<'a>, view: &View<'a>, fit: &Candidate<'a>, takes_traffic: bool) {
        let container = fit.container;
        let instance = view.instance(container);
        let recorded = view.replica.map(|replica| (replica.revision, replica.generation, &replica.engine));
        if recorded != Some((view.revision, container.generation, &container.engine)) {
            let is_newer = view.replica.is_none_or(|replica| replica.revision != view.revision);
            let cause = if is_newer { Cause::SameContainer } else { Cause::FillsTheSlot };
            self.step(Action::Assign { replica: instance.clone(), revision: view.revision }, cause);
        }
        if container.name != instance.container_name(&self.desired.app) {
            self.step(Action::Rename(instance.clone()), Cause::Renamed(container.name.clone()));
        }
        if sizes::differ(container, view.spec) {
            self.update_in_place(component, view, container);
        }
        let backend = view.replica.and_then(|replica| replica.backends.get(&container.generation));
        if takes_traffic && backend != Some(&Backend::Serving) {
            self.step(Action::Admit(instance), Cause::Ready);
        }
        if view.spec.is_pinned() && self.snapshot.get(&container.engine).is_some_and(|engine| engine.draining) {
            let cause = Cause::PinnedToDrained(container.engine.clone());
            self.wait(Subject::Slot(view.slot.clone()), None, cause);
        }
        if let Some(old) = &view.old {
            self.retire(view, old, takes_traffic && backend != Some(&Backend::Serving));
        }
        self.remove_kept(view);
    }

    /// A container has ended well and is out of reach: only the record is to say so.
    fn settle_completed(&mut self, view: &View<'a>, completed: &Instance) {
        if view.replica.is_some_and(|replica| replica.revision != view.revision) {
            let action = Action::Assign { replica: completed.clone(), revision: view.revision };
            self.step(action, Cause::SameContainer);
        }
        self.note_completion(view, completed.clone());
    }

    fn note_completion(&mut self, view: &View<'a>, completed: Instance) {
        if view.replica.and_then(|replica| replica.completed) != Some(completed.generation) {
            self.step(Action::Complete(completed), Cause::Ended(Some(0)));
        }
    }

    /// The predecessor of a container that is good drains and goes, once the other takes traffic.
    fn retire(&mut self, view: &View<'a>, old: &Candidate<'a>, too_early: bool) {
        let subject = Subject::Slot(view.slot.clone());
        let instance = view.instance(old.container);
        match (&old.standing, drained_at(view.replica, old.container.generation, view.spec)) {
            (Standing::Held(cause, until), _) => self.wait(subject, *until, cause.clone()),
            _ if too_early => {}
            (Standing::Known(status), Drain::Serving) if status.is_good() => {
                self.step(Action::Drain(instance), Cause::Replaced);
            }
            (Standing::Known(status), Drain::Until(until)) if status.is_good() && self.now < until => {
                self.wait(subject, Some(until), Cause::Draining);
            }
            _ => self.step(Action::Remove(instance), Cause::Replaced),
        }
    }

    /// What failed in an earlier rollout is kept until a later one has filled the slot.
    fn remove_kept(&mut self, view: &View<'a>) {
        let Some(rollout) = &self.desired.rollout else { return };
        let Some(kept) = view.kept.filter(|kept| self.is_up(&kept.engine)) else { return };
        let is_rollback = matches!(rollout.reason, RolloutReason::Rollback { .. });
        let is_of_an_earlier_one = view.replica.is_some_and(|replica| kept.generation <= replica.before_rollout);
        if is_of_an_earlier_one && !is_rollback {
            self.step(Action::Remove(view.instance(kept)), Cause::NewRollout);
        }
    }

    /// A container that was not made for the record of its slot stays, and may be adopted.
    fn take_care_of_orphans(&mut self, view: &View<'a>) {
        let adopted = self.to_adopt(view).map(|container| view.instance(container));
        for replica in view.orphans.iter().map(|orphan| view.instance(orphan)) {
            if adopted.as_ref() == Some(&replica) {
                self.step(Action::Adopt { replica, revision: view.revision }, Cause::Found);
            } else {
                self.wait(Subject::Slot(view.slot.clone()), None, Cause::Orphan(replica));
            }
        }
    }

    /// The container that becomes the replica of a slot that has none, where that was asked for and it is the same. The record of
    /// the slot, of a store that is older than what runs, may name one that is gone.
    pub(super) fn to_adopt(&self, view: &View<'a>) -> Option<&'a ObservedContainer> {
        let rollout = self.desired.rollout.as_ref().filter(|_| view.is_empty())?;
        if rollout.reason != RolloutReason::Adopt {
            return None;
        }
        let wanted = view.spec.fingerprint();
        let is_same = |container: &&ObservedContainer| container.fingerprint.as_ref() == Some(&wanted);
        view.orphans.iter().copied().filter(|orphan| self.is_up(&orphan.engine)).find(is_same)
    }

    /// Restarted after a while, one of a component at a time, and none while most of them are unhealthy.
    fn treat_sick(
        &mut self,
        component: &Component<'a>,
        view: &View<'a>,
        container: &ObservedContainer,
        since: Timestamp,
    ) {
        let subject = Subject::Slot(view.slot.clone());
        let cause = Cause::Sick { seconds: self.now.duration_since(since).as_secs() };
        let mut sick: Vec<Timestamp> = component.views.iter().filter_map(View::sick_since).collect();
        sick.sort();
        let number = component.views.len();
        // The time at which more than half of them were.
        let majority = sick.get(number / 2).filter(|_| number > 1).map(|&time| after(time, MAJORITY_SICK_MS));
        if let Some(until) = majority.filter(|&until| self.now < until) {
            self.wait(subject, Some(until), Cause::MajoritySick { sick: sick.len(), of: number });
            return;
        }
        let restarts = view.replica.and_then(|replica| replica.restarts);
        let allowed = match restarts {
            Some((count, last)) => after(last, SICK_MS << count.min(4)).max(after(since, SICK_MS)),
            None => after(since, SICK_MS),
        };
        if self.now < allowed {
            let cause = if restarts.is_some() { Cause::BackOff } else { cause };
            self.wait(subject, Some(allowed), cause);
        } else if component.views.iter().any(View::is_starting) || self.restarts_one_of(component) {
            self.wait(subject, None, Cause::OthersFirst);
        } else {
            self.step(Action::Restart(view.instance(container)), cause);
        }
    }

    fn restarts_one_of(&self, component: &Component<'a>) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(&step.action, Action::Restart(replica) if replica.slot.component == *component.name))
    }

    fn treat_crash_loop(
        &mut self,
        component: &Component<'a>,
        view: &View<'a>,
        container: &ObservedContainer,
        since: Timestamp,
    ) {
        let cause = Cause::CrashLooping { exits: container.exits.len() };
        let was_moved = view.replica.is_some_and(|replica| !replica.avoid.is_empty());
        let can_move = !was_moved && !is_exclusive(view.spec) && view.only.is_none();
        let moves_at = after(since, CRASH_LOOP_MS);
        let is_due = can_move && self.now >= moves_at;
        if is_due && self.create(component, view, Some(container.engine.clone()), cause.clone()).is_ok() {
            return;
        }
        let retried_at = self.pause_after_failure(view).map(|(_, until)| until);
        let until = if is_due { retried_at } else { Some(moves_at).filter(|_| can_move) };
        let calm =
            Some(calm_at(container)).filter(|&calm| container.state == ContainerState::Running && self.now < calm);
        let until = until.into_iter().chain(calm).min();
        self.wait(Subject::Slot(view.slot.clone()), until, cause);
    }

    /// Fills a slot that has nothing.
    pub(super) fn fill(&mut self, component: &Component<'a>, view: &View<'a>) {
        let failed = view.replica.and_then(|replica| replica.failed.as_ref());
        let cause = match (&view.gone, failed, view.replica) {
            (Some((cause, _)), _, _) => cause.clone(),
            (None, Some(failed), _) => Cause::CreateFailed { why: failed.why.clone() },
            (None, None, Some(_)) => Cause::Missing,
            (None, None, None) => Cause::FirstStart,
        };
        self.create_or_wait(component, view, cause);
    }
}

/// What is wrong with a container whose check fails.
fn not_healthy(container: &ObservedContainer, spec: &ComponentSpec) -> String {
    let complaint = container.complaint.as_ref().map(|complaint| format!(": {complaint}")).unwrap_or_default();
    match container.health {
        Health::Unhealthy { .. } => format!("was healthy and is not any more{complaint}"),
        _ => format!("did not become healthy within {}{complaint}", Period::from_millis(start_ms(spec))),
    }
}

impl View<'_> {
    /// Since when its container is unhealthy.
    fn sick_since(&self) -> Option<Timestamp> {
        match self.fit.as_ref()?.standing {
            Standing::Known(Status::Sick(since)) => Some(since),
            _ => None,
        }
    }

    fn is_starting(&self) -> bool {
        let standing = self.fit.as_ref().map(|fit| &fit.standing);
        matches!(standing, Some(Standing::Known(Status::Starting(_) | Status::Monitored(_))))
    }
}
