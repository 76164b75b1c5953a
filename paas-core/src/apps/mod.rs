//! Applications: what is declared, what was observed, and what takes the one to the other.
//!
//! An *application* has *components*; a component has *slots* that are to be filled, each by a *replica*. What is to run is
//! written down as numbered *revisions*, and a *rollout* leads from one to the next.
//!
//! [`plan`] compares what is recorded ([`Desired`]) with what the engines say ([`Observed`]) and says what to do next. It is pure
//! and keeps nothing between two calls: each call answers from what is there at that time. A step that was missed costs time and
//! never correctness, and another server can go on at any moment.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use jiff::Timestamp;
//! use paas_core::apps::{Desired, Observed, Reach, plan};
//! use paas_core::model::{Cpus, MemoryMb, Resources};
//! use paas_core::scheduler::{EngineState, Snapshot, Spread};
//! use paas_core::wire::app::read_files;
//!
//! let file = "app = 'shop'\n[component.web]\nimage = 'shop:1.8'";
//! let shop = read_files(&[("paas.toml", file)], |_| None)?.normalise(None)?;
//!
//! let total = Resources { cpus: Cpus::from_milli(4000), memory: MemoryMb::new(4096) };
//! let snapshot: Snapshot = [EngineState::new("a".parse()?, total)].into_iter().collect();
//! let observed = Observed { engines: BTreeMap::from([("a".parse()?, Reach::Up)]), ..Observed::default() };
//!
//! let now = Timestamp::UNIX_EPOCH;
//! let steps = plan(&Desired::first(shop, now), &observed, &snapshot, &Spread::default(), now);
//! assert_eq!(steps[0].to_string(), "create web.1.1 on a, revision 1: nothing fills the slot yet");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod action;
pub(crate) mod blobs;
mod convert;
mod desired;
pub(crate) mod difference;
pub(crate) mod documents;
mod observed;
mod planner;
pub(crate) mod reconciler;
mod record;
pub(crate) mod secrets;
mod status;
#[cfg(test)]
mod tests;

pub use action::{Action, Cause, Choice, Outcome, Step, Subject, Verdict, Witness};
pub use desired::{
    Backend, BeforeFailure, BeforeState, Desired, Goal, Replica, Rollout, RolloutReason, Slot, StepFailure, Volume,
};
pub use observed::{Health, Instance, Observed, ObservedContainer, Reach};
pub use planner::{Move, plan, rebalance};
