//! Footprint: what the server takes of the machine, idle and with 1,000 engines and 30,000 containers.
//!
//! Run with `cargo bench --bench footprint`. The hosts are of paper: they answer as Docker does, over TCP, and live in this
//! process, so that the server's memory is the server's alone. A megabyte is 10^6 bytes.

mod support;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use support::process::{cpu_seconds, resident_mb};
use support::server::{Server, simulated};
use support::{Figure, hosts, release, rounds};

const ENGINES: usize = 1_000;
const CONTAINERS: usize = 30_000;

#[tokio::main]
async fn main() -> Result<()> {
    let size = std::fs::metadata(release::build().join("paas-server"))?.len() as f64 / 1e6;
    Figure::new("release binary", size, "MB").at_most(25.0).print();

    let idle = Server::start(&[]).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    Figure::new("memory, idle", resident_mb(&idle.pid()), "MB").at_most(20.0).print();
    // Checking a password takes 48 MB for a moment.
    idle.token().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    Figure::new("memory, idle after a login", resident_mb(&idle.pid()), "MB").at_most(20.0).print();
    drop(idle);

    let engines = hosts::start(ENGINES, CONTAINERS / ENGINES).await?;
    let begun = Instant::now();
    let mut server = Server::start(&engines).await?;
    let each = begun.elapsed().as_secs_f64() * 1e3 / ENGINES as f64;
    Figure::new("adding one engine after another, each", each, "ms").print();
    let token = server.token().await?;
    all_known(&server, &token).await?;
    let begun = Instant::now();
    let serving = server.start_again().await?;
    Figure::new("start to serving, 1,000 hosts", serving.as_secs_f64(), "s").at_most(1.0).print();
    all_known(&server, &token).await?;
    Figure::new("start to all of 30,000 containers read", begun.elapsed().as_secs_f64(), "s").print();
    tokio::time::sleep(Duration::from_secs(2)).await;
    Figure::new("memory, 1,000 hosts and 30,000 containers", resident_mb(&server.pid()), "MB").at_most(120.0).print();
    let watched_for = Duration::from_secs(rounds(30, 15));
    tokio::time::sleep(watched_for).await;
    Figure::new("the same after half a minute", resident_mb(&server.pid()), "MB").at_most(120.0).print();
    let share = cpu_share(&server, watched_for).await;
    Figure::new("idle CPU, 1,000 hosts over TCP, use of 30,000 containers measured", share, "% of a core").print();
    server.hear_agents(&token, &engines).await?;
    // What was being measured comes to its end.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let share = cpu_share(&server, watched_for).await;
    Figure::new("idle CPU, 1,000 hosts over TCP with agents", share, "% of a core").print();
    drop(server);

    let server = Server::start(&simulated(ENGINES)).await?;
    let token = server.token().await?;
    server.run(&token, CONTAINERS).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    Figure::new("memory, the same simulated within the server", resident_mb(&server.pid()), "MB").print();
    Ok(())
}

/// What a server takes of a core while nobody asks it anything.
async fn cpu_share(server: &Server, watched_for: Duration) -> f64 {
    let before = cpu_seconds(&server.pid());
    tokio::time::sleep(watched_for).await;
    (cpu_seconds(&server.pid()) - before) / watched_for.as_secs_f64() * 100.0
}

/// Waits until the server knows every container.
async fn all_known(server: &Server, token: &str) -> Result<()> {
    let begun = Instant::now();
    while server.read(token, "/api/cluster/info").await?["container_count"] != CONTAINERS {
        ensure!(begun.elapsed() < Duration::from_secs(120), "the hosts are not read in two minutes");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
