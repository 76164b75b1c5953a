//! A rollout that cannot go on goes back, or stops.

use jiff::Timestamp;

use super::status::after;
use super::view::{Candidate, Standing, View};
use super::{Component, Planner, unsettled_dependency};
use crate::apps::{
    Action, Backend, BeforeFailure, BeforeState, Cause, Desired, Outcome, Replica, Rollout, RolloutReason, Slot, Step,
    StepFailure, Verdict, Witness,
};
use crate::model::app::{ComponentName, OnFailure};

/// Why a rollout cannot go on.
pub(super) struct Failure {
    /// The component that cannot.
    pub(super) component: ComponentName,
    /// Why, in a sentence.
    pub(super) why: String,
    /// Whose output may tell more.
    pub(super) witness: Option<Witness>,
    /// Whether that says something about the revision.
    pub(super) may_roll_back: bool,
}

/// When a rollout has made no progress for too long. The time in which a command of before runs, or an old container drains, is not
/// its own.
pub(super) fn deadline(desired: &Desired) -> Option<Timestamp> {
    let rollout = desired.rollout.as_ref()?;
    let runs = |(name, state): (&ComponentName, &BeforeState)| {
        *state == BeforeState::Running && !rollout.before_failed.contains_key(name)
    };
    if rollout.before.iter().any(runs) {
        return None;
    }
    let drained = |(slot, replica): (&Slot, &Replica)| {
        let drain_ms = desired.component(replica.revision, &slot.component)?.update.drain_ms;
        let since = replica.backends.values().filter_map(|backend| match backend {
            Backend::Serving => None,
            Backend::Draining { since } => Some(*since),
        });
        Some(after(since.max()?, drain_ms))
    };
    let latest = desired.replicas.iter().filter_map(drained).chain([rollout.progressed]).max()?;
    Some(after(latest, progress_ms(desired)))
}

/// How often the making of a container is tried before it counts as impossible, where there are fewer hosts.
const FEWEST_ATTEMPTS: u32 = 3;

/// The same for a command of before: nothing else of the rollout has begun, so there is time.
const FEWEST_ATTEMPTS_OF_BEFORE: u32 = 5;

/// How long a rollout may go on without progress.
fn progress_ms(desired: &Desired) -> u64 {
    desired.components().map(|(_, spec)| spec.update.progress_ms).max().unwrap_or(0)
}

impl<'a> Planner<'a> {
    /// Notes that a container of the revision that is rolled out could not be made, and can be made nowhere.
    pub(super) fn note_failed_create(&mut self, component: &Component<'a>) {
        let Some(rollout) = &self.desired.rollout else { return };
        let is_of_it = |view: &&View<'_>| view.revision == rollout.to;
        for view in component.views.iter().filter(is_of_it) {
            let Some(replica) = view.replica else { continue };
            let of = |failed: &StepFailure| failed.fetching.unwrap_or(replica.revision);
            let Some(failed) = replica.failed.as_ref().filter(|failed| of(failed) == view.revision) else { continue };
            // What each host refuses is none's fault, whatever each of them says.
            if failed.of_host && failed.attempts < self.attempts_until_it_is_no_host() {
                continue;
            }
            let why = match failed.fetching {
                Some(_) => format!(
                    "{} could not be replaced, since {} could not get its image: {}",
                    view.slot, failed.engine, failed.why
                ),
                None => {
                    format!(
                        "{}.{} could not be made on {}: {}",
                        view.slot, failed.generation, failed.engine, failed.why
                    )
                }
            };
            let may_roll_back = !failed.of_host;
            let component = component.name.clone();
            self.failure.get_or_insert(Failure { component, why, witness: None, may_roll_back });
        }
    }

    /// Why a component waits for its command of before, which runs or is tried again; and notes that it can be started nowhere.
    pub(super) fn before_runs(&mut self, component: &ComponentName, rollout: &Rollout) -> Cause {
        let Some(BeforeFailure { why, of_host, attempts, .. }) = rollout.before_failed.get(component) else {
            return Cause::BeforeRuns;
        };
        // What each host refuses is none's fault, whatever each of them says.
        let most = self.attempts_until_it_is_no_host().max(FEWEST_ATTEMPTS_OF_BEFORE);
        if !of_host || *attempts >= most {
            let why = format!("the command before {component} could not be started: {why}");
            let (component, may_roll_back) = (component.clone(), !of_host);
            self.failure.get_or_insert(Failure { component, why, witness: None, may_roll_back });
        }
        Cause::BeforeNotStarted { why: why.clone() }
    }

    /// After how many failures in a row, each on another host where there is one, it is not for the host any more.
    fn attempts_until_it_is_no_host(&self) -> u32 {
        let hosts = self.observed.engines.keys().filter(|engine| self.is_up(engine)).count();
        u32::try_from(hosts).unwrap_or(u32::MAX).max(FEWEST_ATTEMPTS)
    }

