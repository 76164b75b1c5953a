//! Containers that nobody sees at the moment are not forgotten.

use super::*;

/// The last of three replicas was made again elsewhere, since its host is silent; then there are to be two.
fn healed_and_scaled_down() -> World {
    changed(web(), |world| {
        world.silent_for("c", 10);
        world.pass(20);
        assert_eq!(world.desired.replicas[&slot("web.3")].generation, 2, "{}", world.show());
        // Another server leads, and has never seen what is on that host.
        world.not_seen("c", Reach::Silent { since: world.ago(30) });
        world.begin(&WEB.replace("= 3", "= 2"), RolloutReason::Scale);
    })
}

#[test]
fn a_slot_is_kept_in_mind_until_the_host_of_an_older_container_answers() {
    let mut world = healed_and_scaled_down();
    let left = web().container("web.3").clone();
    world.pass(100);
    assert!(world.desired.rollout.is_none(), "that keeps no rollout from ending: {}", world.show());
    assert!(world.desired.replicas.contains_key(&slot("web.3")), "{}", world.show());
    world.observed.containers.push(left);
    world.reach("c", Reach::Up);
    world.pass(60);
    assert!(!world.desired.replicas.contains_key(&slot("web.3")), "{}", world.show());
    assert_eq!(world.observed.containers.len(), 2, "{}", world.show());
}

#[test]
fn a_host_that_is_read_and_one_that_is_given_up_keep_nothing_in_mind() {
    for reach in [Reach::Up, Reach::Lost] {
        let mut world = healed_and_scaled_down();
        world.reach("c", reach);
        world.pass(100);
        assert!(!world.desired.replicas.contains_key(&slot("web.3")), "{reach:?}: {}", world.show());
    }
}

#[test]
fn an_application_that_is_destroyed_leaves_no_container_behind_that_no_record_names() {
    let mut world = web();
    let mut orphan = world.container("web.1").clone();
    (orphan.name, orphan.slot, orphan.generation) = ("shop.web.7.1".to_owned(), Some(slot("web.7")), 1);
    world.observed.containers.push(orphan);
    world.pass(10);
    assert_eq!(world.observed.containers.len(), 4, "nothing of it is removed unasked");
    world.desired.goal = Goal::Destroy;
    world.pass(10);
    assert!(world.observed.containers.is_empty(), "{}", world.show());
}

#[test]
fn a_container_of_an_earlier_application_of_that_name_fills_no_slot() {
    let mut world = World::running(&["a", "b"], &WEB.replace("= 3", "= 1"));
    let mut other = world.container("web.1").clone();
    (other.engine, other.of_another) = (engine("b"), true);
    world.observed.containers = vec![other];
    world.rest();
    assert_eq!((world.serving("web"), world.container("web.1").generation), (1, 2), "{}", world.show());
    assert_eq!(world.observed.containers.len(), 2, "nobody has it removed unasked: {}", world.show());
}

#[test]
fn what_was_to_be_stopped_and_serves_all_the_same_is_none_that_was_stopped() {
    let mut world = World::running(&["a"], &WEB.replace("= 3", "= 1"));
    let replica = Instance { slot: slot("web.1"), generation: 1, engine: engine("a") };
    // That is written down, and the host does not take it; then it is to run again.
    world.desired.record(&Step { action: Action::Stop(replica), cause: Cause::AppStopped }, world.now);
    world.rest();
    assert_eq!(world.serving("web"), 1, "{}", world.show());
    assert!(world.desired.replicas[&slot("web.1")].stopped.is_empty(), "{}", world.show());
}

#[test]
fn what_could_not_be_made_of_an_older_version_says_nothing_about_a_newer_one() {
    let mut world = web();
    let old = world.desired.target;
    let fill = |generation, revision| Step {
        action: Action::Create {
            replica: Instance { slot: slot("web.1"), generation, engine: engine("a") },
            revision,
            avoid: None,
            choice: Default::default(),
        },
        cause: Cause::Missing,
    };
    world.apply(&WEB.replace("web:1", "web:2"));
    let new = world.desired.target;
    // The old version is filled in while the command before the new one runs.
    let step = fill(2, old);
    world.desired.record(&step, world.now);
    world.desired.note_failure(&slot("web.1"), 2, &engine("a"), "no such image".to_owned(), false, world.now);
    let step = fill(3, new);
    world.desired.record(&step, world.now);
    assert_eq!(world.desired.replicas[&slot("web.1")].failed, None);
}

#[test]
fn a_version_that_was_stopped_and_is_to_blame_is_not_made_again_and_again() {
    for (of_host, again) in [(false, false), (true, true)] {
        let mut world = World::new(&["a"], &WEB.replace("= 3", "= 1"));
        let attempts = if of_host { 3 } else { 1 };
        for _ in 0..attempts {
            fail_to_create(&mut world, "web.1", "no such image", of_host);
            world.now += jiff::SignedDuration::from_secs(60);
        }
        world.act();
        assert!(world.desired.rollout.is_none(), "{}", world.show());
        world.now += jiff::SignedDuration::from_secs(600);
        let creates = |world: &World| world.steps().iter().any(|step| matches!(step.action, Action::Create { .. }));
        assert_eq!(creates(&world), again, "{}", world.show());
        world.begin(&WEB.replace("= 3", "= 1"), RolloutReason::Restart);
        assert!(creates(&world), "{}", world.show());
    }
}

