//! Growth: the same at 10, 100, 1,000 and 10,000 engines.
//!
//! Run with `cargo bench --bench growth`. It draws `docs/growth.svg` when it runs in full; in the short form it stops at 1,000
//! engines and draws nothing. The engines are simulated within the server, with three containers on each, so memory and list
//! time are those of the simulation, too.

mod support;

use std::time::Duration;

use anyhow::{Context, Result};

use support::decide::{decide_one_by_one, used_engines};
use support::plot::{Chart, svg};
use support::process::{cpu_seconds, resident_mb};
use support::server::{Server, simulated};
use support::{Figure, is_short, load, ms, percentile, rounds, us};

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
const CONTAINERS_PER_ENGINE: usize = 3;

#[tokio::main]
async fn main() -> Result<()> {
    let mut charts = [
        Chart { title: "One decision, median", unit: "µs", points: Vec::new() },
        Chart { title: "Memory of the server", unit: "MB", points: Vec::new() },
        Chart { title: "Idle CPU", unit: "% of a core", points: Vec::new() },
        Chart { title: "List of all containers, median", unit: "ms", points: Vec::new() },
    ];
    let sizes = &SIZES[..rounds(4, 3)];
    for &engines in sizes {
        let values = measure(engines).await?;
        for (chart, value) in charts.iter_mut().zip(values) {
            chart.points.push((engines as f64, value));
        }
    }
    for chart in &charts {
        let (first, last) = chart.points.first().zip(chart.points.last()).context("nothing was measured")?;
        let name = format!("growth: {}, {} to {} engines", chart.title, first.0, last.0);
        // No faster than the engines.
        Figure::new(name, last.1, chart.unit).against(first.1).ratio_at_most(last.0 / first.0).print();
    }
    if !is_short() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/growth.svg"), svg(&charts))?;
    }
    Ok(())
}

/// Decision in microseconds, memory in megabytes, idle CPU in percent of a core, list in milliseconds.
async fn measure(engines: usize) -> Result<[f64; 4]> {
    let decisions = decide_one_by_one(&mut used_engines(engines), rounds(20_000, 5_000).min(engines * 10));
    let decision = us(percentile(&decisions, 50.0));

    let server = Server::start(&simulated(engines)).await?;
    let token = server.token().await?;
    server.run(&token, engines * CONTAINERS_PER_ENGINE).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (before, time) = (cpu_seconds(&server.pid()), Duration::from_secs(rounds(30, 10)));
    tokio::time::sleep(time).await;
    let idle = (cpu_seconds(&server.pid()) - before) / time.as_secs_f64() * 100.0;
    // Launching has come to rest by now.
    let list = load::one_by_one(server.address, &load::get("/api/containers", &token), rounds(20, 5)).await?;
    let values = [decision, resident_mb(&server.pid()), idle.max(0.01), ms(percentile(&list, 50.0))];
    println!("{engines:>6} engines: {decision:.2} us, {:.1} MB, {idle:.2} %, {:.2} ms", values[1], values[3]);
    Ok(values)
}
