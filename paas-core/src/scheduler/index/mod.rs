//! Finding the best of many engines without asking each.
//!
//! Engines of about the same size stand together in blocks of 64. A block has a column for each number that a score is made
//! of, so that all its scores are computed in a few vector instructions, and the least of each column, so that most blocks
//! need not be looked at: none of its engines can beat the best so far. A label, an image or a port is a set of bits, one
//! per engine, so that a filter is an `and` per block.
//!
//! A decision looks at every block's bound and at few blocks. If no bound helps, it computes every score, which for 10,000
//! engines still is a matter of some ten microseconds.

mod block;
mod postings;
mod rank;

use std::collections::{BTreeMap, HashMap};

use super::{EngineState, PlacementRequest, Snapshot, judge};
use crate::model::{ContainerType, EngineStatus, HostPort, Protocol};

use block::{Ask, Block, LANES, lanes};
use postings::Postings;

// The door of the strategies: what they measure by, and the choice of the best. Everything else is for the snapshot, which keeps the
// index true.
pub(super) use block::Measure;
pub(super) use rank::place;

/// Where the index has an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    block: u32,
    lane: u32,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    blocks: Vec<Block>,
    labels: HashMap<String, Postings>,
    images: HashMap<String, Postings>,
    /// Engines where a port is taken on any address.
    ports: HashMap<(Protocol, u16), Postings>,
    /// By how many CPUs their daemons have.
    cpu_counts: BTreeMap<u32, Postings>,
    /// Engines that tell which networks they have.
    tells_networks: Postings,
    /// Of those, by the name and by the id of a network.
    networks: HashMap<String, Postings>,
}

impl Index {
    fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Counts every engine from position `rank` on one further.
    pub(super) fn make_room(&mut self, rank: usize) {
        for block in &mut self.blocks {
            block.shift_up(rank as u32);
        }
    }

    /// Counts every engine behind position `rank`, which is detached, one nearer.
    pub(super) fn close_gap(&mut self, rank: usize) {
        for block in &mut self.blocks {
            block.shift_down(rank as u32);
        }
    }

    /// Takes in the engine at position `rank` of the snapshot.
    pub(super) fn attach(&mut self, state: &EngineState, rank: usize) -> Place {
        let class = block::class(state.total);
        let has_room = |block: &Block| block.is_empty() || (block.class() == class && block.len() < LANES);
        let number = self.blocks.iter().position(has_room).unwrap_or_else(|| {
            self.blocks.push(Block::default());
            self.blocks.len() - 1
        });
        let lane = self.blocks[number].push(rank as u32, state);
        let place = Place { block: number as u32, lane: lane as u32 };
        self.recount(place, state);
        self.post(place, state);
        place
    }

    /// Forgets an engine. The last one of its block comes to its place, if it was not the last itself: gives that one's
    /// position in the snapshot and where it was. It is to be renamed.
    pub(super) fn detach(&mut self, state: &EngineState, place: Place) -> Option<(usize, Place)> {
        self.unpost(place, state);
        let block = &mut self.blocks[place.block as usize];
        let moved = block.swap_remove(place.lane as usize)?;
        Some((moved as usize, Place { lane: block.len() as u32, ..place }))
    }

    /// Tells the sets of bits that an engine was moved.
    pub(super) fn rename(&mut self, state: &EngineState, from: Place, to: Place) {
        self.unpost(from, state);
        self.post(to, state);
    }

    /// Notes the numbers of an engine again.
    pub(super) fn recount(&mut self, place: Place, state: &EngineState) {
        let ready = state.status == EngineStatus::Up && !state.draining;
        self.blocks[place.block as usize].set(place.lane as usize, state, ready);
    }

    pub(super) fn add_image(&mut self, place: Place, image: &str) {
        postings::add(&mut self.images, image, place);
    }

    pub(super) fn remove_image(&mut self, place: Place, image: &str) {
        postings::remove(&mut self.images, image, place);
    }

    pub(super) fn add_port(&mut self, place: Place, port: HostPort) {
        self.ports.entry((port.proto, port.port)).or_default().add(place);
    }

    /// Notes that `state` has a port no more, though perhaps the same on another address.
    pub(super) fn remove_port(&mut self, place: Place, port: HostPort, state: &EngineState) {
        let same = |other: &HostPort| (other.proto, other.port) == (port.proto, port.port);
        if !state.host_ports.iter().any(same) {
            postings::remove(&mut self.ports, &(port.proto, port.port), place);
        }
    }

    fn post(&mut self, place: Place, state: &EngineState) {
        for label in &state.labels {
            postings::add(&mut self.labels, label, place);
        }
        for image in state.images.keys() {
            self.add_image(place, image);
        }
        for port in &state.host_ports {
            self.add_port(place, *port);
        }
        if let Some(count) = state.cpu_count {
            self.cpu_counts.entry(count).or_default().add(place);
        }
        if let Some(networks) = &state.networks {
            self.tells_networks.add(place);
            for network in networks {
                postings::add(&mut self.networks, network, place);
            }
        }
    }

