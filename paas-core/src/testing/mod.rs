//! Conformance suites: what every backend must do, for the backends here and for those of other programs.

pub mod engine;
pub mod registry;
pub mod store;
