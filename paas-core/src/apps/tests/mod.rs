//! The planner in written situations, and in any.

mod left_behind;
mod properties;
mod rebalance;
mod rollouts;
mod situations;
mod troubles;
mod twins;
mod world;

use super::{Action, Cause, Desired, Goal, Health, Instance, Reach, RolloutReason, Step};
use crate::model::ContainerState;
use world::{World, engine, slot, spec};

const WEB: &str = "[component.web]\nimage = 'web:1'\nreplicas = 3\nport = 80\nhealth = { http = '/up' }\n";
const DB: &str = "[component.db]\nimage = 'db:1'\nvolumes = ['data:/data']\nport = 5432\nhealth = { tcp = true }\n";

const JOB: &str = "[component.job]\nimage = 'job:1'\nrestart = 'on-failure'\n";

/// A situation in which somebody would ask what is done now, and why. The answer stands beside the tests, one file each.
macro_rules! situation {
    ($name:ident, $world:expr) => {
        #[test]
        fn $name() {
            let world: World = $world;
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(stringify!($name), world.show());
            });
        }
    };
}
use situation;

/// Three replicas that run.
fn web() -> World {
    World::running(&["a", "b", "c"], WEB)
}

/// A database without a volume, and two replicas of what uses it.
fn using(more: &str) -> String {
    let db = DB.replace("volumes = ['data:/data']\n", "");
    format!("{db}{}uses = ['db:5432']\n{more}", WEB.replace("= 3", "= 2"))
}

/// Two components of 1000 MB, of which the one that starts first comes before the other.
fn both(image: &str) -> String {
    format!(
        "[component.api]\nimage = '{image}'\nmemory = 1000\nupdate = {{ order = 'start-first' }}\n{}memory = 1000\n",
        WEB.replace("= 3", "= 1")
    )
}

/// Replicas with a command that runs before they are replaced.
fn migrating(image: &str, replicas: u32) -> String {
    let web = WEB.replace("web:1", image).replace("= 3", &format!("= {replicas}"));
    format!("{web}before = {{ command = ['migrate'] }}")
}

/// Docker was asked for the next container of a slot, and did not make it.
fn fail_to_create(world: &mut World, of: &str, why: &str, of_host: bool) {
    let slot = slot(of);
    let created = |step: &Step| match &step.action {
        Action::Create { replica, .. } if replica.slot == slot => Some(replica.clone()),
        _ => None,
    };
    let steps = world.steps();
    let (step, replica) = steps.iter().find_map(|step| Some((step, created(step)?))).unwrap();
    world.desired.record(step, world.now);
    world.desired.note_failure(&slot, replica.generation, &replica.engine, why.to_owned(), of_host, world.now);
}

/// A job on one of two hosts that ended well, and whether that was recorded.
fn job(is_recorded: bool) -> World {
    changed(World::running(&["a", "b"], JOB), |world| {
        let container = world.container("job.1");
        (container.state, container.exit_code) = (ContainerState::Stopped, Some(0));
        if is_recorded {
            world.act();
        }
    })
}

/// Three replicas, of which the last was taken away while its host was lost, and made again.
fn forgotten_and_filled_again() -> World {
    changed(web(), |world| {
        world.reach("c", Reach::Lost);
        world.begin(&WEB.replace("= 3", "= 2"), RolloutReason::Scale);
        world.rest();
        world.observed.containers.retain(|container| container.engine != engine("c"));
        world.begin(WEB, RolloutReason::Scale);
    })
}

/// One replica that must never run twice.
fn singleton(image: &str) -> String {
    format!("{}heal = {{ singleton = true }}\n", WEB.replace("= 3", "= 1").replace("web:1", image))
}

fn two_volumes() -> String {
    DB.replace("['data:/data']", "['data:/data', 'log:/log']")
}

/// Three replicas on two hosts, and a third host that was made of the first.
fn cloned() -> World {
    changed(World::running(&["a", "b"], WEB), |world| {
        world.observed.engines.insert(engine("c"), Reach::Up);
        let host = world.host("a").clone();
        world.hosts.insert(engine("c"), host);
        let mut copies = world.observed.containers.clone();
        copies.retain(|container| container.engine == engine("a"));
        copies.iter_mut().for_each(|container| container.engine = engine("c"));
        world.observed.containers.extend(copies);
    })
}

/// Three replicas while the command before their next version runs.
fn before_runs() -> World {
    changed(web(), |world| {
        world.apply(&migrating("web:2", 3));
        world.act();
    })
}

/// One replica that stops first and takes fifteen minutes to drain.
fn slow(image: &str) -> String {
    stop_first(image).replace("update = {", "update = { drain = '15m',")
}

/// One replica that stops before its successor starts.
fn stop_first(image: &str) -> String {
    format!("{}update = {{ order = 'stop-first' }}", WEB.replace("= 3", "= 1").replace("web:1", image))
}

/// One replica that stops first, crash-loops, and gets a version that does not.
fn crash_loop_and_its_cure() -> World {
    changed(World::running(&["a", "b"], &stop_first("web:1")), |world| {
        crash_loop(world, &["web.1"]);
        world.apply(&stop_first("web:2"));
    })
}

fn crash_loop(world: &mut World, slots: &[&str]) {
    for slot in slots {
        let exits = vec![world.ago(90), world.ago(60), world.ago(30)];
        let container = world.container(slot);
        (container.state, container.exits, container.exit_code) = (ContainerState::Restarting, exits, Some(1));
    }
}

fn changed(mut world: World, change: impl FnOnce(&mut World)) -> World {
    change(&mut world);
    world
}
