//! When operations of a simulated host fail.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::EngineErrorKind;

/// Whether an operation that fails did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// It did nothing.
    Before,
    /// It did it, and only the answer is lost.
    After,
}

#[derive(Debug)]
pub(super) struct Faults {
    pub(super) unreachable: bool,
    /// Nobody listens, and the host says so.
    pub(super) refusing: bool,
    pub(super) hanging: bool,
    /// Output of containers does not come.
    pub(super) output_hangs: bool,
    /// How often all streams of events were broken.
    pub(super) broken: usize,
    /// By operation: how many more times it fails, how, and when.
    pub(super) planned: HashMap<&'static str, (usize, EngineErrorKind, Moment)>,
    /// What the host says when it fails, if not what it says otherwise.
    pub(super) words: Option<String>,
    random: StdRng,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            unreachable: false,
            refusing: false,
            hanging: false,
            output_hangs: false,
            broken: 0,
            planned: HashMap::new(),
            words: None,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Whether nobody on the host answers.
    pub(super) fn is_lost(&self) -> bool {
        self.unreachable || self.refusing
    }

    /// Whether this time an operation fails, and when. The same seed gives the same failures.
    pub(super) fn next(&mut self, operation: &'static str, rate: f64) -> Option<(EngineErrorKind, Moment)> {
        if let Some((times, kind, moment)) = self.planned.get_mut(operation)
            && *times > 0
        {
            *times -= 1;
            return Some((*kind, *moment));
        }
        if rate <= 0.0 || !self.random.random_bool(rate) {
            return None;
        }
        let moment = if self.random.random_bool(0.5) { Moment::After } else { Moment::Before };
        Some((EngineErrorKind::Failed, moment))
    }
}
