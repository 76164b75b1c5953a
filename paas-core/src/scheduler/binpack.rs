//! Packing: the fullest engine that still has room takes the container.

use super::index::{self, Measure};
use super::{EngineState, PlacementRequest, Refusal, Scheduler, Snapshot, Weights};
use crate::model::EngineId;

/// Packs containers: the engine with the lowest score of [`Weights::score`] takes the next, so that others stay empty. Of
/// equals the one with fewer containers, then the one whose id comes first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Binpack {
    weights: Weights,
}

impl Binpack {
    /// Packs by these weights.
    pub fn new(weights: Weights) -> Self {
        Self { weights }
    }
}

impl Scheduler for Binpack {
    fn place(&self, snapshot: &Snapshot, request: &PlacementRequest) -> Result<Vec<EngineId>, Refusal> {
        index::place(snapshot, request, &Measure::least_room(self.weights))
    }

    /// What would be taken, where [`Weights::score`] says what would be left.
    fn score(&self, engine: &EngineState, request: &PlacementRequest) -> Option<f64> {
        let left = self.weights.score(engine.total, engine.reserved + request.resources);
        Some(self.weights.cpu + self.weights.memory - left)
    }

    fn room(&self, engine: &EngineState) -> f64 {
        self.weights.room(engine)
    }
}
