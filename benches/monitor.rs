//! What it costs to watch a thousand engines: a share of one core, while nothing happens on them.
//!
//! Run with `cargo bench --bench monitor`. The goal is less than 5 % of one core at one probe per second.

use std::time::{Duration, Instant};

use paas_core::controller::{Actor, Controller};
use paas_core::model::EngineSpec;

const ENGINES: [usize; 3] = [10, 100, 1000];
const WATCHED_FOR: Duration = Duration::from_secs(20);
/// Clock ticks a second in `/proc/self/stat`, as on every Linux.
const TICKS: f64 = 100.0;

/// CPU time of this process, seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // User and system time are the 14th and 15th field; two stand before the end of the name.
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    println!("{:>8}  {:>14}  {:>6}", "engines", "% of one core", "goal");
    for count in ENGINES {
        let controller = Controller::builder().build().await?;
        for number in 0..count {
            let spec =
                EngineSpec::new(format!("e{number}").parse()?, format!("sim://monitor-{count}-{number}").parse()?);
            controller.add_engine(&Actor::system(), spec).await?;
        }
        // Past what adding them costs.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (began, before) = (Instant::now(), cpu_seconds());
        tokio::time::sleep(WATCHED_FOR).await;
        let share = (cpu_seconds() - before) / began.elapsed().as_secs_f64() * 100.0;
        let goal = if count == 1000 { "< 5" } else { "" };
        println!("{count:>8}  {share:>14.2}  {goal:>6}");
        controller.shutdown().await;
    }
    Ok(())
}
