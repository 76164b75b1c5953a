//! What there is of each slot.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::presence::Presence;
use super::status::{Status, ended_well, judge};
use super::{Component, Planner, instance, sizes};
use crate::apps::{Backend, Cause, Instance, ObservedContainer, Reach, Replica, RolloutReason, Slot, StepFailure};
use crate::model::app::{Change, ComponentName, ComponentSpec, Replicas};
use crate::model::{ContainerState, EngineId};

/// A slot that shall be filled, and what there is of it.
pub(super) struct View<'a> {
    pub(super) slot: Slot,
    /// The revision it shall have, and what the component is in it.
    pub(super) revision: u64,
    pub(super) spec: &'a ComponentSpec,
    pub(super) replica: Option<&'a Replica>,
    /// The one host that will do, where there is one for each.
    pub(super) only: Option<EngineId>,
    /// The best of the containers that are as they should be.
    pub(super) fit: Option<Candidate<'a>>,
    /// The best of those that are not.
    pub(super) old: Option<Candidate<'a>>,
    /// Those that are neither, and can be reached.
    pub(super) rest: Vec<&'a ObservedContainer>,
    /// The one that failed in a rollout and is kept for inspection.
    pub(super) kept: Option<&'a ObservedContainer>,
    /// Those that were not made for the record of the slot.
    pub(super) orphans: Vec<&'a ObservedContainer>,
    /// Why one counts no more, and its generation.
    pub(super) gone: Option<(Cause, u64)>,
    /// Why the newest container, which only the record names, counts as if it served, and until when. Nothing while another one
    /// is better.
    pub(super) unseen: Option<(Cause, Option<Timestamp>)>,
    /// The one that ended well and cannot be reached any more: the slot needs no other.
    pub(super) completed: Option<Instance>,
    /// The highest generation of the slots that were forgotten.
    forgotten: u64,
}

/// A container that may fill a slot.
pub(super) struct Candidate<'a> {
    pub(super) container: &'a ObservedContainer,
    pub(super) standing: Standing,
    /// Why it is not as it should be.
    pub(super) unfit: Option<Cause>,
    /// Whether it takes traffic, by the record: then it has passed its gate.
    serves: bool,
}

/// What is known of a container.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing {
    /// Its engine answers, and this is its status.
    Known(Status),
    /// Its engine does not, and it counts as if it served.
    Held(Cause, Option<Timestamp>),
}

impl Candidate<'_> {
    pub(super) fn is_good(&self) -> bool {
        match &self.standing {
            Standing::Known(status) => status.is_good(),
            Standing::Held(..) => true,
        }
    }

    pub(super) fn is_held(&self) -> bool {
        matches!(self.standing, Standing::Held(..))
    }

    /// The better of two containers of one slot has the higher rank.
    fn rank(&self) -> (u8, u64) {
        let worth = match &self.standing {
            Standing::Known(Status::Completed) => 7,
            // What takes traffic is better than what never did.
            Standing::Known(Status::Ready) if self.serves => 7,
            // Docker has started it again a moment ago.
            Standing::Known(Status::Starting(_)) if self.serves => 6,
            Standing::Known(Status::Ready) => 5,
            Standing::Held(..) => 4,
            Standing::Known(Status::Monitored(_)) => 3,
            Standing::Known(Status::Starting(_)) => 2,
            Standing::Known(Status::Sick(_) | Status::Paused | Status::NotStarted) => 1,
            Standing::Known(Status::CrashLooping(_) | Status::Ended | Status::NetworkLost) => 0,
        };
        (worth, self.container.generation)
    }
}

