//! Lets simulated worlds go their way, one for each seed, on as many threads as there are CPUs: `cargo xtask simulate`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use paas_core::testing::simulation;

/// At how many seeds that fail it is enough.
const ENOUGH: usize = 5;

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let mut seeds = 0..300_u64;
    let mut shows_story = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = arguments.next().and_then(|text| text.parse::<u64>().ok());
        match (argument.as_str(), number) {
            ("--seeds", Some(count)) => seeds.end = seeds.start.saturating_add(count),
            ("--from", Some(from)) => seeds = from..from + (seeds.end - seeds.start),
            ("--seed", Some(seed)) => (seeds, shows_story) = (seed..seed + 1, true),
            _ => {
                eprintln!("usage: simulate [--from SEED] [--seeds COUNT] | --seed SEED");
                return ExitCode::from(2);
            }
        }
    }
    let failed = go(seeds.clone(), shows_story);
    println!("{} seeds from {}: {failed} failed", seeds.end - seeds.start, seeds.start);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many of the seeds failed; not all are tried when many do.
fn go(seeds: std::ops::Range<u64>, shows_story: bool) -> usize {
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicUsize::new(0));
    let work = || {
        while failed.load(Ordering::Relaxed) < ENOUGH {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcome = simulation::run(seed);
            if shows_story {
                outcome.story.iter().for_each(|line| println!("{line}"));
            }
            if outcome.broken.is_some() {
                failed.fetch_add(1, Ordering::Relaxed);
                println!("{outcome}\nthe same again: cargo xtask simulate --seed {seed}\n");
            }
            if (seed + 1).is_multiple_of(1000) {
                eprintln!("{} seeds begun", seed + 1 - seeds.start);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    failed.into_inner()
}
