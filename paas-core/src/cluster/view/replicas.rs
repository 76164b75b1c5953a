//! The containers of applications: which there are, how their programs do, and when they ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::{ContainerEntry, View};
use crate::cluster::apps::ReplicaContainer;
use crate::engine::{Managed, ObservedContainer, ReplicaLabels, RunState};
use crate::model::ContainerId;
use crate::model::app::AppName;

/// How long it is remembered that a program ended, and how many times at most.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(10);
const MOST_EXITS: usize = 10;
/// How many ends are kept of containers that were not observed yet: one may end before it is read for the first time.
const MOST_EARLY: usize = 256;

/// What only containers of applications have.
#[derive(Clone, Debug, Default)]
pub(super) struct ReplicaState {
    run: RunState,
    exits: Vec<Timestamp>,
    /// Somebody, the platform or a person, sent it a signal: when it ends then, that is not by itself.
    signalled: bool,
    /// The status of the last end that was seen. Docker forgets it when it starts the container again.
    exit_code: Option<i64>,
}

impl ReplicaState {
    fn note_exit(&mut self, at: Timestamp, code: Option<i64>) {
        self.exit_code = code.or(self.exit_code);
        if std::mem::take(&mut self.signalled) {
            return;
        }
        self.exits.push(at);
        self.exits.retain(|exit| at.duration_since(*exit) < REMEMBERED);
        let too_many = self.exits.len().saturating_sub(MOST_EXITS);
        self.exits.drain(..too_many);
    }
}

/// The containers of applications.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    by_app: BTreeMap<AppName, BTreeSet<ContainerId>>,
    early: VecDeque<(ContainerId, Timestamp, Option<i64>)>,
}

impl Replicas {
    pub(super) fn insert(&mut self, app: &AppName, id: &ContainerId) {
        self.by_app.entry(app.clone()).or_default().insert(id.clone());
    }

    pub(super) fn remove(&mut self, app: &AppName, id: &ContainerId) {
        if let Some(there) = self.by_app.get_mut(app) {
            there.remove(id);
            if there.is_empty() {
                self.by_app.remove(app);
            }
        }
    }

    fn note_early(&mut self, id: &ContainerId, at: Timestamp, code: Option<i64>) {
        if self.early.len() == MOST_EARLY {
            self.early.pop_front();
        }
        self.early.push_back((id.clone(), at, code));
    }

    /// Gives a container that is observed for the first time what was heard of it before.
    fn take_early(&mut self, id: &ContainerId, state: &mut ReplicaState) {
        self.early.retain(|(early, at, code)| {
            if early == id {
                state.note_exit(*at, *code);
            }
            early != id
        });
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn by_app(&self) -> &BTreeMap<AppName, BTreeSet<ContainerId>> {
        &self.by_app
    }
}

impl ContainerEntry {
    /// Which container of which application it is, if it is one.
    pub(in crate::cluster) fn replica_labels(&self) -> Option<&ReplicaLabels> {
        self.managed.as_ref().and_then(Managed::replica)
    }

    /// Whether how its program does is as it was found; of interest for containers of applications only.
    pub(super) fn does_as(&self, found: &RunState) -> bool {
        self.replica.as_ref().is_none_or(|state| state.run == *found)
    }
}

impl View {
    pub(in crate::cluster) fn replica_apps(&self) -> impl Iterator<Item = &AppName> {
        self.replicas.by_app.keys()
    }

    pub(in crate::cluster) fn replicas(&self, app: &AppName, now: Timestamp) -> Vec<ReplicaContainer> {
        let ids = self.replicas.by_app.get(app).into_iter().flatten();
        ids.filter_map(|id| {
            let entry = self.container(id)?;
            let engine = self.engine(entry.container.engine.id.as_str());
            shown(entry, engine.map_or(SignedDuration::ZERO, |engine| engine.ahead), now)
        })
        .collect()
    }

    /// Another container of the same component and revision.
    pub(super) fn sibling(&self, labels: &ReplicaLabels) -> Option<&ContainerEntry> {
        let all = self.replicas.by_app.get(&labels.app)?.iter().filter_map(|id| self.container(id));
        let is_one = |other: &ReplicaLabels| other.component == labels.component && other.revision == labels.revision;
        all.into_iter().find(|entry| entry.replica_labels().is_some_and(is_one))
    }

    /// Somebody sent a program a signal. One that does not end by it and ends by itself later is taken for stopped that once.
    pub(in crate::cluster) fn note_signal(&mut self, id: &ContainerId) {
        if let Some(state) = self.containers.get_mut(id).and_then(|entry| entry.replica.as_mut()) {
            state.signalled = true;
        }
    }

    /// A program ended.
    pub(in crate::cluster) fn note_exit(&mut self, id: &ContainerId, at: Timestamp, code: Option<i64>) {
        let Some(entry) = self.containers.get_mut(id) else { return self.replicas.note_early(id, at, code) };
        let Some(state) = &mut entry.replica else { return };
        state.note_exit(at, code);
        if let Some(labels) = entry.replica_labels() {
            self.changes.app(&labels.app);
        }
    }

    /// What is known of a container of an application from now on, after it was found again.
    pub(super) fn replica_state(&mut self, found: &mut ObservedContainer) -> Option<Box<ReplicaState>> {
        found.managed.as_ref().and_then(Managed::replica)?;
        let mut state = match self.containers.get(&found.id).and_then(|known| known.replica.clone()) {
            Some(known) => known,
            None => {
                let mut state = Box::default();
                self.replicas.take_early(&found.id, &mut state);
                state
            }
        };
        state.run = std::mem::take(&mut found.run);
        state.exit_code = state.run.exit_code.or(state.exit_code);
        Some(state)
    }

    /// Of a container under another name Docker says nothing that the platform wrote on it. By its id it is the same.
    pub(in crate::cluster) fn recall_replicas(&self, found: &mut [ObservedContainer]) {
        for found in found.iter_mut().filter(|found| found.managed.is_none()) {
            let known = self.container(&found.id).filter(|known| known.replica.is_some());
            found.managed = known.and_then(|known| known.managed.clone());
        }
    }
}

/// A container of an application, with its times by the clock of this server: that of its host may be `ahead`.
fn shown(entry: &ContainerEntry, ahead: SignedDuration, now: Timestamp) -> Option<ReplicaContainer> {
    let here = |time: Timestamp| time.saturating_sub(ahead).unwrap_or(time);
    let (container, state) = (&entry.container, entry.replica.as_ref()?);
    let managed = entry.managed.as_ref()?;
    let mut run = state.run.clone();
    run.exit_code = run.exit_code.or(state.exit_code);
    (run.started, run.ended) = (run.started.map(here), run.ended.map(here));
    let recent = state.exits.iter().filter(|exit| now.duration_since(**exit) < REMEMBERED);
    Some(ReplicaContainer {
        labels: managed.replica()?.clone(),
        id: container.id.clone(),
        name: container.name.trim_start_matches('/').to_owned(),
        engine: container.engine.id.clone(),
        state: container.state,
        created: here(container.created),
        exits: recent.copied().collect(),
        run,
        spec: container.image.clone(),
        limits_known: entry.limits_known,
        ports: container.ports.clone(),
    })
}
