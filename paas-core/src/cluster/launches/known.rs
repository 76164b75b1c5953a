//! What is known of the launches, in memory: by engine, and by request.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use super::{Ticket, Why};
use crate::model::{ContainerId, EngineId, LaunchId, RequestId};
use crate::store::Version;
use crate::store::records::{LaunchRecord, LaunchState};

/// For how long a launch that was given up may still leave something: Docker finishes what it was told, however late.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3600);

/// How far a launch is, as this server knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// This server is at it.
    UnderWay,
    /// No server is at it any more, and what became of it is not known.
    Interrupted,
    /// It is being found out.
    Settling,
    /// Its container was started, and somebody may have been told of it. So is whatever a later version says of one.
    Done,
    /// Its container is to go when it is seen.
    Unwanted(Why),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) version: Version,
    pub(super) stage: Stage,
    /// Its container, once that was started.
    pub(super) container: Option<ContainerId>,
    /// The record as it is in the store. Of a launch that is done only when it was read or written a moment ago.
    pub(super) record: Option<Box<LaunchRecord>>,
    /// An observation that began before says nothing of it.
    pub(super) since: Ticket,
    pub(super) engine: EngineId,
    pub(super) mark: Option<(RequestId, u32)>,
}

impl Entry {
    /// What a record says of a launch that nobody here is at.
    pub(super) fn kept(version: Version, record: LaunchRecord) -> Self {
        let stage = match record.state {
            LaunchState::Asked => Stage::Interrupted,
            LaunchState::Done | LaunchState::Unknown => Stage::Done,
            LaunchState::Abandoned => Stage::Unwanted(Why::Interrupted),
            LaunchState::Surplus => Stage::Unwanted(Why::Surplus),
        };
        Self {
            version,
            stage,
            container: record.container.clone(),
            since: 0,
            engine: record.engine.clone(),
            mark: record.request.map(|request| (request, record.index)),
            // There are as many of them as containers.
            record: (stage != Stage::Done).then(|| Box::new(record)),
        }
    }

    /// Whether it was begun so long ago that nothing more comes of it.
    pub(super) fn is_old(&self, now: Timestamp) -> bool {
        let age = self.record.as_ref().map(|record| now.duration_since(record.began));
        age.is_some_and(|age| age.is_positive() && age.unsigned_abs() > LEFT_BEHIND)
    }
}

#[derive(Debug, Default)]
pub(super) struct Known {
    engines: HashMap<EngineId, HashMap<LaunchId, Entry>>,
    requests: HashMap<RequestId, BTreeSet<(u32, LaunchId, EngineId)>>,
}

impl Known {
    /// Notes a launch, in the place of what was known of it on that engine.
    pub(super) fn put(&mut self, launch: LaunchId, entry: Entry) {
        if let Some((request, index)) = entry.mark {
            self.requests.entry(request).or_default().insert((index, launch, entry.engine.clone()));
        }
        self.engines.entry(entry.engine.clone()).or_default().insert(launch, entry);
    }

    pub(super) fn remove(&mut self, engine: &EngineId, launch: LaunchId) {
        let Some(launches) = self.engines.get_mut(engine) else { return };
        let removed = launches.remove(&launch);
        if launches.is_empty() {
            self.engines.remove(engine);
        }
        if let Some((request, index)) = removed.and_then(|entry| entry.mark)
            && let Some(of_request) = self.requests.get_mut(&request)
        {
            of_request.remove(&(index, launch, engine.clone()));
            if of_request.is_empty() {
                self.requests.remove(&request);
            }
        }
    }

    pub(super) fn get(&self, engine: &EngineId, launch: LaunchId) -> Option<&Entry> {
        self.engines.get(engine)?.get(&launch)
    }

    pub(super) fn get_mut(&mut self, engine: &EngineId, launch: LaunchId) -> Option<&mut Entry> {
        self.engines.get_mut(engine)?.get_mut(&launch)
    }

    /// Whether anything is known of a launch, on whichever engine.
    pub(super) fn has(&self, launch: LaunchId) -> bool {
        self.engines.values().any(|launches| launches.contains_key(&launch))
    }

    /// A launch that is on this engine, as a rule, or else wherever it is.
    pub(super) fn find<'a>(&'a self, engine: &'a EngineId, launch: LaunchId) -> Option<(&'a EngineId, &'a Entry)> {
        if let Some(entry) = self.get(engine, launch) {
            return Some((engine, entry));
        }
        self.engines.iter().find_map(|(engine, launches)| Some((engine, launches.get(&launch)?)))
    }

    /// The engine goes by another name: so does what is known of a launch on it.
    pub(super) fn move_to(&mut self, from: &EngineId, to: &EngineId, launch: LaunchId) {
        let Some(mut entry) = self.get(from, launch).cloned() else { return };
        self.remove(from, launch);
        entry.engine = to.clone();
        self.put(launch, entry);
    }

    pub(super) fn set_version(&mut self, engine: &EngineId, launch: LaunchId, version: Version) {
        if let Some(entry) = self.get_mut(engine, launch) {
            entry.version = version;
        }
    }

    pub(super) fn on(&self, engine: &EngineId) -> impl Iterator<Item = (LaunchId, &Entry)> {
        self.engines.get(engine).into_iter().flatten().map(|(launch, entry)| (*launch, entry))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&EngineId, LaunchId, &Entry)> {
        let on_one = |(engine, launches)| {
            let launches: &HashMap<LaunchId, Entry> = launches;
            launches.iter().map(move |(launch, entry)| (engine, *launch, entry))
        };
        self.engines.iter().flat_map(on_one)
    }

    pub(super) fn of_request(&self, request: RequestId) -> impl Iterator<Item = (u32, &EngineId, LaunchId)> {
        let of_request = self.requests.get(&request).into_iter().flatten();
        of_request.map(|(index, launch, engine)| (*index, engine, *launch))
    }
}