    /// Notes that nothing became ready for too long.
    pub(super) fn note_no_progress(&mut self, components: &[Component<'a>]) {
        // One that waits for another is not to blame.
        let waits = |component: &&Component<'_>| unsettled_dependency(component, components).is_some();
        let unsettled = || components.iter().filter(|component| !component.is_settled());
        let Some(component) = unsettled().find(|component| !waits(component)).or_else(|| unsettled().next()) else {
            return;
        };
        let seconds = progress_ms(self.desired) / 1000;
        let reason = self.reason_to_wait(component.name).unwrap_or_else(|| format!("{} is not", component.name));
        let why = format!("no replica became ready for {seconds} s; {reason}");
        let starting = component.views.iter().filter(|view| !view.is_settled()).find_map(|view| {
            let fit = view.fit.as_ref().filter(|fit| !fit.is_good() && !fit.is_held())?;
            Some(Witness::Replica(view.instance(fit.container)))
        });
        // A version is not to blame for a host that does not answer, or that cannot make a container.
        let before_failed = self.desired.rollout.as_ref().map(|rollout| &rollout.before_failed);
        let is_of_host = |view: &View<'_>| {
            let failed = view.replica.and_then(|replica| replica.failed.as_ref());
            view.unseen.is_some()
                || before_failed.is_some_and(|failed| failed.contains_key(&view.slot.component))
                || view.fit.iter().chain(&view.old).any(Candidate::is_held)
                || failed.is_some_and(|failed| failed.of_host)
        };
        let views = components.iter().flat_map(|component| &component.views);
        let may_roll_back = views.filter(|view| !view.is_settled()).any(|view| !is_of_host(view));
        self.failure = Some(Failure { component: component.name.clone(), why, witness: starting, may_roll_back });
    }

    /// What a slot of a component waits for by the steps so far, where it is not for others of it.
    fn reason_to_wait(&self, component: &ComponentName) -> Option<String> {
        let reason = |step: &Step| {
            let slot = step.action.slot().filter(|slot| slot.component == *component && step.action.is_wait())?;
            let says_nothing = matches!(step.cause, Cause::OthersFirst | Cause::BelowItsNumber | Cause::Orphan(_));
            let words = || match &step.cause {
                Cause::NoRoom(refusal) => format!("no host takes {slot}: {refusal}"),
                cause => format!("{slot}: {cause}"),
            };
            (!says_nothing).then(words)
        };
        self.steps.iter().find_map(reason)
    }

    /// Stops and keeps what has not passed its gate. Then everything goes back to the newest revision that was rolled out
    /// entirely; or it stays as it is, and slots that still have their old container go back to that.
    pub(super) fn fail(&mut self, components: &[Component<'a>], failure: Failure) {
        let Some(rollout) = &self.desired.rollout else { return };
        let cause = Cause::GateFailed(Verdict { why: failure.why, witness: failure.witness });
        let spec = components.iter().find(|component| *component.name == failure.component).map(|found| found.spec);
        let is_rollback = matches!(rollout.reason, RolloutReason::Rollback { .. });
        let goes_back = failure.may_roll_back
            && !is_rollback
            && spec.is_some_and(|spec| spec.update.on_failure == OnFailure::Rollback);
        let fallback = self.desired.last_done.filter(|number| goes_back && self.desired.revisions.contains_key(number));
        for view in components.iter().flat_map(|component| &component.views) {
            self.set_aside(view, fallback.is_some(), &cause);
        }
        match fallback {
            Some(to) => self.step(Action::Rollback { to }, cause),
            None => self.step(Action::Finish(Outcome::Stopped), cause),
        }
    }

    fn set_aside(&mut self, view: &View<'a>, goes_back: bool, cause: &Cause) {
        let in_gate = view.fit.as_ref().filter(|fit| self.is_in_gate(view, fit.container) && !fit.is_held());
        // Without an old one there is nothing to go back to: what is there is better than nothing.
        if let Some(fit) = in_gate.filter(|fit| !fit.is_good() && (goes_back || view.old.is_some())) {
            self.step(Action::SetAside(view.instance(fit.container)), cause.clone());
        }
        let keeps_new = view.fit.as_ref().is_some_and(Candidate::is_good);
        // The record names the one that stays, and no longer the one that is kept only for inspection.
        if let (false, Some(old), Some(replica)) = (keeps_new, &view.old, view.replica) {
            let revision = self.counts_as(old.container, replica);
            let is_known = self.desired.component(revision, &view.slot.component).is_some();
            let stays = view.instance(old.container);
            let is_recorded =
                (replica.revision, replica.generation, &replica.engine) == (revision, stays.generation, &stays.engine);
            if is_known && !is_recorded && matches!(old.standing, Standing::Known(_)) {
                self.step(Action::Assign { replica: stays, revision }, cause.clone());
            }
        }
    }
}
