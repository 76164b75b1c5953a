//! The live view as plain data: engines, containers and reservations, and the arithmetic between them. No I/O, no lock.
//!
//! Every container that exists and every reservation has one [`Allocation`]: what it takes of its engine. A container whose
//! launch or start is still under way is covered by that reservation and holds nothing itself, so nothing is ever
//! counted twice and nothing is free for a moment in between.

#[cfg(any(test, feature = "testing"))]
mod audit;
mod engines;
mod reach;
mod replicas;
mod reservations;
#[cfg(test)]
mod tests;
mod tombstones;
mod totals;
mod twins;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::EngineHandle;
use super::changes::Changes;
use crate::engine::{EngineInfo, EngineUsage, Managed, ObservedContainer, Owner};
use crate::model::app::AppName;
use crate::model::{
    BoundPort, Container, ContainerId, ContainerState, Cpus, EngineHealth, EngineId, EngineSpec, EngineSummary, Group,
    HostPort, HostUsage, LaunchId, MemoryMb, Resources,
};
use crate::scheduler::{AllocationRef, Snapshot};

pub(crate) use reach::EngineReach;
use reach::Signs;
use replicas::{ReplicaState, Replicas};
use tombstones::Tombstones;
use totals::Images;

/// Order of observations: one that began later wins over one that began earlier.
pub(crate) type Ticket = u64;

/// What a container or a reservation takes of its engine.
#[derive(Clone, Debug, Default, PartialEq)]
struct Allocation {
    /// Present while it runs or is about to.
    resources: Option<Resources>,
    /// Present as long as it exists, running or not: a stopped container can be started again.
    image: Option<Arc<str>>,
    ports: Vec<HostPort>,
}

#[derive(Debug)]
pub(super) struct EngineEntry {
    pub(super) spec: Arc<EngineSpec>,
    pub(super) handle: EngineHandle,
    pub(super) summary: Arc<EngineSummary>,
    pub(super) health: EngineHealth,
    pub(super) info: Option<EngineInfo>,
    pub(super) usage: EngineUsage,
    /// What the host itself says is in use, if it has an agent that says so.
    pub(super) host_usage: Option<HostUsage>,
    /// It registered itself and left: down, whether or not its daemon answers.
    pub(super) absent: bool,
    signs: Signs,
    /// By how much the clock of the host is ahead of this server's, where that is more than what an answer takes.
    ahead: SignedDuration,
    /// The volumes that were made since it said which it has, and whether that was read once since.
    new_volumes: BTreeMap<String, bool>,
    /// What is to be told a person of it beside its status.
    pub(super) warnings: Vec<String>,
    containers: BTreeSet<ContainerId>,
    /// How many holds name each port; the snapshot's set has those with at least one.
    ports: HashMap<HostPort, usize>,
}

#[derive(Clone, Debug)]
pub(super) struct ContainerEntry {
    pub(super) container: Arc<Container>,
    pub(super) managed: Option<Managed>,
    reserved: Resources,
    /// Whether `reserved` is what Docker enforces, as an inspection said once.
    limits_known: bool,
    /// Canonical name of its image.
    image: Arc<str>,
    allocation: Allocation,
    ticket: Ticket,
    /// What it has of the host beside the ports that are shown: the same ones, for IPv6.
    hidden_ports: Vec<HostPort>,
    /// Present on a container of an application.
    replica: Option<Box<ReplicaState>>,
}

impl ContainerEntry {
    fn has_ports(&self, found: &[BoundPort]) -> bool {
        let shown = &self.container.ports;
        found.len() == shown.len() + self.hidden_ports.len()
            && found.iter().all(|port| shown.contains(port) || self.hidden_ports.contains(&port.host()))
    }

