//! Deciding: placing containers on up to 10,000 engines, against the plain definition: score all, take the best, reserve,
//! repeat.
//!
//! Run with `cargo bench --bench scheduling`. Deciding is one thread's work, so a figure per second is per core.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use paas_core::model::MemoryMb;
use paas_core::scheduler::{Binpack, PlacementRequest, Scheduler, Snapshot, Spread};

use support::decide::{decide_one_by_one, empty_engines, plainly, request, used_engines};
use support::{Figure, percentile, rounds, us};

fn main() {
    batches();
    single_decisions();
    taking_turns();
}

/// Placements per second when ten per engine are asked for at once. The best of several runs: a long one is interrupted by
/// whatever else the machine does, and a short one is not, so their medians could not be compared.
fn batch_rate(snapshot: &Snapshot, labelled: bool) -> f64 {
    let request = request(snapshot.len() * 10, labelled);
    let runs = (0..rounds(50, 20)).map(|_| {
        let begun = Instant::now();
        let placed = black_box(Spread::default().place(black_box(snapshot), &request).unwrap());
        placed.len() as f64 / begun.elapsed().as_secs_f64()
    });
    runs.fold(0.0, f64::max)
}

fn batches() {
    // What the definition costs, where it can be waited for; and that it is kept.
    let few = used_engines(100);
    let many = request(1000, true);
    let begun = Instant::now();
    let expected = plainly(&few, &many);
    let plain_rate = many.count as f64 / begun.elapsed().as_secs_f64();
    assert_eq!(Spread::default().place(&few, &many).unwrap(), expected);
    Figure::new("batch of 1,000 on 100 engines", batch_rate(&few, true), "/s").against(plain_rate).print();

    let (thousand, ten_thousand) = (used_engines(1_000), used_engines(10_000));
    for labelled in [false, true] {
        let name = if labelled { ", labelled" } else { "" };
        let rate = batch_rate(&ten_thousand, labelled);
        Figure::new(format!("batch of 100,000 on 10,000 engines{name}"), rate, "/s").at_least(1e6).print();
        let smaller = batch_rate(&thousand, labelled);
        let growth = Figure::new(format!("per placement, 1,000 to 10,000 engines{name}"), 1e9 / rate, "ns");
        growth.against(1e9 / smaller).ratio_at_most(1.5).print();
    }
}

fn single_decisions() {
    for (name, snapshot) in [("empty", empty_engines(10_000)), ("used", used_engines(10_000))] {
        let took = decide_one_by_one(&mut snapshot.clone(), rounds(50_000, 10_000));
        let plain = plain_decision(&snapshot);
        Figure::new(format!("one decision, 10,000 {name} engines, p50"), us(percentile(&took, 50.0)), "us")
            .against(us(plain))
            .print();
        Figure::new(format!("one decision, 10,000 {name} engines, p99"), us(percentile(&took, 99.0)), "us")
            .against(us(plain))
            .at_most(100.0)
            .print();
        let refused = too_large();
        let mut took =
            time(rounds(200, 50), || drop(black_box(Spread::default().place(&snapshot, &refused)).unwrap_err()));
        took.sort_unstable();
        Figure::new(format!("one refusal, 10,000 {name} engines, p50"), us(percentile(&took, 50.0)), "us").print();
        let packed = request(1, true);
        let mut took =
            time(rounds(5000, 500), || drop(black_box(Binpack::default().place(&snapshot, &packed)).unwrap()));
        took.sort_unstable();
        Figure::new(format!("one packed, 10,000 {name} engines, p99"), us(percentile(&took, 99.0)), "us")
            .at_most(100.0)
            .print();
    }
}

/// More memory than any engine has.
fn too_large() -> PlacementRequest {
    let mut request = request(1, true);
    request.resources.memory = MemoryMb::new(1 << 20);
    request
}

/// How long the definition takes for one; the best of a few.
fn plain_decision(snapshot: &Snapshot) -> Duration {
    let request = request(1, true);
    // It clones the snapshot, which is not what is to be measured.
    let none = PlacementRequest { count: 0, ..request.clone() };
    let best = |request| time(10, || drop(black_box(plainly(snapshot, request)))).into_iter().min().unwrap_or_default();
    best(&request).saturating_sub(best(&none))
}

fn time(rounds: usize, mut what: impl FnMut()) -> Vec<Duration> {
    let timed = (0..rounds).map(|_| {
        let begun = Instant::now();
        what();
        begun.elapsed()
    });
    timed.collect()
}

/// A decision and its reservation, again and again, as a server does it for 100,000 users in turn.
fn taking_turns() {
    let mut snapshot = empty_engines(10_000);
    let count = rounds(100_000, 20_000);
    let requests = [request(1, false), request(1, true)];
    let begun = Instant::now();
    for number in 0..count {
        let request = &requests[number % 2];
        let placed = Spread::default().place(&snapshot, request).unwrap();
        snapshot.reserve(&placed[0], request);
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    Figure::new("one by one with reservation, 10,000 engines", rate, "/s").print();
}
