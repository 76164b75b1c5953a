//! Looks on, and says what must never be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::FutureExt;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::declared::APP;
use super::programs;
use crate::apps::documents::{Documents, Tables};
use crate::apps::{Backend, BeforeState, Desired, Goal, Replica, RolloutReason, Slot};
use crate::clock::Clock;
use crate::engine::{EngineError, ObservedContainer, ReplicaLabels, SimulatedEngine};
use crate::model::app::{ComponentName, ComponentSpec, Replicas, UpdateOrder};
use crate::model::{ContainerId, ContainerState, HealthStatus, RestartPolicy};
use crate::store::Store;

/// A change that a server asks a host for.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// What, called as the method of the trait.
    pub(super) operation: &'static str,
    /// Docker's name of what it is about.
    pub(super) name: String,
    /// Of a container that is there.
    pub(super) id: Option<ContainerId>,
    /// Of a container of an application.
    pub(super) labels: Option<ReplicaLabels>,
}

impl Change {
    pub(super) fn new(operation: &'static str) -> Self {
        Self { operation, name: String::new(), id: None, labels: None }
    }
}

/// Sees every change of hosts and of the store, at the moment at which it is made.
#[derive(Debug)]
pub(super) struct Witness {
    clock: Clock,
    began: Timestamp,
    hosts: BTreeMap<String, SimulatedEngine>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    store: Arc<dyn Store>,
    /// What is recorded.
    desired: Arc<Desired>,
    is_there: bool,
    ended: Option<Timestamp>,
    rollouts: usize,
    story: Vec<String>,
    hash: u64,
    broken: Option<String>,
    /// When a server changed anything last.
    last_change: Timestamp,
    /// Every container that was made for a slot, by generation.
    made: BTreeSet<(Slot, u64)>,
    /// The revisions of each component of which containers were made when they might be.
    begun: BTreeSet<(ComponentName, u64)>,
    /// Why there was a rollout to each revision.
    reasons: BTreeMap<u64, RolloutReason>,
    /// When commands of before were started.
    befores: Vec<(ComponentName, Timestamp)>,
    /// What `run` started.
    runs: BTreeSet<ContainerId>,
    /// Hosts that somebody said are gone for good.
    lost: BTreeSet<String>,
    /// The store is a copy of an earlier one.
    is_restored: bool,
    /// Nothing is to be done by it until somebody says so.
    is_observed_only: bool,
    calm: Option<Calm>,
}

/// Since when nothing but rollouts makes a component smaller: how many of each serve at least, and how many may be missing.
#[derive(Debug)]
struct Calm(BTreeMap<ComponentName, (usize, usize)>);

