//! From any state, with the world playing fair, it comes to rest; and what must hold holds on the way.

use proptest::prelude::*;

use crate::apps::{Backend, Health, Reach, Replica, RolloutReason};
use crate::model::ContainerState;
use crate::model::app::Replicas;

use super::world::World;

/// Components in the words of the file.
fn any_file() -> impl Strategy<Value = String> {
    let order = prop_oneof![Just("auto"), Just("start-first"), Just("stop-first")];
    let kind = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let web = (0..7_u32, 1..3_u32, order, 1..4_u32, kind);
    web.prop_map(|(replicas, version, order, parallel, (checked, fixed_port, has_db, singleton))| {
        let replicas = match replicas {
            6 => "'each-host'".to_owned(),
            number if fixed_port => number.min(3).to_string(),
            number => number.to_string(),
        };
        let health = if checked { "health = { http = '/up' }\n" } else { "" };
        let singleton = if singleton && replicas == "1" { "heal = { singleton = true }\n" } else { "" };
        let port = if fixed_port { "publish = ['80:80']\n" } else { "" };
        let db = if has_db {
            format!(
                "depends_on = ['db']\n[component.db]\nimage = 'db:{version}'\nvolumes = ['data:/data']\nreplicas = 2\n"
            )
        } else {
            String::new()
        };
        format!(
            "[component.web]\nimage = 'web:{version}'\nreplicas = {replicas}\nport = 80\nmemory = 512\n{health}{port}{singleton}\
             update = {{ order = '{order}', parallel = {parallel} }}\n{db}"
        )
    })
}

/// What may have happened to a container, or to what is recorded of it.
#[derive(Clone, Debug)]
enum Mishap {
    Gone(usize),
    Stopped(usize),
    Paused(usize),
    Created(usize),
    Unhealthy(usize),
    Renamed(usize),
    Copied(usize, u8),
    Forgotten(usize),
    Leaves(usize),
    Outside(usize),
    Silent(u8),
    Drained(u8),
    Full(u8),
    Time(u8),
}

fn any_mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        (0..9_usize).prop_map(Mishap::Gone),
        (0..9_usize).prop_map(Mishap::Stopped),
        (0..9_usize).prop_map(Mishap::Paused),
        (0..9_usize).prop_map(Mishap::Created),
        (0..9_usize).prop_map(Mishap::Unhealthy),
        (0..9_usize).prop_map(Mishap::Renamed),
        (0..9_usize, 0..3_u8).prop_map(|(which, host)| Mishap::Copied(which, host)),
        (0..9_usize).prop_map(Mishap::Forgotten),
        (0..9_usize).prop_map(Mishap::Leaves),
        (0..9_usize).prop_map(Mishap::Outside),
        (0..3_u8).prop_map(Mishap::Silent),
        (0..3_u8).prop_map(Mishap::Drained),
        (0..3_u8).prop_map(Mishap::Full),
        (0..60_u8).prop_map(Mishap::Time),
    ]
}

const HOSTS: [&str; 3] = ["a", "b", "c"];

fn happen(world: &mut World, mishap: &Mishap) {
    let count = world.observed.containers.len();
    let now = world.now;
    let mut with = |which: usize, change: &mut dyn FnMut(&mut crate::apps::ObservedContainer)| {
        if count > 0 {
            change(&mut world.observed.containers[which % count]);
        }
    };
    match *mishap {
        Mishap::Gone(which) if count > 0 => drop(world.observed.containers.remove(which % count)),
        Mishap::Stopped(which) => with(which, &mut |container| container.state = ContainerState::Stopped),
        Mishap::Paused(which) => with(which, &mut |container| {
            if container.state == ContainerState::Running {
                container.state = ContainerState::Paused;
            }
        }),
        Mishap::Created(which) => with(which, &mut |container| container.state = ContainerState::Created),
        Mishap::Unhealthy(which) => with(which, &mut |container| {
            if container.health != Health::Unchecked {
                container.health = Health::Unhealthy { since: now };
            }
        }),
        Mishap::Renamed(which) => with(which, &mut |container| container.name = format!("x{which}")),
        Mishap::Copied(which, host) if count > 0 => {
            // As a host has it that was made of another one.
            let mut copy = world.observed.containers[which % count].clone();
            copy.engine = HOSTS[usize::from(host)].parse().unwrap();
            let spec = copy.slot.as_ref().and_then(|slot| world.desired.component(copy.revision, &slot.component));
            let may_be_two = spec.is_some_and(|spec| !spec.is_pinned() && !spec.heal.singleton);
            let mut there = world.observed.containers.iter().filter(|other| other.engine == copy.engine);
            let has_port = spec.is_some_and(|spec| !spec.publish.is_empty());
            let is_taken = there.any(|other| other.name == copy.name || has_port && other.state.holds_resources());
            if may_be_two
                && !is_taken
                && copy.state == ContainerState::Running
                && world.observed.engines[&copy.engine] == Reach::Up
            {
                world.observed.containers.push(copy);
            }
        }
        // The record lags behind the containers, as it may.
        Mishap::Forgotten(which) => {
            let replicas = &mut world.desired.replicas;
            if let Some(replica) = replicas.values_mut().nth(which) {
                *replica = Replica {
                    backends: replica.backends.clone(),
                    made: replica.made.clone(),
                    before_rollout: replica.before_rollout,
                    ..Replica::new(replica.revision, 0, replica.engine.clone())
                };
            }
        }
        // Somebody asked for it while the hosts were not balanced.
        Mishap::Leaves(which) => {
            if let Some(replica) = world.desired.replicas.values_mut().nth(which) {
                replica.leaves = Some(replica.generation);
            }
        }
        Mishap::Outside(which) => {
            if let Some(replica) = world.desired.replicas.values_mut().nth(which) {
                replica.backends.clear();
            }
        }
        Mishap::Silent(host) => {
            let id = HOSTS[usize::from(host)];
            let silent = world.observed.engines.values().filter(|reach| **reach != Reach::Up).count();
            if silent == 0 {
                world.silent_for(id, 0);
            }
        }
        Mishap::Drained(host) => world.host(HOSTS[usize::from(host)]).draining = true,
        Mishap::Full(host) => drop(world.full_hosts.insert(HOSTS[usize::from(host)].parse().unwrap())),
        Mishap::Time(seconds) => world.pass(u32::from(seconds)),
        _ => {}
    }
}

