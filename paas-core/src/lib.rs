//! A small platform-as-a-service over a handful of Docker hosts, as a library.
//!
//! It pools several Docker hosts, places containers on them by score, launches many at once, watches the hosts and
//! records every change. Everything that is not HTTP and not a terminal is here; `paas-server` and `paas-cli` are thin.
//!
//! Start with [`controller::Controller`], which is what a user of the platform can ask for, and
//! [`controller::ControllerBuilder`], which makes one:
//!
//! ```
//! use paas_core::controller::{Actor, Controller, RunRequest};
//! use paas_core::model::{ContainerSpec, EngineSpec};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let controller = Controller::builder().build().await?;
//!     // A simulated host; `unix:///var/run/docker.sock` is the Docker of this machine.
//!     let engine = EngineSpec::new("one".parse()?, "sim://crate-example?cpus=4&memory=8192".parse()?);
//!     controller.add_engine(&Actor::system(), engine).await?;
//!
//!     let request = RunRequest { spec: ContainerSpec::new("httpd".parse()?), count: 3, pull: false };
//!     let summary = controller.run(&Actor::system(), request).await?.finish().await;
//!     assert!(summary.is_complete(), "{:?}", summary.failed);
//!
//!     controller.scale(&Actor::system(), summary.started[0].id.as_str(), 5).await?.finish().await;
//!     for container in controller.containers(false) {
//!         controller.destroy(&Actor::system(), container.id.as_str()).await?;
//!     }
//!     controller.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! Everything runs in a Tokio runtime with time and I/O enabled; outside of one a controller cannot be built.
//!
//! # Parts of one's own
//! What can be replaced is a trait. Each has an example, and a suite of tests in `testing` that says what it must do:
//!
//! | trait | what it is | suite |
//! | --- | --- | --- |
//! | [`store::Store`] | where state is kept | `testing::store::conforms` |
//! | [`registry::Registry`] | who is alive, and which server leads | `testing::registry::conforms` |
//! | [`engine::DockerEngine`] | one host of containers | `testing::engine::conforms` |
//! | [`scheduler::Scheduler`] | which engine takes a container | `testing::scheduler::conforms` |
//! | [`events::EventSink`] | where events go | none is needed |
//!
//! # Features
//! | feature | what it brings | on by default |
//! | --- | --- | --- |
//! | `docker` | Docker hosts; without it engines are simulated, or come from a connector of one's own | yes |
//! | `sqlite` | the store in a file | yes |
//! | `etcd` | registry and store on etcd; building it needs the program `protoc` | no |
//! | `rethinkdb` | the store in RethinkDB | no |
//! | `testing` | the suites and doubles of `testing`; only for `[dev-dependencies]` | no |
//!
//! # Other crates
//! The traits have types of other crates in them. A program that implements them needs the same versions: `async-trait` 0.1,
//! `bytes` 1, `futures` 0.3, `jiff` 1, `serde_json` 1, `tokio` 1 and `uuid` 1.

pub mod agent;
pub mod apps;
pub mod auth;
pub mod background;
pub mod backoff;
pub mod clock;
pub mod cluster;
pub mod controller;
pub mod engine;
#[cfg(feature = "etcd")]
mod etcd;
pub mod events;
mod executor;
pub mod files;
pub mod leadership;
pub mod model;
mod net;
pub mod registry;
pub mod scheduler;
pub mod seal;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod wire;