    /// Whether a container was found, on that engine, just as it is known.
    fn is(&self, found: &ObservedContainer, engine: &EngineSummary) -> bool {
        let ObservedContainer {
            id,
            name,
            spec,
            reserved,
            limits_known,
            state,
            ports,
            created,
            managed,
            // Whose it is, is decided by now.
            labels_of_another: _,
            run,
        } = found;
        let Container { image, engine: host, .. } = &*self.container;
        self.container.id == *id
            && self.container.name == *name
            && **image == *spec
            && **host == *engine
            && self.container.state == *state
            && self.has_ports(ports)
            && self.container.created == *created
            && self.reserved == *reserved
            && self.limits_known == *limits_known
            && self.managed == *managed
            && self.does_as(run)
    }
}

#[derive(Debug)]
struct Reserved {
    engine: EngineId,
    allocation: Allocation,
    /// The stopped or restarting container it covers; absent for a launch, which covers by its launch id.
    container: Option<ContainerId>,
    /// The containers that were seen with that launch id, wherever: the host may be another engine over again.
    launched: Vec<ContainerId>,
}

/// Everything the platform knows at this moment.
#[derive(Debug, Default)]
pub(super) struct View {
    snapshot: Snapshot,
    engines: BTreeMap<EngineId, EngineEntry>,
    /// Boxed: of a large entry in the tree itself, three of ten would be room for more.
    containers: BTreeMap<ContainerId, Box<ContainerEntry>>,
    groups: HashMap<Group, BTreeSet<ContainerId>>,
    replicas: Replicas,
    changes: Changes,
    reservations: HashMap<LaunchId, Reserved>,
    starting: HashMap<ContainerId, LaunchId>,
    gone: Tombstones,
    /// How many containers run.
    running: usize,
    images: Images,
    /// The engines that are down. A list asks for each container whether its engine is one of them.
    down: BTreeSet<EngineId>,
    /// Which engines are which daemon, by what they said themselves: more than one is the same host twice.
    daemons: HashMap<String, BTreeSet<EngineId>>,
    /// The engines on which a container was found that another one has, with that one and the container.
    twins: BTreeMap<EngineId, (EngineId, ContainerId)>,
    /// The engines that are duplicates, with that which each of them is.
    same_as: BTreeMap<EngineId, EngineId>,
}

impl View {
    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(super) fn container(&self, id: &ContainerId) -> Option<&ContainerEntry> {
        self.containers.get(id).map(|entry| &**entry)
    }

    pub(super) fn containers(&self) -> impl Iterator<Item = &ContainerEntry> {
        self.containers.values().map(|entry| &**entry)
    }

