//! Which replicas would be better off on another host, and how they get there.

use std::fmt::Write as _;

use super::*;
use crate::apps::planner::{Move, rebalance, scores};
use crate::apps::{Desired, Observed};
use crate::model::Resources;
use crate::scheduler::{Binpack, Scheduler, Snapshot, Spread};

const SIX: &str =
    "[component.web]\nimage = 'web:1'\nreplicas = 6\nmemory = 500\nport = 80\nhealth = { http = '/up' }\n";

fn moves_in(world: &World, snapshot: &Snapshot, scheduler: &dyn Scheduler) -> Vec<Move> {
    let apps: [(&Desired, &Observed); 1] = [(&world.desired, &world.observed)];
    rebalance(&apps, snapshot, scheduler, world.now, 100)
}

fn moves(world: &World) -> Vec<Move> {
    moves_in(world, &world.snapshot(), &Spread::default())
}

/// The hosts before, the moves, and the hosts after, for people.
fn shown(world: &World, snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let hosts = |text: &mut String, snapshot: &Snapshot| {
        for (id, score) in scores(snapshot, &Spread::default()) {
            writeln!(text, "  {id}: {score:.1} points").unwrap();
        }
    };
    text.push_str("before:\n");
    hosts(&mut text, snapshot);
    let mut after = snapshot.clone();
    let moves = moves_in(world, snapshot, &Spread::default());
    for Move { app, replica, to, gain } in &moves {
        writeln!(text, "move {app}/{} from {} to {to}: gains {gain:.1}", replica.slot, replica.engine).unwrap();
        let spec = world.desired.component(1, &replica.slot.component).unwrap().container_spec();
        let request = crate::scheduler::PlacementRequest::new(&spec, 1);
        after.give_back(&replica.engine, (&request).into()).unwrap();
        after.reserve(to, &request);
    }
    if moves.is_empty() {
        text.push_str("nothing moves\n");
    }
    text.push_str("after:\n");
    hosts(&mut text, &after);
    text
}

/// What moves in a situation; the answer stands beside the tests, one file each.
macro_rules! rebalancing {
    ($name:ident, $world:expr) => {
        rebalancing!($name, $world, |_snapshot: &mut Snapshot| {});
    };
    ($name:ident, $world:expr, $change:expr) => {
        #[test]
        fn $name() {
            let world: World = $world;
            let mut snapshot = world.snapshot();
            let change: fn(&mut Snapshot) = $change;
            change(&mut snapshot);
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(stringify!($name), shown(&world, &snapshot));
            });
        }
    };
}

/// Two hosts with what runs, and a third that is new.
fn and_a_new_host(toml: &str) -> World {
    changed(World::running(&["a", "b"], toml), |world| world.add_host("c"))
}

fn load(snapshot: &mut Snapshot, id: &str, memory: u64) {
    let more = Resources { memory: crate::model::MemoryMb::new(memory), ..Resources::ZERO };
    assert!(snapshot.update(&engine(id), |host| host.reserved += more));
}

/// Everything that would move is to move.
fn begin(world: &mut World) -> usize {
    let moves = moves(world);
    for Move { replica, .. } in &moves {
        world.desired.leave(replica);
    }
    moves.len()
}

fn on(world: &World, id: &str) -> usize {
    world.observed.containers.iter().filter(|container| container.engine == engine(id)).count()
}

rebalancing!(rebalance_onto_a_new_host, and_a_new_host(SIX));
rebalancing!(rebalance_what_is_balanced, web());
rebalancing!(
    rebalance_nothing_of_what_has_to_stay,
    and_a_new_host(&format!(
        "{}\n[component.all]\nimage = 'all:1'\nreplicas = 'each-host'\nmemory = 900\n\
         [component.one]\nimage = 'one:1'\nmemory = 900\nheal = {{ singleton = true }}\n",
        DB.replace("port = 5432", "port = 5432\nmemory = 900\nreplicas = 2")
    ))
);
rebalancing!(rebalance_the_next_fullest_where_the_fullest_has_nothing, and_a_new_host(SIX), |snapshot| {
    let outsiders = crate::scheduler::EngineState::new(
        engine("d"),
        Resources { cpus: crate::model::Cpus::from_milli(4000), memory: crate::model::MemoryMb::new(4096) },
    );
    snapshot.insert(outsiders);
    load(snapshot, "d", 4000);
    load(snapshot, "a", 1500);
});
rebalancing!(
    rebalance_spreads_no_component_over_fewer_hosts,
    World::running(&["a", "b", "c"], &WEB.replace("port", "memory = 500\nport")),
    |snapshot| load(snapshot, "a", 3000)
);
rebalancing!(
    rebalance_waits_for_a_rollout,
    changed(and_a_new_host(SIX), |world| world.apply(&SIX.replace("web:1", "web:2")))
);
rebalancing!(
    rebalance_nothing_of_a_component_that_is_not_as_it_should_be,
    changed(and_a_new_host(SIX), |world| world.lose_container("web.4"))
);

situation!(
    a_replica_makes_room_on_its_host,
    changed(and_a_new_host(SIX), |world| {
        assert_eq!(begin(world), 2);
    })
);
situation!(
    a_replica_that_makes_room_while_another_is_missing,
    changed(and_a_new_host(SIX), |world| {
        begin(world);
        world.lose_container("web.6");
    })
);
situation!(
    a_replica_that_makes_room_where_there_is_no_room_any_more,
    changed(and_a_new_host(SIX), |world| {
        begin(world);
        for id in ["b", "c"] {
            world.host(id).memory = 1600;
        }
        world.host("c").draining = true;
    })
);

