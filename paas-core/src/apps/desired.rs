//! What is recorded: what shall be there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::ObservedContainer;
use crate::engine::ReplicaLabels;
use crate::model::EngineId;
use crate::model::app::{AppName, AppSpec, ComponentName, ComponentSpec, LastLines};

/// Everything that is recorded of one application.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Its name.
    pub app: AppName,
    /// When it was declared, which tells it from an earlier one of its name; nothing where a version recorded it that did not note
    /// that.
    pub declared: Option<Timestamp>,
    /// What is to become of it.
    pub goal: Goal,
    /// The number of the revision that is to run.
    pub target: u64,
    /// Its revisions, by number: the target, and each that a container may be of.
    pub revisions: BTreeMap<u64, Arc<AppSpec>>,
    /// The newest revision that was rolled out entirely, to which a rollout that fails goes back. Without a rollout under way, a
    /// target that is not this one was stopped: no slot gets its first container, and nothing is removed for it.
    pub last_done: Option<u64>,
    /// The newest before that one that was rolled out entirely and was another specification: what goes back by hand goes there.
    pub done_before: Option<u64>,
    /// The rollout that is under way.
    pub rollout: Option<Rollout>,
    /// Its replicas.
    pub replicas: BTreeMap<Slot, Replica>,
    /// The volumes that its slots have of their own.
    pub volumes: Vec<Volume>,
    /// The highest generation of the slots that were forgotten. A slot that is filled for the first time counts on from it: a
    /// container that a host brings back later is never taken for a new one.
    pub forgotten: u64,
    /// The highest revision that any container of it has, also one that no record names: a later one is numbered after it, so that none
    /// of a store that was lost is taken for it. Not recorded, but seen.
    pub seen: u64,
    /// The store may be an old one: nothing is done until somebody says that it is right.
    pub observe_only: bool,
    /// Heal even though more than half of the hosts are silent.
    pub heal_now: bool,
}

impl Desired {
    /// An application that shall run as its first revision says, and of which nothing is there: what a first apply is.
    pub fn first(spec: AppSpec, now: Timestamp) -> Self {
        Self {
            app: spec.name.clone(),
            declared: Some(now),
            goal: Goal::Run,
            target: 1,
            revisions: BTreeMap::from([(1, Arc::new(spec))]),
            last_done: None,
            done_before: None,
            rollout: Some(Rollout::new(1, RolloutReason::Apply, now)),
            replicas: BTreeMap::new(),
            volumes: Vec::new(),
            forgotten: 0,
            seen: 0,
            observe_only: false,
            heal_now: false,
        }
    }

    /// An application that nobody has declared yet.
    pub(crate) fn none(app: AppName) -> Self {
        Self {
            app,
            declared: None,
            goal: Goal::Run,
            target: 0,
            revisions: BTreeMap::new(),
            last_done: None,
            done_before: None,
            rollout: None,
            replicas: BTreeMap::new(),
            volumes: Vec::new(),
            forgotten: 0,
            seen: 0,
            observe_only: false,
            heal_now: false,
        }
    }

    /// What a component is in a revision.
    pub fn component(&self, revision: u64, name: &ComponentName) -> Option<&ComponentSpec> {
        self.revisions.get(&revision)?.components.get(name)
    }

    /// The revisions of which there is a container, or may be one without anybody asking for it: that is to run, to which a
    /// rollout that fails goes back, and those of the replicas.
    pub(crate) fn revisions_in_use(&self) -> BTreeSet<u64> {
        let adopted = |replica: &Replica| replica.adopted.map(|(_, revision)| revision);
        let of_replicas =
            self.replicas.values().flat_map(|replica| adopted(replica).into_iter().chain([replica.revision]));
        of_replicas.chain(self.last_done).chain([self.target]).collect()
    }

    /// Whether a container was made for another application of this name: one that was destroyed, or whose records were lost. What
    /// was adopted is of this one.
    pub(crate) fn is_of_another(&self, labels: &ReplicaLabels) -> bool {
        let differs = self.declared.zip(labels.declared).is_some_and(|(own, other)| own != other);
        let adopted = || self.replica_of(labels).is_some_and(|replica| replica.adopted_as(labels.generation).is_some());
        differs && !adopted()
    }

    /// What a container is, by the revision that it counts as.
    pub(crate) fn component_of(&self, labels: &ReplicaLabels) -> Option<&ComponentSpec> {
        let own = self.replica_of(labels).filter(|_| !self.is_of_another(labels));
        let revision =
            own.map_or(labels.revision, |replica| self.counts_as(replica, labels.generation, labels.revision));
        self.component(revision, &labels.component)
    }