    /// The containers whose id comes after `after`, by id.
    pub(super) fn containers_after(&self, after: Option<&str>) -> impl Iterator<Item = &ContainerEntry> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.containers.range::<str, _>((after, Bound::Unbounded)).map(|(_, entry)| &**entry)
    }

    /// Containers whose id starts with `prefix`, at most `limit`.
    pub(super) fn by_prefix(&self, prefix: &str, limit: usize) -> Vec<&ContainerEntry> {
        self.containers
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(id, _)| id.as_str().starts_with(prefix))
            .take(limit)
            .map(|(_, entry)| &**entry)
            .collect()
    }

    pub(super) fn group(&self, group: &Group) -> impl Iterator<Item = &ContainerEntry> {
        self.groups.get(group).into_iter().flatten().filter_map(|id| self.container(id))
    }

    /// The container as shown: on an engine that is down nobody knows what it does.
    pub(super) fn shown(&self, entry: &ContainerEntry) -> Arc<Container> {
        if self.down.contains(&entry.container.engine.id) && entry.container.state.holds_resources() {
            let mut unknown = Container::clone(&entry.container);
            unknown.state = ContainerState::Unknown;
            return Arc::new(unknown);
        }
        entry.container.clone()
    }

    /// Notes a container as it was found by an observation that began at `ticket`. False when it is known of another engine,
    /// which keeps it: then the two are one host, or copies.
    pub(super) fn observe(&mut self, engine: &EngineId, mut found: ObservedContainer, ticket: Ticket) -> bool {
        if !self.engines.contains_key(engine) {
            return true;
        }
        if let Some(other) = self.elsewhere(engine, &found.id) {
            self.twins.insert(engine.clone(), (other, found.id));
            return false;
        }
        let known = self.containers.get(&found.id);
        if known.is_some_and(|known| known.ticket > ticket) || self.gone.forbid(&found.id, ticket) {
            return true;
        }
        // More than anything can have would only spoil the sums.
        found.reserved.cpus = found.reserved.cpus.min(Cpus::MAX);
        found.reserved.memory = found.reserved.memory.min(MemoryMb::MAX);
        // A list does not show the limits that Docker enforces: what was read of them before counts.
        if let Some(known) = known.filter(|known| known.limits_known && !found.limits_known) {
            (found.reserved, found.limits_known) = (known.reserved, true);
        }
        if known.is_some_and(|known| known.container.engine.id != *engine) {
            // The engine that had it counts no more.
            self.forget(&found.id);
        }
        let Some(host) = self.engines.get_mut(engine) else { return true };
        host.containers.insert(found.id.clone());
        let summary = host.summary.clone();
        // Everything is read again each minute and mostly is as it was. If each were put down again every time, the room of
        // those before would be left in pieces between them.
        if let Some(known) = self.containers.get_mut(&found.id)
            && known.is(&found, &summary)
        {
            known.ticket = ticket;
            self.recount(&found.id);
            return true;
        }
        let replica = self.replica_state(&mut found);
        let known = self.containers.get(&found.id).map(|entry| &**entry);
        // Of thousands of equal containers the description is kept once, and the words that they have in common.
        let alike = found.managed.as_ref().and_then(|managed| match &managed.owner {
            Owner::Run { group, .. } => self.group(group).next(),
            Owner::Replica(labels) => self.sibling(labels),
            Owner::Other(_) | Owner::OtherPlatform => None,
        });
        let alike = [known, alike].into_iter().flatten().find(|other| *other.container.image == found.spec);
        if let (Some(managed), Some(other)) = (&mut found.managed, alike.and_then(|other| other.managed.as_ref())) {
            if let (Owner::Run { group: mine, .. }, Some(others)) = (&mut managed.owner, other.group()) {
                share(mine, others);
            }
            share(&mut managed.platform, &other.platform);
            share(&mut managed.user, &other.user);
        }
        let (spec, image) = match alike {
            Some(alike) => (alike.container.image.clone(), alike.image.clone()),
            None => {
                let image = found.spec.name.canonical().into();
                (Arc::new(found.spec), image)
            }
        };
        let ports = BoundPort::without_twins(&found.ports);
        let hidden_ports = found.ports.iter().filter(|port| !ports.contains(port)).map(BoundPort::host).collect();
        let ours = found.managed.as_ref().filter(|managed| !managed.is_left_alone());
        let container = Arc::new(Container {
            id: found.id.clone(),
            name: found.name,
            image: spec,
            engine: summary,
            state: found.state,
            ports,
            created: found.created,
            managed: ours.is_some(),
        });
        if let Some(managed) = ours
            && let Some(reserved) = self.reservations.get_mut(&managed.launch)
            && !reserved.launched.contains(&found.id)
        {
            reserved.launched.push(found.id.clone());
        }
        let before = known.and_then(ContainerEntry::replica_labels).map(|labels| labels.app.clone());
        let app = ours.and_then(Managed::replica).map(|labels| labels.app.clone());
        if let Some(group) = ours.and_then(Managed::group) {
            self.groups.entry(group.clone()).or_default().insert(found.id.clone());
        } else if let Some(before) = known.and_then(|known| known.managed.as_ref()?.group()).cloned() {
            take_out(&mut self.groups, &before, &found.id);
        }
        let ran = known.is_some_and(|known| known.container.state.holds_resources());
        self.running = (self.running + usize::from(container.state.holds_resources())).saturating_sub(usize::from(ran));
        let allocation = known.map(|known| known.allocation.clone()).unwrap_or_default();
        let ObservedContainer { managed, reserved, limits_known, .. } = found;
        let entry = ContainerEntry {
            image,
            container,
            managed,
            reserved,
            limits_known,
            allocation,
            ticket,
            hidden_ports,
            replica,
        };
        self.containers.insert(found.id.clone(), Box::new(entry));
        self.note_app(&found.id, before, app);
        self.recount(&found.id);
        true
    }

    /// Notes which application a container is of, where it is of one, or was.
    fn note_app(&mut self, id: &ContainerId, before: Option<AppName>, now: Option<AppName>) {
        if let Some(app) = before.filter(|app| now.as_ref() != Some(app)) {
            self.replicas.remove(&app, id);
            self.changes.app(&app);
        }
        if let Some(app) = now {
            self.replicas.insert(&app, id);
            self.changes.app(&app);
        }
    }

    /// Our containers that run on an engine and whose limits no inspection has shown yet.
    pub(super) fn limits_unknown(&self, engine: &EngineId) -> Vec<ContainerId> {
        let there = self.engines.get(engine).into_iter().flat_map(|host| &host.containers);
        let unknown = there
            .filter_map(|id| self.containers.get(id))
            .filter(|entry| !entry.limits_known && entry.managed.is_some() && entry.container.state.holds_resources());
        unknown.map(|entry| entry.container.id.clone()).collect()
    }

    /// Whether a container was removed a moment ago, and was not found again since.
    pub(super) fn recently_removed(&self, id: &ContainerId) -> bool {
        self.gone.has(id) && !self.containers.contains_key(id)
    }

    /// Notes that a container does not exist, as found by an observation that began at `ticket`.
    pub(super) fn observe_gone(&mut self, id: &ContainerId, ticket: Ticket) {
        if self.containers.get(id).is_none_or(|known| known.ticket <= ticket) {
            self.gone.add(id, ticket);
            self.forget(id);
        }
    }

    /// The same, as an engine says it: of a container of another engine that says nothing.
    pub(super) fn observe_gone_from(&mut self, engine: &EngineId, id: &ContainerId, ticket: Ticket) {
        if self.containers.get(id).is_none_or(|known| known.container.engine.id == *engine) {
            self.observe_gone(id, ticket);
        }
    }

    /// Notes everything that is on an engine, as found by an observation that began at `ticket`.
    pub(super) fn observe_all(&mut self, engine: &EngineId, found: Vec<ObservedContainer>, ticket: Ticket) {
        let Some(host) = self.engines.get(engine) else { return };
        let there: HashSet<&ContainerId> = found.iter().map(|found| &found.id).collect();
        let gone: Vec<ContainerId> = host.containers.iter().filter(|id| !there.contains(id)).cloned().collect();
        for id in gone {
            self.observe_gone(&id, ticket);
        }
        for found in found {
            self.observe(engine, found, ticket);
        }
        self.note_read(engine);
    }

    fn forget(&mut self, id: &ContainerId) {
        let Some(entry) = self.containers.remove(id) else { return };
        self.running = self.running.saturating_sub(usize::from(entry.container.state.holds_resources()));
        let engine = entry.container.engine.id.clone();
        self.change_allocation(&engine, &entry.allocation, false);
        if let Some(host) = self.engines.get_mut(&engine) {
            host.containers.remove(id);
        }
        if let Some(group) = entry.managed.as_ref().and_then(Managed::group) {
            take_out(&mut self.groups, group, id);
        }
        self.note_app(id, entry.replica_labels().map(|labels| labels.app.clone()), None);
    }

    /// Forgets every container of an engine.
    pub(super) fn forget_all_on(&mut self, engine: &EngineId) {
        let there = self.engines.get(engine).map(|host| host.containers.clone());
        for id in there.into_iter().flatten() {
            self.forget(&id);
        }
    }

    /// Brings the allocation of a container in line with its state and with the reservation that may cover it.
    fn recount(&mut self, id: &ContainerId) {
        let Some(entry) = self.containers.get(id) else { return };
        let engine = entry.container.engine.id.clone();
        let allocation = self.allocation_of(id, entry);
        if allocation == entry.allocation {
            return;
        }
        let before = entry.allocation.clone();
        if let Some(entry) = self.containers.get_mut(id) {
            entry.allocation = Allocation::default();
        }
        self.change_allocation(&engine, &before, false);
        if let Some(entry) = self.containers.get_mut(id) {
            entry.allocation = allocation.clone();
        }
        self.change_allocation(&engine, &allocation, true);
    }

    /// What a container takes of its engine by itself.
    fn allocation_of(&self, id: &ContainerId, entry: &ContainerEntry) -> Allocation {
        let ours = entry.managed.as_ref().filter(|managed| !managed.is_left_alone());
        let launching = ours.is_some_and(|managed| self.reservations.contains_key(&managed.launch));
        let starting = self.starting.contains_key(id);
        let runs = entry.container.state.holds_resources() && !starting;
        if launching {
            return Allocation::default();
        }
        Allocation {
            image: Some(entry.image.clone()),
            resources: runs.then_some(entry.reserved),
            ports: if runs {
                let shown = entry.container.ports.iter().map(BoundPort::host);
                shown.chain(entry.hidden_ports.iter().copied()).collect()
            } else {
                Vec::new()
            },
        }
    }

    fn change_allocation(&mut self, engine: &EngineId, allocation: &Allocation, take: bool) {
        let Some(host) = self.engines.get_mut(engine) else { return };
        // A port counts once in the snapshot, however many hold it.
        let mut changes = |port: &&HostPort| {
            let holders = host.ports.entry(**port).or_default();
            if take {
                *holders += 1;
                return *holders == 1;
            }
            *holders = holders.saturating_sub(1);
            let was_last = *holders == 0;
            if was_last {
                host.ports.remove(*port);
            }
            was_last
        };
        let ports: Vec<HostPort> = allocation.ports.iter().filter(|port| changes(port)).copied().collect();
        let allocation =
            AllocationRef { resources: allocation.resources, image: allocation.image.as_deref(), ports: &ports };
        if !take && allocation.resources.is_some() {
            self.changes.room();
        }
        if take {
            self.snapshot.take(engine, allocation);
        } else if self.snapshot.give_back(engine, allocation).is_err() {
            self.count_again(engine);
        }
    }

    /// Counts again what is taken of an engine, from every allocation on it: more was given back than had been taken, so what was
    /// counted cannot be true. It is told, since it is a fault of the platform.
    fn count_again(&mut self, engine: &EngineId) {
        let Some(host) = self.engines.get_mut(engine) else { return };
        let message = format!(
            "what is reserved on it did not add up at {}, and was counted again from its containers; please report this",
            Timestamp::now()
        );
        tracing::error!(%engine, "{message}");
        host.warnings = vec![message];
        let containers = host.containers.iter().filter_map(|id| self.containers.get(id)).map(|entry| &entry.allocation);
        let reserved = self.reservations.values().filter(|reserved| reserved.engine == *engine);
        let all = containers.chain(reserved.map(|reserved| &reserved.allocation));
        let (mut sum, mut count) = (Resources::ZERO, 0);
        for resources in all.filter_map(|allocation| allocation.resources) {
            sum += resources;
            count += 1;
        }
        self.snapshot.update(engine, |state| (state.reserved, state.containers) = (sum, count));
    }
}

/// Keeps an equal value once, where it is cheap to clone.
fn share<T: PartialEq + Clone>(mine: &mut T, others: &T) {
    if *mine == *others {
        mine.clone_from(others);
    }
}

/// Takes a member out of its set, and the set out of the map when it is empty.
fn take_out<K: std::hash::Hash + Eq>(sets: &mut HashMap<K, BTreeSet<ContainerId>>, key: &K, id: &ContainerId) {
    if let Some(members) = sets.get_mut(key) {
        members.remove(id);
        if members.is_empty() {
            sets.remove(key);
        }
    }
}
