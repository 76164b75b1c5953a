//! Conformance suites: what every backend must do, for the backends here and for those of other programs.
//!
//! The module is there with the feature `testing`, which is for tests alone:
//!
//! ```toml
//! [dev-dependencies]
//! paas-core = { path = "…", features = ["testing"] }
//! ```
//!
//! Each suite is one function that panics at the first thing that is not as it must be, and says what:
//! [`store::conforms`], [`registry::conforms`], [`engine::conforms`] and [`scheduler::conforms`]. Call it in a test, under
//! `#[tokio::test]` where it is `async`. The rest of the module is what the tests of this library need.

#[cfg(feature = "docker")]
pub mod docker;
pub mod engine;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod registry;
#[cfg(feature = "rethinkdb")]
pub mod rethinkdb;
pub mod scheduler;
pub mod simulation;
pub mod skip;
pub mod store;
pub mod tier;
pub mod wire;