impl Witness {
    pub(super) fn new(clock: Clock, hosts: BTreeMap<String, SimulatedEngine>, store: Arc<dyn Store>) -> Self {
        let app = APP.parse().expect("a name");
        let began = clock.now();
        let seen = Seen {
            store,
            desired: Arc::new(Desired::none(app)),
            is_there: false,
            ended: None,
            rollouts: 0,
            story: Vec::new(),
            hash: 0,
            broken: None,
            last_change: began,
            made: BTreeSet::new(),
            begun: BTreeSet::new(),
            reasons: BTreeMap::new(),
            befores: Vec::new(),
            runs: BTreeSet::new(),
            lost: BTreeSet::new(),
            is_restored: false,
            is_observed_only: false,
            calm: None,
        };
        Self { clock, began, hosts, seen: Mutex::new(seen) }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Adds a line to the story.
    pub(super) fn tell(&self, line: impl Display) {
        let at = self.now().duration_since(self.began).as_millis();
        let line = format!("{:>4}.{:03} {line}", at / 1000, at % 1000);
        let mut seen = self.seen.lock();
        let mut hasher = DefaultHasher::new();
        (seen.hash, &line).hash(&mut hasher);
        seen.hash = hasher.finish();
        seen.story.push(line);
    }

    /// Notes that something does not hold.
    pub(super) fn complain(&self, what: impl Display) {
        self.tell(format!("!! {what}"));
        self.seen.lock().broken.get_or_insert_with(|| what.to_string());
    }

    pub(super) fn broken(&self) -> Option<String> {
        self.seen.lock().broken.clone()
    }

    /// What happened, as text and as a number, and how many rollouts ended.
    pub(super) fn story(&self) -> (Vec<String>, u64, usize) {
        let seen = self.seen.lock();
        (seen.story.clone(), seen.hash, seen.rollouts)
    }

    /// What is recorded of the application, if there is one.
    pub(super) fn recorded(&self) -> Option<Arc<Desired>> {
        let seen = self.seen.lock();
        seen.is_there.then(|| seen.desired.clone())
    }

    pub(super) fn last_change(&self) -> Timestamp {
        self.seen.lock().last_change
    }

    pub(super) fn is_restored(&self) -> bool {
        self.seen.lock().is_restored
    }

    pub(super) fn is_observed_only(&self) -> bool {
        self.seen.lock().is_observed_only
    }

    pub(super) fn is_calm(&self) -> bool {
        self.seen.lock().calm.is_some()
    }

    /// `run` started these.
    pub(super) fn note_runs(&self, ids: impl IntoIterator<Item = ContainerId>) {
        self.seen.lock().runs.extend(ids);
    }

    /// Another store takes the place of the one there was: an earlier copy of it.
    pub(super) fn store_is_restored(&self, store: Arc<dyn Store>) {
        self.seen.lock().store = store;
        self.read();
        let mut seen = self.seen.lock();
        seen.calm = None;
        seen.is_restored = true;
        // Without applications there is nothing to be careful with.
        seen.is_observed_only = seen.is_there;
    }

    /// Somebody said that the store is right.
    pub(super) fn acts_again(&self) {
        self.seen.lock().is_observed_only = false;
    }

    /// Somebody said that a host is gone for good, or it is back for a while.
    pub(super) fn note_lost(&self, host: &str, is_lost: bool) {
        let mut seen = self.seen.lock();
        if is_lost {
            seen.lost.insert(host.to_owned())
        } else {
            seen.lost.remove(host)
        };
    }

    /// Something makes the application smaller that is no rollout.
    pub(super) fn disturb(&self) {
        self.seen.lock().calm = None;
    }

    /// Everything serves, and from now on nothing but rollouts makes it smaller.
    pub(super) fn is_whole(&self) {
        let is_sick = |(_, found): &(&str, ObservedContainer)| {
            // What Docker has just started again is not known to be well.
            matches!(found.run.health, Some(HealthStatus::Unhealthy | HealthStatus::Starting))
        };
        let containers = self.containers();
        if containers.iter().any(is_sick) {
            return;
        }
        let mut seen = self.seen.lock();
        let Some(spec) = seen.desired.revisions.get(&seen.desired.target).cloned() else { return };
        let part = |(name, spec): (&ComponentName, &ComponentSpec)| {
            let slots = seen.desired.replicas.keys().filter(|slot| slot.component == *name).count();
            (!may_complete(spec)).then(|| (name.clone(), (slots, 0)))
        };
        seen.calm = Some(Calm(spec.components.iter().filter_map(part).collect()));
        // The server may not have seen yet what happened last.
        if seen.too_few(&containers).is_some() {
            seen.calm = None;
        }
        seen.keep_calm();
    }

    /// A change of a container that is there.
    pub(super) fn change_of(&self, operation: &'static str, host: &SimulatedEngine, id: &ContainerId) -> Change {
        let found = host.really_there().into_iter().find(|found| found.id == *id);
        let name = found.as_ref().map_or_else(String::new, |found| found.name.trim_start_matches('/').to_owned());
        let labels = found.and_then(|found| found.managed.as_ref().and_then(|managed| managed.replica().cloned()));
        Change { operation, name, id: Some(id.clone()), labels }
    }

    /// A host is asked for a change, and does it in this moment.
    pub(super) fn is_asked(&self, host: &str, change: &Change) {
        let now = self.now();
        let mut wrong = Vec::new();
        {
            let mut seen = self.seen.lock();
            if change.id.as_ref().is_some_and(|id| seen.runs.contains(id)) {
                wrong.push(format!("{} {} on {host}, which is of 'run'", change.operation, change.name));
            }
            let is_of_app = change.name.starts_with(&format!("{APP}.")) || change.labels.is_some();
            if is_of_app {
                seen.last_change = now;
            }
            if is_of_app && seen.is_observed_only {
                wrong.push(format!("{} {} on {host}, by a store that was restored", change.operation, change.name));
            }
            if let Some(labels) = change.labels.as_ref().filter(|_| change.operation == "create") {
                wrong.extend(seen.what_is_wrong_with_making(labels, host));
            }
        }
        wrong.into_iter().for_each(|what| self.complain(what));
    }

    /// A host has done it, or not.
    pub(super) fn has_done(&self, host: &str, change: &Change, error: Option<&EngineError>) {
        let Change { operation, name, labels, .. } = change;
        if labels.is_none() && !name.contains(APP) {
            // Names of containers of 'run' are made up.
            return self.look();
        }
        match error {
            Some(error) => self.tell(format!("{operation} {name} on {host}: {}", error.detail())),
            None => self.tell(format!("{operation} {name} on {host}")),
        }
        if let (Some(labels), None) = (labels, error) {
            self.note_done(operation, labels);
        }
        self.look();
    }

    fn note_done(&self, operation: &str, labels: &ReplicaLabels) {
        let now = self.now();
        let mut again = None;
        {
            let mut seen = self.seen.lock();
            match (operation, labels.slot) {
                ("start", None) => seen.befores.push((labels.component.clone(), now)),
                ("create", Some(number)) => {
                    let slot = Slot { component: labels.component.clone(), number };
                    if !seen.made.insert((slot.clone(), labels.generation)) && !seen.is_restored {
                        again = Some(format!("{slot}.{} is made a second time", labels.generation));
                    }
                }
                _ => {}
            }
        }
        again.into_iter().for_each(|what| self.complain(what));
    }

    /// A server has written something of applications down.
    pub(super) fn written(&self) {
        self.read();
        self.look();
    }

    fn read(&self) {
        let (store, before) = {
            let seen = self.seen.lock();
            (seen.store.clone(), seen.desired.clone())
        };
        let loading = Documents::load(Tables::new(&store), &before.app);
        let documents = match loading.now_or_never() {
            Some(Ok(documents)) => documents,
            Some(Err(error)) => return self.complain(format!("what was written cannot be read: {error}")),
            None => return self.complain("memory does not answer at once"),
        };
        let desired = documents.desired().clone();
        let now = self.now();
        let rollout = desired.rollout.as_ref();
        let line = match (documents.is_there(), rollout) {
            (false, _) => "written: nothing".to_owned(),
            (true, Some(rollout)) => format!("written: revision {}, {:?}", desired.target, rollout.reason),
            (true, None) => format!("written: revision {}, goal {:?}", desired.target, desired.goal),
        };
        let ended = documents
            .ended()
            .map(|ended| (ended.at, format!("rollout to {}: {:?} {}", ended.to, ended.outcome, ended.why)));
        let mut lines = vec![line];
        lines.extend(changed_slots(&before, &desired));
        {
            let mut seen = self.seen.lock();
            seen.last_change = now;
            if let Some((at, line)) = ended.filter(|(at, _)| seen.ended != Some(*at)) {
                seen.ended = Some(at);
                seen.rollouts += 1;
                lines.push(line);
            }
            if let Some(rollout) = rollout {
                seen.reasons.entry(rollout.to).or_insert_with(|| rollout.reason.clone());
            }
            if seen.is_there && !documents.is_there() {
                // What is declared again begins from the start.
                (seen.ended, seen.calm) = (None, None);
                seen.made.clear();
                seen.begun.clear();
                seen.reasons.clear();
            }
            seen.is_there = documents.is_there();
            seen.desired = desired;
            seen.keep_calm();
        }
        lines.into_iter().for_each(|line| self.tell(line));
    }

    /// The containers of the application that are there, with their hosts.
    pub(super) fn containers(&self) -> Vec<(&str, ObservedContainer)> {
        self.really_there().filter(|(_, found)| labels_of(found).is_some()).collect()
    }

    /// The containers that run on a volume of the application and bear another name than they were made with, with their hosts.
    pub(super) fn renamed_on_volumes(&self) -> Vec<(&str, ObservedContainer)> {
        let is_it = |found: &ObservedContainer| found.labels_of_another.is_some() && volumes_of(found).next().is_some();
        self.really_there().filter(|(_, found)| found.state.holds_resources() && is_it(found)).collect()
    }

    fn really_there(&self) -> impl Iterator<Item = (&str, ObservedContainer)> {
        self.hosts.iter().flat_map(|(name, host)| host.really_there().into_iter().map(move |found| (&**name, found)))
    }

    /// Looks whether what must always hold holds.
    pub(super) fn look(&self) {
        let all: Vec<_> = self.really_there().collect();
        let containers: Vec<_> = all.iter().filter(|(_, found)| labels_of(found).is_some()).cloned().collect();
        let mut wrong = Vec::new();
        {
            let seen = self.seen.lock();
            wrong.extend(seen.two_at_once(&containers));
            wrong.extend(seen.two_on_one_volume(&all));
            wrong.extend(seen.too_few(&containers));
        }
        wrong.into_iter().for_each(|what| self.complain(what));
    }
}

impl Seen {
    /// What is wrong with making a container at this time.
    fn what_is_wrong_with_making(&mut self, labels: &ReplicaLabels, host: &str) -> Vec<String> {
        let ReplicaLabels { component, slot, generation, revision, .. } = labels;
        let mut wrong = Vec::new();
        let Some(number) = slot else {
            let is_applied = matches!(self.reasons.get(revision), Some(RolloutReason::Apply | RolloutReason::Adopt));
            if !is_applied && !self.is_restored {
                let reason = self.reasons.get(revision);
                wrong.push(format!("the command before {component} is run for revision {revision}: {reason:?}"));
            }
            return wrong;
        };
        let slot = Slot { component: component.clone(), number: *number };
        let record = self.desired.replicas.get(&slot);
        if !record.is_some_and(|record| record.made.contains(generation)) {
            wrong.push(format!("{slot}.{generation} is made on {host} without a record: {record:?}"));
        }
        if self.lacks_before(component, *revision) {
            wrong.push(format!(
                "{slot}.{generation} of revision {revision} is made, and no command of before has ended"
            ));
        } else {
            self.begun.insert((component.clone(), *revision));
        }
        wrong
    }

