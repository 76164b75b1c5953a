//! Up to 64 engines of about the same size, as columns.

use super::{EngineState, PlacementRequest};
use crate::model::Resources;
use crate::scheduler::Weights;

/// Engines in a block: as many as a word has bits.
pub(in crate::scheduler) const LANES: usize = 64;

/// Numbers up to 2^53 are exact, and what is reserved on one engine stays far below that.
type Column = [f64; LANES];

/// What engines are ordered by: the highest is the best.
#[derive(Clone, Copy, Debug)]
pub(in crate::scheduler) struct Measure {
    weights: Weights,
    /// 1 when the most room left is the best, -1 when the least is.
    sign: f64,
    /// The weights are this much of those that [`Extremes::used`] is computed with, and this much more of one of the two.
    usual: f64,
    more_cpu: f64,
    more_memory: f64,
}

impl Measure {
    /// By [`Weights::score`].
    pub(in crate::scheduler) fn most_room(weights: Weights) -> Self {
        let default = Weights::default();
        let usual = (weights.cpu / default.cpu).min(weights.memory / default.memory);
        let more = |weight: f64, default: f64| (weight - usual * default).max(0.0);
        Self {
            weights,
            sign: 1.0,
            usual,
            more_cpu: more(weights.cpu, default.cpu),
            more_memory: more(weights.memory, default.memory),
        }
    }

    /// By the negative of it.
    pub(in crate::scheduler) fn least_room(weights: Weights) -> Self {
        Self { sign: -1.0, ..Self::most_room(weights) }
    }

    /// The measure of an engine that would have reserved so much of so much; to the last bit what [`Weights::score`] says.
    #[inline]
    pub(in crate::scheduler) fn of(&self, cpus: f64, memory: f64, total_cpus: f64, total_memory: f64) -> f64 {
        self.sign * ((1.0 - cpus / total_cpus) * self.weights.cpu + (1.0 - memory / total_memory) * self.weights.memory)
    }
}

/// What one container asks for, in the units of the columns: thousandths of a CPU, and megabytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::scheduler) struct Ask {
    pub(in crate::scheduler) cpus: f64,
    pub(in crate::scheduler) memory: f64,
    /// By how much the size of an engine may be exceeded.
    pub(in crate::scheduler) overbooking: f64,
}

impl Ask {
    /// What one container of a request asks for.
    pub(in crate::scheduler) fn of(request: &PlacementRequest) -> Self {
        Self {
            cpus: request.resources.cpus.milli() as f64,
            memory: request.resources.memory.mb() as f64,
            overbooking: request.overbooking,
        }
    }

    /// Whether it fits beside what is reserved, as the filter has it: nothing always does.
    #[inline]
    pub(in crate::scheduler) fn fits(&self, [cpus, memory, total_cpus, total_memory]: [f64; 4]) -> bool {
        let one = |asked: f64, reserved: f64, total: f64| {
            let limit = if self.overbooking == 1.0 { total } else { (total * self.overbooking).floor() };
            asked == 0.0 || asked <= limit - reserved
        };
        one(self.cpus, cpus, total_cpus) && one(self.memory, memory, total_memory)
    }
}

/// The least and the most of some columns, of which no engine of the block can be better.
#[derive(Clone, Copy, Debug, Default)]
struct Extremes {
    cpus: f64,
    memory: f64,
    /// Share of CPU and memory reserved, weighted as usual.
    used: f64,
    /// The least shares that one thousandth of a CPU and one megabyte are of an engine.
    of_cpus: f64,
    of_memory: f64,
    /// What all engines have, if all have the same.
    total: Option<(f64, f64)>,
    containers: u32,
    rank: u32,
}

/// See the module. What says whether a block is worth looking at stands beside that of the other blocks, and apart from what
/// is there to look at. The lanes from 0 to `len` are taken.
#[derive(Clone, Debug, Default)]
pub(in crate::scheduler) struct Block {
    ready: u64,
    least: Extremes,
    class: (u64, u64),
    len: usize,
    columns: Box<Columns>,
}

