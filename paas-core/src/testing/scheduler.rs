//! What every scheduler must do, whichever engines it likes best. Run [`conforms`] on yours.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ContainerSpec, ContainerType, Cpus, EngineId, EngineStatus, MemoryMb, Resources};
use crate::scheduler::{EngineState, PlacementRequest, Scheduler, Snapshot};

/// A change that makes an engine of no use for a container, or makes it ask for what one engine has.
type Change = fn(&mut EngineState);

/// Runs the whole suite.
///
/// A scheduler
///
/// - places all of a request's containers, or none, and then says how many would fit and why no more do;
/// - counts what it placed itself: room, ports of the host, and images that an engine may have once;
/// - uses no engine that [`judge`](crate::scheduler::judge) says no to;
/// - stretches the room of engines by the overbooking that a request allows;
/// - gives the same answer to the same question.
///
/// ```
/// use paas_core::scheduler::Spread;
///
/// paas_core::testing::scheduler::conforms(&Spread::default());
/// ```
///
/// # Panics
/// At the first thing that the scheduler does not do as it must.
pub fn conforms(scheduler: &dyn Scheduler) {
    places_nothing_where_nothing_is_asked(scheduler);
    sees_what_it_placed_before(scheduler);
    places_all_or_nothing(scheduler);
    gives_an_engine_one_of_what_can_be_there_once(scheduler);
    keeps_away_from_engines_that_will_not_do(scheduler);
    goes_where_it_has_to(scheduler);
    gives_the_same_answer_again(scheduler);
}

/// An engine of 4 CPUs and 4096 MB that has everything.
fn engine(id: &str) -> EngineState {
    let total = Resources { cpus: Cpus::from_milli(4000), memory: MemoryMb::new(4096) };
    let mut engine = EngineState::new(id.parse().unwrap(), total);
    engine.labels.insert("ssd".into());
    engine.cpu_count = Some(4);
    engine.networks = Some(BTreeSet::from(["backend".to_owned()]));
    engine
}

fn engines(ids: &[&str]) -> Snapshot {
    ids.iter().map(|id| engine(id)).collect()
}

/// Containers of 1 CPU and 512 MB.
fn spec() -> ContainerSpec {
    let mut spec = ContainerSpec::new("web:1".parse().unwrap());
    spec.cpus = Some(Cpus::from_milli(1000));
    spec.memory = Some(MemoryMb::new(512));
    spec
}

fn counts(placed: &[EngineId]) -> BTreeMap<&str, usize> {
    placed.iter().fold(BTreeMap::new(), |mut counts, id| {
        *counts.entry(id.as_str()).or_default() += 1;
        counts
    })
}

fn places_nothing_where_nothing_is_asked(scheduler: &dyn Scheduler) {
    let placed = scheduler.place(&engines(&["a"]), &PlacementRequest::new(&spec(), 0));
    assert_eq!(placed, Ok(Vec::new()), "none is asked for");
    let placed = scheduler.place(&Snapshot::default(), &PlacementRequest::new(&spec(), 1));
    let refusal = placed.expect_err("where there are no engines nothing is placed");
    assert_eq!((refusal.asked, refusal.possible, refusal.engines), (1, 0, 0), "there are no engines");
}

fn sees_what_it_placed_before(scheduler: &dyn Scheduler) {
    let placed = scheduler.place(&engines(&["a", "b"]), &PlacementRequest::new(&spec(), 8)).expect("eight fit exactly");
    assert_eq!(counts(&placed), BTreeMap::from([("a", 4), ("b", 4)]), "four fit on each");
}

fn places_all_or_nothing(scheduler: &dyn Scheduler) {
    let placed = scheduler.place(&engines(&["a", "b"]), &PlacementRequest::new(&spec(), 9));
    let refusal = placed.expect_err("nine are asked for and eight fit: none is placed");
    assert_eq!((refusal.asked, refusal.possible, refusal.engines), (9, 8, 2), "of nine eight would fit");
    assert!(!refusal.reasons.is_empty(), "it says why");
    let stretched = PlacementRequest { overbooking: 1.5, ..PlacementRequest::new(&spec(), 9) };
    assert!(scheduler.place(&engines(&["a", "b"]), &stretched).is_ok(), "with overbooking they do");
}

fn gives_an_engine_one_of_what_can_be_there_once(scheduler: &dyn Scheduler) {
    let unique = ContainerSpec { kind: ContainerType::Unique, ..spec() };
    let listening = ContainerSpec { bind_ports: vec!["8080:80".parse().unwrap()], ..spec() };
    for (spec, what) in [(unique, "an image that is unique"), (listening, "a port of the host")] {
        let placed = scheduler.place(&engines(&["a", "b"]), &PlacementRequest::new(&spec, 2));
        let placed = placed.unwrap_or_else(|refusal| panic!("two engines have room for two with {what}: {refusal}"));
        assert_eq!(counts(&placed).len(), 2, "{what} is on an engine once");
        let third = scheduler.place(&engines(&["a", "b"]), &PlacementRequest::new(&spec, 3));
        assert!(third.is_err(), "two engines have no room for three with {what}");
    }
}