    /// Whether a container of a revision is made that a rollout brings, and the command before its component did not end well.
    fn lacks_before(&self, component: &ComponentName, revision: u64) -> bool {
        let Some(rollout) = self.desired.rollout.as_ref().filter(|rollout| rollout.to == revision) else {
            return false;
        };
        let is_applied = matches!(rollout.reason, RolloutReason::Apply | RolloutReason::Adopt);
        let Some(spec) = self.desired.component(revision, component).filter(|spec| spec.before.is_some()) else {
            return false;
        };
        // Also of a rollout that another one replaced: what was begun moves to another host as it is.
        let begun = self.begun.iter().filter(|(name, _)| name == component).map(|(_, revision)| *revision);
        let mut known =
            begun.chain(self.desired.last_done).filter_map(|number| self.desired.component(number, component));
        if !is_applied || known.any(|known| known.fields_for_a_new_container(spec).is_empty()) {
            return false;
        }
        let was_run = self.befores.iter().any(|(name, at)| name == component && *at >= rollout.started);
        !(was_run && rollout.before.get(component) == Some(&BeforeState::Ended(0)))
    }

    /// Two containers of a slot that has a volume of its own, or of which there is to be one at most.
    fn two_at_once(&self, containers: &[(&str, ObservedContainer)]) -> Option<String> {
        if self.is_restored {
            // What an older store does not know it cannot keep apart from what it makes.
            return None;
        }
        let mut running: BTreeMap<Slot, Vec<String>> = BTreeMap::new();
        for (host, found) in
            containers.iter().filter(|(host, found)| found.state.holds_resources() && !self.lost.contains(*host))
        {
            let Some(slot) = slot_of(found) else { continue };
            let revision = labels_of(found).map_or(0, |labels| labels.revision);
            let spec = self.desired.component(revision, &slot.component);
            if spec.is_some_and(|spec| spec.is_pinned() || spec.heal.singleton) {
                running.entry(slot).or_default().push(format!("{} on {host}", found.name));
            }
        }
        let twice = running.into_iter().find(|(_, running)| running.len() > 1)?;
        Some(format!("two of {} at once: {}", twice.0, twice.1.join(", ")))
    }