#[test]
fn moves_are_carried_out_one_after_the_other_and_nobody_notices() {
    let mut world = and_a_new_host(SIX);
    assert_eq!(begin(&mut world), 2);
    for _ in 0..300 {
        world.act();
        assert!(world.serving("web") >= 6, "{}", world.show());
        // The next one may begin while the one before drains.
        let replicas = &world.desired.replicas;
        let is_new = |container: &&crate::apps::ObservedContainer| {
            let replica = container.slot.as_ref().and_then(|slot| replicas.get(slot)).unwrap();
            !replica.backends.contains_key(&container.generation)
        };
        let starting = world.observed.containers.iter().filter(is_new).count();
        assert!(starting <= 1, "one at a time: {}", world.show());
        world.tick();
    }
    world.rest();
    assert_eq!(["a", "b", "c"].map(|id| on(&world, id)), [2, 2, 2], "{}", world.show());
    assert!(world.desired.replicas.values().all(|replica| replica.leaves.is_none()), "nothing is left of it");
    assert!(moves(&world).is_empty());
}

#[test]
fn a_move_that_finds_no_room_is_given_up() {
    let mut world = and_a_new_host(SIX);
    begin(&mut world);
    world.host("c").draining = true;
    world.host("b").memory = 1600;
    world.host("a").memory = 1600;
    world.rest();
    assert!(world.desired.replicas.values().all(|replica| replica.leaves.is_none()));
    assert_eq!(on(&world, "c"), 0, "{}", world.show());
}

#[test]
fn a_rollout_does_not_wait_for_a_move_and_a_move_waits_for_it() {
    let mut world = and_a_new_host(SIX);
    begin(&mut world);
    // No container is made again for that.
    world.begin(&SIX.replace("= 6", "= 7"), RolloutReason::Scale);
    world.rest();
    assert!(world.desired.rollout.is_none(), "{}", world.show());
    assert!(world.desired.replicas.values().all(|replica| replica.leaves.is_none()), "{}", world.show());
    assert_eq!(world.serving("web"), 7);
    let mut world = and_a_new_host(SIX);
    begin(&mut world);
    world.apply(&SIX.replace("web:1", "web:2"));
    world.rest();
    assert!(world.desired.rollout.is_none());
    assert!(world.desired.replicas.values().all(|replica| replica.leaves.is_none()), "what was to move is gone");
}

#[test]
fn a_host_that_dies_in_the_middle_of_a_move_costs_nothing_but_itself() {
    for dies in ["a", "b", "c"] {
        let mut world = and_a_new_host(SIX);
        begin(&mut world);
        world.act();
        world.silent_for(dies, 0);
        world.rest();
        assert_eq!(world.serving("web"), 6, "{dies}: {}", world.show());
        world.reach(dies, Reach::Up);
        world.rest();
        assert_eq!((world.serving("web"), world.observed.containers.len()), (6, 6), "{dies}: {}", world.show());
    }
}

#[test]
fn what_the_scheduler_would_put_back_stays() {
    let toml = SIX.replace("port", "place = { spread = 'none' }\nport");
    let world = changed(World::running(&["a"], &toml), |world| world.add_host("b"));
    assert!(moves_in(&world, &world.snapshot(), &Binpack::default()).is_empty());
    assert!(!moves(&world).is_empty());
}

#[test]
fn several_applications_are_looked_at_together_and_one_that_is_busy_is_left_alone() {
    let half = SIX.replace("= 6", "= 3");
    let one = changed(World::running(&["a"], &half), |world| world.add_host("b"));
    let mut other = one.clone();
    let mut snapshot = one.snapshot();
    for container in &other.observed.containers {
        let spec = other.desired.component(1, &container.slot.as_ref().unwrap().component).unwrap();
        snapshot.reserve(&container.engine, &crate::scheduler::PlacementRequest::new(&spec.container_spec(), 1));
    }
    let both = |other: &World| {
        let apps = [(&one.desired, &one.observed), (&other.desired, &other.observed)];
        rebalance(&apps, &snapshot, &Spread::default(), one.now, 100).len()
    };
    assert_eq!(both(&other), 3);
    other.apply(&half.replace("web:1", "web:2"));
    assert_eq!(both(&other), 2, "one more would be on the same host as another of its component");
}

#[test]
fn what_is_full_is_what_the_scheduler_goes_by_and_no_more_move_than_may() {
    use crate::scheduler::Weights;
    let world = changed(World::running(&["a"], SIX), |world| world.add_host("b"));
    let by = |cpu, memory| Spread::new(Weights::new(cpu, memory).unwrap());
    let all = moves_in(&world, &world.snapshot(), &by(0.0, 1.0)).len();
    assert!(all > 1, "by memory alone");
    let apps: [(&Desired, &Observed); 1] = [(&world.desired, &world.observed)];
    assert_eq!(rebalance(&apps, &world.snapshot(), &by(0.0, 1.0), world.now, 1).len(), 1);
    let room = |weights| Scheduler::room(&weights, world.snapshot().get(&engine("b")).unwrap());
    assert_eq!((room(by(0.0, 1.0)), room(by(3.0, 7.0))), (100.0, 100.0));
}
