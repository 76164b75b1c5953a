//! Bursts of events from Docker hosts: whether all are kept and told, and what a user's change takes meanwhile.
//!
//! A change asks the store for a document and then commits two. Beside it stands what the store takes for just that, in quiet and
//! while as many events go straight into the store: what a burst adds to a change beyond the latter is the platform's doing.
//!
//! Run with `cargo bench --bench events`, or with the name of a store for that one alone.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt;
use paas_core::controller::{Actor, Controller, Settings};
use paas_core::engine::{Connector, DockerEngine, SimulatedEngine};
use paas_core::events::{EventError, EventSink, Notice, Retention};
use paas_core::model::{
    EngineAddress, EngineSpec, EngineStatus, Event, EventKind, RegistryLogin, SimulatedHost, TAG_DOCKER,
};
use paas_core::store::{Action, KeyRange, MAX_WRITES, Store, Table, Write, open_store, tables};
use paas_core::testing::etcd::Etcd;
use support::{Figure, ms, percentile, rounds};
use tokio::time::{MissedTickBehavior, interval, sleep};

const ENGINES: usize = 20;
const IMAGE: &str = "web:1";
/// What a host tells of a container that somebody starts and removes: create, start, kill, die, destroy.
const EVENTS_OF_A_LIFE: usize = 5;
/// How often the hosts make something happen.
const TICK: Duration = Duration::from_millis(10);
/// How often a user changes something.
const CHANGES: Duration = Duration::from_millis(10);
/// The table that what is written without the platform goes to.
const BENCH: Table = Table::new("bench");
/// How long everything may take to be kept and told after that.
const PATIENCE: Duration = Duration::from_secs(60);

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

struct Platform {
    stored: Arc<Stored>,
    controller: Controller,
    hosts: Vec<SimulatedEngine>,
    store: Arc<dyn Store>,
}