    /// Two containers that run on one volume, whatever they are called by now.
    fn two_on_one_volume(&self, all: &[(&str, ObservedContainer)]) -> Option<String> {
        if self.is_restored {
            return None;
        }
        let mut running: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for (host, found) in all.iter().filter(|(_, found)| found.state.holds_resources()) {
            for volume in volumes_of(found) {
                running.entry((*host, volume)).or_default().push(&found.name);
            }
        }
        let ((host, volume), twice) = running.into_iter().find(|(_, running)| running.len() > 1)?;
        Some(format!("{} run on volume {volume} of {host}", twice.join(" and ")))
    }

    /// A component that serves with fewer than it may.
    fn too_few(&self, containers: &[(&str, ObservedContainer)]) -> Option<String> {
        let Calm(parts) = self.calm.as_ref()?;
        for (name, (floor, slack)) in parts {
            let serves = |(slot, found): &(Slot, &ObservedContainer)| {
                let generation = labels_of(found).map_or(0, |labels| labels.generation);
                let record = self.desired.replicas.get(slot);
                slot.component == *name
                    && found.state == ContainerState::Running
                    && record.is_some_and(|record| record.backends.get(&generation) == Some(&Backend::Serving))
            };
            let all = containers.iter().filter_map(|(_, found)| Some((slot_of(found)?, found)));
            let serving: BTreeSet<Slot> = all.filter(serves).map(|(slot, _)| slot).collect();
            if serving.len() + slack < *floor {
                return Some(format!("{} of {name} serve, of {floor} of which {slack} may be missing", serving.len()));
            }
        }
        None
    }