#[test]
fn a_container_that_was_stopped_first_is_started_again_when_the_next_version_is_taken_back_on_the_way() {
    for admitted in [false, true] {
        let mut world = World::running(&["a", "b"], DB);
        world.apply(&DB.replace("db:1", "db:2"));
        while world.container("db.1").generation == 1 || (admitted && world.serving("db") == 0) {
            world.pass(1);
            assert!(world.desired.rollout.is_some(), "{}", world.show());
        }
        let old = world.observed.containers.iter().filter(|container| container.generation == 1);
        assert_eq!(old.count(), 1, "it is kept until the other is ready: {}", world.show());
        world.begin(DB, RolloutReason::Rollback { why: String::new() });
        world.rest();
        assert!(world.desired.rollout.is_none() && world.serving("db") == 1, "{}", world.show());
        let left = world.container("db.1").generation;
        assert_eq!(left, 1, "{}", world.show());
    }
}

/// A singleton whose second container is on a host that another server has not read, and was set aside there; its first serves.
fn set_aside_and_not_seen(reach: Reach) -> World {
    changed(World::running(&["a", "b"], &singleton("web:1")), |world| {
        world.sick_revisions.insert(2);
        let first = world.desired.replicas[&slot("web.1")].engine.clone();
        world.host(first.as_str()).draining = true;
        world.apply(&singleton("web:2"));
        while world.container("web.1").generation == 1 {
            world.pass(1);
        }
        world.host(first.as_str()).draining = false;
        let second = world.container("web.1").engine.clone();
        world.pass(120);
        assert_eq!(world.desired.replicas[&slot("web.1")].elsewhere.get(&2), Some(&second), "{}", world.show());
        // Whether it was stopped as well is not known any more.
        world.not_seen(second.as_str(), reach);
    })
}

#[test]
fn a_singleton_is_not_made_while_an_older_container_may_run_on_a_host_that_was_not_read() {
    for reach in [Reach::CutOff, Reach::Silent { since: World::new(&[], WEB).now }] {
        let mut world = set_aside_and_not_seen(reach);
        let silent = world.observed.engines.iter().find(|(_, reach)| **reach != Reach::Up).unwrap().0.clone();
        world.begin(&singleton("web:3"), RolloutReason::Apply);
        world.pass(60);
        assert_eq!(world.serving("web"), 1, "nothing is stopped for it either: {}", world.show());
        world.lose_container("web.1");
        world.pass(60);
        assert!(world.observed.containers.is_empty(), "{}", world.show());
        world.reach(silent.as_str(), Reach::Up);
        world.rest();
        assert_eq!(world.serving("web"), 1, "{}", world.show());
        let target = world.desired.target;
        assert_eq!(world.container("web.1").revision, target);
    }
}

#[test]
fn a_host_that_was_given_up_keeps_no_singleton_from_being_made() {
    let mut world = set_aside_and_not_seen(Reach::Lost);
    world.lose_container("web.1");
    world.pass(60);
    assert_eq!(world.serving("web"), 1, "{}", world.show());
}

/// A version that is ready and takes no traffic yet, beside the one that serves, when another version is asked for.
fn superseded(change: impl FnOnce(&mut World)) -> World {
    let start_first = |image: &str| {
        let web = WEB.replace("= 3", "= 1").replace("web:1", image);
        format!("{web}update = {{ order = 'start-first', monitor = '20s' }}\n")
    };
    changed(World::running(&["a", "b"], &start_first("web:1")), |world| {
        world.apply(&start_first("web:2"));
        while world.container("web.1").generation == 1 {
            world.pass(1);
        }
        change(world);
        world.begin(&start_first("web:3"), RolloutReason::Apply);
        world.act();
        assert_eq!(world.serving("web"), 1, "{}", world.show());
    })
}

#[test]
fn what_serves_and_was_just_started_again_is_better_than_what_never_did() {
    let mut world = superseded(|world| {
        let now = world.now;
        let mut all = world.observed.containers.iter_mut();
        let serves = all.find(|container| container.generation == 1).unwrap();
        (serves.since, serves.health) = (now, Health::Starting);
    });
    world.rest();
    assert_eq!((world.serving("web"), world.container("web.1").revision), (1, 3), "{}", world.show());
}

#[test]
fn what_serves_is_better_than_what_is_as_good_and_never_did() {
    let mut world = superseded(|world| {
        while world.container("web.1").health == Health::Starting {
            world.pass(1);
        }
        world.now += jiff::SignedDuration::from_secs(30);
    });
    world.rest();
    assert_eq!((world.serving("web"), world.container("web.1").revision), (1, 3), "{}", world.show());
}
