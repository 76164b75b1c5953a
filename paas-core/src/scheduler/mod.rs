//! Placement: which engine takes a container. Pure and synchronous: a snapshot and a request in, engines or reasons out.
//!
//! Engines first pass the filters of [`judge`]; of those left a strategy takes the best, once per container, each choice
//! seeing the ones before it.

mod binpack;
mod filter;
mod index;
mod refusal;
mod snapshot;
mod spread;
#[cfg(test)]
mod tests;
mod types;

pub use binpack::Binpack;
pub use filter::{Verdict, judge};
pub use refusal::{Reason, Refusal};
pub use snapshot::{AllocationRef, NeverTaken, Snapshot};
pub use spread::{Spread, Weights};
pub use types::{EngineState, PlacementRequest};

use crate::model::EngineId;

/// A way to choose engines.
///
/// Called under the cluster's lock, so that what it decides still holds when it is reserved: it must not block.
pub trait Scheduler: Send + Sync + std::fmt::Debug {
    /// The engine of each of `request.count` containers, in order. All or nothing.
    ///
    /// The same snapshot and request always give the same answer.
    ///
    /// # Errors
    /// A [`Refusal`] that says, per filter, why there are not enough engines.
    fn place(&self, snapshot: &Snapshot, request: &PlacementRequest) -> Result<Vec<EngineId>, Refusal>;
}