    /// A rollout may make a component as small as the smaller one of both revisions.
    fn keep_calm(&mut self) {
        let Some(Calm(parts)) = &mut self.calm else { return };
        let spec = self.desired.revisions.get(&self.desired.target);
        if self.desired.goal != Goal::Run {
            self.calm = None;
            return;
        }
        for (name, (floor, most)) in parts {
            let Some(spec) = spec.and_then(|spec| spec.components.get(name)) else {
                *floor = 0;
                continue;
            };
            if let Replicas::Count(count) = spec.replicas {
                *floor = (*floor).min(usize::try_from(count).unwrap_or(usize::MAX));
            }
            *most = slack(spec, *floor).max(*most);
        }
    }
}

/// The slots whose record changed, each in a line.
fn changed_slots(before: &Desired, after: &Desired) -> Vec<String> {
    let changed = after.replicas.iter().filter(|(slot, record)| before.replicas.get(slot) != Some(record));
    let shown = changed.map(|(slot, record)| {
        let Replica { revision, generation, engine, made, backends, stopped, kept, completed, failed, .. } = record;
        let failed = failed.as_ref().map(|failed| (failed.generation, failed.attempts, failed.of_host));
        format!(
            "  {slot}: revision {revision}, {generation} on {engine}, made {made:?}, serving {:?}, stopped {stopped:?}, kept \
             {kept:?}, completed {completed:?}, failed {failed:?}",
            backends.iter().map(|(number, backend)| (*number, *backend == Backend::Serving)).collect::<Vec<_>>()
        )
    });
    let gone = before.replicas.keys().filter(|slot| !after.replicas.contains_key(slot));
    shown.chain(gone.map(|slot| format!("  {slot} is forgotten"))).collect()
}

/// How many of so many may be missing while a component is replaced.
fn slack(spec: &ComponentSpec, replicas: usize) -> usize {
    if spec.update.order == UpdateOrder::StartFirst { 0 } else { spec.update.parallel.of(replicas) }
}

fn may_complete(spec: &ComponentSpec) -> bool {
    matches!(spec.restart, RestartPolicy::No | RestartPolicy::OnFailure { .. })
}

/// What is written on a container of the application.
pub(super) fn labels_of(found: &ObservedContainer) -> Option<&ReplicaLabels> {
    found.managed.as_ref()?.replica().filter(|labels| labels.app.as_str() == APP)
}

/// The volumes of the application that a container mounts.
fn volumes_of(found: &ObservedContainer) -> impl Iterator<Item = &str> {
    let named = found.spec.volumes.iter().filter_map(|volume| Some(volume.split_once(':')?.0));
    named.filter(|name| name.strip_prefix(APP).is_some_and(|rest| rest.starts_with('.')))
}

/// The slot that a container fills.
pub(super) fn slot_of(found: &ObservedContainer) -> Option<Slot> {
    let labels = labels_of(found).filter(|_| !programs::is_before(found))?;
    Some(Slot { component: labels.component.clone(), number: labels.slot? })
}
