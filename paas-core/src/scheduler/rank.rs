//! Choosing the best, again and again: what the strategies have in common.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::filter::{fits, limit};
use super::{EngineState, PlacementRequest, Refusal, Snapshot, judge};
use crate::model::{EngineId, Resources};

/// An engine that could take one more container.
#[derive(Debug)]
struct Candidate {
    score: f64,
    /// Containers on it, those placed by this request included.
    containers: usize,
    /// Position in the snapshot, which is ordered by id.
    index: usize,
    /// How many containers this request placed on it already.
    placed: u64,
}

impl Ord for Candidate {
    /// The greatest is the best: highest score, then fewest containers, then smallest id.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then_with(|| other.containers.cmp(&self.containers))
            .then_with(|| other.index.cmp(&self.index))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// Places each container of a request on the engine with the highest score, seeing those placed before it.
///
/// `score` is given what an engine has and what it would have promised with the container on it.
///
/// The same as scoring all engines anew for each container, and much faster: placing a container changes the score of one
/// engine only, so a heap of M candidates serves N containers in `M + N log M` steps.
pub(super) fn place(
    snapshot: &Snapshot,
    request: &PlacementRequest,
    score: impl Fn(Resources, Resources) -> f64,
) -> Result<Vec<EngineId>, Refusal> {
    let engines = snapshot.engines();
    let fitting = engines.iter().enumerate().filter(|(_, engine)| judge(engine, request).fits());
    let candidates = fitting.map(|(index, engine)| Candidate {
        score: score(engine.total, engine.reserved + request.resources),
        containers: engine.containers,
        index,
        placed: 0,
    });
    let chosen = if request.count == 1 {
        candidates.max().map(|best| vec![best.index]).unwrap_or_default()
    } else {
        place_many(engines, request, candidates.collect(), score)
    };
    if chosen.len() < request.count {
        return Err(refuse(snapshot, request, &chosen));
    }
    Ok(chosen.into_iter().map(|index| engines[index].id.clone()).collect())
}

fn place_many(
    engines: &[EngineState],
    request: &PlacementRequest,
    mut candidates: BinaryHeap<Candidate>,
    score: impl Fn(Resources, Resources) -> f64,
) -> Vec<usize> {
    // A second one on the same engine would be the same image, or want the same ports.
    let once_per_engine = request.kind.needs_unique() || !request.host_ports.is_empty();
    let mut chosen = Vec::with_capacity(request.count.min(1 << 20));
    while chosen.len() < request.count {
        let Some(best) = candidates.pop() else { break };
        chosen.push(best.index);
        if once_per_engine {
            continue;
        }
        let engine = &engines[best.index];
        let placed = best.placed + 1;
        let promised = engine.reserved + request.resources * placed;
        if fits(limit(engine.total, request.overbooking), promised, request.resources) {
            let score = score(engine.total, promised + request.resources);
            candidates.push(Candidate { score, containers: best.containers + 1, index: best.index, placed });
        }
    }
    chosen
}

/// Explains with everything placed that would fit. Slow, and only when nothing is placed at all.
fn refuse(snapshot: &Snapshot, request: &PlacementRequest, chosen: &[usize]) -> Refusal {
    let mut full = snapshot.clone();
    for &index in chosen {
        if let Some(engine) = full.get_mut(&snapshot.engines()[index].id) {
            engine.reserve(request);
        }
    }
    Refusal::explain(&full, request, chosen.len())
}
