//! What it costs to watch a thousand engines: a share of one core, while nothing happens on them.
//!
//! Run with `cargo bench --bench monitor`. The goal is less than 5 % of one core at one probe per second.

mod support;

use std::time::{Duration, Instant};

use paas_core::controller::{Actor, Controller};
use paas_core::model::EngineSpec;

use support::process::cpu_seconds;
use support::{Figure, rounds};

const ENGINES: [usize; 3] = [10, 100, 1000];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let watched_for = Duration::from_secs(rounds(20, 5));
    for count in ENGINES {
        let controller = Controller::builder().build().await?;
        for number in 0..count {
            let spec =
                EngineSpec::new(format!("e{number}").parse()?, format!("sim://monitor-{count}-{number}").parse()?);
            controller.add_engine(&Actor::system(), spec).await?;
        }
        // Past what adding them costs.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (began, before) = (Instant::now(), cpu_seconds("self"));
        tokio::time::sleep(watched_for).await;
        let share = (cpu_seconds("self") - before) / began.elapsed().as_secs_f64() * 100.0;
        let figure = Figure::new(format!("idle CPU, {count} engines"), share, "% of a core");
        let figure = if count == 1000 { figure.at_most(5.0) } else { figure };
        figure.print();
        controller.shutdown().await;
    }
    Ok(())
}