    /// The revision that a container of a slot counts as: that on it, which of one that was adopted is of a store that was lost. The
    /// newest may be as it is for so long that its own is forgotten: it has what its record names, or would have been replaced.
    pub(super) fn counts_as(&self, replica: &Replica, generation: u64, own: u64) -> u64 {
        let is_forgotten = !self.revisions.contains_key(&own) && own < replica.revision;
        let named = (is_forgotten && generation == replica.generation).then_some(replica.revision);
        replica.adopted_as(generation).or(named).unwrap_or(own)
    }

    /// Whether a container has taken traffic, by the records: it has passed its gate, and is not new.
    pub(crate) fn takes_traffic(&self, labels: &ReplicaLabels) -> bool {
        self.replica_of(labels).is_some_and(|replica| replica.backends.contains_key(&labels.generation))
    }

    fn replica_of(&self, labels: &ReplicaLabels) -> Option<&Replica> {
        self.replicas.get(&Slot { component: labels.component.clone(), number: labels.slot? })
    }

    /// How many replicas of each component each host has, by the records.
    pub(crate) fn placed(&self) -> Placed {
        let mut placed = Placed::new();
        for (slot, replica) in &self.replicas {
            let hosts = placed.entry(slot.component.clone()).or_default();
            *hosts.entry(replica.engine.clone()).or_default() += 1;
        }
        placed
    }

    /// Whether the target may be acted on beyond what is there: it is being rolled out, or was rolled out entirely. Otherwise its
    /// rollout was stopped, and nobody knows whether the rest of it would work.
    pub(crate) fn is_target_good(&self) -> bool {
        self.rollout.is_some() || self.last_done == Some(self.target)
    }

    /// The components of the target.
    pub(super) fn components(&self) -> impl Iterator<Item = (&ComponentName, &ComponentSpec)> {
        self.revisions.get(&self.target).into_iter().flat_map(|app| &app.components)
    }
}

/// How many replicas of each component each host has.
pub(crate) type Placed = BTreeMap<ComponentName, BTreeMap<EngineId, usize>>;

/// The hosts that have a replica of everything that a component uses of its application: names resolve within a host only. Nothing
/// where it uses nothing.
pub(crate) fn hosts_of_used(placed: &Placed, spec: &ComponentSpec) -> Option<BTreeSet<EngineId>> {
    let hosts = |name| placed.get(name).map(|hosts| hosts.keys().cloned().collect()).unwrap_or_default();
    spec.used_here().map(hosts).reduce(|one: BTreeSet<EngineId>, other| &one & &other)
}

/// What is to become of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// It runs.
    Run,
    /// Its containers are stopped and kept.
    Stop,
    /// Nothing is left of it but its volumes.
    Destroy,
}

/// What takes an application from one revision to another.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// The revision it leads to.
    pub to: u64,
    /// The revision that it led to when it began: another number of replicas makes a later one, and no other rollout.
    pub first: u64,
    /// Why there is one.
    pub reason: RolloutReason,
    /// When it began.
    pub started: Timestamp,
    /// When a replica became ready last, a drain or a command of before ended, or a job completed.
    pub progressed: Timestamp,
    /// How far the commands are that run before a component is replaced.
    pub before: BTreeMap<ComponentName, BeforeState>,
    /// The hosts that were asked for them last, as long as they may be there, and nowhere else.
    pub before_on: BTreeMap<ComponentName, EngineId>,
    /// Those of them that could not be started, until one is: they are tried again.
    pub before_failed: BTreeMap<ComponentName, BeforeFailure>,
    /// What the container wrote last because of which it goes back, of one that does.
    pub output: Option<LastLines>,
}

impl Rollout {
    /// One that begins now.
    pub fn new(to: u64, reason: RolloutReason, now: Timestamp) -> Self {
        let (before, before_on, before_failed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { to, first: to, reason, started: now, progressed: now, before, before_on, before_failed, output: None }
    }
}

/// Why there is a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutReason {
    /// Somebody applied a file.
    Apply,
    /// Somebody applied a file beside containers that no record names, which become replicas where they are the same.
    Adopt,
    /// Somebody changed the number of replicas.
    Scale,
    /// Every container is to be made again.
    Restart,
    /// Another rollout failed, or somebody wants an earlier revision.
    Rollback {
        /// Why; empty where somebody asked for it.
        why: String,
    },
}

/// How far the command is that runs before a component is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeforeState {
    /// It runs.
    Running,
    /// It ended with this exit code.
    Ended(i64),
    /// Nobody knows: its host is lost.
    Unknown,
}

impl BeforeState {
    /// What a command ended with that took too long, as `timeout` says it.
    pub(crate) const TOOK_TOO_LONG: i64 = 124;
}

