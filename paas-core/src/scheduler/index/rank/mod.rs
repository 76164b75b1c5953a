//! Choosing the best, again and again: what the strategies have in common.

mod heap;

use super::{Ask, Block, Index, LANES, Measure, lanes};
use crate::model::EngineId;
use crate::scheduler::{PlacementRequest, Refusal, Snapshot};

use heap::{Heap, Key};

/// Places each container of a request on the engine with the highest measure, seeing those placed before it. Of equals the
/// one with fewer containers takes it, then the one whose id comes first.
///
/// The same as measuring all engines again for each container, and much faster: placing one changes the measure of one engine
/// only, so a heap of M candidates serves N containers in `M + N log M` steps, and for a single container the index tells
/// which engines need not be measured.
pub(in crate::scheduler) fn place(
    snapshot: &Snapshot,
    request: &PlacementRequest,
    measure: &Measure,
) -> Result<Vec<EngineId>, Refusal> {
    let candidates = Index::candidates(snapshot, request);
    let ask = Ask::of(request);
    let chosen = match request.count {
        1 => best(snapshot.index().blocks(), &candidates, measure, &ask).into_iter().collect(),
        _ => best_of_many(snapshot, request, &candidates, measure, &ask),
    };
    if chosen.len() < request.count {
        return Err(refuse(snapshot, request, &chosen));
    }
    Ok(chosen.into_iter().map(|rank| snapshot.id_at(rank as usize).clone()).collect())
}

/// The best candidate that has room, by its rank.
fn best(blocks: &[Block], candidates: &[u64], measure: &Measure, ask: &Ask) -> Option<u32> {
    let mut best: Option<(f64, u32, u32)> = None;
    let mut measures = [0.0; LANES];
    for (block, &word) in blocks.iter().zip(candidates) {
        if word == 0 || best.is_some_and(|best| !block.can_beat(measure, ask, best)) {
            continue;
        }
        block.measure(measure, ask, &mut measures);
        for lane in lanes(word) {
            let this = (measures[lane], block.containers(lane), block.rank(lane));
            if best.is_none_or(|best| Key::new(this) > Key::new(best)) && ask.fits(block.room(lane)) {
                best = Some(this);
            }
        }
    }
    best.map(|(_, _, rank)| rank)
}

/// An engine while a request is being placed: what it has, and what it has reserved so far.
#[derive(Clone, Copy, Debug, Default)]
struct Filling {
    room: [f64; 4],
    containers: u32,
}

/// The ranks of the engines that take the containers of a request, in order; fewer than asked for when no more fit.
fn best_of_many(
    snapshot: &Snapshot,
    request: &PlacementRequest,
    candidates: &[u64],
    measure: &Measure,
    ask: &Ask,
) -> Vec<u32> {
    let mut filling = vec![Filling::default(); snapshot.len()];
    let mut keys = Vec::new();
    let mut measures = [0.0; LANES];
    for (block, &word) in snapshot.index().blocks().iter().zip(candidates) {
        if word == 0 {
            continue;
        }
        block.measure(measure, ask, &mut measures);
        for lane in lanes(word).filter(|&lane| ask.fits(block.room(lane))) {
            let (rank, containers) = (block.rank(lane), block.containers(lane));
            filling[rank as usize] = Filling { room: block.room(lane), containers };
            keys.push(Key::new((measures[lane], containers, rank)));
        }
    }
    let mut heap = Heap::new(&keys);
    // A second one on the same engine would be the same image, or want the same ports.
    let once_per_engine = request.kind.needs_unique() || !request.host_ports.is_empty();
    let mut chosen = Vec::with_capacity(request.count.min(1 << 20));
    while chosen.len() < request.count {
        let Some(rank) = heap.first().map(Key::rank) else { break };
        chosen.push(rank);
        let engine = &mut filling[rank as usize];
        engine.take(ask);
        if once_per_engine || !ask.fits(engine.room) {
            heap.remove_first();
        } else {
            heap.replace_first(Key::new((engine.measure(measure, ask), engine.containers, rank)));
        }
    }
    chosen
}

impl Filling {
    fn take(&mut self, ask: &Ask) {
        let [cpus, memory, ..] = &mut self.room;
        *cpus += ask.cpus;
        *memory += ask.memory;
        self.containers += 1;
    }

    /// What it measures with one more.
    fn measure(&self, measure: &Measure, ask: &Ask) -> f64 {
        let [cpus, memory, total_cpus, total_memory] = self.room;
        measure.of(cpus + ask.cpus, memory + ask.memory, total_cpus, total_memory)
    }
}

/// Explains with everything placed that would fit. Slow, and only when nothing is placed at all.
fn refuse(snapshot: &Snapshot, request: &PlacementRequest, chosen: &[u32]) -> Refusal {
    let mut ranks = chosen.to_vec();
    ranks.sort_unstable();
    let mut ranks = ranks.into_iter().peekable();
    let full = snapshot.engines().enumerate().map(|(rank, engine)| {
        let mut engine = std::borrow::Cow::Borrowed(engine);
        while ranks.next_if_eq(&(rank as u32)).is_some() {
            engine.to_mut().reserve(request);
        }
        engine
    });
    Refusal::of(full, request, chosen.len())
}
