//! The end of a world: the faults are over, time goes on, and everything is to be as it was declared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::declared::APP;
use super::programs;
use super::witness::{labels_of, slot_of};
use super::world::{World, ann};
use crate::apps::{Desired, Goal, Slot};
use crate::controller::Controller;
use crate::engine::ObservedContainer;
use crate::model::ContainerState;
use crate::model::app::Replicas;
use crate::wire::app::{AppState, RolloutOutcome};

/// How long everything may take to be as it was declared.
const PATIENCE: Duration = Duration::from_secs(1800);
/// How long nothing is done then: longer than any pause of the planner.
const QUIET: Duration = Duration::from_secs(310);
/// How often it is looked whether something happened.
const LOOK: Duration = Duration::from_secs(5);

/// Whether every replica of the application serves, and no rollout is under way.
pub(super) fn is_whole(controller: &Controller) -> bool {
    controller.app(APP).is_ok_and(|app| {
        app.summary.state == AppState::Running && app.rollout.is_none() && app.summary.ready == app.summary.replicas
    })
}

impl World {
    /// The faults end, somebody declares what works, and everything comes to rest.
    pub(super) async fn come_to_rest(&mut self) {
        self.end_faults();
        if !self.until_served().await {
            return;
        }
        if !self.drain_nothing().await {
            return;
        }
        if self.witness.is_observed_only() {
            if !self.pass(Duration::from_secs(150)).await {
                return;
            }
            self.witness.acts_again();
            self.ask("resume".to_owned(), |controller| async move { controller.resume_reconciling(&ann()).await });
        }
        // A host that was given up and is back is one like the others.
        if !self.pass(Duration::from_secs(20)).await {
            return;
        }
        self.hosts.keys().for_each(|host| self.witness.note_lost(host, false));
        self.stop_what_is_in_the_way();
        if !self.declare_what_works().await || !self.until_quiet().await {
            return;
        }
        self.check_at_rest();
    }

    async fn until_served(&mut self) -> bool {
        loop {
            if !self.pass(Duration::from_secs(1)).await {
                return false;
            }
            if let Some(server) = self.server.as_ref().filter(|server| !server.life.is_over()) {
                server.life.spare();
                return true;
            }
        }
    }

    /// Hosts that are drained are so no more.
    async fn drain_nothing(&mut self) -> bool {
        for host in self.hosts.keys().cloned().collect::<Vec<_>>() {
            loop {
                let Some(server) = &self.server else { return false };
                match server.controller.set_draining(&ann(), &host, false).await {
                    Ok(_) => break,
                    Err(error) => self.witness.tell(format!("refused: {host} is drained no more: {error}")),
                }
                if !self.pass(LOOK).await {
                    return false;
                }
            }
        }
        true
    }

    /// What was renamed while no server saw it is none of the platform's any more, and keeps its slot waiting as long as it runs on
    /// the volume of that: somebody does what the slot asks for, and stops it.
    fn stop_what_is_in_the_way(&self) {
        let Some(server) = &self.server else { return };
        for (host, found) in self.witness.renamed_on_volumes() {
            let known = server.controller.cluster().container(&found.id);
            if known.is_some_and(|known| known.replica.is_some()) {
                continue;
            }
            self.witness.tell(format!("{} on {host}: it is in the way, and somebody stops it", found.name));
            self.hosts[host].outsider_stop(&found.id).expect("it is there");
        }
    }

    /// Unless it was destroyed or stopped, the last that is applied is a version that works.
    async fn declare_what_works(&mut self) -> bool {
        let is_stopped = self.witness.recorded().is_none_or(|desired| desired.goal != Goal::Run);
        if is_stopped && self.seed.is_multiple_of(3) {
            return true;
        }
        self.declared.improve(&mut self.random);
        for _ in 0..100 {
            let request = crate::wire::app::ApplyRequest {
                // It has nobody who would look at what no record names.
                beside_orphans: true,
                app: self.declared.file(),
                supersede: true,
                ..crate::wire::app::ApplyRequest::default()
            };
            let Some(server) = &self.server else { return false };
            match server.controller.apply_app(&ann(), APP, request).await {
                Ok(applied) => {
                    self.witness.tell(format!("asked: apply what works, revision {}", applied.revision));
                    return true;
                }
                // It is being removed.
                Err(error) => self.witness.tell(format!("refused: apply what works: {error}")),
            }
            if !self.pass(LOOK).await {
                return false;
            }
        }
        self.witness.complain("what works cannot be applied");
        false
    }

    async fn until_quiet(&mut self) -> bool {
        let until = self.clock.now() + PATIENCE;
        while self.clock.now() < self.witness.last_change() + QUIET {
            if self.clock.now() > until {
                self.witness.complain("it does not come to rest");
                return false;
            }
            if !self.pass(LOOK).await {
                return false;
            }
            self.tell_what_waits();
        }
        true
    }

    /// Says in the story what is not as it is to be, and why.
    fn tell_what_waits(&self) {
        let Some(Ok(app)) = self.server.as_ref().map(|server| server.controller.app(APP)) else { return };
        for (name, component) in &app.component {
            for replica in component.replicas.iter().filter(|replica| !replica.reason.is_empty()) {
                self.witness.tell(format!("  {name}.{} is {}: {}", replica.slot, replica.state, replica.reason));
            }
        }
    }

