//! What each step changes of what is recorded. A server and a simulation share it.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Action, Backend, BeforeFailure, BeforeState, Desired, Goal, Instance, Observed, Outcome, Reach, Replica, Rollout,
    RolloutReason, Slot, Step, StepFailure, Volume,
};
use crate::model::EngineId;
use crate::model::app::{AppSpec, ComponentName};

/// How many generations of a slot are remembered. One that a host brings back after more of them is an orphan.
const GENERATIONS: usize = 100;

impl Replica {
    /// Another container is the newest. The one before may be there still.
    fn name_newest(&mut self, newest: &Instance) {
        if self.generation != newest.generation {
            let before = std::mem::replace(&mut self.engine, newest.engine.clone());
            self.elsewhere.insert(self.generation, before);
        }
        (self.generation, self.engine) = (newest.generation, newest.engine.clone());
        self.elsewhere.remove(&newest.generation);
        if self.elsewhere.len() > GENERATIONS {
            self.elsewhere.pop_first();
        }
    }
}

impl Desired {
    /// Makes a revision of `spec`, and begins a rollout to it that takes the place of one under way. The number of the revision.
    ///
    /// Another number of replicas ends no rollout: the one under way goes on to the new revision, with its reason, its time and the
    /// commands that it still has to run before.
    pub fn begin(&mut self, spec: AppSpec, reason: RolloutReason, now: Timestamp) -> u64 {
        let number = self.revisions.keys().next_back().copied().unwrap_or(0).max(self.target).max(self.seen) + 1;
        self.revisions.insert(number, Arc::new(spec));
        self.target = number;
        for replica in self.replicas.values_mut() {
            // What went wrong with another version says nothing about this one.
            replica.failed = None;
            if reason != RolloutReason::Scale {
                replica.avoid.clear();
            }
        }
        match &mut self.rollout {
            Some(rollout) if reason == RolloutReason::Scale => rollout.to = number,
            _ => {
                self.replicas.values_mut().for_each(|replica| replica.before_rollout = replica.newest());
                self.rollout = Some(Rollout::new(number, reason, now));
            }
        }
        number
    }

    /// Says what is to become of it. A rollout that goes on now made no progress meanwhile, and could make none.
    pub(crate) fn set_goal(&mut self, goal: Goal, now: Timestamp) {
        self.goal = goal;
        self.note_progress(now);
    }

    /// Notes a step: this is to be written down before Docker is asked for it.
    pub fn record(&mut self, step: &Step, now: Timestamp) {
        match &step.action {
            Action::CreateVolume { slot, volume, engine, taken } => {
                let (slot, name, engine) = (slot.clone(), volume.clone(), engine.clone());
                self.add_volume(Volume { slot, name, engine, made: *taken, taken: *taken });
            }
            Action::Create { replica, revision, avoid, choice: _ } => {
                self.record_create(replica, *revision, avoid.clone());
            }
            Action::Restart(replica) => self.change(replica, |record| {
                let count = record.restarts.map_or(0, |(count, _)| count);
                record.restarts = Some((count + 1, now));
            }),
            Action::Start(replica) => self.change(replica, |record| {
                record.stopped.remove(&replica.generation);
            }),
            Action::Stop(replica) => {
                self.note_end_of_drain(replica, now);
                self.change(replica, |record| {
                    record.backends.remove(&replica.generation);
                    record.stopped.insert(replica.generation);
                });
            }
            Action::SetAside(replica) => self.change(replica, |record| {
                record.backends.remove(&replica.generation);
                record.stopped.insert(replica.generation);
                record.kept = Some(replica.generation);
            }),
            Action::Remove(replica) => {
                self.note_end_of_drain(replica, now);
                self.change(replica, |record| {
                    record.backends.remove(&replica.generation);
                    record.stopped.remove(&replica.generation);
                    record.kept = record.kept.filter(|&kept| kept != replica.generation);
                    record.leaves = record.leaves.filter(|&leaves| leaves != replica.generation);
                });
            }
            Action::Assign { replica, revision } => self.change(replica, |record| {
                record.failed = record.failed.take().filter(|_| record.revision == *revision);
                record.revision = *revision;
                record.name_newest(replica);
            }),
            Action::Adopt { replica, revision } => self.record_adoption(replica, *revision),
            Action::Admit(replica) => {
                self.change(replica, |record| {
                    record.backends.insert(replica.generation, Backend::Serving);
                    // Whatever was to become of it before: that it was to be stopped may not have been done.
                    record.stopped.remove(&replica.generation);
                    if record.failed.take().is_some() {
                        record.avoid.clear();
                    }
                });
                self.note_progress(now);
            }
            Action::Drain(replica) => self.change(replica, |record| {
                record.backends.insert(replica.generation, Backend::Draining { since: now });
            }),
            Action::Complete(replica) => self.record_completion(replica, now),
            Action::Stay(replica) => self.change(replica, |record| record.leaves = None),
            Action::Forget(slot) => self.forget(slot),
            Action::RunBefore(component) => self.note_before(component, BeforeState::Running, now),
            Action::Rollback { to } => {
                if let Some(spec) = self.revisions.get(to) {
                    let spec = AppSpec::clone(spec);
                    self.begin(spec, RolloutReason::Rollback { why: step.cause.to_string() }, now);
                }
            }
            Action::Finish(outcome) => {
                self.rollout = None;
                if *outcome != Outcome::Stopped {
                    self.note_done();
                }
            }
            Action::Fetch { .. } | Action::Rename(_) | Action::UpdateInPlace(..) | Action::Wait { .. } => {}
        }
    }