/// How many replicas there are when every host takes work.
fn number_of(replicas: Replicas) -> usize {
    match replicas {
        Replicas::Count(count) => usize::try_from(count).unwrap(),
        Replicas::EachHost => HOSTS.len(),
    }
}

/// Everything answers again, and every host takes work.
fn make_peace(world: &mut World) {
    world.full_hosts.clear();
    for id in HOSTS {
        world.reach(id, Reach::Up);
        world.host(id).draining = false;
    }
    for container in &mut world.observed.containers {
        container.exits.clear();
    }
}

/// So many cases, or as many as `PROPTEST_CASES` says.
fn cases(number: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(number), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn it_converges_and_then_does_nothing(
        first in any_file(),
        second in any_file(),
        before in proptest::collection::vec(any_mishap(), 0..6),
        after in proptest::collection::vec(any_mishap(), 0..6),
    ) {
        let mut world = World::new(&HOSTS, &first);
        world.pass(30);
        for mishap in &before {
            happen(&mut world, mishap);
            world.check();
        }
        world.apply(&second);
        for mishap in &after {
            happen(&mut world, mishap);
            world.pass(1);
            world.check();
        }
        make_peace(&mut world);
        world.rest();
        // Copies may be in the way, and are somebody else's to take away.
        if world.remove_copies() {
            world.rest();
        }
        if world.desired.last_done != Some(world.desired.target) {
            // A mishap stopped it half way: applied again, it is done.
            prop_assert!(world.steps().iter().all(|step| step.action.is_wait()), "{}", world.show());
            world.apply(&second);
            world.rest();
        }
        prop_assert!(world.steps().iter().all(|step| step.action.is_wait()), "{}", world.show());
        prop_assert!(world.desired.rollout.is_none(), "{}", world.show());
        // What is recorded is what is there.
        for (name, spec) in world.desired.components() {
            let count = number_of(spec.replicas);
            let slots = world.desired.replicas.keys().filter(|slot| slot.component == *name).count();
            prop_assert_eq!(slots, count, "{}", world.show());
            prop_assert_eq!(world.serving(name.as_str()), slots, "{}", world.show());
        }
        for container in &world.observed.containers {
            let replica = &world.desired.replicas[container.slot.as_ref().unwrap()];
            let is_it = replica.generation == container.generation || replica.kept == Some(container.generation);
            prop_assert!(is_it, "{}", world.show());
            let runs = container.state == ContainerState::Running;
            prop_assert_eq!(runs, replica.backends.get(&container.generation) == Some(&Backend::Serving));
        }
    }

    #[test]
    fn starting_first_never_serves_with_fewer(first in any_file(), second in any_file()) {
        let start_first = |file: &str| {
            let file = file.replace("stop-first", "start-first").replace("auto", "start-first");
            file.replace("publish = ['80:80']\n", "").replace("heal = { singleton = true }\n", "")
        };
        let mut world = World::running(&HOSTS, &start_first(&first));
        let number = |world: &World| {
            let (_, web) = world.desired.components().find(|(name, _)| name.as_str() == "web").unwrap();
            number_of(web.replicas)
        };
        let before = number(&world);
        world.begin(&start_first(&second), RolloutReason::Apply);
        let fewest = before.min(number(&world));
        for _ in 0..400 {
            world.act();
            world.check();
            prop_assert!(world.serving("web") >= fewest, "{}", world.show());
            world.tick();
        }
        prop_assert!(world.desired.rollout.is_none(), "{}", world.show());
    }
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn a_version_that_is_broken_leaves_as_many_serving_as_before(
        first in any_file(),
        second in any_file(),
        crashes in any::<bool>(),
    ) {
        let mut world = World::running(&HOSTS, &first);
        let before = world.serving("web");
        world.apply(&second);
        if crashes { world.crashing_revisions.insert(2) } else { world.sick_revisions.insert(2) };
        world.pass(900);
        prop_assert!(world.desired.rollout.is_none(), "{}", world.show());
        let (_, web) = world.desired.components().find(|(name, _)| name.as_str() == "web").unwrap();
        prop_assert!(world.serving("web") >= before.min(number_of(web.replicas)), "{}", world.show());
    }
}
