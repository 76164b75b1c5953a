//! Reading: what the server says of 30,000 containers on 1,000 engines, and how fast.
//!
//! Run with `cargo bench --bench reading`. The server is the release program in a process of its own; the load comes from this
//! process, on the same machine, and takes its share of the processors. Everything is on loopback.

mod support;

use std::time::Duration;

use anyhow::{Context, Result};

use support::server::{Server, simulated};
use support::{Figure, load, median, ms, percentile, rounds};

#[tokio::main]
async fn main() -> Result<()> {
    let (engines, containers) = rounds((1_000, 30_000), (1_000, 30_000));
    let server = Server::start(&simulated(engines)).await?;
    let token = server.token().await?;
    server.run(&token, containers).await?;
    let asked = |path: &str| load::get(path, &token);

    let list = server.read(&token, "/api/containers?limit=10000").await?;
    let middle = list[5_000]["id"].as_str().context("there is no container in the middle")?.to_owned();

    let page = asked(&format!("/api/containers?limit=100&after={middle}"));
    let took = load::one_by_one(server.address, &page, rounds(2_000, 500)).await?;
    Figure::new("page of 100 of 30,000 containers, p50", ms(percentile(&took, 50.0)), "ms").print();
    Figure::new("page of 100 of 30,000 containers, p99", ms(percentile(&took, 99.0)), "ms").at_most(20.0).print();

    let whole = load::one_by_one(server.address, &asked("/api/containers"), rounds(30, 10)).await?;
    Figure::new("list of 30,000 containers, p50", ms(percentile(&whole, 50.0)), "ms").at_most(100.0).print();
    let before = support::process::resident_mb(&server.pid());
    load::at_once(server.address, &asked("/api/containers"), 8, Duration::from_secs(rounds(5, 2))).await?;
    let peak = support::process::peak_mb(&server.pid());
    Figure::new("most memory while 8 read the whole list", peak, "MB").against(before).print();

    for (name, path) in [
        ("cluster info, 1,000 engines", "/api/cluster/info".to_owned()),
        ("one container by id", format!("/api/containers/{middle}")),
        ("one container by prefix", format!("/api/containers/{}", &middle[..12])),
    ] {
        let took = load::one_by_one(server.address, &asked(&path), rounds(5_000, 1_000)).await?;
        Figure::new(format!("{name}, p99"), ms(percentile(&took, 99.0)), "ms").at_most(1.0).print();
    }

    for (name, path) in [
        ("nothing but the way there and back", "/healthz".to_owned()),
        ("one container, authenticated", format!("/api/containers/{middle}")),
        ("cluster info, authenticated", "/api/cluster/info".to_owned()),
    ] {
        let mut rates = Vec::new();
        for _ in 0..3 {
            let time = Duration::from_secs(rounds(4, 2));
            rates.push(load::at_once(server.address, &asked(&path), 32, time).await?.0);
        }
        let figure = Figure::new(format!("requests: {name}"), median(rates), "/s");
        if path == "/healthz" { figure } else { figure.at_least(20_000.0) }.print();
    }
    Ok(())
}
