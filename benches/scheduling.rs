//! Placing containers on many engines, against the plain definition: score all, take the best, reserve, repeat.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(missing_docs, reason = "the macro that makes the main function has none")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use paas_core::model::{ContainerSpec, Cpus, EngineId, MemoryMb, Resources};
use paas_core::scheduler::{EngineState, PlacementRequest, Scheduler, Snapshot, Spread, Weights, judge};

/// Engines of three sizes, every second one with a label.
fn engines(count: usize) -> Snapshot {
    let engine = |index: usize| {
        let size = [4, 16, 64][index % 3];
        let total = Resources { cpus: Cpus::from_milli(size * 1000), memory: MemoryMb::new(size * 2048) };
        let mut engine = EngineState::new(format!("engine-{index:05}").parse().unwrap(), total);
        if index.is_multiple_of(2) {
            engine.labels.insert("ssd".to_owned());
        }
        engine
    };
    (0..count).map(engine).collect()
}

fn request(count: usize, labelled: bool) -> PlacementRequest {
    let mut spec = ContainerSpec::new("web".parse().unwrap());
    spec.cpus = Some(Cpus::from_milli(100));
    spec.memory = Some(MemoryMb::new(64));
    if labelled {
        spec.labels.insert("ssd".to_owned());
    }
    PlacementRequest::new(&spec, count)
}

fn plainly(snapshot: &Snapshot, request: &PlacementRequest) -> Vec<EngineId> {
    let weights = Weights::default();
    let mut snapshot = snapshot.clone();
    let mut placed = Vec::new();
    for _ in 0..request.count {
        let score = |engine: &&EngineState| weights.score(engine.total, engine.reserved + request.resources);
        let fitting = snapshot.engines().iter().filter(|engine| judge(engine, request).fits());
        let best = fitting.max_by(|a, b| score(a).total_cmp(&score(b))).unwrap().id.clone();
        snapshot.get_mut(&best).unwrap().reserve(request);
        placed.push(best);
    }
    placed
}

fn scheduling(c: &mut Criterion) {
    let mut group = c.benchmark_group("place");
    group.measurement_time(Duration::from_secs(3));
    for size in [10, 100, 1_000, 10_000] {
        let snapshot = engines(size);
        for labelled in [false, true] {
            let name = if labelled { "one-labelled" } else { "one" };
            group.throughput(Throughput::Elements(1));
            group.bench_with_input(BenchmarkId::new(name, size), &snapshot, |b, snapshot| {
                let request = request(1, labelled);
                b.iter(|| Spread::default().place(black_box(snapshot), &request).unwrap());
            });
        }
        let batch = size * 10;
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_with_input(BenchmarkId::new("batch", batch), &snapshot, |b, snapshot| {
            let request = request(batch, true);
            b.iter(|| Spread::default().place(black_box(snapshot), &request).unwrap());
        });
        if size <= 100 {
            group.bench_with_input(BenchmarkId::new("batch-plainly", batch), &snapshot, |b, snapshot| {
                let request = request(batch, true);
                b.iter(|| plainly(black_box(snapshot), &request));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, scheduling);
criterion_main!(benches);
