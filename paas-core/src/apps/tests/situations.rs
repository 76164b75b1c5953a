//! What is declared and applied: what does it do now, and why?

use super::*;

situation!(first_apply, World::new(&["a", "b", "c"], WEB));
situation!(nothing_to_do, web());
situation!(first_apply_with_a_volume, World::new(&["a", "b"], DB));
situation!(first_apply_on_each_host, World::new(&["a", "b"], &WEB.replace("= 3", "= 'each-host'")));
situation!(
    each_host_when_a_host_joins,
    changed(World::running(&["a", "b"], &WEB.replace("= 3", "= 'each-host'")), |world| {
        world.observed.engines.insert(engine("c"), Reach::Up);
        let host = world.host("a").clone();
        world.hosts.insert(engine("c"), host);
    })
);
situation!(
    each_host_when_a_host_is_drained,
    changed(World::running(&["a", "b"], &WEB.replace("= 3", "= 'each-host'")), |world| world.host("b").draining = true)
);
situation!(just_started, changed(World::new(&["a", "b", "c"], WEB), |world| world.pass(2)));
situation!(scaled_up, changed(web(), |world| world.begin(&WEB.replace("= 3", "= 5"), RolloutReason::Scale)));
situation!(scaled_down, changed(web(), |world| world.begin(&WEB.replace("= 3", "= 1"), RolloutReason::Scale)));
situation!(
    scaled_down_while_its_host_is_silent,
    changed(web(), |world| {
        world.begin(&WEB.replace("= 3", "= 2"), RolloutReason::Scale);
        world.silent_for("c", 2);
    })
);
situation!(new_image, changed(web(), |world| world.apply(&WEB.replace("web:1", "web:2"))));
situation!(new_environment, changed(web(), |world| world.apply(&format!("{WEB}env = {{ LOG = 'debug' }}"))));
situation!(
    new_image_two_at_a_time,
    changed(web(), |world| world.apply(&format!("{}update = {{ parallel = 2 }}", WEB.replace("web:1", "web:2"))))
);
situation!(
    new_image_with_the_new_one_monitored,
    changed(web(), |world| {
        world.apply(&WEB.replace("web:1", "web:2"));
        world.pass(3);
    })
);
situation!(
    new_image_with_the_old_one_draining,
    changed(web(), |world| {
        world.apply(&WEB.replace("web:1", "web:2"));
        world.pass(12);
    })
);
situation!(
    policies_and_routes_make_no_container,
    changed(web(), |world| world.apply(&format!("{WEB}route = [{{ host = 'a.org' }}]\nupdate = {{ monitor = '9s' }}")))
);
situation!(more_memory_in_place, changed(web(), |world| world.apply(&format!("{WEB}memory = 512\ncpus = 0.5"))));
situation!(
    more_memory_in_place_two_at_a_time,
    changed(web(), |world| world.apply(&format!("{WEB}memory = 512\nupdate = {{ parallel = 2 }}")))
);
situation!(
    more_memory_in_place_than_one_of_two_on_a_host_can_have,
    changed(World::running(&["a"], &format!("{}memory = 1000", WEB.replace("= 3", "= 2"))), |world| world
        .apply(&format!("{}memory = 3000\nupdate = {{ parallel = 2 }}", WEB.replace("= 3", "= 2"))))
);
situation!(
    more_memory_than_its_host_has_left,
    changed(World::running(&["a", "b"], &format!("{}memory = 2000", WEB.replace("= 3", "= 2"))), |world| {
        world.host("a").memory = 2500;
        world.host("b").memory = 8000;
        world.apply(&format!("{}memory = 3000", WEB.replace("= 3", "= 2")));
    })
);
situation!(
    more_memory_than_the_host_of_a_volume_has_left,
    changed(World::running(&["a"], &format!("{DB}memory = 2000")), |world| {
        world.host("a").memory = 2500;
        world.apply(&format!("{DB}memory = 3000"));
    })
);
situation!(
    a_limit_that_is_taken_away,
    changed(World::running(&["a"], &format!("{}cpus = 0.5", WEB.replace("= 3", "= 1"))), |world| world
        .apply(&WEB.replace("= 3", "= 1")))
);
situation!(
    a_new_version_stops_first,
    changed(web(), |world| world
        .apply(&format!("{}update = {{ order = 'stop-first' }}", WEB.replace("web:1", "web:2"))))
);
situation!(
    a_fixed_port_stops_first,
    changed(World::running(&["a"], &format!("{}publish = ['80:80']", WEB.replace("= 3", "= 1"))), |world| world
        .apply(&format!("{}publish = ['80:80']", WEB.replace("= 3", "= 1").replace("web:1", "web:2"))))
);
situation!(
    no_room_for_one_more,
    changed(World::running(&["a"], &format!("{}memory = 3000", WEB.replace("= 3", "= 1"))), |world| world
        .apply(&format!("{}memory = 3000", WEB.replace("= 3", "= 1").replace("web:1", "web:2"))))
);
situation!(
    no_room_and_start_first,
    changed(World::running(&["a"], &format!("{}memory = 3000", WEB.replace("= 3", "= 1"))), |world| world.apply(
        &format!(
            "{}memory = 3000\nupdate = {{ order = 'start-first' }}",
            WEB.replace("= 3", "= 1").replace("web:1", "web:2")
        )
    ))
);
situation!(no_room_at_all, World::new(&["a"], &format!("{WEB}memory = 2000")));
situation!(
    a_new_version_with_a_volume,
    changed(World::running(&["a", "b"], DB), |world| world.apply(&DB.replace("db:1", "db:2")))
);
situation!(
    a_new_version_with_a_volume_drained,
    changed(World::running(&["a", "b"], DB), |world| {
        world.apply(&DB.replace("db:1", "db:2"));
        world.pass(32);
    })
);
situation!(
    a_new_version_with_a_volume_stopped,
    changed(World::running(&["a", "b"], DB), |world| {
        world.apply(&DB.replace("db:1", "db:2"));
        world.pass(33);
    })
);
situation!(a_dependency_goes_first, World::new(&["a", "b"], &format!("{WEB}uses = ['db:5432']\n{DB}")));
situation!(a_command_before, World::new(&["a", "b"], &format!("{WEB}before = {{ command = ['migrate'] }}")));
situation!(
    scaled_while_a_command_before_is_owed,
    changed(web(), |world| {
        world.apply(&migrating("web:2", 3));
        world.begin(&migrating("web:2", 4), RolloutReason::Scale);
    })
);
situation!(
    scaled_while_a_command_before_runs,
    changed(web(), |world| {
        world.apply(&migrating("web:2", 3));
        world.act();
        world.begin(&migrating("web:2", 4), RolloutReason::Scale);
    })
);
situation!(
    scaled_while_a_broken_version_is_in_its_gate,
    changed(web(), |world| {
        world.crashing_revisions.insert(2);
        world.apply(&WEB.replace("web:1", "web:2"));
        world.pass(1);
        world.begin(&WEB.replace("web:1", "web:2").replace("= 3", "= 4"), RolloutReason::Scale);
    })
);
situation!(
    a_command_before_that_failed,
    changed(World::running(&["a", "b"], &format!("{WEB}before = {{ command = ['migrate'] }}")), |world| {
        world.apply(&format!("{}before = {{ command = ['migrate'] }}", WEB.replace("web:1", "web:2")));
        world.act();
        let rollout = world.desired.rollout.as_mut().unwrap();
        rollout.before.values_mut().for_each(|state| *state = crate::apps::BeforeState::Ended(3));
    })
);
situation!(
    after_a_first_apply_whose_command_before_failed,
    changed(World::new(&["a", "b"], &format!("{WEB}before = {{ command = ['migrate'] }}")), |world| {
        world.act();
        let rollout = world.desired.rollout.as_mut().unwrap();
        rollout.before.values_mut().for_each(|state| *state = crate::apps::BeforeState::Ended(3));
        world.rest();
    })
);
situation!(
    after_a_stopped_rollout_to_fewer_components_and_replicas,
    changed(World::running(&["a", "b", "c"], &format!("{WEB}{DB}")), |world| {
        world.crashing_revisions.insert(2);
        let fewer = WEB.replace("web:1", "web:2").replace("= 3", "= 2");
        world.apply(&format!("{fewer}update = {{ on_failure = 'pause' }}"));
        world.rest();
    })
);
situation!(
    a_component_left_the_file,
    changed(World::running(&["a", "b"], &format!("{WEB}{DB}")), |world| world.apply(WEB))
);
situation!(
    a_component_left_the_file_while_others_change,
    changed(World::running(&["a", "b"], &format!("{WEB}{DB}")), |world| world.apply(&WEB.replace("web:1", "web:2")))
);
situation!(
    a_version_that_ends_at_once,
    changed(web(), |world| {
        world.crashing_revisions.insert(2);
        world.apply(&WEB.replace("web:1", "web:2"));
        world.pass(1);
    })
);
situation!(
    a_version_that_ends_at_once_where_the_clock_of_its_host_is_behind,
    changed(web(), |world| {
        world.crashing_revisions.insert(2);
        world.apply(&WEB.replace("web:1", "web:2"));
        world.pass(1);
        world.container("web.1").created = world.ago(3600);
    })
);
situation!(
    a_version_that_never_becomes_healthy,
    changed(web(), |world| {
        world.sick_revisions.insert(2);
        world.apply(&WEB.replace("web:1", "web:2"));
        world.pass(60);
    })
);
situation!(
    a_broken_version_that_pauses,
    changed(web(), |world| {
        world.crashing_revisions.insert(2);
        world.apply(&format!("{}update = {{ on_failure = 'pause' }}", WEB.replace("web:1", "web:2")));
        world.pass(1);
    })
);
situation!(
    a_broken_version_with_a_volume,
    changed(World::running(&["a", "b"], DB), |world| {
        world.crashing_revisions.insert(2);
        world.apply(&DB.replace("db:1", "db:2"));
        world.pass(34);
    })
);
situation!(
    a_broken_first_version,
    changed(World::new(&["a", "b", "c"], WEB), |world| {
        world.crashing_revisions.insert(1);
        world.pass(1);
    })
);
situation!(
    no_progress,
    changed(World::new(&["a"], &format!("{WEB}memory = 2000")), |world| {
        while !world.show().contains("finish") {
            world.pass(1);
        }
    })
);
situation!(a_cure_for_a_crash_loop_stops_first, crash_loop_and_its_cure());
situation!(
    a_cure_for_a_crash_loop_when_the_old_one_is_stopped,
    changed(crash_loop_and_its_cure(), |world| world.pass(1))
);
situation!(
    a_stopped_application_that_is_started_in_a_rollout,
    changed(web(), |world| {
        world.apply(&WEB.replace("web:1", "web:2"));
        world.pass(2);
        world.desired.goal = Goal::Stop;
        world.pass(1);
        world.desired.goal = Goal::Run;
    })
);
situation!(
    a_cure_for_a_crash_loop_of_all,
    changed(web(), |world| {
        crash_loop(world, &["web.1", "web.2", "web.3"]);
        world.apply(&WEB.replace("web:1", "web:2"));
    })
);
situation!(
    a_new_version_while_most_are_unhealthy_stops_first,
    changed(web(), |world| {
        for slot in ["web.2", "web.3"] {
            world.container(slot).health = Health::Unhealthy { since: world.ago(100) };
        }
        world.apply(&format!("{}update = {{ order = 'stop-first' }}", WEB.replace("web:1", "web:2")));
    })
);
situation!(
    one_that_ended_while_another_is_replaced,
    changed(web(), |world| {
        world.apply(&WEB.replace("web:1", "web:2"));
        world.pass(1);
        let killed = world.container("web.3");
        (killed.state, killed.exit_code) = (ContainerState::Stopped, Some(137));
    })
);
situation!(
    room_for_what_is_missing_before_room_for_what_is_replaced,
    changed(World::running(&["a", "b"], &both("api:1")), |world| {
        world.host("a").memory = 2000;
        world.host("b").memory = 900;
        world.apply(&both("api:2"));
        world.lose_container("web.1");
    })
);
situation!(
    room_for_a_drained_host_before_room_for_what_is_replaced,
    changed(World::running(&["a", "b"], &both("api:1")), |world| {
        world.host("a").memory = 2000;
        world.host("b").draining = true;
        world.apply(&both("api:2"));
    })
);
situation!(
    a_drain_that_takes_longer_than_a_rollout_may_stand_still,
    changed(World::running(&["a"], &slow("web:1")), |world| {
        world.apply(&slow("web:2"));
        world.pass(701);
    })
);
situation!(
    a_command_before_that_takes_longer_than_a_rollout_may_stand_still,
    changed(World::running(&["a"], &WEB.replace("= 3", "= 1")), |world| {
        world.apply(&migrating("web:2", 1));
        world.act();
        world.now += jiff::SignedDuration::from_secs(700);
    })
);
situation!(
    no_progress_of_what_another_waits_for,
    changed(
        World::new(&["a"], &format!("[component.app]\nimage = 'app:1'\ndepends_on = ['db']\n{DB}memory = 9000")),
        |world| {
            while !world.show().contains("finish") {
                world.pass(1);
            }
        }
    )
);
situation!(
    one_that_ended_while_the_command_before_runs,
    changed(before_runs(), |world| {
        let killed = world.container("web.2");
        (killed.state, killed.exit_code) = (ContainerState::Stopped, Some(137));
    })
);
situation!(
    one_that_is_unhealthy_while_the_command_before_runs,
    changed(before_runs(), |world| {
        world.container("web.2").health = Health::Unhealthy { since: world.ago(60) };
    })
);
situation!(a_host_is_silent_while_the_command_before_runs, changed(before_runs(), |world| world.silent_for("b", 5)));
situation!(
    a_host_is_drained_while_the_command_before_runs,
    changed(before_runs(), |world| world.host("b").draining = true)
);
situation!(
    a_component_that_left_the_file_ends_while_others_change,
    changed(World::running(&["a", "b"], &format!("{WEB}{DB}")), |world| {
        world.apply(&WEB.replace("web:1", "web:2"));
        let killed = world.container("db.1");
        (killed.state, killed.exit_code) = (ContainerState::Stopped, Some(137));
    })
);
situation!(
    a_component_that_left_the_file_loses_its_host_while_others_change,
    changed(World::running(&["a", "b"], &both("api:1")), |world| {
        world.apply(&WEB.replace("web:1", "web:2"));
        world.silent_for("a", 6);
    })
);
situation!(
    a_new_version_of_a_singleton,
    changed(World::running(&["a", "b"], &singleton("web:1")), |world| world.apply(&singleton("web:2")))
);
situation!(
    a_new_version_on_a_drained_host_of_a_volume,
    changed(World::running(&["a", "b"], DB), |world| {
        world.host("a").draining = true;
        world.apply(&DB.replace("db:1", "db:2"));
    })
);
situation!(
    a_singleton_that_is_none_in_its_next_version,
    changed(World::running(&["a", "b"], &singleton("web:1")), |world| world
        .apply(&WEB.replace("= 3", "= 1").replace("web:1", "web:2")))
);

