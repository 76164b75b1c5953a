//! Replaces containers that are not what their slots shall have, a few at a time.

use std::collections::BTreeSet;

use super::status::{Drain, Status, drained_at, ended, was_stopped};
use super::view::{Candidate, Standing, View};
use super::{Component, Planner, Turn, sizes};
use crate::apps::{Action, Backend, Cause, ObservedContainer, Slot, Step, Subject};
use crate::model::app::UpdateOrder;
use crate::model::{EngineId, HostPort};
use crate::scheduler::{AllocationRef, Snapshot};

/// How many of a component are being replaced, and how many serve nobody.
pub(super) struct Budget {
    in_flight: usize,
    unavailable: usize,
    parallel: usize,
}

impl<'a> Planner<'a> {
    pub(super) fn budget(&self, component: &Component<'a>) -> Budget {
        Budget {
            in_flight: self.in_flight(component),
            unavailable: component.unavailable(),
            parallel: component.parallel(),
        }
    }

    /// How many slots of a component have a container that is still to become ready, had one taken away for another, or get
    /// another or other limits now.
    pub(super) fn in_flight(&self, component: &Component<'a>) -> usize {
        let changed = |step: &'_ Step| match &step.action {
            Action::Create { replica, .. } | Action::UpdateInPlace(replica, _) => Some(replica.slot.clone()),
            _ => None,
        };
        let changed: BTreeSet<Slot> = self.steps.iter().filter_map(changed).collect();
        let is_in_flight = |view: &&View<'_>| match &view.fit {
            Some(fit) => !fit.is_good() || changed.contains(&view.slot),
            None => view.is_begun() || changed.contains(&view.slot),
        };
        component.views.iter().filter(is_in_flight).count()
    }

    /// Moves containers that cannot stay on their host, one at a time.
    pub(super) fn relocate(&mut self, component: &Component<'a>, budget: &mut Budget) {
        for (view, old) in replaceable(component).into_iter().filter(|(_, old)| old.is_move()) {
            self.replace_one(component, view, old, budget);
        }
    }

    /// Goes on with what was begun, and begins with as many more as the component allows.
    pub(super) fn replace(&mut self, component: &Component<'a>, budget: &mut Budget) {
        for (view, old) in replaceable(component).into_iter().filter(|(_, old)| !old.is_move()) {
            self.replace_one(component, view, old, budget);
        }
    }

    /// Nothing of a component is replaced yet.
    pub(super) fn keep_all_for_now(&mut self, turn: &Turn<'a, '_>, reason: &Cause) {
        for (view, tended) in turn.component.views.iter().zip(&turn.tended().views) {
            if view.fit.is_some() || view.unseen.is_some() || view.old.is_none() {
                continue;
            }
            match tended.old.as_ref().filter(|_| tended.fit.is_none()) {
                Some(old) if old.is_move() => {}
                Some(Candidate { container, standing: Standing::Known(status), .. }) => {
                    self.keep_for_now(tended, container, status, reason.clone());
                }
                _ => self.wait(Subject::Slot(view.slot.clone()), None, reason.clone()),
            }
        }
    }

    fn replace_one(&mut self, component: &Component<'a>, view: &View<'a>, old: &Candidate<'a>, budget: &mut Budget) {
        let cause = old.unfit.clone().unwrap_or(Cause::SameContainer);
        let is_move = old.is_move();
        let status = match &old.standing {
            Standing::Held(held, until) => return self.wait(Subject::Slot(view.slot.clone()), *until, held.clone()),
            Standing::Known(status) => status,
        };
        let is_begun = view.is_begun();
        if is_move && !is_begun && budget.unavailable > 0 && view.is_available() {
            // What serves nobody makes nothing smaller when it moves.
            return self.keep_for_now(view, old.container, status, Cause::BelowItsNumber);
        }
        if !is_begun && budget.in_flight >= if is_move { 1 } else { budget.parallel } {
            return self.keep_for_now(view, old.container, status, Cause::OthersFirst);
        }
        let steps = self.steps.len();
        self.begin_or_go_on(component, view, (old, status), (cause, is_move), budget);
        // One that cannot begin takes no turn from the others.
        if !is_begun && self.steps.iter().skip(steps).any(|step| !step.action.is_wait()) {
            budget.in_flight += 1;
        }
    }

    /// What is to be replaced later goes on serving until then.
    fn keep_for_now(&mut self, view: &View<'a>, old: &ObservedContainer, status: &Status, reason: Cause) {
        let serves = drained_at(view.replica, old.generation, view.spec) == Drain::Serving;
        match status {
            Status::Ended | Status::Paused if serves && self.excluded(view, &[old.generation]).is_none() => {
                let cause = if *status == Status::Paused { Cause::Paused } else { ended(old, view.replica) };
                self.step(Action::Start(view.instance(old)), cause);
            }
            _ => self.wait(Subject::Slot(view.slot.clone()), None, reason),
        }
    }

    fn begin_or_go_on(
        &mut self,
        component: &Component<'a>,
        view: &View<'a>,
        (old, status): (&Candidate<'a>, &Status),
        (cause, is_move): (Cause, bool),
        budget: &mut Budget,
    ) {
        let order = view.spec.update.order;
        let stays = |reason| Step { action: Action::Stay(view.instance(old.container)), cause: reason };
        if let Some(reason) = self.excluded(view, &[]).filter(|_| old.makes_room_on().is_some()) {
            return self.steps.push(stays(reason));
        }
        if (order != UpdateOrder::StopFirst || is_move) && self.excluded(view, &[]).is_none() {
            match self.create(component, view, None, cause.clone()) {
                Ok(()) => return,
                // It runs well where it is.
                Err(reason) if old.makes_room_on().is_some() => return self.steps.push(stays(reason)),
                // Nothing is stopped for a container that cannot be made.
                Err(reason @ (Cause::CreateFailed { .. } | Cause::CreateGivenUp { .. })) => {
                    return self.wait_to_create(view, reason);
                }
                Err(reason) if is_move || order == UpdateOrder::StartFirst => return self.wait_to_create(view, reason),
                Err(_) => {}
            }
        }
        self.stop_first(component, view, (old, status), cause, budget);
    }

    /// The old container drains and stops, and is kept until the new one is ready.
    fn stop_first(
        &mut self,
        component: &Component<'a>,
        view: &View<'a>,
        (old, status): (&Candidate<'a>, &Status),
        cause: Cause,
        budget: &mut Budget,
    ) {
        let subject = Subject::Slot(view.slot.clone());
        let instance = view.instance(old.container);
        if !old.container.state.holds_resources() {
            return self.create_or_wait(component, view, cause);
        }
        // Nothing is stopped for a container that could not be made, or would have no room afterwards.
        if let Some(reason) = self.excluded(view, &[old.container.generation]) {
            return self.wait(subject, None, reason);
        }
        let volumes = match self.volume_host(view) {
            Ok(volumes) => volumes,
            Err(reason) => return self.wait(subject, None, reason),
        };
        let only = volumes.engine.or_else(|| view.only.clone());
        let without = self.without(old);
        let engine = match self.choose(&without, view, only, None) {
            Ok((engine, _)) => engine,
            Err(refusal) => return self.wait(subject, None, self.no_room(view, refusal)),
        };
        let serves = drained_at(view.replica, old.container.generation, view.spec) == Drain::Serving;
        if serves && status.is_good() && !self.has_image(view, &engine) {
            if let Some((failed, until)) = self.pause_after_failure(view) {
                return self.wait(subject, Some(until), Cause::CreateFailed { why: failed.why.clone() });
            }
            let action = Action::Fetch { slot: view.slot.clone(), revision: view.revision, engine };
            return self.step(action, Cause::BeforeItStops);
        }
        match drained_at(view.replica, old.container.generation, view.spec) {
            Drain::Serving if status.is_good() => {
                if budget.unavailable >= budget.parallel {
                    return self.wait(subject, None, Cause::OthersFirst);
                }
                budget.unavailable += 1;
                self.step(Action::Drain(instance), cause);
            }
            Drain::Until(until) if status.is_good() && self.now < until => {
                self.wait(subject, Some(until), Cause::Draining);
            }
            _ => self.step(Action::Stop(instance), cause),
        }
    }

    /// Whether a host is known to have the image of a slot. What a container there was made of says nothing about what a name that no
    /// registry knows stands for by now.
    fn has_image(&self, view: &View<'a>, engine: &EngineId) -> bool {
        let image = view.spec.exact_image();
        let has_container = |container: &ObservedContainer| {
            let of =
                container.slot.as_ref().and_then(|slot| self.desired.component(container.revision, &slot.component));
            container.engine == *engine && of.is_some_and(|of| of.pinned_image() == image.name)
        };
        let is_used = image.id.is_none() && self.observed.containers.iter().any(has_container);
        is_used || self.observed.images.contains(&(engine.clone(), image))
    }

    /// What would be free if a running container were stopped.
    fn without(&self, old: &Candidate<'a>) -> Snapshot {
        let mut snapshot = self.snapshot.clone().into_owned();
        let container = old.container;
        let slot = container.slot.as_ref();
        let spec = slot.and_then(|slot| {
            let replica = self.desired.replicas.get(slot)?;
            self.desired.component(self.counts_as(container, replica), &slot.component)
        });
        if let Some(spec) = spec {
            let request = sizes::request(spec, container.sizes);
            let host = snapshot.get(&container.engine);
            let taken = host.into_iter().flat_map(|host| &host.host_ports);
            // It runs, so what it wants is its own, by whatever address Docker has bound it.
            let is_its_own = |port: &&HostPort| request.host_ports.iter().any(|wanted| wanted.conflicts_with(port));
            let ports: Vec<HostPort> = taken.filter(is_its_own).copied().collect();
            let allocation = AllocationRef { ports: &ports, ..AllocationRef::from(&request) };
            // What was never taken is not given back: then there is no more room than before.
            let _ = snapshot.give_back(&container.engine, allocation);
        }
        snapshot
    }
}

/// The slots of a component whose container is to be replaced, in their order: what was begun, then what serves nobody, which loses
/// nothing.
fn replaceable<'a, 'c>(component: &'c Component<'a>) -> Vec<(&'c View<'a>, &'c Candidate<'a>)> {
    let views = component.views.iter().filter(|view| view.fit.is_none() && view.unseen.is_none());
    let mut found: Vec<_> = views.filter_map(|view| Some((view, view.old.as_ref()?))).collect();
    found.sort_by_key(|(view, _)| (!view.is_begun(), view.is_available(), view.slot.number));
    found
}

impl Candidate<'_> {
    /// Whether it is to be replaced only because it cannot stay on its host.
    fn is_move(&self) -> bool {
        let is_unfit = matches!(
            &self.unfit,
            Some(Cause::Drained(_) | Cause::LacksLabel { .. } | Cause::BelongsElsewhere(_) | Cause::NotBeside { .. })
        );
        is_unfit || self.makes_room_on().is_some()
    }

    /// The host that it is to make room on, where that is all there is against it.
    pub(super) fn makes_room_on(&self) -> Option<&EngineId> {
        match &self.unfit {
            Some(Cause::MakesRoom(engine)) => Some(engine),
            _ => None,
        }
    }
}

impl View<'_> {
    /// Whether its old container was taken away for another one.
    fn is_begun(&self) -> bool {
        let Some(old) = self.old.as_ref().filter(|old| self.fit.is_none() && self.unseen.is_none() && !old.is_held())
        else {
            return false;
        };
        let backend = self.replica.and_then(|replica| replica.backends.get(&old.container.generation));
        matches!(backend, Some(Backend::Draining { .. })) || was_stopped(old.container, self.replica)
    }
}