impl View<'_> {
    /// Whether nothing fills it, right or wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.fit.is_none() && self.old.is_none() && self.unseen.is_none() && self.completed.is_none()
    }

    /// Whether something of it serves.
    pub(super) fn is_available(&self) -> bool {
        let serves = |candidate: &Candidate<'_>| {
            let draining = self.replica.is_some_and(|replica| {
                matches!(replica.backends.get(&candidate.container.generation), Some(Backend::Draining { .. }))
            });
            candidate.is_good() && !draining
        };
        // One that is ready is given traffic only where it is as it should be.
        let never_did = |old: &Candidate<'_>| !old.serves && old.standing == Standing::Known(Status::Ready);
        let old = self.old.as_ref().filter(|old| !never_did(old));
        self.unseen.is_some() || self.completed.is_some() || self.fit.iter().chain(old).any(serves)
    }

    /// Whether it has what it is to have, and nothing old is left.
    pub(super) fn is_settled(&self) -> bool {
        let recorded = |candidate: &Candidate<'_>| {
            let is_recorded = self.replica.is_some_and(|replica| {
                (replica.revision, replica.generation) == (self.revision, candidate.container.generation)
            });
            candidate.is_good() && is_recorded && !sizes::differ(candidate.container, self.spec)
        };
        let needs_nothing = self.unseen.is_some() || self.completed.is_some();
        let is_recorded = self.replica.is_some_and(|replica| replica.revision == self.revision);
        self.old.is_none() && self.fit.as_ref().map_or(needs_nothing && is_recorded, recorded)
    }

    /// The generation of the next container. None is used again as long as its container may come back.
    pub(super) fn next_generation(&self) -> u64 {
        let candidates = self.fit.iter().chain(&self.old).map(|candidate| candidate.container);
        let others = self.rest.iter().chain(&self.kept).chain(&self.orphans).copied();
        let seen = candidates.chain(others).map(|container| container.generation);
        let gone = self.gone.iter().map(|(_, generation)| *generation);
        let recorded = self.replica.map_or(self.forgotten, Replica::newest);
        seen.chain(gone).chain([recorded]).max().unwrap_or(0) + 1
    }

    pub(super) fn instance(&self, container: &ObservedContainer) -> Instance {
        instance(&self.slot, container)
    }
}

impl<'a> Planner<'a> {
    /// The same component with each slot as its record has it.
    pub(super) fn recorded(&self, component: &Component<'a>) -> Component<'a> {
        let Component { name, spec, .. } = *component;
        let own = |view: &View<'a>| self.view(name, spec, view.slot.number, view.only.clone(), true);
        Component { name, spec, views: component.views.iter().map(own).collect() }
    }

    /// The slots of a component of the target.
    pub(super) fn views(&self, name: &'a ComponentName, spec: &'a ComponentSpec) -> Vec<View<'a>> {
        let slots: Vec<(u32, Option<EngineId>)> = match spec.replicas {
            Replicas::Count(count) => (1..=count).map(|number| (number, None)).collect(),
            Replicas::EachHost => self.one_on_each_host(name, spec),
        };
        // Between rollouts each slot has what it has, also where a rollout was stopped half way.
        let as_recorded = self.desired.rollout.is_none();
        slots.into_iter().map(|(number, only)| self.view(name, spec, number, only, as_recorded)).collect()
    }

    /// A host that has a slot keeps it; each that has none gets the lowest number that is free.
    fn one_on_each_host(&self, name: &ComponentName, spec: &ComponentSpec) -> Vec<(u32, Option<EngineId>)> {
        let takes_it = |engine: &EngineId| {
            let is_lost = self.observed.engines.get(engine) == Some(&Reach::Lost);
            let host = self.snapshot.get(engine).filter(|_| !is_lost);
            host.is_some_and(|host| !host.draining && spec.place.labels.is_subset(&host.labels))
        };
        let replicas = || self.desired.replicas.iter().filter(|(slot, _)| slot.component == *name);
        let mut numbers: BTreeMap<&EngineId, (bool, u32)> = BTreeMap::new();
        for (slot, replica) in replicas().filter(|(_, replica)| takes_it(&replica.engine)) {
            // Of two on one host, which the number of replicas allowed before, the one that has its container there.
            let is_elsewhere = !self
                .made_for(slot, replica)
                .any(|container| container.engine == replica.engine && replica.kept != Some(container.generation));
            let kept = numbers.entry(&replica.engine).or_insert((is_elsewhere, slot.number));
            *kept = (*kept).min((is_elsewhere, slot.number));
        }
        let mut taken: BTreeSet<u32> = replicas().map(|(slot, _)| slot.number).collect();
        for engine in self.observed.engines.keys().filter(|engine| self.is_up(engine) && takes_it(engine)) {
            numbers.entry(engine).or_insert_with(|| {
                let number = (1..).find(|number| !taken.contains(number)).unwrap_or(u32::MAX);
                taken.insert(number);
                (true, number)
            });
        }
        let mut slots: Vec<(u32, Option<EngineId>)> =
            numbers.into_iter().map(|(engine, (_, number))| (number, Some(engine.clone()))).collect();
        slots.sort();
        slots
    }

