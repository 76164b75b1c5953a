//! Conformance suites: what every backend must do, for the backends here and for those of other programs.

#[cfg(feature = "docker")]
pub mod docker;
pub mod engine;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod registry;
#[cfg(feature = "rethinkdb")]
pub mod rethinkdb;
pub mod scheduler;
pub mod skip;
pub mod store;
pub mod tier;
pub mod wire;
