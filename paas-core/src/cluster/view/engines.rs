//! The engines of the view.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::discriminant;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{EngineEntry, Signs, View};
use crate::cluster::EngineHandle;
use crate::engine::{EngineInfo, EngineUsage, ObjectLabels};
use crate::model::{
    Cpus, EngineHealth, EngineId, EngineSpec, EngineStatus, EngineSummary, HostUsage, MemoryMb, Resources,
};
use crate::scheduler::EngineState;

/// By how much a clock may differ from another one without counting as set differently.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(1);

impl View {
    pub(in crate::cluster) fn add_engine(&mut self, spec: EngineSpec, handle: EngineHandle, now: Timestamp) {
        let id = spec.id.clone();
        let mut state = EngineState::new(id.clone(), Resources::ZERO);
        state.status = EngineStatus::Pending;
        let health = EngineHealth { status: EngineStatus::Pending, response_time_ms: None, reason: None, since: now };
        let summary = Arc::new(summary(&spec, Resources::ZERO));
        let entry = EngineEntry {
            spec: Arc::new(spec),
            handle,
            summary,
            health,
            info: None,
            usage: EngineUsage::default(),
            host_usage: None,
            absent: false,
            signs: Signs::new(now),
            ahead: SignedDuration::ZERO,
            new_volumes: BTreeMap::new(),
            warnings: Vec::new(),
            containers: BTreeSet::new(),
            ports: HashMap::new(),
        };
        state.draining = entry.spec.draining;
        state.labels = entry.spec.labels.iter().cloned().collect();
        self.snapshot.insert(state);
        self.engines.insert(id, entry);
        self.changes.engines();
    }

    /// Takes an engine out, with its containers and the reservations on it.
    pub(in crate::cluster) fn remove_engine(&mut self, id: &EngineId) -> bool {
        let Some(entry) = self.engines.remove(id) else { return false };
        entry.handle.stop().cancel();
        self.twins.retain(|one, (other, _)| one != id && other != id);
        self.same_as.retain(|one, other| one != id && other != id);
        self.images.remove(entry.info.as_ref());
        self.down.remove(id);
        if let Some(info) = &entry.info {
            self.is_not_daemon(id, &info.daemon_id);
        }
        self.snapshot.remove(id);
        let on_it = self.reservations.iter().filter(|(_, reserved)| reserved.engine == *id).map(|(launch, _)| *launch);
        for launch in on_it.collect::<Vec<_>>() {
            self.release(launch);
        }
        for container in entry.containers {
            self.starting.remove(&container);
            self.forget(&container);
        }
        self.changes.engines();
        true
    }

    pub(in crate::cluster) fn set_absent(&mut self, id: &EngineId, absent: bool, now: Timestamp) {
        self.note_left(id, absent.then_some(now));
        if absent {
            self.set_status(id, EngineStatus::Down, None, now);
        }
    }

    /// Lets an engine take new containers, or not. False when there is none of that id.
    pub(in crate::cluster) fn set_draining(&mut self, id: &EngineId, draining: bool) -> bool {
        let Some(entry) = self.engines.get_mut(id) else { return false };
        entry.spec = Arc::new(EngineSpec { draining, ..EngineSpec::clone(&entry.spec) });
        self.changes.engines();
        self.snapshot.update(id, |state| state.draining = draining)
    }

    /// Notes that an admin answers for an engine. False when there is none of that id.
    pub(in crate::cluster) fn set_adopted(&mut self, id: &EngineId) -> bool {
        let Some(entry) = self.engines.get_mut(id) else { return false };
        entry.spec = Arc::new(EngineSpec { added_by: None, ..EngineSpec::clone(&entry.spec) });
        true
    }

    /// Changes the labels that containers can ask for. False when there is none of that id.
    pub(in crate::cluster) fn set_labels(&mut self, id: &EngineId, labels: &[String]) -> bool {
        let Some(entry) = self.engines.get_mut(id) else { return false };
        entry.spec = Arc::new(EngineSpec { labels: labels.to_vec(), ..EngineSpec::clone(&entry.spec) });
        entry.summary = Arc::new(EngineSummary { labels: labels.to_vec(), ..EngineSummary::clone(&entry.summary) });
        self.changes.engines();
        self.snapshot.update(id, |state| state.labels = labels.iter().cloned().collect())
    }

