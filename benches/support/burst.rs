//! A platform with simulated hosts on which much happens, and all of it is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use paas_core::controller::{Actor, Controller, Settings};
use paas_core::engine::{Connector, DockerEngine, SimulatedEngine};
use paas_core::events::{EventError, EventSink, Retention};
use paas_core::model::{EngineAddress, EngineSpec, EngineStatus, Event, SimulatedHost, TAG_DOCKER};
use paas_core::store::{KeyRange, Store, tables};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::rounds;

const ENGINES: usize = 20;
const IMAGE: &str = "web:1";
/// What a host tells of a container that somebody starts and removes: create, start, kill, die, destroy.
pub const EVENTS_OF_A_LIFE: usize = 5;
/// How often the hosts make something happen.
pub const TICK: Duration = Duration::from_millis(10);
/// How long everything may take to be kept and told after that.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Counts events of hosts. It is told of those that are stored.
#[derive(Debug, Default)]
struct Stored(AtomicUsize);

#[async_trait]
impl EventSink for Stored {
    async fn record(&self, events: &[Event]) -> Result<(), EventError> {
        let of_hosts = events.iter().filter(|event| event.tags.iter().any(|tag| tag == TAG_DOCKER));
        self.0.fetch_add(of_hosts.count(), Ordering::Relaxed);
        Ok(())
    }
}

/// A controller, its store, and the hosts.
#[derive(Debug)]
pub struct Platform {
    stored: Arc<Stored>,
    pub controller: Controller,
    hosts: Vec<SimulatedEngine>,
    pub store: Arc<dyn Store>,
}

impl Platform {
    /// With an empty store, once all of its hosts are up.
    pub async fn on(store: Arc<dyn Store>) -> Self {
        let named =
            |number: usize| (format!("e{number}"), SimulatedEngine::new(&SimulatedHost::new(format!("e{number}"))));
        let hosts: HashMap<String, SimulatedEngine> = (0..ENGINES).map(named).collect();
        let connector: Connector = Arc::new({
            let hosts = hosts.clone();
            move |spec: &EngineSpec| {
                let EngineAddress::Simulated(host) = &spec.addr else { return paas_core::engine::connect(spec) };
                Ok(Arc::new(hosts[&host.name].clone()) as Arc<dyn DockerEngine>)
            }
        });
        let stored = Arc::new(Stored::default());
        let retention = Retention { max_age: None, max_count: None, ..Retention::default() };
        let settings = Settings { retention, ..Settings::default() };
        let builder = Controller::builder().store(store.clone()).connector(connector).settings(settings);
        let controller = builder.sink(stored.clone()).build().await.unwrap();
        for name in hosts.keys() {
            let spec = EngineSpec::new(name.parse().unwrap(), format!("sim://{name}").parse().unwrap());
            controller.add_engine(&Actor::system(), spec).await.unwrap();
        }
        while controller.engines().iter().any(|engine| engine.health.status != EngineStatus::Up) {
            sleep(Duration::from_millis(10)).await;
        }
        let platform = Self { stored, controller, hosts: hosts.into_values().collect(), store };
        // With the first container a host tells of its image as well: that is past then.
        for host in &platform.hosts {
            let id = host.outsider_run(IMAGE.parse().unwrap(), None);
            host.outsider_remove(&id).unwrap();
        }
        until(ENGINES * (EVENTS_OF_A_LIFE + 1), async || platform.kept()).await;
        platform
    }

    /// Lets so many events a second happen, for a while. How many there were.
    pub async fn burst(&self, per_second: usize) -> usize {
        let (begun, mut lives) = (Instant::now(), 0);
        let mut ticker = interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while begun.elapsed() < lasts() {
            ticker.tick().await;
            let due = begun.elapsed().min(lasts()).as_secs_f64() * (per_second / EVENTS_OF_A_LIFE) as f64;
            while lives < due as usize {
                let host = &self.hosts[lives % ENGINES];
                let id = host.outsider_run(IMAGE.parse().unwrap(), None);
                host.outsider_remove(&id).unwrap();
                lives += 1;
            }
        }
        lives * EVENTS_OF_A_LIFE
    }

    /// How many events of hosts were stored since the start.
    pub fn kept(&self) -> usize {
        self.stored.0.load(Ordering::Relaxed)
    }

    /// How many events of hosts are in the store.
    pub async fn in_the_store(&self) -> usize {
        let all = self.store.list(tables::EVENTS, &KeyRange::all()).await.unwrap();
        let is_of_a_host = |event: &serde_json::Value| {
            event["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == TAG_DOCKER))
        };
        all.iter().filter(|event| is_of_a_host(&event.body)).count()
    }
}

/// For how long a rate of events is held.
pub fn lasts() -> Duration {
    rounds(Duration::from_secs(5), Duration::from_secs(2))
}

/// Waits until a count is reached, or until that takes too long. What it was, and when it was reached.
pub async fn until(count: usize, reached: impl AsyncFn() -> usize) -> (usize, Duration) {
    let begun = Instant::now();
    loop {
        let now = reached().await;
        if now >= count || begun.elapsed() > TIMEOUT {
            return (now, begun.elapsed());
        }
        sleep(Duration::from_millis(100)).await;
    }
}
