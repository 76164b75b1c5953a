//! Bursts of events from Docker hosts, told to a hundred listeners: within the process and over HTTP.
//!
//! Over HTTP the server, its hosts and the hundred clients share the cores of this machine. Nothing may be lost, neither on
//! the way to the store nor on that to a listener.
//!
//! Run with `cargo bench --bench listeners`.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use futures::stream::BoxStream;
use paas_core::events::Notice;
use paas_core::model::TAG_DOCKER;
use paas_core::store::open_store;
use paas_server::serve::{ServeOptions, serve};
use support::burst::{Platform, until};
use support::{Figure, load};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const LISTENERS: usize = 100;
const PASSWORD: &str = "benchmarks have no secrets";

/// What all listeners together heard.
#[derive(Debug, Default)]
struct Heard {
    events: AtomicU64,
    missed: AtomicU64,
}

/// Listens within the process.
async fn listen(mut notices: BoxStream<'static, Notice>, heard: Arc<Heard>) {
    while let Some(notice) = notices.next().await {
        match notice {
            Notice::Event(event) if event.tags.iter().any(|tag| tag == TAG_DOCKER) => {
                heard.events.fetch_add(1, Ordering::Relaxed);
            }
            Notice::Event(_) => {}
            Notice::Lagged(count) => drop(heard.missed.fetch_add(count, Ordering::Relaxed)),
        }
    }
}

/// Listens over HTTP, once the answer has begun.
async fn listen_over_http(address: SocketAddr, token: String, heard: Arc<Heard>) -> impl Future<Output = ()> {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(&load::get("/api/events/live", &token)).await.unwrap();
    let mut buffer = vec![0; 256 << 10];
    let read = connection.read(&mut buffer).await.unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&buffer[..read]));
    async move {
        while let Ok(read @ 1..) = connection.read(&mut buffer).await {
            // The JSON of such an event begins once. A client that understood it would have no core left to do so here.
            let events = buffer[..read].iter().filter(|&&byte| byte == b'{').count();
            heard.events.fetch_add(events as u64, Ordering::Relaxed);
        }
    }
}

/// Lets so much happen, and tells what became of it.
async fn told(way: &str, platform: &Platform, per_second: usize, heard: &Heard) {
    let before = (platform.kept(), heard.events.load(Ordering::Relaxed), heard.missed.load(Ordering::Relaxed));
    let happened = platform.burst(per_second).await;
    let all = (happened * LISTENERS) as u64;
    let events = || heard.events.load(Ordering::Relaxed) - before.1;
    let missed = || heard.missed.load(Ordering::Relaxed) - before.2;
    let (_, took) = until(all as usize, async || (events() + missed()) as usize).await;
    let (kept, _) = until(before.0 + happened, async || platform.kept()).await;
    let lost = (before.0 + happened).abs_diff(kept);
    let unheard = all.abs_diff(events());
    println!(
        "{way:<8} {per_second:>8} {happened:>9} {lost:>6} {:>8.1} {unheard:>12} {:>8}",
        took.as_secs_f64(),
        missed()
    );
    if per_second == 20_000 {
        let what = format!("{way}: 20,000 events/s to 100 listeners, unheard");
        Figure::new(what, unheard as f64, "notices").at_most(0.0).print();
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let platform = Platform::on(open_store(&format!("sqlite:{}/db", folder.path().display())).await?).await;
    println!(
        "'lost' of the events that happened are not in the store, SQLite; so many notices did not reach one of the"
    );
    println!("listeners, of which they were told that they missed some; the last was there 'after s' seconds.");
    println!("way         per s  happened   lost  after s      unheard   missed");

    let mut listeners = JoinSet::new();
    let heard = Arc::new(Heard::default());
    for _ in 0..LISTENERS {
        listeners.spawn(listen(platform.controller.live_events(), heard.clone()));
    }
    let mut idle = platform.controller.live_events();
    for per_second in [5000, 10_000, 20_000] {
        told("within", &platform, per_second, &heard).await;
    }
    match idle.next().await {
        Some(Notice::Lagged(count)) => println!("One that did not read was told that it missed {count}."),
        other => anyhow::bail!("one that did not read heard {other:?}"),
    }
    drop(idle);
    listeners.shutdown().await;

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    platform.controller.ensure_admin(Some(PASSWORD.to_owned())).await?;
    let token = platform.controller.login("admin", PASSWORD).await?.token;
    let serving = tokio::spawn(serve(listener, platform.controller.clone(), ServeOptions::default(), stop.clone()));
    let heard = Arc::new(Heard::default());
    for _ in 0..LISTENERS {
        listeners.spawn(listen_over_http(address, token.clone(), heard.clone()).await);
    }
    for per_second in [5000, 10_000, 20_000] {
        told("HTTP", &platform, per_second, &heard).await;
    }
    assert_eq!(platform.in_the_store().await, platform.kept(), "the store has what was counted");
    stop.cancel();
    serving.await??;
    Ok(())
}