/// A command before a component that could not be started. [`Desired::note_before_failed`] records it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BeforeFailure {
    /// What went wrong, in words for people.
    pub why: String,
    /// Whether only the hosts are to blame that were asked. Otherwise it would go wrong on each of them.
    pub of_host: bool,
    /// How often in a row a host was asked.
    pub attempts: u32,
    /// The hosts that were. They are asked again where no other has room.
    pub avoid: BTreeSet<EngineId>,
}

/// One place of a component that is to be filled. Shown as `web.2`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The component.
    pub component: ComponentName,
    /// Its number, from 1.
    pub number: u32,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.component, self.number)
    }
}

/// What is recorded of a slot, before Docker is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Replica {
    /// The revision that it shall have.
    pub revision: u64,
    /// Counts the containers of the slot: that of the newest.
    pub generation: u64,
    /// The host of the newest.
    pub engine: EngineId,
    /// Its containers, by generation: those that were made or adopted for it, the last hundred of them. Any other container of
    /// the slot is an orphan.
    pub made: BTreeSet<u64>,
    /// Those before the newest that may be there still, and the host of each, by generation: until that host was read and does not
    /// have it. The slot is not forgotten before.
    pub elsewhere: BTreeMap<u64, EngineId>,
    /// The newest generation when the last rollout began: newer ones were made by that rollout. Clocks of hosts differ, so the
    /// time at which a container was made does not tell.
    pub before_rollout: u64,
    /// Those of its containers that take traffic, or finish what they took, by generation.
    pub backends: BTreeMap<u64, Backend>,
    /// Those of its containers that were stopped on purpose, by generation: how such a one ended says nothing.
    pub stopped: BTreeSet<u64>,
    /// The container of a failed rollout, which is kept for inspection, by generation.
    pub kept: Option<u64>,
    /// A container that was found, by generation, and the revision that it counts as.
    pub adopted: Option<(u64, u64)>,
    /// The container that ended well and is not to run again, by generation: also when its host is lost, or somebody removes it.
    pub completed: Option<u64>,
    /// Hosts on which it failed through no fault of its own, or that were left because it crashed there again and again. They
    /// are taken again where no other has room.
    pub avoid: BTreeSet<EngineId>,
    /// How often in a row it was restarted because it was unhealthy, and when last.
    pub restarts: Option<(u32, Timestamp)>,
    /// The newest container that could not be made, until one is ready.
    pub failed: Option<StepFailure>,
    /// The container that is to make room on its host, by generation: another takes its place elsewhere when no rollout is under
    /// way, if there is room.
    pub leaves: Option<u64>,
}

impl Replica {
    /// A slot that shall have its first container there.
    pub fn new(revision: u64, generation: u64, engine: EngineId) -> Self {
        Self {
            revision,
            generation,
            engine,
            made: BTreeSet::from([generation]),
            elsewhere: BTreeMap::new(),
            before_rollout: 0,
            backends: BTreeMap::new(),
            stopped: BTreeSet::new(),
            kept: None,
            adopted: None,
            completed: None,
            avoid: BTreeSet::new(),
            restarts: None,
            failed: None,
            leaves: None,
        }
    }

    /// Whether it names a container of the slot: any other is an orphan.
    pub(super) fn names(&self, container: &ObservedContainer) -> bool {
        self.made.contains(&container.generation) && !container.of_another
    }

    /// The revision that a container of that generation was adopted as, if it was.
    fn adopted_as(&self, generation: u64) -> Option<u64> {
        self.adopted.filter(|(adopted, _)| *adopted == generation).map(|(_, revision)| revision)
    }

    /// The highest generation that is recorded.
    pub(super) fn newest(&self) -> u64 {
        self.made.last().copied().unwrap_or(0).max(self.generation)
    }
}

/// A container that could not be made. [`Desired::note_failure`] records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// Its generation.
    pub generation: u64,
    /// The host that was asked.
    pub engine: EngineId,
    /// What went wrong, in words for people.
    pub why: String,
    /// When.
    pub at: Timestamp,
    /// Whether only that host is to blame. Otherwise it would go wrong on each of them.
    pub of_host: bool,
    /// How many in a row could not be made.
    pub attempts: u32,
    /// The revision whose image could not be fetched: that was before anything was stopped for it, and the container of that
    /// generation goes on.
    pub fetching: Option<u64>,
}

/// A container as a target of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// It takes traffic.
    Serving,
    /// It takes no more, and finishes what it has.
    Draining {
        /// Since when.
        since: Timestamp,
    },
}

/// A volume that a slot has of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Whose it is.
    pub slot: Slot,
    /// Its name in the component.
    pub name: String,
    /// The host it is on.
    pub engine: EngineId,
    /// Whether a container was recorded for it, which comes after Docker has made it. Until then nothing is in it: it is made
    /// where it is missing, and keeps its slot on no host.
    pub made: bool,
    /// Whether somebody else made it, and it was taken over when that was asked for. It is never removed.
    pub taken: bool,
}
