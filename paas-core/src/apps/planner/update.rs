//! Replaces containers that are not what their slots shall have, a few at a time.

use super::status::{Drain, Status, drained_at};
use super::view::{Candidate, Standing, View};
use super::{Component, Planner};
use crate::apps::{Action, Cause, Subject};
use crate::model::app::UpdateOrder;
use crate::scheduler::{AllocationRef, PlacementRequest, Snapshot};

/// How many of a component are being replaced, and how many serve nobody.
struct Budget {
    in_flight: usize,
    unavailable: usize,
    parallel: usize,
}

impl<'a> Planner<'a> {
    /// Goes on with what was begun, and begins with as many more as the component allows.
    pub(super) fn replace(&mut self, component: &Component<'a>, may_roll: &Result<(), Cause>) {
        let is_begun = |view: &&View<'_>| match (&view.fit, &view.old) {
            (Some(fit), _) => !fit.is_good(),
            (None, Some(old)) => !view.is_available() && !old.is_held(),
            (None, None) => false,
        };
        let mut budget = Budget {
            in_flight: component.views.iter().filter(is_begun).count(),
            unavailable: component.unavailable(),
            parallel: component.spec.update.parallel.of(component.views.len()),
        };
        let mut views: Vec<&View<'a>> =
            component.views.iter().filter(|view| view.fit.is_none() && view.unseen.is_none()).collect();
        // Those that serve nobody lose nothing.
        views.sort_by_key(|view| (view.is_available(), view.slot.number));
        for view in views {
            if let Some(old) = &view.old {
                self.replace_one(component, view, old, may_roll, &mut budget);
            }
        }
    }

    fn replace_one(
        &mut self,
        component: &Component<'a>,
        view: &View<'a>,
        old: &Candidate<'a>,
        may_roll: &Result<(), Cause>,
        budget: &mut Budget,
    ) {
        let subject = Subject::Slot(view.slot.clone());
        let cause = old.unfit.clone().unwrap_or(Cause::SameContainer);
        let is_move = matches!(cause, Cause::Drained(_) | Cause::LacksLabel { .. } | Cause::BelongsElsewhere(_));
        let status = match &old.standing {
            Standing::Held(held, until) => return self.wait(subject, *until, held.clone()),
            Standing::Known(status) => status,
        };
        let is_begun = !view.is_available();
        match may_roll {
            Err(reason) if !is_move => return self.wait(subject, None, reason.clone()),
            _ if is_begun => {}
            _ if is_move && budget.unavailable > 0 => return self.wait(subject, None, Cause::BelowItsNumber),
            _ if budget.in_flight >= if is_move { 1 } else { budget.parallel } => {
                return self.wait(subject, None, Cause::OthersFirst);
            }
            _ => {}
        }
        let steps = self.steps.len();
        self.begin_or_go_on(component, view, (old, status), (cause, is_move), budget);
        // One that cannot begin takes no turn from the others.
        if !is_begun && self.steps.iter().skip(steps).any(|step| !step.action.is_wait()) {
            budget.in_flight += 1;
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
        if (order != UpdateOrder::StopFirst || is_move) && !view.spec.is_pinned() {
            match self.create(component, view, None, cause.clone()) {
                Ok(()) => return,
                Err(reason) if is_move || order == UpdateOrder::StartFirst => {
                    return self.wait(Subject::Slot(view.slot.clone()), None, reason);
                }
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
        // Nothing is stopped for a container that would have no room afterwards.
        let volumes = self.desired.volumes.iter().find(|volume| volume.slot == view.slot);
        let only = volumes.map(|volume| volume.engine.clone()).or_else(|| view.only.clone());
        let without = self.without(old);
        if let Err(refusal) = self.choose(&without, view, only, None) {
            return self.wait(subject, None, Cause::NoRoom(refusal));
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
            let request = PlacementRequest::new(&spec.container_spec(), 1);
            // What was never taken is not given back: then there is no more room than before.
            let _ = snapshot.give_back(&container.engine, AllocationRef::from(&request));
        }
        snapshot
    }
}
