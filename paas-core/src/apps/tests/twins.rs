//! A host was made of another one, with the containers that ran there.

use super::*;

/// One replica that may run twice and does, since a third host was made of its own.
fn copied() -> World {
    changed(World::running(&["a", "b", "c"], &WEB.replace("= 3", "= 1")), |world| {
        let mut copy = world.container("web.1").clone();
        let other = ["a", "b", "c"].into_iter().map(engine).find(|engine| *engine != copy.engine);
        copy.engine = other.unwrap();
        world.observed.containers.push(copy);
    })
}

fn running(world: &World) -> usize {
    world.observed.containers.iter().filter(|container| container.state.holds_resources()).count()
}

situation!(
    a_singleton_waits_until_the_copy_of_its_predecessor_is_gone,
    changed(copied(), |world| {
        world.apply(&singleton("web:2"));
        world.pass(60);
    })
);

#[test]
fn nothing_is_stopped_for_a_singleton_that_a_copy_keeps_from_starting() {
    let mut world = copied();
    world.apply(&singleton("web:2"));
    world.pass(60);
    assert_eq!(world.serving("web"), 1, "{}", world.show());
    assert_eq!(running(&world), 2, "nothing is made beside the copy: {}", world.show());
    assert!(world.remove_copies());
    world.rest();
    assert!(world.desired.rollout.is_none(), "{}", world.show());
    assert_eq!((world.serving("web"), running(&world)), (1, 1), "{}", world.show());
    assert_eq!(world.container("web.1").revision, 2);
}

#[test]
fn a_singleton_that_ended_is_not_started_beside_its_copy() {
    let mut world = copied();
    world.apply(&singleton("web:1"));
    world.pass(60);
    let recorded = world.desired.replicas[&slot("web.1")].engine.clone();
    let mut all = world.observed.containers.iter_mut();
    all.find(|container| container.engine == recorded).unwrap().state = ContainerState::Stopped;
    world.pass(60);
    assert_eq!(running(&world), 1, "{}", world.show());
    assert!(world.remove_copies());
    world.rest();
    assert_eq!((world.serving("web"), running(&world)), (1, 1), "{}", world.show());
}

#[test]
fn of_two_older_containers_the_copy_is_the_one_that_no_record_names() {
    let mut world = copied();
    let own = world.desired.replicas[&slot("web.1")].engine.clone();
    world.apply(&WEB.replace("= 3", "= 1").replace("web:1", "web:2"));
    while world.desired.replicas[&slot("web.1")].generation == 1 {
        world.pass(1);
    }
    let copies = |world: &World| {
        let twins = world.steps().into_iter().filter_map(|step| match step.cause {
            Cause::Twin(copy) => Some(copy.engine),
            _ => None,
        });
        twins.collect::<Vec<_>>()
    };
    assert!(!copies(&world).is_empty() && !copies(&world).contains(&own), "{}", world.show());
    world.rest();
    // When the other one is gone, the copy is an older container of the slot like any.
    assert_eq!((world.serving("web"), running(&world)), (1, 1), "{}", world.show());
}
