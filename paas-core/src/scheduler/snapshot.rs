//! The engines at one moment.

use super::index::{Index, Place};
use super::{EngineState, PlacementRequest};
use crate::model::{EngineId, HostPort, Resources};

/// The engines at one moment, ordered by id, with an index by which the strategies find the best of many thousands without
/// asking each.
///
/// Engines are changed only through it, so that the index is always true.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    entries: Vec<Entry>,
    index: Index,
}

#[derive(Clone, Debug)]
struct Entry {
    /// That of the state, where it is found without going there.
    id: EngineId,
    state: Box<EngineState>,
    place: Place,
}

/// What a container or a placement in flight takes of its engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllocationRef<'a> {
    /// What is reserved for it; `None` when it does not run and counts as no container.
    pub resources: Option<Resources>,
    /// Canonical name of its image.
    pub image: Option<&'a str>,
    /// Ports of the host.
    pub ports: &'a [HostPort],
}

/// More was given back of an engine than had been taken of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeverTaken;

impl<'a> From<&'a PlacementRequest> for AllocationRef<'a> {
    /// What one container of a request takes.
    fn from(request: &'a PlacementRequest) -> Self {
        Self { resources: Some(request.resources), image: Some(&request.image), ports: &request.host_ports }
    }
}

impl Snapshot {
    /// The engines, ordered by id.
    pub fn engines(&self) -> impl ExactSizeIterator<Item = &EngineState> + Clone {
        self.entries.iter().map(|entry| &*entry.state)
    }

    /// How many engines there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// One engine.
    pub fn get(&self, id: &EngineId) -> Option<&EngineState> {
        self.position(id.as_str()).ok().map(|rank| &*self.entries[rank].state)
    }

    /// Adds an engine, or replaces the one of that id.
    pub fn insert(&mut self, engine: EngineState) {
        match self.position(engine.id.as_str()) {
            Ok(rank) => self.change(rank, |state| *state = engine),
            Err(rank) => {
                self.index.make_room(rank);
                let place = self.index.attach(&engine, rank);
                self.entries.insert(rank, Entry { id: engine.id.clone(), state: Box::new(engine), place });
            }
        }
    }

    /// Takes an engine out.
    pub fn remove(&mut self, id: &EngineId) -> Option<EngineState> {
        let rank = self.position(id.as_str()).ok()?;
        self.detach(rank);
        self.index.close_gap(rank);
        Some(*self.entries.remove(rank).state)
    }

    /// Changes anything about an engine but its id. False when there is none of that id.
    pub fn update(&mut self, id: &EngineId, change: impl FnOnce(&mut EngineState)) -> bool {
        let Ok(rank) = self.position(id.as_str()) else { return false };
        self.change(rank, change);
        true
    }

    /// Counts one more container of `request` on an engine. False when there is none of that id.
    pub fn reserve(&mut self, id: &EngineId, request: &PlacementRequest) -> bool {
        self.take(id, AllocationRef::from(request))
    }

    /// Counts an allocation. False when there is no engine of that id. Much cheaper than [`Snapshot::update`].
    pub fn take(&mut self, id: &EngineId, allocation: AllocationRef<'_>) -> bool {
        let Ok(rank) = self.position(id.as_str()) else { return false };
        let Entry { state, place, .. } = &mut self.entries[rank];
        if let Some(resources) = allocation.resources {
            state.reserved += resources;
            state.containers += 1;
            self.index.recount(*place, state);
        }
        if let Some(image) = allocation.image {
            state.add_image(image);
            self.index.add_image(*place, image);
        }
        for port in allocation.ports {
            state.host_ports.insert(*port);
            self.index.add_port(*place, *port);
        }
        true
    }

    /// Undoes [`Snapshot::take`]. Nothing where there is no engine of that id.
    ///
    /// # Errors
    /// [`NeverTaken`]: then it counts as if nothing were taken, and is to be counted again.
    pub fn give_back(&mut self, id: &EngineId, allocation: AllocationRef<'_>) -> Result<(), NeverTaken> {
        let Ok(rank) = self.position(id.as_str()) else { return Ok(()) };
        let Entry { state, place, .. } = &mut self.entries[rank];
        let mut outcome = Ok(());
        if let Some(resources) = allocation.resources {
            match (state.reserved.checked_sub(resources), state.containers.checked_sub(1)) {
                (Some(reserved), Some(containers)) => (state.reserved, state.containers) = (reserved, containers),
                _ => {
                    (state.reserved, state.containers) = (Resources::ZERO, 0);
                    outcome = Err(NeverTaken);
                }
            }
            self.index.recount(*place, state);
        }
        if let Some(image) = allocation.image
            && state.images.contains_key(image)
        {
            state.remove_image(image);
            if !state.images.contains_key(image) {
                self.index.remove_image(*place, image);
            }
        }
        for port in allocation.ports {
            state.host_ports.remove(port);
            self.index.remove_port(*place, *port, state);
        }
        outcome
    }

    /// The id of the engine at a position of [`Snapshot::engines`].
    pub(super) fn id_at(&self, rank: usize) -> &EngineId {
        &self.entries[rank].id
    }

    /// The engine at a position of [`Snapshot::engines`].
    pub(super) fn at(&self, rank: usize) -> &EngineState {
        &self.entries[rank].state
    }

    /// Where the index has an engine.
    pub(super) fn place_of(&self, id: &str) -> Option<(&EngineState, Place)> {
        let entry = &self.entries[self.position(id).ok()?];
        Some((&entry.state, entry.place))
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    fn position(&self, id: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.id.as_str().cmp(id))
    }

    fn change(&mut self, rank: usize, change: impl FnOnce(&mut EngineState)) {
        self.detach(rank);
        let entry = &mut self.entries[rank];
        change(&mut entry.state);
        entry.place = self.index.attach(&entry.state, rank);
    }

    fn detach(&mut self, rank: usize) {
        let Entry { state, place, .. } = &self.entries[rank];
        // Another engine closes the gap that it leaves.
        if let Some((moved, from)) = self.index.detach(state, *place) {
            let to = *place;
            self.index.rename(&self.entries[moved].state, from, to);
            self.entries[moved].place = to;
        }
    }

    /// Whether the index says of every engine what the engine says.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn audit(&self) -> Result<(), String> {
        let again: Self = self.engines().cloned().collect();
        for (rank, entry) in self.entries.iter().enumerate() {
            let (mine, theirs) = (&self.index, &again.index);
            let other = again.entries[rank].place;
            if mine.describe(entry.place, &entry.state) != theirs.describe(other, &entry.state) {
                return Err(format!("the index is wrong about {}", entry.state.id));
            }
        }
        if self.index.postings() != again.index.postings() {
            return Err("the index has postings of nobody".to_owned());
        }
        Ok(())
    }
}

impl FromIterator<EngineState> for Snapshot {
    fn from_iter<I: IntoIterator<Item = EngineState>>(engines: I) -> Self {
        let mut snapshot = Self::default();
        for engine in engines {
            snapshot.insert(engine);
        }
        snapshot
    }
}
