//! What is too many goes: slots beyond the number, components that left the file, and an application that is stopped or destroyed.

use std::collections::{BTreeMap, BTreeSet};

use super::status::{Drain, drained_at};
use super::{Component, Planner, Turn, instance};
use crate::apps::{Action, Cause, Instance, ObservedContainer, Reach, Replica, Slot, Subject};
use crate::model::ContainerState;
use crate::model::app::{ComponentName, ComponentSpec, Replicas};

impl<'a> Planner<'a> {
    fn surplus<'p>(
        &self,
        components: &'p [Component<'a>],
    ) -> impl Iterator<Item = (&'a Slot, &'a Replica)> + use<'a, 'p> {
        let filled: BTreeSet<&Slot> =
            components.iter().flat_map(|component| &component.views).map(|view| &view.slot).collect();
        self.desired.replicas.iter().filter(move |(slot, _)| !filled.contains(*slot))
    }

    /// Whether something that is too many may serve somebody. What is on a silent host goes when that is back, and keeps no
    /// rollout from ending.
    pub(super) fn surplus_serves(&self, components: &[Component<'a>]) -> bool {
        self.surplus(components).flat_map(|(slot, replica)| self.made_for(slot, replica)).any(|container| {
            let reach = self.observed.engines.get(&container.engine);
            reach.is_none_or(|reach| *reach != Reach::Lost && !self.is_silent(reach))
        })
    }

    /// Slots beyond the number go at once, those of components that left the file when everything else is ready. None goes for a
    /// revision whose rollout was stopped: what runs of an older one may still use it.
    pub(super) fn remove_surplus(&mut self, components: &[Component<'a>], is_settled: bool) {
        for (slot, replica) in self.surplus(components).collect::<Vec<_>>() {
            let is_declared = components.iter().any(|component| *component.name == slot.component);
            if !self.desired.is_target_good() {
                self.wait(Subject::Slot(slot.clone()), None, Cause::RolloutStopped(self.desired.target));
            } else if is_declared {
                self.remove_slot(slot, replica, &Cause::Surplus, true);
            } else if is_settled {
                self.remove_slot(slot, replica, &Cause::LeftTheFile, true);
            } else {
                self.wait(Subject::Slot(slot.clone()), None, Cause::OthersFirst);
            }
        }
    }

    /// Containers that no record names, and that have no slot that is looked after.
    pub(super) fn show_stray_orphans(&mut self, turns: &[Turn<'a, '_>]) {
        let shown: BTreeSet<&Slot> =
            turns.iter().flat_map(|turn| &turn.component.views).map(|view| &view.slot).collect();
        for orphan in self.orphans(|slot| !shown.contains(slot)) {
            self.wait(Subject::Slot(orphan.slot.clone()), None, Cause::Orphan(orphan));
        }
    }

    /// What is too many and stays for now, as it was recorded.
    pub(super) fn left(&self, components: &[Component<'a>], is_settled: bool) -> Vec<Component<'a>> {
        let is_declared = |slot: &Slot| components.iter().any(|component| *component.name == slot.component);
        let stays = |slot: &Slot| !self.desired.is_target_good() || !is_settled && !is_declared(slot);
        let mut left: BTreeMap<(&ComponentName, u64), Component<'a>> = BTreeMap::new();
        for (slot, replica) in self.surplus(components).filter(|(slot, _)| stays(slot)) {
            let name = &slot.component;
            let Some(spec) = self.desired.component(replica.revision, name) else { continue };
            let only = (spec.replicas == Replicas::EachHost).then(|| replica.engine.clone());
            let component =
                left.entry((name, replica.revision)).or_insert_with(|| Component { name, spec, views: Vec::new() });
            component.views.push(self.view(name, spec, slot.number, only, true));
        }
        left.into_values().collect()
    }

    fn remove_slot(&mut self, slot: &Slot, replica: &'a Replica, cause: &Cause, drains: bool) {
        let spec = self.desired.component(replica.revision, &slot.component);
        let mut is_left = false;
        for container in self.made_for(slot, replica) {
            if self.is_lost(&container.engine) {
                continue;
            }
            match self.no_answer(&container.engine) {
                None => self.remove_one(slot, replica, container, spec.filter(|_| drains), cause),
                // It goes when its host is back.
                Some(reason) => self.wait(Subject::Slot(slot.clone()), None, reason),
            }
            is_left = true;
        }
        // A container that nobody has seen since this server leads may be there all the same.
        let is_unseen = self.made_for(slot, replica).all(|container| container.generation != replica.generation);
        if let Some(reason) = self.no_answer(&replica.engine).filter(|_| is_unseen && !self.is_lost(&replica.engine)) {
            self.wait(Subject::Slot(slot.clone()), None, reason);
            is_left = true;
        }
        // The same holds for one before the newest.
        let is_seen = |generation| self.made_for(slot, replica).any(|container| container.generation == generation);
        let mut unseen = replica.elsewhere.iter().filter(|(generation, engine)| {
            self.observed.engines.contains_key(*engine) && !self.is_lost(engine) && !is_seen(**generation)
        });
        if let Some(reason) = unseen.find_map(|(_, engine)| self.no_answer(engine)) {
            self.wait(Subject::Slot(slot.clone()), None, reason);
            is_left = true;
        }
        if !is_left {
            self.step(Action::Forget(slot.clone()), Cause::NothingLeft);
        }
    }

    fn remove_one(
        &mut self,
        slot: &Slot,
        replica: &'a Replica,
        container: &ObservedContainer,
        drains: Option<&ComponentSpec>,
        cause: &Cause,
    ) {
        let instance = instance(slot, container);
        let runs = container.state == ContainerState::Running;
        let drain = drains.filter(|_| runs).map(|spec| drained_at(Some(replica), container.generation, spec));
        match drain {
            Some(Drain::Serving) => self.step(Action::Drain(instance), cause.clone()),
            Some(Drain::Until(until)) if self.now < until => {
                self.wait(Subject::Slot(slot.clone()), Some(until), Cause::Draining);
            }
            _ => self.step(Action::Remove(instance), cause.clone()),
        }
    }

    /// Every container is stopped, and kept.
    pub(super) fn stop_all(&mut self) {
        for container in &self.observed.containers {
            let Some(slot) = &container.slot else { continue };
            if self.desired.replicas.get(slot).is_none_or(|replica| !replica.names(container)) {
                continue;
            }
            let is_stopped = matches!(container.state, ContainerState::Stopped | ContainerState::Created);
            if is_stopped || self.is_lost(&container.engine) {
                continue;
            }
            match self.no_answer(&container.engine) {
                None => self.step(Action::Stop(instance(slot, container)), Cause::AppStopped),
                Some(reason) => self.wait(Subject::Slot(slot.clone()), None, reason),
            }
        }
    }

    /// Every container is removed, and then its record.
    pub(super) fn destroy_all(&mut self) {
        // A command of it, which no record names, may be there.
        let observed = self.observed;
        for engine in &observed.unread {
            if !self.is_lost(engine) {
                self.wait(Subject::App, None, Cause::NotReadYet(engine.clone()));
            }
        }
        for (slot, replica) in &self.desired.replicas {
            self.remove_slot(slot, replica, &Cause::AppDestroyed, false);
        }
        // Also what no record names: nothing is to be left of it.
        for orphan in self.orphans(|_| true) {
            if self.is_lost(&orphan.engine) {
                continue;
            }
            match self.no_answer(&orphan.engine) {
                None => self.step(Action::Remove(orphan), Cause::AppDestroyed),
                Some(reason) => self.wait(Subject::Slot(orphan.slot), None, reason),
            }
        }
    }

    /// The containers of some slots that no record names.
    fn orphans(&self, is_one: impl Fn(&Slot) -> bool) -> Vec<Instance> {
        let mut orphans = Vec::new();
        for (&slot, containers) in self.by_slot.iter().filter(|(slot, _)| is_one(slot)) {
            let replica = self.desired.replicas.get(slot);
            let is_named = |container: &ObservedContainer| replica.is_some_and(|replica| replica.names(container));
            orphans.extend(containers.iter().filter(|found| !is_named(found)).map(|found| instance(slot, found)));
        }
        orphans
    }
}
