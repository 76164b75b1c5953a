//! Engines and requests to decide about, and the plain definition to hold decisions against.

use std::time::{Duration, Instant};

use paas_core::model::{ContainerSpec, ContainerType, Cpus, EngineId, MemoryMb, Resources};
use paas_core::scheduler::{EngineState, PlacementRequest, Scheduler, Snapshot, Spread, Weights, judge};

/// Numbers that look random and are the same in every run.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that always begin alike.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Engines of three sizes, every second one with a label. Empty ones.
pub fn empty_engines(count: usize) -> Snapshot {
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

/// The same with thirty containers of several kinds on each, as they come about when they are placed one by one.
pub fn used_engines(count: usize) -> Snapshot {
    let mut snapshot = empty_engines(count);
    let mut dice = Dice::new(1);
    let ids: Vec<EngineId> = snapshot.engines().map(|engine| engine.id.clone()).collect();
    // Each kind is spread on its own, so that engines are about equally full, and none exactly like another.
    for kind in 0..10 {
        let request = PlacementRequest { count: 3 * count, ..any_request(&mut dice, kind) };
        let plain = PlacementRequest { kind: ContainerType::Service, host_ports: Vec::new(), ..request };
        for id in Spread::default().place(&snapshot, &plain).unwrap_or_default() {
            snapshot.reserve(&id, &plain);
        }
    }
    for _ in 0..count {
        let id = &ids[dice.below(count as u64) as usize];
        snapshot.reserve(id, &any_request(&mut dice, 99));
    }
    snapshot
}

/// `count` containers of one small spec, on engines with a label or on any.
pub fn request(count: usize, labelled: bool) -> PlacementRequest {
    let mut spec = ContainerSpec::new("web".parse().unwrap());
    spec.cpus = Some(Cpus::from_milli(100));
    spec.memory = Some(MemoryMb::new(64));
    if labelled {
        spec.labels.insert("ssd".to_owned());
    }
    PlacementRequest::new(&spec, count)
}

/// One container, as the `number`th user asks for it: half of them with a label, one in ten once per engine, one in ten with
/// a port of the host, and each a little different in size.
pub fn any_request(dice: &mut Dice, number: u64) -> PlacementRequest {
    let mut spec = ContainerSpec::new(format!("app-{}", number % 20).parse().unwrap());
    spec.cpus = Some(Cpus::from_milli(20 + 10 * dice.below(8)));
    spec.memory = Some(MemoryMb::new(32 + 16 * dice.below(8)));
    if dice.below(2) == 0 {
        spec.labels.insert("ssd".to_owned());
    }
    match dice.below(10) {
        0 => spec.kind = ContainerType::Unique,
        1 => spec.bind_ports = vec![format!(":{}:80", 8000 + dice.below(4)).parse().unwrap()],
        _ => {}
    }
    PlacementRequest::new(&spec, 1)
}

/// The definition: score all, take the best, reserve, repeat.
pub fn plainly(snapshot: &Snapshot, request: &PlacementRequest) -> Vec<EngineId> {
    let weights = Weights::default();
    let mut snapshot = snapshot.clone();
    let mut placed = Vec::new();
    for _ in 0..request.count {
        let score = |engine: &EngineState| weights.score(engine.total, engine.reserved + request.resources);
        let fitting = snapshot.engines().filter(|engine| judge(engine, request).fits());
        let best = fitting.reduce(|best, next| {
            let key = |engine| (score(engine), std::cmp::Reverse(engine.containers));
            if key(next) > key(best) { next } else { best }
        });
        let Some(id) = best.map(|best| best.id.clone()) else { break };
        snapshot.reserve(&id, request);
        placed.push(id);
    }
    placed
}

/// How long each of `rounds` decisions took, sorted. Each is carried out before the next is asked for.
pub fn decide_one_by_one(snapshot: &mut Snapshot, rounds: usize) -> Vec<Duration> {
    let mut dice = Dice::new(7);
    let scheduler = Spread::default();
    let mut took = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let request = any_request(&mut dice, round as u64);
        let begun = Instant::now();
        let placed = std::hint::black_box(scheduler.place(snapshot, &request));
        took.push(begun.elapsed());
        for id in placed.into_iter().flatten() {
            snapshot.reserve(&id, &request);
        }
    }
    took.sort_unstable();
    took
}
