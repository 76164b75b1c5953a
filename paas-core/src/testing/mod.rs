//! Conformance suites: what every backend must do, for the backends here and for those of other programs.

#[cfg(feature = "docker")]
pub mod docker;
pub mod engine;
pub mod registry;
#[cfg(feature = "rethinkdb")]
pub mod rethinkdb;
pub mod store;
