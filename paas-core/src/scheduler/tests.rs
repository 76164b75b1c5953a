//! Placement against its plain definition: score all, take the best, reserve, repeat.

mod many;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::{ContainerSpec, ContainerType, Cpus, EngineStatus, HostPort, MemoryMb, Protocol, Resources};

fn engine(id: &str, cpus: u64, memory: u64) -> EngineState {
    let total = Resources { cpus: Cpus::from_milli(cpus), memory: MemoryMb::new(memory) };
    EngineState::new(id.parse().unwrap(), total)
}

fn request(count: usize, milli: u64, memory: u64) -> PlacementRequest {
    let mut spec = ContainerSpec::new("web".parse().unwrap());
    spec.cpus = Some(Cpus::from_milli(milli));
    spec.memory = Some(MemoryMb::new(memory));
    PlacementRequest::new(&spec, count)
}

fn per_engine(placed: &[EngineId]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for id in placed {
        *counts.entry(id.as_str()).or_default() += 1;
    }
    counts
}

#[test]
fn thirty_on_three_equal_engines_are_ten_each() {
    let snapshot: Snapshot = ["a", "b", "c"].map(|id| engine(id, 4000, 8192)).into_iter().collect();
    let placed = Spread::default().place(&snapshot, &request(30, 100, 64)).unwrap();
    assert_eq!(per_engine(&placed), BTreeMap::from([("a", 10), ("b", 10), ("c", 10)]));
}

#[test]
fn the_score_is_the_thesis_formula() {
    let total = Resources { cpus: Cpus::from_milli(4000), memory: MemoryMb::new(1000) };
    let reserved = Resources { cpus: Cpus::from_milli(1000), memory: MemoryMb::new(500) };
    assert!((Weights::default().score(total, reserved) - (0.75 * 65.0 + 0.5 * 35.0)).abs() < 1e-9);
}

#[test]
fn weights_that_make_no_sense_are_refused() {
    for (cpu, memory) in [(0.0, 0.0), (-1.0, 2.0), (f64::NAN, 1.0), (1.0, f64::INFINITY)] {
        assert!(Weights::new(cpu, memory).is_err(), "{cpu} {memory}");
    }
    assert!(Weights::new(1.0, 0.0).is_ok());
    assert!(Weights::new(0.0, 0.0).unwrap_err().message.starts_with("are both 0"));
    assert!(Weights::new(1.0, -2.0).unwrap_err().message.ends_with("and -2 is none"));
}

#[test]
fn ties_go_to_fewer_containers_and_then_to_the_first_id() {
    let mut a = engine("a", 4000, 8192);
    a.containers = 1;
    let snapshot: Snapshot = [a, engine("c", 4000, 8192), engine("b", 4000, 8192)].into_iter().collect();
    assert_eq!(Spread::default().place(&snapshot, &request(1, 100, 64)).unwrap()[0].as_str(), "b");
}

#[test]
fn packing_fills_one_engine_before_it_begins_another() {
    let snapshot: Snapshot = ["a", "b", "c"].map(|id| engine(id, 4000, 8192)).into_iter().collect();
    let placed = Binpack::default().place(&snapshot, &request(6, 1000, 64)).unwrap();
    assert_eq!(per_engine(&placed), BTreeMap::from([("a", 4), ("b", 2)]));
}

#[test]
fn each_type_has_its_filters() {
    let mut ssd = engine("ssd", 4000, 8192);
    ssd.labels.insert("ssd".into());
    let mut used = engine("used", 4000, 8192);
    used.labels.insert("ssd".into());
    used.add_image("docker.io/library/web:latest");
    let snapshot: Snapshot = [ssd, used, engine("plain", 8000, 8192)].into_iter().collect();
    let fitting = |kind, label: &str| -> Vec<String> {
        let mut request = request(1, 100, 64);
        request.kind = kind;
        request.labels.insert(label.to_owned());
        let fits = snapshot.engines().filter(|engine| judge(engine, &request).fits());
        fits.map(|engine| engine.id.to_string()).collect()
    };
    assert_eq!(fitting(ContainerType::Service, "ssd"), ["ssd", "used"]);
    assert_eq!(fitting(ContainerType::Unique, "ssd"), ["plain", "ssd"]);
    assert_eq!(fitting(ContainerType::Multi, "ssd"), ["ssd"]);
    assert_eq!(fitting(ContainerType::Host, "host:used"), ["used"]);
}

