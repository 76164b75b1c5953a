//! The platform's HTTP API: routes, problem documents, configuration, TLS.
//!
//! [`serve`](serve::serve) puts a [`Controller`](paas_core::controller::Controller) on a listener; another program can
//! do the same. [`start::run`] is what the program `paas-server` does.

pub mod agent;
mod app;
mod chain;
pub mod config;
mod custody;
mod extract;
mod ha;
mod handlers;
pub mod key;
mod once;
pub mod problem;
pub mod router;
pub mod serve;
pub mod start;
pub mod store;
pub mod tls;
mod write_timeout;