    fn unpost(&mut self, place: Place, state: &EngineState) {
        for label in &state.labels {
            postings::remove(&mut self.labels, label, place);
        }
        for image in state.images.keys() {
            self.remove_image(place, image);
        }
        for port in &state.host_ports {
            postings::remove(&mut self.ports, &(port.proto, port.port), place);
        }
        if let Some(postings) = state.cpu_count.and_then(|count| self.cpu_counts.get_mut(&count)) {
            postings.remove(place);
        }
        self.tells_networks.remove(place);
        for network in state.networks.iter().flatten() {
            postings::remove(&mut self.networks, network, place);
        }
    }

    /// Per block the engines that pass every filter but that for room, as [`judge`] has them.
    fn candidates(snapshot: &Snapshot, request: &PlacementRequest) -> Vec<u64> {
        let index = snapshot.index();
        let hosts = request.labels.iter().filter_map(|label| label.strip_prefix("host:"));
        match &request.only {
            Some(only) => index.those_of([only.as_str()].into_iter(), snapshot, request),
            None if request.kind == ContainerType::Host => index.those_of(hosts, snapshot, request),
            None => index.all(snapshot, request),
        }
    }

    /// Those of a few engines that can take a container.
    fn those_of<'a>(
        &self,
        ids: impl Iterator<Item = &'a str>,
        snapshot: &Snapshot,
        request: &PlacementRequest,
    ) -> Vec<u64> {
        let mut words = vec![0; self.blocks.len()];
        for (state, place) in ids.filter_map(|id| snapshot.place_of(id)) {
            if judge(state, request).fits() {
                words[place.block as usize] |= 1 << place.lane;
            }
        }
        words
    }

    fn all(&self, snapshot: &Snapshot, request: &PlacementRequest) -> Vec<u64> {
        let mut words: Vec<u64> = self.blocks.iter().map(Block::ready).collect();
        if request.kind.needs_labels() {
            for label in &request.labels {
                match self.labels.get(label) {
                    Some(postings) => postings.keep_only(&mut words),
                    None => words.fill(0),
                }
            }
        }
        if request.kind.needs_unique()
            && let Some(postings) = self.images.get(&request.image)
        {
            postings.take_out(&mut words);
        }
        for (_, postings) in self.cpu_counts.range(..request.needs_cpus()) {
            postings.take_out(&mut words);
        }
        if let Some(network) = &request.network {
            let lacks = |rank: u32| !snapshot.at(rank as usize).has_network(network);
            // Where nobody has it by that name it may be the beginning of an id, and each is asked.
            let named = self.networks.get(network);
            self.tells_networks.take_out_if(&mut words, |place| match named {
                Some(postings) => !postings.has(place),
                None => lacks(self.blocks[place.block as usize].rank(place.lane as usize)),
            });
        }
        for port in &request.host_ports {
            let Some(postings) = self.ports.get(&(port.proto, port.port)) else { continue };
            let conflicts =
                |rank: u32| snapshot.at(rank as usize).host_ports.iter().any(|taken| taken.conflicts_with(port));
            postings.take_out_if(&mut words, |place| {
                conflicts(self.blocks[place.block as usize].rank(place.lane as usize))
            });
        }
        for (_, place) in request.except.iter().filter_map(|id| snapshot.place_of(id.as_str())) {
            words[place.block as usize] &= !(1 << place.lane);
        }
        words
    }

    /// What is known of an engine, for the audit.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn describe(&self, place: Place, state: &EngineState) -> (String, [bool; 6]) {
        let has = |postings: Option<&Postings>| postings.is_some_and(|postings| postings.has(place));
        let bits = [
            state.labels.iter().all(|label| has(self.labels.get(label))),
            state.images.keys().all(|image| has(self.images.get(image))),
            state.host_ports.iter().all(|port| has(self.ports.get(&(port.proto, port.port)))),
            state.cpu_count.is_none_or(|count| has(self.cpu_counts.get(&count))),
            state.networks.is_some() == self.tells_networks.has(place),
            state.networks.iter().flatten().all(|network| has(self.networks.get(network))),
        ];
        (self.blocks[place.block as usize].describe(place.lane as usize), bits)
    }

    /// How many bits are set of each kind, for the audit.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn postings(&self) -> [usize; 6] {
        let count = |sets: &mut dyn Iterator<Item = &Postings>| sets.map(Postings::count).sum();
        [
            count(&mut self.labels.values()),
            count(&mut self.images.values()),
            count(&mut self.ports.values()),
            count(&mut self.cpu_counts.values()),
            self.tells_networks.count(),
            count(&mut self.networks.values()),
        ]
    }
}