#[test]
fn what_asks_for_no_cpu_goes_where_others_took_more_than_there_is() {
    let mut full = engine("a", 1000, 1000);
    full.reserved.cpus = Cpus::from_milli(1500);
    let snapshot: Snapshot = [full].into_iter().collect();
    assert_eq!(
        per_engine(&Spread::default().place(&snapshot, &request(3, 0, 100)).unwrap()),
        BTreeMap::from([("a", 3)])
    );
    assert!(Spread::default().place(&snapshot, &request(1, 100, 100)).is_err());
}

#[test]
fn a_container_goes_only_where_its_network_and_its_cpus_are() {
    let mut small = engine("a", 8000, 8192);
    // The operator says that there is more to give out than the daemon has.
    small.cpu_count = Some(1);
    small.networks = Some(BTreeSet::from(["frontend".to_owned()]));
    let mut large = engine("b", 2000, 8192);
    large.cpu_count = Some(2);
    large.networks = Some(BTreeSet::from(["backend".to_owned(), "0123456789ab".to_owned()]));
    let snapshot: Snapshot = [small, large].into_iter().collect();
    let placed = |change: &dyn Fn(&mut ContainerSpec), overbooking| {
        let mut spec = ContainerSpec::new("web".parse().unwrap());
        change(&mut spec);
        let request = PlacementRequest { overbooking, ..PlacementRequest::new(&spec, 1) };
        Spread::default().place(&snapshot, &request).ok().map(|placed| placed[0].to_string())
    };
    let on = |engine: &str| Some(engine.to_owned());
    assert_eq!(placed(&|spec| spec.cpus = Some(Cpus::from_milli(1001)), 1.0), on("b"));
    // What is to be given out can be stretched, the host cannot.
    assert_eq!(placed(&|spec| spec.cpus = Some(Cpus::from_milli(2500)), 2.0), None);
    assert_eq!(placed(&|spec| spec.cpuset = Some("1".into()), 1.0), on("b"));
    assert_eq!(placed(&|spec| spec.cpuset = Some("0,2-3".into()), 1.0), None);
    for (network, engine) in [("backend", on("b")), ("frontend", on("a")), ("0123", on("b")), ("back", None)] {
        assert_eq!(placed(&|spec| spec.network_mode = network.into(), 1.0), engine, "{network}");
    }
    for mode in ["bridge", "default", "host", "none", "container:x"] {
        assert!(placed(&|spec| spec.network_mode = mode.into(), 1.0).is_some(), "{mode}");
    }
}

#[test]
fn both_strategies_conform() {
    crate::testing::scheduler::conforms(&Spread::default());
    crate::testing::scheduler::conforms(&Binpack::default());
}

#[test]
fn overbooking_is_a_setting() {
    let snapshot: Snapshot = [engine("a", 1000, 1000)].into_iter().collect();
    let mut asked = request(3, 500, 500);
    assert!(Spread::default().place(&snapshot, &asked).is_err());
    asked.overbooking = 1.5;
    assert!(Spread::default().place(&snapshot, &asked).is_ok());
}

/// The definition itself.
fn plainly(
    snapshot: &Snapshot,
    request: &PlacementRequest,
    score: impl Fn(Resources, Resources) -> f64,
) -> Option<Vec<EngineId>> {
    let mut snapshot = snapshot.clone();
    let mut placed = Vec::new();
    for _ in 0..request.count {
        let fitting = snapshot.engines().filter(|engine| judge(engine, request).fits());
        let best = fitting.reduce(|best, next| {
            let value = |engine: &EngineState| score(engine.total, engine.reserved + request.resources);
            let better = value(next) > value(best) || (value(next) == value(best) && next.containers < best.containers);
            if better { next } else { best }
        });
        let id = best?.id.clone();
        snapshot.reserve(&id, request);
        placed.push(id);
    }
    Some(placed)
}