    pub(in crate::cluster) fn engine(&self, id: &str) -> Option<&EngineEntry> {
        self.engines.get(id)
    }

    pub(in crate::cluster) fn engine_handle(&self, id: &EngineId) -> Option<EngineHandle> {
        self.engines.get(id).map(|entry| entry.handle.clone())
    }

    pub(in crate::cluster) fn engines(&self) -> impl Iterator<Item = &EngineEntry> {
        self.engines.values()
    }

    pub(in crate::cluster) fn state(&self, id: &EngineId) -> Option<&EngineState> {
        self.snapshot.get(id)
    }

    pub(in crate::cluster) fn containers_on(&self, id: &EngineId) -> usize {
        self.engines.get(id).map_or(0, |entry| entry.containers.len())
    }

    /// The clock of an engine's host showed a time between two moments. What is known of it stays as long as it fits, so that no time
    /// moves with how long answers take.
    pub(in crate::cluster) fn note_clock(
        &mut self,
        id: &EngineId,
        shown: Timestamp,
        asked: Timestamp,
        answered: Timestamp,
    ) {
        let Some(entry) = self.engines.get_mut(id) else { return };
        let (least, most) = (shown.duration_since(answered), shown.duration_since(asked));
        let fits = |ahead: SignedDuration| least - CLOCK_SLACK <= ahead && ahead <= most + CLOCK_SLACK;
        if !fits(entry.ahead) {
            entry.ahead = if fits(SignedDuration::ZERO) { SignedDuration::ZERO } else { least };
        }
    }

    /// Notes what an engine says of itself. What the operator said of its size counts more.
    pub(in crate::cluster) fn set_info(&mut self, id: &EngineId, mut info: EngineInfo) {
        let Some(entry) = self.engines.get_mut(id) else { return };
        // Its clock goes on; the rest is mostly what it was, and then stays where it is.
        info.time = None;
        // More than anything can have is not what it has, and nobody could read it.
        info.cpus = info.cpus.min(Cpus::MAX);
        info.memory = info.memory.min(MemoryMb::MAX);
        if info.volumes.is_some() {
            // The first reading may have been under way when they were made; the second says whether they are there.
            entry.new_volumes.retain(|_, was_read| !std::mem::replace(was_read, true));
        }
        if entry.info.as_ref() == Some(&info) {
            return;
        }
        let total =
            Resources { cpus: entry.spec.cpus.unwrap_or(info.cpus), memory: entry.spec.memory.unwrap_or(info.memory) };
        let cpu_count = u32::try_from(info.cpus.milli().div_ceil(1000)).ok();
        let networks = info.networks.as_ref().map(|networks| networks.keys().cloned().collect());
        if self
            .snapshot
            .get(id)
            .is_some_and(|state| state.total != total || state.cpu_count != cpu_count || state.networks != networks)
        {
            self.changes.engines();
            self.snapshot.update(id, |state| {
                state.total = total;
                state.cpu_count = cpu_count;
                state.networks = networks;
            });
        }
        if entry.info.as_ref().is_none_or(|known| known.volumes != info.volumes) {
            self.changes.engines();
        }
        let summary = summary(&entry.spec, total);
        self.images.add(&info);
        let daemon_id = info.daemon_id.clone();
        let before = entry.info.replace(info);
        self.images.remove(before.as_ref());
        if *entry.summary != summary {
            entry.summary = Arc::new(summary);
        }
        if let Some(before) = before {
            self.is_not_daemon(id, &before.daemon_id);
        }
        // A daemon that has no id that stays is known by nothing of the kind.
        if !daemon_id.is_empty() {
            self.daemons.entry(daemon_id).or_default().insert(id.clone());
        }
    }

    /// Notes which networks an engine has.
    pub(in crate::cluster) fn set_networks(&mut self, id: &EngineId, networks: Option<BTreeMap<String, ObjectLabels>>) {
        let Some(info) = self.engines.get_mut(id).and_then(|entry| entry.info.as_mut()) else { return };
        if info.networks != networks {
            info.networks.clone_from(&networks);
            let names = networks.map(|networks| networks.into_keys().collect());
            self.snapshot.update(id, |state| state.networks = names);
        }
    }

    fn is_not_daemon(&mut self, id: &EngineId, daemon_id: &str) {
        if let Some(engines) = self.daemons.get_mut(daemon_id) {
            engines.remove(id);
            if engines.is_empty() {
                self.daemons.remove(daemon_id);
            }
        }
    }