    /// Notes that the target was rolled out entirely.
    fn note_done(&mut self) {
        let is_other = |done: &u64| self.revisions.get(done) != self.revisions.get(&self.target);
        self.done_before = self.last_done.filter(is_other).or(self.done_before);
        self.last_done = Some(self.target);
    }

    /// Notes that the container of a step that creates one could not be made, or a volume for it, and that none was left behind.
    /// This is to be written down like a step; the next plan tries another host, tries again later, or ends the rollout.
    ///
    /// `of_host` is whether another host may do what that one did not: it was lost, its disk is full, its daemon or the way to the
    /// registry is broken. Otherwise the version is to blame: there is no such image, or every Docker refuses the container.
    pub fn note_failure(
        &mut self,
        slot: &Slot,
        generation: u64,
        engine: &EngineId,
        why: String,
        of_host: bool,
        now: Timestamp,
    ) {
        let target = self.target;
        let first = || Replica::new(target, generation, engine.clone());
        let record = self.replicas.entry(slot.clone()).or_insert_with(first);
        if generation < record.generation {
            // What became of an older container does not matter any more.
            return;
        }
        let attempts = record.failed.as_ref().map_or(0, |failed| failed.attempts).saturating_add(1);
        let fetching = None;
        record.failed =
            Some(StepFailure { generation, engine: engine.clone(), why, at: now, of_host, attempts, fetching });
        if of_host {
            record.avoid.insert(engine.clone());
        }
    }

    /// Notes that a host could not get the image of a slot in a revision: its container goes on. This is to be written down like a
    /// step.
    pub fn note_failed_fetch(
        &mut self,
        slot: &Slot,
        revision: u64,
        engine: &EngineId,
        why: String,
        of_host: bool,
        now: Timestamp,
    ) {
        let Some(generation) = self.replicas.get(slot).map(|replica| replica.generation) else { return };
        self.note_failure(slot, generation, engine, why, of_host, now);
        if let Some(failed) = self.replicas.get_mut(slot).and_then(|replica| replica.failed.as_mut()) {
            failed.fetching = Some(revision);
        }
    }

    /// Has a container make room on its host. This is to be written down like a step; it is carried out when nothing else is under
    /// way, one container of a component at a time, and given up where there is no room elsewhere any more.
    pub fn leave(&mut self, replica: &Instance) {
        self.change(replica, |record| record.leaves = Some(replica.generation));
    }

    /// Notes how far the command is that runs before a component is replaced. This is to be written down like a step.
    pub fn note_before(&mut self, component: &ComponentName, state: BeforeState, now: Timestamp) {
        let Some(rollout) = &mut self.rollout else { return };
        rollout.before.insert(component.clone(), state);
        // That it is tried again is no progress.
        if state != BeforeState::Running || !rollout.before_failed.contains_key(component) {
            self.note_progress(now);
        }
    }

    /// Notes that the command before a component could not be started, and where: nowhere, if no host takes it. This is to be written
    /// down like a step; the next plan tries another host, or ends the rollout.
    ///
    /// `of_host` is as in [`Desired::note_failure`]; `may_be_there` is whether that host did not answer, so that it may run all the same.
    pub fn note_before_failed(
        &mut self,
        component: &ComponentName,
        engine: Option<&EngineId>,
        why: String,
        of_host: bool,
        may_be_there: bool,
    ) {
        let Some(rollout) = self.rollout_before(component) else { return };
        if !may_be_there {
            rollout.before_on.remove(component);
        }
        let failed = rollout.before_failed.entry(component.clone()).or_default();
        let BeforeFailure { attempts, avoid, .. } = std::mem::take(failed);
        let attempts = attempts.saturating_add(u32::from(engine.is_some()));
        let avoid = avoid.into_iter().chain(engine.cloned()).collect();
        *failed = BeforeFailure { why, of_host, attempts, avoid };
    }

    /// Notes which host is going to be asked for the command before a component. This is to be written down before it is.
    pub(crate) fn note_before_on(&mut self, component: &ComponentName, engine: &EngineId) {
        if let Some(rollout) = self.rollout_before(component) {
            rollout.before_on.insert(component.clone(), engine.clone());
        }
    }