situation!(what_uses_another_is_beside_it, World::running(&["a", "b", "c"], &using("")));
situation!(
    no_room_beside_what_it_uses,
    changed(World::new(&["a", "b"], &using("memory = 2500\n")), |world| world.pass(20))
);
situation!(
    what_it_uses_was_moved,
    changed(World::running(&["a", "b"], &using("")), |world| {
        world.host("b").labels.insert("ssd".to_owned());
        world.apply(&using("").replace("port = 5432", "port = 5432\nplace = { labels = ['ssd'] }"));
        world.pass(7);
    })
);

#[test]
fn what_uses_another_follows_it() {
    let mut world = World::running(&["a", "b"], &using(""));
    world.host("b").labels.insert("ssd".to_owned());
    world.apply(&using("").replace("port = 5432", "port = 5432\nplace = { labels = ['ssd'] }"));
    world.rest();
    assert!(world.observed.containers.iter().all(|container| container.engine == engine("b")), "{}", world.show());
    world.silent_for("b", 6);
    world.observed.engines.insert(engine("c"), Reach::Up);
    let host = world.host("b").clone();
    world.hosts.insert(engine("c"), host);
    world.rest();
    let on_c = world.observed.containers.iter().filter(|container| container.engine == engine("c"));
    assert_eq!(on_c.count(), 3, "{}", world.show());
}