impl Platform {
    async fn on(store: Arc<dyn Store>) -> Self {
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
    async fn burst(&self, per_second: usize) -> usize {
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
    fn kept(&self) -> usize {
        self.stored.0.load(Ordering::Relaxed)
    }

    /// How many events of hosts are in the store.
    async fn in_the_store(&self) -> usize {
        let all = self.store.list(tables::EVENTS, &KeyRange::all()).await.unwrap();
        let is_of_a_host = |event: &serde_json::Value| {
            event["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == TAG_DOCKER))
        };
        all.iter().filter(|event| is_of_a_host(&event.body)).count()
    }

    /// Lets a user change something again and again, for a while. How long each change took, shortest first.
    async fn change(&self) -> Vec<Duration> {
        let (begun, mut times) = (Instant::now(), Vec::new());
        let mut ticker = interval(CHANGES);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while begun.elapsed() < lasts() {
            ticker.tick().await;
            let login = RegistryLogin {
                server: Some("registry.test".into()),
                username: format!("user-{}", times.len()),
                password: "secret".into(),
            };
            let one = Instant::now();
            self.controller.set_registry_login(&Actor::system(), login).await.unwrap();
            times.push(one.elapsed());
        }
        times.sort_unstable();
        times
    }

    /// What the store alone takes for what a change asks of it, shortest first.
    async fn store_alone(&self) -> Vec<Duration> {
        let (begun, mut times) = (Instant::now(), Vec::new());
        let mut ticker = interval(CHANGES);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while begun.elapsed() < lasts() {
            ticker.tick().await;
            let one = Instant::now();
            let key = format!("{:?}-{}", begun, times.len());
            assert!(self.store.get(BENCH, &key).await.unwrap().is_none());
            let write = |part: &str| Write::new(BENCH, format!("{key}-{part}"), Action::Insert(body()));
            self.store.commit(vec![write("a"), write("b")]).await.unwrap();
            times.push(one.elapsed());
        }
        times.sort_unstable();
        times
    }

    /// Puts so many events a second straight into the store, as many at once as the platform does, until it is dropped.
    async fn fill(&self, per_second: usize) {
        let mut ticker = interval(TICK);
        let at_once = per_second / (1000 / TICK.as_millis() as usize);
        for round in 0.. {
            ticker.tick().await;
            let key = |number: usize| format!("fill-{per_second:05}-{round:08}-{number:04}");
            let events: Vec<Write> =
                (0..at_once).map(|number| Write::new(BENCH, key(number), Action::Insert(body()))).collect();
            for together in events.chunks(MAX_WRITES) {
                self.store.commit(together.to_vec()).await.unwrap();
            }
        }
    }
}

/// An event of a host, as it is stored.
fn body() -> serde_json::Value {
    let event = Event::new(EventKind::Login, "start web-0123456789ab (web:1) on e1").tagged(TAG_DOCKER);
    serde_json::to_value(event).unwrap()
}

/// For how long a rate of events is held.
fn lasts() -> Duration {
    rounds(Duration::from_secs(5), Duration::from_secs(2))
}

/// Waits until a count is reached, or until that takes too long. What it was, and when it was reached.
async fn until(count: usize, reached: impl AsyncFn() -> usize) -> (usize, Duration) {
    let begun = Instant::now();
    loop {
        let now = reached().await;
        if now >= count || begun.elapsed() > PATIENCE {
            return (now, begun.elapsed());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// What a user's change takes alone, and while hosts tell so much.
async fn delays(name: &str, platform: &Platform) {
    let alone = platform.store_alone().await;
    let quiet = platform.change().await;
    for per_second in [10_000, 20_000] {
        let loaded = tokio::select! {
            times = platform.store_alone() => times,
            () = platform.fill(per_second) => unreachable!("it goes on for ever"),
        };
        let before = platform.kept();
        let (happened, busy) = tokio::join!(platform.burst(per_second), platform.change());
        let (kept, took) = until(before + happened, async || platform.kept()).await;
        let lost = (before + happened).abs_diff(kept);
        let columns = [&alone, &loaded, &quiet, &busy].map(|times| {
            let of = |percent| ms(percentile(times, percent));
            format!("{:>8.2} {:>6.2}", of(50.0), of(99.0))
        });
        let took = took.as_secs_f64();
        println!("{name:<8} {per_second:>8} {happened:>9} {lost:>6} {took:>8.1} {}", columns.join(" "));
        if per_second == 10_000 {
            let what = format!("{name}: 10,000 events/s");
            Figure::new(format!("{what}, lost"), lost as f64, "events").at_most(0.0).print();
            if name == "memory" {
                continue;
            }
            // A burst may well happen to be quicker.
            let delay = |percent| (ms(percentile(&busy, percent)) - ms(percentile(&quiet, percent))).max(0.0);
            let what = format!("{what}, a change is later by");
            let against = |figure: Figure, times, percent| figure.against(ms(percentile(times, percent)));
            against(Figure::new(format!("{what}, p50"), delay(50.0), "ms"), &alone, 50.0).ratio_at_most(1.0).print();
            // The one of a hundred that waits longest waits for the disk that takes the events, with and without us.
            against(Figure::new(format!("{what}, p99"), delay(99.0), "ms"), &loaded, 99.0).ratio_at_most(1.0).print();
        }
    }
}

/// Whether a hundred listeners hear all of it, and what becomes of one that does not read.
async fn listeners(name: &str, platform: &Platform, per_second: usize) {
    const LISTENERS: usize = 100;
    let (heard, missed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for _ in 0..LISTENERS {
        let (mut events, heard, missed) = (platform.controller.live_events(), heard.clone(), missed.clone());
        tokio::spawn(async move {
            while let Some(notice) = events.next().await {
                match notice {
                    Notice::Event(event) if event.tags.iter().any(|tag| tag == TAG_DOCKER) => {
                        heard.fetch_add(1, Ordering::Relaxed);
                    }
                    Notice::Event(_) => {}
                    Notice::Missed(count) => drop(missed.fetch_add(count, Ordering::Relaxed)),
                }
            }
        });
    }
    let mut idle = platform.controller.live_events();
    let before = platform.kept();
    let happened = platform.burst(per_second).await;
    let all = (happened * LISTENERS) as u64;
    let told = async || (heard.load(Ordering::Relaxed) + missed.load(Ordering::Relaxed)) as usize;
    let (_, took) = until(all as usize, told).await;
    let (kept, _) = until(before + happened, async || platform.kept()).await;
    let (heard, missed) = (heard.load(Ordering::Relaxed), missed.load(Ordering::Relaxed));
    let idle = match idle.next().await {
        Some(Notice::Missed(count)) => format!("told that it missed {count}"),
        other => format!("{other:?}"),
    };
    if per_second == 20_000 {
        let not_heard = all.abs_diff(heard) as f64;
        let figure = Figure::new(format!("{name}: 20,000 events/s to 100 listeners, unheard"), not_heard, "notices");
        figure.at_most(0.0).print();
    }
    println!(
        "{name:<8} {per_second:>8} {happened:>9} {:>6} {:>8.1} {:>12} {missed:>8}   one that did not read: {idle}",
        (before + happened).abs_diff(kept),
        took.as_secs_f64(),
        all.abs_diff(heard),
    );
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let folder = tempfile::tempdir()?;
    let etcd = if is_wanted("etcd") { Etcd::start("the bench of events on etcd").await } else { None };
    let mut stores =
        vec![("memory", "memory:".to_owned()), ("sqlite", format!("sqlite:{}/db", folder.path().display()))];
    stores.extend(etcd.as_ref().map(|etcd| ("etcd", etcd.url())));
    let mut platforms = Vec::new();
    for (name, url) in stores.iter().filter(|(name, _)| is_wanted(name)) {
        platforms.push((*name, Platform::on(open_store(url).await?).await));
    }

    println!(
        "What a change takes, ms, p50 and p99: the store alone in quiet, and while it takes as many events without the"
    );
    println!("platform; then a change on the platform, in quiet and during a burst that lasts {:?}.", lasts());
    println!("'lost' of the host events that happened are not in the store; the last was there 'after s' seconds.");
    println!("store       per s  happened   lost  after s    alone        filled         quiet           burst");
    for (name, platform) in &platforms {
        delays(name, platform).await;
    }
    println!(
        "\nA hundred listeners: how many notices did not reach one of them, and how many they were told they missed."
    );
    println!("store       per s  happened   lost  after s      unheard   missed");
    for (name, platform) in &platforms {
        for per_second in [5000, 10_000, 20_000] {
            listeners(name, platform, per_second).await;
        }
    }
    for (name, platform) in platforms {
        assert_eq!(platform.in_the_store().await, platform.kept(), "{name} has what was counted");
        platform.controller.shutdown().await;
    }
    Ok(())
}
