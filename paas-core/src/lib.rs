//! A small platform-as-a-service over a handful of Docker hosts, as a library.
//!
//! It pools several Docker hosts, places containers on them by score, launches many at once, watches the hosts and
//! records every change. Everything that is not HTTP and not a terminal is here; `paas-server` and `paas-cli` are thin.
//!
//! Start with [`controller::Controller`], which is what a user of the platform can ask for. What can be replaced is a
//! trait: [`store::Store`], [`registry::Registry`], [`engine::DockerEngine`], [`scheduler::Scheduler`] and
//! [`events::EventSink`].

pub mod agent;
pub mod apps;
pub mod auth;
pub mod background;
pub mod clock;
pub mod cluster;
pub mod controller;
pub mod engine;
#[cfg(feature = "etcd")]
mod etcd;
pub mod events;
mod executor;
pub mod leadership;
pub mod model;
#[cfg(feature = "docker")]
mod net;
pub mod registry;
pub mod scheduler;
pub mod seal;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod wire;