    /// A slot, by the target or as its record has it.
    pub(super) fn view(
        &self,
        name: &ComponentName,
        target: &'a ComponentSpec,
        number: u32,
        only: Option<EngineId>,
        as_recorded: bool,
    ) -> View<'a> {
        let desired = self.desired;
        let slot = Slot { component: name.clone(), number };
        let replica = desired.replicas.get(&slot);
        let own = replica.filter(|_| as_recorded).map(|replica| replica.revision);
        let (revision, spec) = own
            .and_then(|revision| Some((revision, desired.component(revision, name)?)))
            .unwrap_or((desired.target, target));
        let mut view = View {
            slot,
            revision,
            spec,
            replica,
            only,
            fit: None,
            old: None,
            rest: Vec::new(),
            kept: None,
            orphans: Vec::new(),
            gone: None,
            unseen: None,
            completed: None,
            forgotten: desired.forgotten,
        };
        for container in self.containers_of(&view.slot) {
            self.sort_in(&mut view, container);
        }
        self.judge_unseen(&mut view);
        self.judge_completed(&mut view);
        view
    }

    /// What has ended well is not run again, wherever its container went.
    fn judge_completed(&self, view: &mut View<'a>) {
        let Some(replica) = view.replica.filter(|_| view.fit.is_none()) else { return };
        let mut done = self.containers_of(&view.slot).filter(|container| container.generation == replica.generation);
        let has_completed = replica.completed == Some(replica.generation);
        let is_done = match done.next() {
            Some(container) if self.is_up(&container.engine) => false,
            Some(container) => has_completed || ended_well(container, view.spec, view.replica),
            None => has_completed,
        };
        let own = self.desired.component(replica.revision, &view.slot.component);
        let is_fit = own.is_some_and(|own| own.fields_for_a_new_container(view.spec).is_empty());
        if is_done && is_fit && !self.is_restarted(replica, replica.generation) {
            let (slot, engine) = (view.slot.clone(), replica.engine.clone());
            view.completed = Some(Instance { slot, generation: replica.generation, engine });
            (view.unseen, view.gone) = (None, None);
            view.rest.extend(view.old.take().filter(|old| !old.is_held()).map(|old| old.container));
        }
    }

    /// A container that the record names, and that nobody has seen since this server leads, is judged by its host.
    fn judge_unseen(&self, view: &mut View<'a>) {
        let Some(replica) = view.replica else { return };
        if self.containers_of(&view.slot).any(|container| container.generation == replica.generation) {
            return;
        }
        // What could not be made is not there; unless it would do harm if it were.
        let is_it = |failed: &StepFailure| failed.generation == replica.generation && failed.fetching.is_none();
        let failed = replica.failed.as_ref().is_some_and(is_it);
        if failed && !view.spec.is_pinned() && !view.spec.heal.singleton {
            return;
        }
        match self.presence(&replica.engine, view.spec) {
            // Its host was read, and does not have it.
            Presence::Here => {}
            Presence::Held(cause, until) => {
                let own = self.desired.component(replica.revision, &view.slot.component);
                let is_fit = own.is_some_and(|own| own.fields_for_a_new_container(view.spec).is_empty());
                let other = view.fit.as_ref().or(view.old.as_ref().filter(|_| !is_fit));
                if !other.is_some_and(Candidate::is_good) {
                    view.unseen = Some((cause, until));
                }
            }
            Presence::Gone(cause) => {
                let newest = view.gone.as_ref().map_or(0, |(_, generation)| *generation);
                view.gone = Some((cause, newest.max(replica.generation)));
            }
        }
    }

    /// Those of the containers of a slot that were made for its record.
    pub(super) fn made_for(
        &self,
        slot: &Slot,
        replica: &'a Replica,
    ) -> impl Iterator<Item = &'a ObservedContainer> + use<'a> {
        self.containers_of(slot).filter(|container| replica.names(container))
    }

    pub(super) fn containers_of(&self, slot: &Slot) -> impl Iterator<Item = &'a ObservedContainer> + use<'a> {
        self.by_slot.get(slot).cloned().unwrap_or_default().into_iter()
    }

    fn sort_in(&self, view: &mut View<'a>, container: &'a ObservedContainer) {
        let Some(replica) = view.replica.filter(|replica| replica.names(container)) else {
            view.orphans.push(container);
            return;
        };
        if replica.kept == Some(container.generation) {
            view.kept = Some(container);
            return;
        }
        let standing = match self.presence(&container.engine, view.spec) {
            Presence::Here if container.state == ContainerState::Unknown => {
                Standing::Held(Cause::NotReadYet(container.engine.clone()), None)
            }
            Presence::Here => {
                Standing::Known(judge(container, view.spec, view.replica, self.monitor_ms(view.spec), self.now))
            }
            Presence::Held(cause, until) => Standing::Held(cause, until),
            Presence::Gone(cause) => {
                // It may come back, so its generation is not used again.
                let newest = view.gone.as_ref().map_or(0, |(_, generation)| *generation);
                view.gone = Some((cause, newest.max(container.generation)));
                return;
            }
        };
        let unfit = self.unfit(view, container, replica);
        let serves = replica.backends.get(&container.generation) == Some(&Backend::Serving);
        let candidate = Candidate { container, standing, unfit, serves };
        let place = if candidate.unfit.is_none() { &mut view.fit } else { &mut view.old };
        let loser = match place {
            Some(best) if best.rank() >= candidate.rank() => Some(candidate),
            _ => place.replace(candidate),
        };
        view.rest.extend(loser.filter(|loser| !loser.is_held()).map(|loser| loser.container));
    }

    /// How long a container that is well is watched before it takes traffic. What is not rolled out has been watched: one that
    /// is put in the place of another serves as soon as it can.
    fn monitor_ms(&self, spec: &ComponentSpec) -> u64 {
        if self.desired.rollout.is_some() { spec.update.monitor_ms } else { 0 }
    }

    /// The revision that a container counts as.
    pub(super) fn counts_as(&self, container: &ObservedContainer, replica: &Replica) -> u64 {
        self.desired.counts_as(replica, container.generation, container.revision)
    }

    /// Why a container is not what the slot shall have.
    fn unfit(&self, view: &View<'a>, container: &ObservedContainer, replica: &Replica) -> Option<Cause> {
        let revision = self.counts_as(container, replica);
        let Some(own) = self.desired.component(revision, &view.slot.component) else {
            return Some(Cause::UnknownRevision(revision));
        };
        let fields = own.fields_for_a_new_container(view.spec);
        if !fields.is_empty() {
            return Some(Cause::Changed(fields));
        }
        match container.sizes.map(|sizes| sizes.change_to(&view.spec.sizes())) {
            Some(Change::NewContainer(fields)) => return Some(Cause::Changed(fields)),
            Some(Change::InPlace) if !self.has_room_in_place(container, view.spec) => {
                return Some(Cause::NoRoomInPlace(container.engine.clone()));
            }
            _ => {}
        }
        if self.is_restarted(replica, container.generation) {
            return Some(Cause::Restart);
        }
        self.has_to_leave(view, container).filter(|_| !ended_well(container, view.spec, view.replica))
    }

    /// Whether a container is to be made again only because somebody asked for it.
    fn is_restarted(&self, replica: &Replica, generation: u64) -> bool {
        let rollout = self.desired.rollout.as_ref();
        rollout.is_some_and(|rollout| rollout.reason == RolloutReason::Restart) && generation <= replica.before_rollout
    }

    /// Why a container cannot stay on its host.
    fn has_to_leave(&self, view: &View<'a>, container: &ObservedContainer) -> Option<Cause> {
        if let Some(only) = view.only.as_ref().filter(|only| **only != container.engine) {
            return Some(Cause::BelongsElsewhere(only.clone()));
        }
        if view.only.is_some() || view.spec.is_pinned() {
            return None;
        }
        let host = self.snapshot.get(&container.engine)?;
        if host.draining {
            return Some(Cause::Drained(container.engine.clone()));
        }
        if let Some(lacking) = view.spec.place.labels.iter().find(|label| !host.labels.contains(*label)) {
            return Some(Cause::LacksLabel { engine: container.engine.clone(), label: lacking.clone() });
        }
        if let Some(used) = self.no_longer_beside(view.spec, &container.engine) {
            return Some(Cause::NotBeside { engine: container.engine.clone(), used });
        }
        // A rollout decides by itself where its containers go, and does not wait for a move.
        let leaves = view.replica.and_then(|replica| replica.leaves).filter(|_| self.desired.rollout.is_none());
        (leaves == Some(container.generation)).then(|| Cause::MakesRoom(container.engine.clone()))
    }
}
