//! The same with so many engines that the index has several blocks, after any changes.

use proptest::sample::{Index as Any, select};

use super::*;

/// Sizes that share a block, and sizes that do not.
const SIZES: [(u64, u64); 5] = [(4000, 8192), (4000, 8191), (16_000, 32_768), (16_000, 32_768), (3000, 1000)];

fn many_engines() -> impl Strategy<Value = Vec<EngineState>> {
    let one = (select(SIZES.to_vec()), 0..4_u64, 0..4_u64, 0..4_usize, 0..12_u8);
    prop::collection::vec(one, 1..300).prop_map(|engines| {
        let numbered = engines.into_iter().enumerate();
        numbered
            .map(|(number, ((cpus, memory), used_cpus, used_memory, containers, kind))| {
                // Ids whose order is not the one in which they come.
                let mut engine = engine(&format!("e{}", number * 7919 % 1000), cpus, memory);
                engine.reserved =
                    Resources { cpus: Cpus::from_milli(used_cpus * 100), memory: MemoryMb::new(used_memory * 64) };
                engine.containers = containers;
                engine.draining = kind == 0;
                engine.status = if kind == 1 { EngineStatus::Down } else { EngineStatus::Up };
                if kind % 2 == 0 {
                    engine.labels.insert("ssd".into());
                }
                engine.cpu_count = (kind % 4 != 1).then_some(u32::from(kind) / 2);
                if kind % 3 != 1 {
                    let networks: &[&str] = if kind < 6 { &["backend", "badc0ffee"] } else { &[] };
                    engine.networks = Some(networks.iter().map(|&network| network.to_owned()).collect());
                }
                if kind % 3 == 0 {
                    engine.add_image("docker.io/library/web:latest");
                }
                let ip = (kind % 4 == 0).then(|| "10.0.0.1".parse().unwrap());
                if kind % 5 == 0 {
                    engine.host_ports.insert(HostPort { proto: Protocol::Tcp, ip, port: 80 });
                }
                engine
            })
            .collect()
    })
}

/// Something that happens to an engine.
#[derive(Clone, Debug)]
enum Change {
    Remove,
    Resize(u64, u64),
    Label(bool),
    Status(EngineStatus),
    Take(Option<u64>, u16),
    GiveBack(Option<u64>, u16),
}

fn any_change() -> impl Strategy<Value = Change> {
    let statuses = [EngineStatus::Up, EngineStatus::Suspect, EngineStatus::Down];
    prop_oneof![
        1 => Just(Change::Remove),
        1 => select(SIZES.to_vec()).prop_map(|(cpus, memory)| Change::Resize(cpus, memory)),
        1 => any::<bool>().prop_map(Change::Label),
        1 => select(statuses.to_vec()).prop_map(Change::Status),
        4 => (prop::option::of(0..500_u64), 80..83_u16).prop_map(|(cpus, port)| Change::Take(cpus, port)),
        4 => (prop::option::of(0..500_u64), 80..83_u16).prop_map(|(cpus, port)| Change::GiveBack(cpus, port)),
    ]
}

fn apply(snapshot: &mut Snapshot, id: &EngineId, change: &Change) {
    let ports = |port: u16| [HostPort { proto: Protocol::Tcp, ip: None, port }];
    let resources = |cpus: u64| Resources { cpus: Cpus::from_milli(cpus), memory: MemoryMb::new(cpus) };
    match *change {
        Change::Remove => drop(snapshot.remove(id)),
        Change::Resize(cpus, memory) => {
            let total = Resources { cpus: Cpus::from_milli(cpus), memory: MemoryMb::new(memory) };
            snapshot.update(id, |state| state.total = total);
        }
        Change::Label(has) => {
            let labels = BTreeSet::from_iter(has.then(|| "ssd".to_owned()));
            snapshot.update(id, |state| state.labels = labels);
        }
        Change::Status(status) => {
            snapshot.update(id, |state| state.status = status);
        }
        Change::Take(cpus, port) => {
            let allocation = AllocationRef {
                resources: cpus.map(resources),
                image: Some("docker.io/library/web:latest"),
                ports: &ports(port),
            };
            snapshot.take(id, allocation);
        }
        Change::GiveBack(cpus, port) => {
            let (ports, Some(state)) = (ports(port), snapshot.get(id)) else { return };
            // Only what is there can be given back.
            let has_port = state.host_ports.contains(&ports[0]);
            let has_image = state.images.contains_key("docker.io/library/web:latest");
            let asked = resources(cpus.unwrap_or(0));
            let enough = asked.cpus <= state.reserved.cpus && asked.memory <= state.reserved.memory;
            let enough = enough && state.containers > 0;
            let allocation = AllocationRef {
                resources: cpus.filter(|_| enough).map(resources),
                image: has_image.then_some("docker.io/library/web:latest"),
                ports: if has_port { &ports } else { &[] },
            };
            snapshot.give_back(id, allocation).unwrap();
        }
    }
}

fn any_weights() -> impl Strategy<Value = Weights> {
    let known = [(65.0, 35.0), (1.0, 0.0), (0.0, 1.0), (50.0, 50.0), (35.0, 65.0), (6.5, 3.5)];
    select(known.to_vec()).prop_map(|(cpu, memory)| Weights { cpu, memory })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::testing::tier::seeds(200) as u32))]

    #[test]
    fn both_strategies_are_their_plain_definition(
        engines in many_engines(),
        changes in prop::collection::vec((any::<Any>(), any_change()), 0..40),
        requests in prop::collection::vec(any_request(), 1..6),
        weights in any_weights(),
    ) {
        let mut snapshot: Snapshot = engines.into_iter().collect();
        for (which, change) in &changes {
            let Some(id) = (!snapshot.is_empty()).then(|| snapshot.at(which.index(snapshot.len())).id.clone()) else { break };
            apply(&mut snapshot, &id, change);
        }
        prop_assert_eq!(snapshot.audit(), Ok(()));
        for request in &requests {
            let single = PlacementRequest { count: 1, ..request.clone() };
            for request in [request, &single] {
                let packed = plainly(&snapshot, request, |total, reserved| -weights.score(total, reserved));
                prop_assert_eq!(Binpack::new(weights).place(&snapshot, request).ok(), packed);
                let spread = plainly(&snapshot, request, |total, reserved| weights.score(total, reserved));
                let placed = Spread::new(weights).place(&snapshot, request);
                prop_assert_eq!(placed.as_ref().ok(), spread.as_ref());
                // The next request sees what this one took.
                for id in placed.into_iter().flatten() {
                    prop_assert!(snapshot.reserve(&id, request));
                }
            }
        }
        prop_assert_eq!(snapshot.audit(), Ok(()));
    }
}
