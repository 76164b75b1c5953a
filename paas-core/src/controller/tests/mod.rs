//! The controller on simulated hosts: what users ask for, and hosts that fail in the middle of it.

mod apps;
mod apps_hosts;
mod apps_images;
mod apps_left;
mod background;
mod changes;
mod commands;
mod engines;
mod faults;
mod files;
mod health;
mod hung_up;
mod killed;
mod lacking;
mod launches;
mod logins;
mod lost_answers;
mod membership;
mod names;
mod orphans;
mod ours;
mod outputs;
mod policy;
mod rebalance;
mod registry_away;
mod registry_logins;
mod requests;
mod scaling;
mod secrets;
mod store_away;
mod views;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::*;
use crate::engine::{DockerEngine, SimulatedEngine};
use crate::events::RecordingSink;
use crate::model::{ContainerSpec, EngineAddress, EngineId, EngineStatus, MemoryMb, SimulatedHost};
use crate::seal::Sealer;
use crate::store::{MemoryStore, Store};

/// A controller over simulated hosts that the test can reach behind its back. Time stands still while there is something
/// to do, so waiting costs nothing.
struct Platform {
    controller: Controller,
    hosts: HashMap<String, SimulatedEngine>,
    events: Arc<RecordingSink>,
    store: Arc<dyn Store>,
}

impl Platform {
    /// One host per name, each of 4 CPUs and 1024 MB, all up.
    async fn of(names: &[&str]) -> Self {
        let mut platform = Self::without_engines(names).await;
        for name in names {
            platform.add(name).await;
        }
        platform
    }

    async fn without_engines(names: &[&str]) -> Self {
        let host = |name: &&str| {
            let settings = SimulatedHost { memory: MemoryMb::new(1024), ..SimulatedHost::new(*name) };
            (name.to_string(), SimulatedEngine::new(&settings))
        };
        let hosts: HashMap<_, _> = names.iter().map(host).collect();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let events = Arc::new(RecordingSink::default());
        let controller = build(&hosts, store.clone(), events.clone()).await;
        Self { controller, hosts, events, store }
    }

    async fn add(&mut self, name: &str) {
        self.controller.add_engine(&admin(), engine_spec(name)).await.unwrap();
        self.until(name, EngineStatus::Up).await;
    }

    /// The server is killed and started again on the same store; the hosts go on meanwhile.
    async fn restart(&mut self) {
        self.controller.shared.cluster.shutdown().await;
        self.controller = build(&self.hosts, self.store.clone(), self.events.clone()).await;
        for engine in self.controller.engines() {
            self.until(engine.id.as_str(), EngineStatus::Up).await;
        }
    }

    fn host(&self, name: &str) -> &SimulatedEngine {
        &self.hosts[name]
    }

    async fn until(&self, engine: &str, status: EngineStatus) {
        let reached = || self.controller.engine(engine).is_ok_and(|engine| engine.health.status == status);
        assert!(eventually(reached).await, "{engine} is not {status}: {:?}", self.controller.engine(engine));
    }

    /// Waits until an engine that nobody added is up.
    async fn until_known(&self, engine: &str) {
        assert!(eventually(|| self.controller.engine(engine).is_ok()).await, "{engine} is not known");
        self.until(engine, EngineStatus::Up).await;
    }

    async fn run(&self, spec: ContainerSpec, count: usize) -> LaunchSummary {
        let request = RunRequest { spec, count, pull: false };
        self.controller.run(&ann(), request).await.unwrap().finish().await
    }

    /// Waits until every subscriber has every event so far: each has a queue of its own.
    async fn heard(&self) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    fn kinds(&self) -> Vec<String> {
        self.events.events().into_iter().map(|event| event.kind.to_string()).collect()
    }

    fn really_there(&self) -> usize {
        self.hosts.values().map(|host| host.really_there().len()).sum()
    }

    /// Nothing is under way, and every number is right.
    fn check_at_rest(&self) {
        self.controller.cluster().audit().unwrap();
        assert_eq!(self.controller.cluster().reservation_count(), 0);
    }
}

async fn build(
    hosts: &HashMap<String, SimulatedEngine>,
    store: Arc<dyn Store>,
    events: Arc<RecordingSink>,
) -> Controller {
    builder(hosts, store, events).build().await.unwrap()
}

fn builder(
    hosts: &HashMap<String, SimulatedEngine>,
    store: Arc<dyn Store>,
    events: Arc<RecordingSink>,
) -> ControllerBuilder {
    let hosts = hosts.clone();
    let connector: Connector = Arc::new(move |spec: &EngineSpec| {
        let EngineAddress::Simulated(host) = &spec.addr else { return crate::engine::connect(spec) };
        let engine: Arc<dyn DockerEngine> = match hosts.get(&host.name) {
            Some(engine) => Arc::new(engine.clone()),
            None => Arc::new(SimulatedEngine::new(host)),
        };
        Ok(engine)
    });
    Controller::builder().store(store).sink(events).connector(connector).sealer(sealer())
}

/// The key of every store of these tests.
fn sealer() -> Sealer {
    static SEALER: LazyLock<Sealer> = LazyLock::new(Sealer::ephemeral);
    SEALER.clone()
}

fn engine_spec(name: &str) -> EngineSpec {
    EngineSpec::new(name.parse().unwrap(), format!("sim://{name}").parse().unwrap())
}

fn web() -> ContainerSpec {
    ContainerSpec::new("web:1".parse().unwrap())
}

fn ann() -> Actor {
    Actor::user("ann".parse().unwrap())
}

fn admin() -> Actor {
    Actor::admin("ann".parse().unwrap())
}

fn engine_id(name: &str) -> EngineId {
    name.parse().unwrap()
}

async fn eventually(mut is_so: impl FnMut() -> bool) -> bool {
    for _ in 0..10_000 {
        if is_so() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Hears what is logged in this thread, from that level on, for as long as the guard lives.
fn hear_log(level: tracing::Level) -> (Arc<parking_lot::Mutex<Vec<u8>>>, tracing::subscriber::DefaultGuard) {
    #[derive(Clone, Default)]
    struct Heard(Arc<parking_lot::Mutex<Vec<u8>>>);
    impl std::io::Write for Heard {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(text);
            Ok(text.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let heard = Heard::default();
    let text = heard.0.clone();
    let log =
        tracing_subscriber::fmt().with_ansi(false).with_max_level(level).with_writer(move || heard.clone()).finish();
    (text, tracing::subscriber::set_default(log))
}