fn any_engine(index: usize) -> impl Strategy<Value = EngineState> {
    let sizes = (1..=8_u64, 1..=16_u64, 0..6_u64, 0..10_u64);
    let flags = (0..10_u8, any::<bool>(), any::<bool>(), prop::option::of(80..83_u16));
    (sizes, flags).prop_map(move |((cpus, memory, used_cpus, used_memory), (status, ssd, has_web, port))| {
        let mut engine = engine(&format!("e{index:02}"), cpus * 1000, memory * 256);
        engine.status = match status {
            0 => EngineStatus::Down,
            1 => EngineStatus::Pending,
            _ => EngineStatus::Up,
        };
        engine.draining = status == 2;
        // Others may have started more than fits.
        engine.reserved =
            Resources { cpus: Cpus::from_milli(used_cpus * 500), memory: MemoryMb::new(used_memory * 200) };
        engine.containers = used_cpus as usize;
        if ssd {
            engine.labels.insert("ssd".into());
        }
        if has_web {
            engine.add_image("docker.io/library/web:latest");
        }
        engine.host_ports.extend(port.map(|port| HostPort { proto: Protocol::Tcp, ip: None, port }));
        engine
    })
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    (0..12_usize)
        .prop_flat_map(|count| (0..count).map(any_engine).collect::<Vec<_>>())
        .prop_map(|engines| engines.into_iter().collect())
}

fn any_request() -> impl Strategy<Value = PlacementRequest> {
    let kinds = [ContainerType::Service, ContainerType::Unique, ContainerType::Multi, ContainerType::Host];
    (
        1..25_usize,
        0..30_u64,
        0..20_u64,
        prop::sample::select(kinds.to_vec()),
        any::<bool>(),
        prop::option::of(80..83_u16),
        prop::option::weighted(0.2, 0..6_u32),
        prop::option::weighted(0.2, prop::sample::select(vec!["backend", "badc", "nowhere"])),
    )
        .prop_map(|(count, tenths, memory, kind, ssd, port, cpu, network)| {
            let mut request = request(count, tenths * 100, memory * 64);
            request.highest_cpu = cpu;
            request.network = network.map(str::to_owned);
            request.kind = kind;
            if ssd {
                request.labels.insert("ssd".into());
            }
            if kind == ContainerType::Host {
                request.labels.insert("host:e01".into());
            }
            request.host_ports =
                port.map(|port| HostPort { proto: Protocol::Tcp, ip: None, port }).into_iter().collect();
            request
        })
}

proptest! {
    #[test]
    fn spreading_is_its_plain_definition(snapshot in any_snapshot(), request in any_request()) {
        let weights = Weights::default();
        let expected = plainly(&snapshot, &request, |total, reserved| weights.score(total, reserved));
        prop_assert_eq!(Spread::default().place(&snapshot, &request).ok(), expected);
    }

    #[test]
    fn packing_is_its_plain_definition(snapshot in any_snapshot(), request in any_request()) {
        let weights = Weights::default();
        let expected = plainly(&snapshot, &request, |total, reserved| -weights.score(total, reserved));
        prop_assert_eq!(Binpack::default().place(&snapshot, &request).ok(), expected);
    }

    #[test]
    fn nothing_is_promised_twice(snapshot in any_snapshot(), request in any_request()) {
        let Ok(placed) = Spread::default().place(&snapshot, &request) else { return Ok(()) };
        prop_assert_eq!(placed.len(), request.count);
        for (id, count) in per_engine(&placed) {
            let engine = snapshot.get(&id.parse().unwrap()).unwrap();
            // Others may have taken more than there is; what is reserved here comes from what they left.
            let (reserved, free) = (request.resources * count as u64, engine.free());
            prop_assert!(reserved.cpus <= free.cpus && reserved.memory <= free.memory);
            prop_assert!(count == 1 || (!request.kind.needs_unique() && request.host_ports.is_empty()));
            prop_assert_eq!(engine.status, EngineStatus::Up);
        }
    }

    #[test]
    fn a_refusal_counts_every_engine(snapshot in any_snapshot(), request in any_request()) {
        let Err(refusal) = Spread::default().place(&snapshot, &request) else { return Ok(()) };
        prop_assert!(refusal.possible < request.count);
        prop_assert_eq!(refusal.engines, snapshot.len());
        prop_assert!(refusal.engines == 0 || !refusal.reasons.is_empty());
        let ids: BTreeSet<_> = snapshot.engines().map(|engine| &engine.id).collect();
        prop_assert_eq!(ids.len(), refusal.engines);
    }
}
