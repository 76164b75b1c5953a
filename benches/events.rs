//! Bursts of events from Docker hosts: whether all are kept, and what a user's change takes meanwhile.
//!
//! A change asks the store for a document and then commits two. Beside it stands what the store takes for just that, in quiet and
//! while as many events go straight into the store: what a burst adds to a change beyond the latter is the platform's doing.
//!
//! Run with `cargo bench --bench events`, or with the name of a store for that one alone.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use paas_core::controller::Actor;
use paas_core::model::{Event, EventKind, RegistryLogin, TAG_DOCKER};
use paas_core::store::{Action, MAX_WRITES, Table, Write, open_store};
use paas_core::testing::etcd::Etcd;
use support::burst::{Platform, TICK, lasts, until};
use support::{Figure, ms, percentile};
use tokio::time::{MissedTickBehavior, interval};

/// How often a user changes something.
const CHANGES: Duration = Duration::from_millis(10);
/// The table that what is written without the platform goes to.
const BENCH: Table = Table::new("bench");

/// Does something again and again, for a while. How long each time took, shortest first.
async fn again_and_again(once: impl AsyncFn(usize)) -> Vec<Duration> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    let mut ticker = interval(CHANGES);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while begun.elapsed() < lasts() {
        ticker.tick().await;
        let one = Instant::now();
        once(times.len()).await;
        times.push(one.elapsed());
    }
    times.sort_unstable();
    times
}

/// What a user's changes take.
async fn change(platform: &Platform) -> Vec<Duration> {
    again_and_again(async |number| {
        let server = Some("registry.test".into());
        let login = RegistryLogin { server, username: format!("user-{number}"), password: "secret".into() };
        platform.controller.set_registry_login(&Actor::system(), login).await.unwrap();
    })
    .await
}

/// What the store alone takes for what a change asks of it.
async fn store_alone(platform: &Platform) -> Vec<Duration> {
    let begun = Instant::now();
    again_and_again(async |number| {
        let key = format!("{begun:?}-{number}");
        assert!(platform.store.get(BENCH, &key).await.unwrap().is_none());
        let write = |part: &str| Write::new(BENCH, format!("{key}-{part}"), Action::Insert(body()));
        platform.store.commit(vec![write("a"), write("b")]).await.unwrap();
    })
    .await
}

/// Puts so many events a second straight into the store, as many at once as the platform does, until it is dropped.
async fn fill(platform: &Platform, per_second: usize) {
    let mut ticker = interval(TICK);
    let at_once = per_second / (1000 / TICK.as_millis() as usize);
    for round in 0.. {
        ticker.tick().await;
        let key = |number: usize| format!("fill-{per_second:05}-{round:08}-{number:04}");
        let events: Vec<Write> =
            (0..at_once).map(|number| Write::new(BENCH, key(number), Action::Insert(body()))).collect();
        for together in events.chunks(MAX_WRITES) {
            platform.store.commit(together.to_vec()).await.unwrap();
        }
    }
}

/// An event of a host, as it is stored.
fn body() -> serde_json::Value {
    let event = Event::new(EventKind::Login, "start web-0123456789ab (web:1) on e1").tagged(TAG_DOCKER);
    serde_json::to_value(event).unwrap()
}

/// What a user's change takes alone, and while hosts tell so much.
async fn delays(name: &str, platform: &Platform) {
    let alone = store_alone(platform).await;
    let quiet = change(platform).await;
    for per_second in [10_000, 20_000] {
        let loaded = tokio::select! {
            times = store_alone(platform) => times,
            () = fill(platform, per_second) => unreachable!("it goes on for ever"),
        };
        let before = platform.kept();
        let (happened, busy) = tokio::join!(platform.burst(per_second), change(platform));
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
            against(Figure::new(format!("{what}, p99"), delay(99.0), "ms"), &alone, 99.0).ratio_at_most(1.0).print();
        }
    }
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
    for (name, platform) in platforms {
        assert_eq!(platform.in_the_store().await, platform.kept(), "{name} has what was counted");
        platform.controller.shutdown().await;
    }
    Ok(())
}
