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
/// Called under the cluster's lock, so that what it decides still holds when it is reserved: it must not block. That the
/// containers fit is not checked again. The filters of [`judge`] and the counting of [`Snapshot::reserve`] are for its use,
/// and `testing::scheduler::conforms` shows whether it does as it must.
///
/// ```
/// use paas_core::model::EngineId;
/// use paas_core::scheduler::{PlacementRequest, Refusal, Scheduler, Snapshot, judge};
///
/// /// Takes the first engine, by id, that will do.
/// #[derive(Debug)]
/// struct First;
///
/// impl Scheduler for First {
///     fn place(&self, snapshot: &Snapshot, request: &PlacementRequest) -> Result<Vec<EngineId>, Refusal> {
///         // What is placed is counted in a copy, so that the next one sees it.
///         let mut snapshot = snapshot.clone();
///         let mut placed = Vec::new();
///         for _ in 0..request.count {
///             let first = snapshot.engines().find(|engine| judge(engine, request).fits());
///             let Some(id) = first.map(|engine| engine.id.clone()) else {
///                 return Err(Refusal::explain(&snapshot, request, placed.len()));
///             };
///             snapshot.reserve(&id, request);
///             placed.push(id);
///         }
///         Ok(placed)
///     }
/// }
///
/// // With the feature "testing", which is for your tests:
/// # #[cfg(feature = "testing")]
/// paas_core::testing::scheduler::conforms(&First);
/// ```
pub trait Scheduler: Send + Sync + std::fmt::Debug {
    /// The engine of each of `request.count` containers, in order. All or nothing. Each is one of the snapshot.
    ///
    /// The same snapshot and request always give the same answer.
    ///
    /// # Errors
    /// A [`Refusal`] that says, per filter, why there are not enough engines.
    fn place(&self, snapshot: &Snapshot, request: &PlacementRequest) -> Result<Vec<EngineId>, Refusal>;

    /// How good an engine would be for one more container, for people who read a plan: the higher, the better. Nothing where it does
    /// not choose by a number.
    fn score(&self, _engine: &EngineState, _request: &PlacementRequest) -> Option<f64> {
        None
    }

    /// How much room an engine has left, from 0 to 100 points: by this it is said which are fuller than others. By [`Weights`] with its
    /// defaults where a scheduler has none of its own.
    fn room(&self, engine: &EngineState) -> f64 {
        Weights::default().room(engine)
    }
}