    pub(in crate::cluster) fn set_usage(&mut self, id: &EngineId, usage: EngineUsage) {
        if let Some(entry) = self.engines.get_mut(id).filter(|_| usage.cpus.is_finite()) {
            entry.usage = usage;
        }
    }

    pub(in crate::cluster) fn set_host_usage(&mut self, id: &EngineId, usage: Option<HostUsage>) {
        if let Some(entry) = self.engines.get_mut(id) {
            entry.host_usage = usage.filter(|usage| usage.cpus.is_finite());
        }
    }

    /// Notes that a volume was made.
    pub(in crate::cluster) fn note_volume(&mut self, id: &EngineId, name: &str) {
        let Some(entry) = self.engines.get_mut(id) else { return };
        entry.new_volumes.insert(name.to_owned(), false);
        self.changes.engines();
    }

    /// Notes that a volume was removed.
    pub(in crate::cluster) fn forget_volume(&mut self, id: &EngineId, name: &str) {
        let Some(entry) = self.engines.get_mut(id) else { return };
        entry.new_volumes.remove(name);
        if let Some(volumes) = entry.info.as_mut().and_then(|info| info.volumes.as_mut()) {
            volumes.remove(name);
        }
        self.changes.engines();
    }

    /// Notes how an engine is; says what it was when that is something else.
    pub(in crate::cluster) fn set_status(
        &mut self,
        id: &EngineId,
        status: EngineStatus,
        reason: Option<String>,
        now: Timestamp,
    ) -> Option<EngineStatus> {
        let entry = self.engines.get_mut(id)?;
        let (before, reach) = (entry.health.status, entry.reach());
        let (status, reason) = match entry.absent {
            true => (EngineStatus::Down, Some("it left the registry".to_owned())),
            false => (status, reason),
        };
        entry.health.reason = reason;
        if before == status {
            return None;
        }
        if status == EngineStatus::Down {
            self.down.insert(id.clone());
        } else {
            self.down.remove(id);
        }
        if status != EngineStatus::Duplicate {
            self.same_as.remove(id);
        }
        entry.health.status = status;
        entry.handle.set_status(status);
        entry.health.since = now;
        if discriminant(&reach) != discriminant(&entry.reach()) {
            self.changes.engines();
        }
        self.snapshot.update(id, |state| state.status = status);
        Some(before)
    }

    pub(in crate::cluster) fn set_response_time(&mut self, id: &EngineId, milliseconds: u64) {
        if let Some(entry) = self.engines.get_mut(id) {
            entry.health.response_time_ms = Some(milliseconds);
        }
    }

    /// Another engine that is the same daemon.
    pub(in crate::cluster) fn same_daemon(&self, id: &EngineId, daemon_id: &str) -> Option<&EngineId> {
        let is_another = |other: &&EngineId| {
            let entry = self.engines.get(*other);
            *other != id && entry.is_some_and(|entry| entry.health.status != EngineStatus::Duplicate)
        };
        self.daemons.get(daemon_id)?.iter().find(is_another)
    }
}

impl EngineEntry {
    /// Its volumes whose names begin so, as it said last, and those that were made here since: whose they are, where it said.
    pub(in crate::cluster) fn volumes<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a String, Option<&'a ObjectLabels>)> {
        let told = self.info.as_ref().and_then(|info| info.volumes.as_ref());
        let told = told.into_iter().flat_map(move |all| all.range(prefix.to_owned()..));
        let told = told.map(|(name, labels)| (name, Some(labels)));
        let made = self.new_volumes.range(prefix.to_owned()..).map(|(name, _)| (name, None));
        told.take_while(move |(name, _)| name.starts_with(prefix))
            .chain(made.take_while(move |(name, _)| name.starts_with(prefix)))
    }

    /// Whose the network of that name is, as it said last.
    pub(in crate::cluster) fn network(&self, name: &str) -> Option<&ObjectLabels> {
        self.info.as_ref()?.networks.as_ref()?.get(name)
    }
}

fn summary(spec: &EngineSpec, total: Resources) -> EngineSummary {
    EngineSummary {
        id: spec.id.clone(),
        addr: spec.addr.to_string(),
        cpus: total.cpus,
        memory: total.memory,
        labels: spec.labels.clone(),
        simulated: spec.addr.is_simulated(),
    }
}