    /// The rollout whose command before a component was begun: another one may have taken its place.
    fn rollout_before(&mut self, component: &ComponentName) -> Option<&mut Rollout> {
        self.rollout.as_mut().filter(|rollout| rollout.before.get(component) == Some(&BeforeState::Running))
    }

    /// Notes that the command before a component was started, and how it ended if it did.
    pub(crate) fn note_before_started(&mut self, component: &ComponentName, ended: Option<i64>, now: Timestamp) {
        if let Some(rollout) = &mut self.rollout {
            rollout.before_failed.remove(component);
        }
        if let Some(code) = ended {
            self.note_before(component, BeforeState::Ended(code), now);
        }
    }

    /// Notes which older containers are gone for certain: their hosts were read, and do not have them, or will never be back.
    pub(crate) fn note_gone(&mut self, observed: &Observed) {
        for (slot, record) in &mut self.replicas {
            let is_seen = |generation: u64, engine: &EngineId| {
                observed.containers.iter().any(|container| {
                    container.slot.as_ref() == Some(slot)
                        && container.generation == generation
                        && container.engine == *engine
                })
            };
            record.elsewhere.retain(|generation, engine| match observed.engines.get(engine) {
                Some(Reach::Up) => is_seen(*generation, engine),
                Some(Reach::Lost) => false,
                _ => true,
            });
        }
    }

    fn change(&mut self, replica: &Instance, change: impl FnOnce(&mut Replica)) {
        if let Some(record) = self.replicas.get_mut(&replica.slot) {
            change(record);
        }
    }

    fn record_create(&mut self, replica: &Instance, revision: u64, avoid: Option<EngineId>) {
        let record = self
            .replicas
            .entry(replica.slot.clone())
            .or_insert_with(|| Replica::new(revision, replica.generation, replica.engine.clone()));
        // What went wrong with another version says nothing about this one.
        record.failed = record.failed.take().filter(|_| record.revision == revision);
        record.revision = revision;
        record.name_newest(replica);
        record.made.insert(replica.generation);
        if record.made.len() > GENERATIONS {
            record.made.pop_first();
        }
        record.avoid.extend(avoid);
        record.restarts = None;
        // From now on there may be something in them.
        for volume in self.volumes.iter_mut().filter(|volume| volume.slot == replica.slot) {
            volume.made |= volume.engine == replica.engine;
        }
    }

    fn record_adoption(&mut self, replica: &Instance, revision: u64) {
        let mut record = Replica::new(revision, replica.generation, replica.engine.clone());
        // What an older record made may come back with its host.
        let made = self.replicas.get(&replica.slot).map(|known| known.made.clone()).unwrap_or_default();
        record.made.extend(made);
        record.before_rollout = record.newest();
        record.adopted = Some((replica.generation, revision));
        self.replicas.insert(replica.slot.clone(), record);
        let spec = self.component(revision, &replica.slot.component);
        let names: Vec<String> =
            spec.map(|spec| spec.pinned_volumes().map(str::to_owned).collect()).unwrap_or_default();
        for name in names {
            let (slot, engine) = (replica.slot.clone(), replica.engine.clone());
            let is_it = |known: &Volume| known.slot == slot && known.name == name && known.engine == engine;
            let taken = self.volumes.iter().any(|known| known.taken && is_it(known));
            self.add_volume(Volume { slot, name, engine, made: true, taken });
        }
    }

    fn add_volume(&mut self, volume: Volume) {
        self.volumes.retain(|known| known.slot != volume.slot || known.name != volume.name);
        self.volumes.push(volume);
    }

    fn record_completion(&mut self, replica: &Instance, now: Timestamp) {
        self.change(replica, |record| {
            record.backends.remove(&replica.generation);
            record.completed = Some(replica.generation);
        });
        self.note_progress(now);
    }

    /// A host is gone with its volumes. What ran on them there is nobody's if it comes back: its slot is filled with new ones.
    pub(crate) fn lose_volumes_on(&mut self, engine: &EngineId) {
        let is_on_it = |volume: &Volume| volume.engine == *engine;
        let slots: Vec<Slot> =
            self.volumes.iter().filter(|volume| is_on_it(volume)).map(|volume| volume.slot.clone()).collect();
        self.volumes.retain(|volume| !is_on_it(volume));
        slots.iter().for_each(|slot| self.forget(slot));
    }

    fn forget(&mut self, slot: &Slot) {
        if let Some(record) = self.replicas.remove(slot) {
            self.forgotten = self.forgotten.max(record.newest());
        }
    }

    /// What takes the time of a drain is the old version and not the one that is rolled out.
    fn note_end_of_drain(&mut self, replica: &Instance, now: Timestamp) {
        let record = self.replicas.get(&replica.slot);
        let backend = record.and_then(|record| record.backends.get(&replica.generation));
        if matches!(backend, Some(Backend::Draining { .. })) {
            self.note_progress(now);
        }
    }

    fn note_progress(&mut self, now: Timestamp) {
        if let Some(rollout) = &mut self.rollout {
            rollout.progressed = now;
        }
    }
}
