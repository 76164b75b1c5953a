//! Spreading: the engine with the most room left takes the container.

use super::index::{self, Measure};
use super::{EngineState, PlacementRequest, Refusal, Scheduler, Snapshot};
use crate::model::{EngineId, Invalid, Resources};

/// How much the share of CPU and the share of memory count in a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// Weight of the CPU.
    pub cpu: f64,
    /// Weight of the memory.
    pub memory: f64,
}

impl Weights {
    /// Weights that make sense.
    ///
    /// # Errors
    /// Each must be a number from 0 to 1,000,000, and one of them more than 0.
    pub fn new(cpu: f64, memory: f64) -> Result<Self, Invalid> {
        let good = |weight: f64| (0.0..=1e6).contains(&weight);
        if good(cpu) && good(memory) && cpu + memory > 0.0 {
            return Ok(Self { cpu, memory });
        }
        let message = match [cpu, memory].into_iter().find(|&weight| !good(weight)) {
            Some(wrong) => format!("must be numbers from 0 to 1000000, and {wrong} is none"),
            None => "are both 0, so that nothing would tell engines apart; give one of them more".to_owned(),
        };
        Err(Invalid::new("weights", message))
    }

    /// The score of an engine that has `total` and would have reserved `reserved`: the higher, the more room is left.
    ///
    /// `(1 - cpus reserved / cpus) * cpu + (1 - memory reserved / memory) * memory`, as the source thesis has it.
    pub fn score(&self, total: Resources, reserved: Resources) -> f64 {
        let left = |reserved: u64, total: u64| 1.0 - reserved as f64 / total as f64;
        left(reserved.cpus.milli(), total.cpus.milli()) * self.cpu
            + left(reserved.memory.mb(), total.memory.mb()) * self.memory
    }

    /// The score of an engine as it is, from 0 to 100 whatever the weights are.
    pub(crate) fn room(&self, engine: &EngineState) -> f64 {
        self.score(engine.total, engine.reserved) / (self.cpu + self.memory) * 100.0
    }
}

impl Default for Weights {
    /// 65 for the CPU, 35 for the memory.
    fn default() -> Self {
        Self { cpu: 65.0, memory: 35.0 }
    }
}

/// Spreads containers: the engine with the highest score takes the next. Of equals the one with fewer containers, then
/// the one whose id comes first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    weights: Weights,
}

impl Spread {
    /// Spreads by these weights.
    pub fn new(weights: Weights) -> Self {
        Self { weights }
    }
}

impl Scheduler for Spread {
    fn place(&self, snapshot: &Snapshot, request: &PlacementRequest) -> Result<Vec<EngineId>, Refusal> {
        index::place(snapshot, request, &Measure::most_room(self.weights))
    }

    fn score(&self, engine: &EngineState, request: &PlacementRequest) -> Option<f64> {
        Some(self.weights.score(engine.total, engine.reserved + request.resources))
    }

    fn room(&self, engine: &EngineState) -> f64 {
        self.weights.room(engine)
    }
}