#[test]
fn how_a_host_was_chosen_is_told() {
    let choices = |world: &World| -> Vec<String> {
        let choice = |step: &Step| match &step.action {
            Action::Create { replica, choice, .. } => Some(format!("{}: {choice}", replica.engine)),
            _ => None,
        };
        world.steps().iter().filter_map(choice).collect()
    };
    let one = WEB.replace("= 3", "= 1");
    let two_hosts = changed(World::new(&["a", "b"], &one), |world| world.host("a").memory = 2048);
    assert_eq!(choices(&two_hosts), ["b: score 96.2; next a with 94.0"]);
    assert_eq!(choices(&World::new(&["a"], &one)), ["a: score 96.2; no other will do"]);
}

situation!(somebody_elses_volume_has_the_name, volume_of_others(&["a"], RolloutReason::Apply));
situation!(somebody_elses_volume_is_adopted, volume_of_others(&["a"], RolloutReason::Adopt));
situation!(volumes_of_somebody_else_on_two_hosts_are_not_adopted, volume_of_others(&["a", "b"], RolloutReason::Adopt));
situation!(somebody_elses_network_has_the_name, {
    let mut world = World::new(&["a", "b"], DB);
    world.observed.networks_of_others = ["a", "b"].map(engine).into();
    world
});
situation!(another_container_mounts_the_volume, {
    let mut world = mounted_by_another();
    world.lose_container("db.1");
    world
});
situation!(nothing_is_started_again_on_a_volume_that_another_container_mounts, {
    let mut world = mounted_by_another();
    let container = world.container("db.1");
    (container.state, container.exit_code) = (ContainerState::Stopped, Some(1));
    world
});
situation!(nothing_is_stopped_for_another_version_while_another_container_mounts_the_volume, {
    let mut world = mounted_by_another();
    world.apply(&DB.replace("db:1", "db:2"));
    world
});

fn mounted_by_another() -> World {
    let mut world = World::running(&["a"], DB);
    let key = world.observed.volumes.first().cloned().unwrap();
    world.observed.mounted_by_others.insert(key, "httpd-1".into());
    world
}

fn volume_of_others(hosts: &[&str], reason: RolloutReason) -> World {
    let mut world = World::new(&["a", "b"], DB);
    world.begin(DB, reason);
    let volume = |host: &&str| (engine(host), slot("db.1"), "data".to_owned());
    world.observed.volumes_of_others = hosts.iter().map(volume).collect();
    world
}