#[derive(Clone, Debug)]
struct Columns {
    ranks: [u32; LANES],
    containers: [u32; LANES],
    cpus: Column,
    memory: Column,
    total_cpus: Column,
    total_memory: Column,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            ranks: [0; LANES],
            containers: [0; LANES],
            cpus: [0.0; LANES],
            memory: [0.0; LANES],
            total_cpus: [1.0; LANES],
            total_memory: [1.0; LANES],
        }
    }
}

/// Engines of one class share blocks: the three highest bits of their CPUs and of their memory are the same. Hosts of one
/// kind show a few megabytes more or less, and a bound is good only if its block has engines of about one size.
pub(super) fn class(total: Resources) -> (u64, u64) {
    let coarse = |amount: u64| {
        let rest = amount.checked_ilog2().unwrap_or(0).saturating_sub(2);
        amount >> rest << rest
    };
    (coarse(total.cpus.milli()), coarse(total.memory.mb()))
}

/// The numbers of the bits that are set, from the lowest.
pub(in crate::scheduler) fn lanes(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = word.trailing_zeros() as usize;
        // Clears the lowest bit that is set.
        word &= word.checked_sub(1)?;
        Some(lane)
    })
}

impl Block {
    pub(super) fn class(&self) -> (u64, u64) {
        self.class
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The engines that are up and not draining.
    pub(super) fn ready(&self) -> u64 {
        self.ready
    }

    /// The position of an engine in the snapshot.
    pub(in crate::scheduler) fn rank(&self, lane: usize) -> u32 {
        self.columns.ranks[lane]
    }

    pub(in crate::scheduler) fn containers(&self, lane: usize) -> u32 {
        self.columns.containers[lane]
    }

    /// What is reserved of an engine, and what it has: CPUs, memory, all CPUs, all memory.
    #[inline]
    pub(in crate::scheduler) fn room(&self, lane: usize) -> [f64; 4] {
        let Columns { cpus, memory, total_cpus, total_memory, .. } = &*self.columns;
        [cpus[lane], memory[lane], total_cpus[lane], total_memory[lane]]
    }

    pub(super) fn shift_up(&mut self, from: u32) {
        for rank in &mut self.columns.ranks {
            *rank += u32::from(*rank >= from);
        }
        self.least.rank += u32::from(self.least.rank >= from);
    }

    pub(super) fn shift_down(&mut self, behind: u32) {
        for rank in &mut self.columns.ranks {
            *rank -= u32::from(*rank > behind);
        }
        self.least.rank -= u32::from(self.least.rank > behind);
    }

    /// Gives an engine a lane. Its numbers are to be set.
    pub(super) fn push(&mut self, rank: u32, state: &EngineState) -> usize {
        let lane = self.len;
        self.class = class(state.total);
        self.columns.ranks[lane] = rank;
        self.len += 1;
        lane
    }

    /// Frees a lane; the last engine comes there. Gives the rank of that one, if it is another.
    pub(super) fn swap_remove(&mut self, lane: usize) -> Option<u32> {
        let last = self.len - 1;
        self.len = last;
        let was_ready = self.ready >> last & 1;
        self.ready &= !(1 << last);
        let moved = (lane != last).then(|| {
            self.ready = self.ready & !(1 << lane) | was_ready << lane;
            let Columns { ranks, containers, cpus, memory, total_cpus, total_memory } = &mut *self.columns;
            ranks[lane] = ranks[last];
            containers[lane] = containers[last];
            for column in [cpus, memory, total_cpus, total_memory] {
                column[lane] = column[last];
            }
            ranks[lane]
        });
        self.find_extremes();
        moved
    }

    /// Notes the numbers of an engine.
    pub(super) fn set(&mut self, lane: usize, state: &EngineState, ready: bool) {
        self.ready = self.ready & !(1 << lane) | u64::from(ready) << lane;
        let columns = &mut self.columns;
        columns.containers[lane] = u32::try_from(state.containers).unwrap_or(u32::MAX);
        columns.cpus[lane] = state.reserved.cpus.milli() as f64;
        columns.memory[lane] = state.reserved.memory.mb() as f64;
        columns.total_cpus[lane] = state.total.cpus.milli() as f64;
        columns.total_memory[lane] = state.total.memory.mb() as f64;
        self.find_extremes();
    }

    fn find_extremes(&mut self) {
        let (len, columns) = (self.len, &self.columns);
        let least = |column: &Column| column[..len].iter().copied().fold(f64::INFINITY, f64::min);
        let most = |column: &Column| column[..len].iter().copied().fold(0.0, f64::max);
        let usual = Weights::default();
        let used = |lane: usize| {
            columns.cpus[lane] / columns.total_cpus[lane] * usual.cpu
                + columns.memory[lane] / columns.total_memory[lane] * usual.memory
        };
        let total = (most(&columns.total_cpus), most(&columns.total_memory));
        let is_even = total == (least(&columns.total_cpus), least(&columns.total_memory));
        self.least = Extremes {
            cpus: least(&columns.cpus),
            memory: least(&columns.memory),
            used: (0..len).map(used).fold(f64::INFINITY, f64::min),
            of_cpus: 1.0 / total.0,
            of_memory: 1.0 / total.1,
            total: is_even.then_some(total),
            containers: columns.containers[..len].iter().copied().min().unwrap_or(0),
            rank: columns.ranks[..len].iter().copied().min().unwrap_or(0),
        };
    }

    /// Whether an engine of this block may be better than one with this measure, this many containers and this rank.
    ///
    /// There are two bounds. The first is good where engines differ in what they have reserved, and is computed in another
    /// order than the score, so it is rounded in another way and needs some slack. The second is good where they do not: rounding
    /// keeps the order of what is rounded, so the score of the least CPU and the least memory is a bound without slack, and tells
    /// thousands of equal engines apart.
    pub(in crate::scheduler) fn can_beat(
        &self,
        measure: &Measure,
        ask: &Ask,
        (best, containers, rank): (f64, u32, u32),
    ) -> bool {
        let least = &self.least;
        // The fullest engines are those that take nothing more, so there is no good bound for packing.
        if measure.sign < 0.0 || least.of_cpus.is_infinite() || least.of_memory.is_infinite() {
            return true;
        }
        let weights = measure.weights;
        let used = measure.usual * least.used
            + (measure.more_cpu * least.cpus + weights.cpu * ask.cpus) * least.of_cpus
            + (measure.more_memory * least.memory + weights.memory * ask.memory) * least.of_memory;
        let whole = weights.cpu + weights.memory;
        if whole - used + 1e-12 * (whole + used) < best {
            return false;
        }
        let Some((total_cpus, total_memory)) = least.total else { return true };
        let bound = measure.of(least.cpus + ask.cpus, least.memory + ask.memory, total_cpus, total_memory);
        bound > best || (bound == best && (least.containers, least.rank) < (containers, rank))
    }

    /// The measures of all engines with one more container. Those of free lanes mean nothing.
    pub(in crate::scheduler) fn measure(&self, measure: &Measure, ask: &Ask, into: &mut Column) {
        let Columns { cpus, memory, total_cpus, total_memory, .. } = &*self.columns;
        for (lane, value) in into.iter_mut().enumerate() {
            let (cpus, memory) = (cpus[lane] + ask.cpus, memory[lane] + ask.memory);
            *value = measure.of(cpus, memory, total_cpus[lane], total_memory[lane]);
        }
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn describe(&self, lane: usize) -> String {
        let ready = self.ready >> lane & 1;
        format!("{} {} {ready} {:?} {:?}", self.rank(lane), self.containers(lane), self.room(lane), self.class)
    }
}