fn keeps_away_from_engines_that_will_not_do(scheduler: &dyn Scheduler) {
    let asking = ContainerSpec {
        kind: ContainerType::Multi,
        labels: BTreeSet::from(["ssd".to_owned()]),
        bind_ports: vec!["8080:80".parse().unwrap()],
        cpuset: Some("0,3".into()),
        network_mode: "backend".into(),
        ..spec()
    };
    let request = PlacementRequest::new(&asking, 1);
    let unfit: [(&str, Change); 9] = [
        ("down", |engine| engine.status = EngineStatus::Down),
        ("draining", |engine| engine.draining = true),
        ("without the label", |engine| engine.labels.clear()),
        ("with such a container already", |engine| engine.add_image("docker.io/library/web:1")),
        ("with the port taken", |engine| {
            engine.host_ports.extend("0.0.0.0:8080:80".parse::<crate::model::BindPort>().unwrap().host());
        }),
        ("without the network", |engine| engine.networks = Some(BTreeSet::new())),
        ("with too few CPUs", |engine| engine.cpu_count = Some(3)),
        ("without enough CPU left", |engine| engine.reserved.cpus = Cpus::from_milli(3001)),
        ("without enough memory left", |engine| engine.reserved.memory = MemoryMb::new(4000)),
    ];
    for (what, spoil) in unfit {
        for (spoiled, good) in [("a", "b"), ("b", "a")] {
            let mut other = engine(spoiled);
            spoil(&mut other);
            let alone: Snapshot = [other.clone()].into_iter().collect();
            let refused = scheduler.place(&alone, &request);
            let refusal = refused.expect_err(&format!("an engine {what} takes no container"));
            assert_eq!(refusal.reasons.len(), 1, "an engine {what} is refused for one reason: {refusal}");
            let both: Snapshot = [other, engine(good)].into_iter().collect();
            let placed = scheduler
                .place(&both, &request)
                .unwrap_or_else(|refusal| panic!("beside an engine {what} there is a good one: {refusal}"));
            assert_eq!(placed.len(), 1, "one container is asked for, beside an engine {what}");
            assert_eq!(placed[0].as_str(), good, "of two engines one is {what}");
        }
    }
}

fn goes_where_it_has_to(scheduler: &dyn Scheduler) {
    let all = engines(&["a", "b", "c"]);
    for id in ["a", "b", "c"] {
        let only = PlacementRequest { only: Some(id.parse().unwrap()), ..PlacementRequest::new(&spec(), 2) };
        assert_eq!(counts(&scheduler.place(&all, &only).unwrap()), BTreeMap::from([(id, 2)]), "only {id} will do");
        let host = ContainerSpec { kind: ContainerType::Host, labels: [format!("host:{id}")].into(), ..spec() };
        let placed = scheduler.place(&all, &PlacementRequest::new(&host, 1)).unwrap();
        assert_eq!(placed[0].as_str(), id, "the container asks for {id}");
        let others = ["a", "b", "c"].into_iter().filter(|other| *other != id);
        let except = PlacementRequest {
            except: others.map(|other| other.parse().unwrap()).collect(),
            ..PlacementRequest::new(&spec(), 1)
        };
        assert_eq!(scheduler.place(&all, &except).unwrap()[0].as_str(), id, "the others are ruled out");
    }
}

fn gives_the_same_answer_again(scheduler: &dyn Scheduler) {
    let mut all = engines(&["a", "b", "c", "d"]);
    for (id, count) in [("a", 1), ("b", 3), ("d", 2)] {
        for _ in 0..count {
            assert!(all.reserve(&id.parse().unwrap(), &PlacementRequest::new(&spec(), 1)));
        }
    }
    let request = PlacementRequest::new(&spec(), 5);
    let first = scheduler.place(&all, &request);
    assert!(first.is_ok(), "{first:?}");
    for _ in 0..3 {
        assert_eq!(scheduler.place(&all, &request), first, "the same question has the same answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{Refusal, Spread};

    /// Says yes, and names no engine.
    #[derive(Debug)]
    struct Promises;

    impl Scheduler for Promises {
        fn place(&self, _: &Snapshot, _: &PlacementRequest) -> Result<Vec<EngineId>, Refusal> {
            Ok(Vec::new())
        }
    }

    /// Has its own idea of what fits.
    #[derive(Debug)]
    struct Crowds;

    impl Scheduler for Crowds {
        fn place(&self, snapshot: &Snapshot, request: &PlacementRequest) -> Result<Vec<EngineId>, Refusal> {
            match snapshot.engines().next() {
                Some(first) if request.count < 9 => Ok(vec![first.id.clone(); request.count]),
                _ => Spread::default().place(snapshot, request),
            }
        }
    }

    #[test]
    #[should_panic(expected = "where there are no engines nothing is placed")]
    fn says_that_nothing_can_be_placed_where_nothing_is() {
        conforms(&Promises);
    }

    #[test]
    #[should_panic(expected = "four fit on each")]
    fn says_what_fits() {
        conforms(&Crowds);
    }
}