    /// What is there is what was declared, and nothing else.
    fn check_at_rest(&self) {
        let Some(server) = &self.server else { return self.witness.complain("there is no server") };
        let reservations = server.controller.cluster().reservation_count();
        if reservations > 0 {
            self.witness.complain(format!("{reservations} reservations at rest"));
        }
        if self.witness.is_restored() {
            // Of what the copy did not know the containers stay, until somebody says what is to become of them.
            return;
        }
        let containers: Vec<ObservedContainer> =
            self.witness.containers().into_iter().map(|(_, found)| found).collect();
        let wrong = match self.witness.recorded() {
            None => containers.first().map(|found| format!("{} is left of what was destroyed", found.name)),
            Some(desired) => wrong_at_rest(&desired, &containers).or_else(|| self.wrong_with_rollouts(&desired)),
        };
        if let Some(wrong) = wrong {
            if let Ok(app) = server.controller.app(APP) {
                self.witness.tell(format!("{app:#?}"));
            }
            self.witness.complain(wrong);
        }
    }

    fn wrong_with_rollouts(&self, desired: &Desired) -> Option<String> {
        if desired.goal != Goal::Run {
            return None;
        }
        let app = self.server.as_ref()?.controller.app(APP).ok()?;
        if app.summary.state != AppState::Running || app.summary.ready != app.summary.replicas {
            return Some(format!(
                "at rest it is {}, {} of {}",
                app.summary.state.name(),
                app.summary.ready,
                app.summary.replicas
            ));
        }
        let outcome = app.last_rollout.map(|rollout| rollout.outcome);
        (outcome != Some(RolloutOutcome::Done))
            .then(|| format!("what works was applied, and its rollout is {outcome:?}"))
    }
}

/// What is other than it was declared.
fn wrong_at_rest(desired: &Desired, containers: &[ObservedContainer]) -> Option<String> {
    if let Some(rollout) = desired.rollout.as_ref().filter(|_| desired.goal == Goal::Run) {
        return Some(format!("the rollout to {} does not end", rollout.to));
    }
    let mut running: BTreeMap<Slot, Vec<&ObservedContainer>> = BTreeMap::new();
    let replicas = || containers.iter().filter(|found| !programs::is_before(found));
    for found in replicas() {
        let Some((slot, labels)) = slot_of(found).zip(labels_of(found)) else { continue };
        let record = desired.replicas.get(&slot);
        if !record.is_some_and(|record| record.made.contains(&labels.generation)) {
            return Some(format!("{} is there, and nobody recorded it", found.name));
        }
        let is_kept = record.is_some_and(|record| record.kept == Some(labels.generation));
        if found.state == ContainerState::Running {
            running.entry(slot).or_default().push(found);
        } else if desired.goal == Goal::Run && !is_kept && !has_completed(desired, &slot, labels.generation) {
            return Some(format!("{} is left, {}", found.name, found.state));
        }
    }
    if desired.goal != Goal::Run {
        return running
            .into_values()
            .flatten()
            .next()
            .map(|found| format!("{} runs, and is to be stopped", found.name));
    }
    let wanted = slots(desired);
    if let Some(slot) = running.keys().find(|slot| !wanted.contains(*slot)) {
        return Some(format!("{slot} runs, and there is to be none"));
    }
    wanted.iter().find_map(|slot| wrong_with(desired, slot, running.get(slot).map_or(&[][..], Vec::as_slice)))
}

fn slots(desired: &Desired) -> BTreeSet<Slot> {
    let Some(spec) = desired.revisions.get(&desired.target) else { return BTreeSet::new() };
    let mut slots = BTreeSet::new();
    for (name, spec) in &spec.components {
        match spec.replicas {
            Replicas::Count(count) => {
                slots.extend((1..=count).map(|number| Slot { component: name.clone(), number }));
            }
            Replicas::EachHost => {
                slots.extend(desired.replicas.keys().filter(|slot| slot.component == *name).cloned());
            }
        }
    }
    slots
}

fn has_completed(desired: &Desired, slot: &Slot, generation: u64) -> bool {
    desired.replicas.get(slot).is_some_and(|record| record.completed == Some(generation))
}

fn wrong_with(desired: &Desired, slot: &Slot, running: &[&ObservedContainer]) -> Option<String> {
    let Some(record) = desired.replicas.get(slot) else { return Some(format!("{slot} has no record")) };
    let spec = desired.component(desired.target, &slot.component)?;
    match running {
        [] if record.completed == Some(record.generation) => None,
        [] => Some(format!("nothing runs in {slot}: {record:?}")),
        [found] => {
            let labels = labels_of(found)?;
            let is_recorded = labels.generation == record.generation && record.revision == desired.target;
            let own = desired.component(labels.revision, &slot.component);
            let is_same = own.is_some_and(|own| own.fields_for_a_new_container(spec).is_empty());
            (!is_recorded || !is_same || found.reserved.memory != spec.memory.unwrap_or_default())
                .then(|| format!("{} of revision {} runs in {slot}: {record:?}", found.name, labels.revision))
        }
        _ => Some(format!("{} run in {slot}", running.len())),
    }
}
