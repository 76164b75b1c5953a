//! What goes wrong on hosts and in containers: what does it do now, and why?

use super::*;

situation!(a_host_is_silent_for_a_moment, changed(web(), |world| world.silent_for("b", 3)));
situation!(a_host_is_silent, changed(web(), |world| world.silent_for("b", 5)));
situation!(
    a_host_is_silent_and_nothing_is_healed,
    changed(World::running(&["a", "b", "c"], &format!("{WEB}heal = {{ after = 'never' }}")), |world| world
        .silent_for("b", 500))
);
situation!(one_of_two_hosts_is_silent, changed(World::running(&["a", "b"], WEB), |world| world.silent_for("b", 6)));
situation!(
    most_hosts_are_silent,
    changed(web(), |world| {
        world.silent_for("b", 6);
        world.silent_for("c", 6);
    })
);
situation!(
    most_hosts_are_silent_one_since_just_now,
    changed(web(), |world| {
        world.silent_for("b", 6);
        world.silent_for("c", 1);
    })
);
situation!(
    most_hosts_are_silent_and_healing_is_asked_for,
    changed(web(), |world| {
        world.silent_for("b", 6);
        world.silent_for("c", 6);
        world.desired.heal_now = true;
    })
);
situation!(
    a_daemon_is_being_upgraded,
    changed(web(), |world| {
        let since = world.ago(18);
        world.reach("b", Reach::DaemonGone { since });
    })
);
situation!(
    a_daemon_is_gone,
    changed(web(), |world| {
        let since = world.ago(60);
        world.reach("b", Reach::DaemonGone { since });
    })
);
situation!(a_host_is_cut_off, changed(web(), |world| world.reach("b", Reach::CutOff)));
situation!(
    a_silent_host_that_a_new_leader_has_not_seen,
    changed(web(), |world| world.not_seen("b", Reach::Silent { since: world.ago(3) }))
);
situation!(
    a_silent_host_that_a_new_leader_has_not_seen_in_time,
    changed(web(), |world| world.not_seen("b", Reach::Silent { since: world.ago(5) }))
);
situation!(a_cut_off_host_that_a_new_leader_has_not_seen, changed(web(), |world| world.not_seen("b", Reach::CutOff)));
situation!(
    a_singleton_that_a_new_leader_has_not_seen,
    changed(
        World::running(&["a", "b"], &format!("{}heal = {{ singleton = true }}", WEB.replace("= 3", "= 1"))),
        |world| world.not_seen("a", Reach::Silent { since: world.ago(500) })
    )
);
situation!(
    a_surplus_that_a_new_leader_has_not_seen,
    changed(web(), |world| {
        world.begin(&WEB.replace("= 3", "= 2"), RolloutReason::Scale);
        world.not_seen("c", Reach::Silent { since: world.ago(500) });
    })
);
situation!(
    a_new_image_while_a_new_leader_has_not_seen_a_host,
    changed(web(), |world| {
        world.apply(&WEB.replace("web:1", "web:2"));
        world.not_seen("a", Reach::CutOff);
    })
);
situation!(
    a_host_that_is_not_known,
    changed(web(), |world| {
        world.not_seen("b", Reach::CutOff);
        world.observed.engines.remove(&engine("b"));
        world.hosts.remove(&engine("b"));
    })
);
situation!(
    a_host_is_back_and_its_slot_is_filled,
    changed(web(), |world| {
        world.silent_for("b", 5);
        world.pass(20);
        world.reach("b", Reach::Up);
    })
);
situation!(
    a_host_is_back_before_its_slot_is_filled,
    changed(web(), |world| {
        world.silent_for("b", 5);
        world.sick_revisions.insert(1);
        world.pass(3);
        world.reach("b", Reach::Up);
    })
);
situation!(a_host_is_gone_for_good, changed(web(), |world| world.reach("b", Reach::Lost)));
situation!(
    a_volume_waits_for_its_host,
    changed(World::running(&["a", "b"], DB), |world| {
        world.silent_for("a", 600);
    })
);
situation!(
    the_host_of_a_volume_is_back_without_its_container,
    changed(World::running(&["a", "b"], DB), |world| {
        world.lose_container("db.1");
    })
);
situation!(
    the_data_of_a_volume_is_gone,
    changed(World::running(&["a", "b"], DB), |world| {
        world.lose_container("db.1");
        world.observed.volumes.clear();
    })
);
situation!(a_crash_loop, changed(web(), |world| crash_loop(world, &["web.2"])));
situation!(
    a_crash_loop_for_five_minutes,
    changed(web(), |world| {
        let exits = (1..=9).rev().map(|number| world.ago(number * 60)).collect();
        let container = world.container("web.2");
        (container.state, container.exits, container.exit_code) = (ContainerState::Restarting, exits, Some(1));
    })
);
situation!(
    one_is_unhealthy,
    changed(web(), |world| {
        world.container("web.2").health = Health::Unhealthy { since: world.ago(20) };
    })
);
situation!(
    one_is_unhealthy_for_a_minute,
    changed(web(), |world| {
        world.container("web.2").health = Health::Unhealthy { since: world.ago(60) };
    })
);
situation!(
    most_are_unhealthy,
    changed(web(), |world| {
        for slot in ["web.1", "web.2"] {
            world.container(slot).health = Health::Unhealthy { since: world.ago(100) };
        }
    })
);
situation!(
    most_are_unhealthy_for_long,
    changed(web(), |world| {
        for slot in ["web.1", "web.2"] {
            world.container(slot).health = Health::Unhealthy { since: world.ago(301) };
        }
    })
);
situation!(a_host_is_drained, changed(World::running(&["a", "b"], WEB), |world| world.host("a").draining = true));
situation!(
    the_host_of_a_volume_is_drained,
    changed(World::running(&["a", "b"], DB), |world| world.host("a").draining = true)
);
situation!(
    a_drained_host_while_one_is_missing,
    changed(World::running(&["a", "b"], WEB), |world| {
        world.host("a").draining = true;
        world.container("web.2").state = ContainerState::Stopped;
    })
);
situation!(
    a_label_moved,
    changed(World::new(&["a", "b"], &format!("{WEB}place = {{ labels = ['ssd'] }}")), |world| {
        world.host("a").labels.insert("ssd".to_owned());
        world.rest();
        world.host("a").labels.clear();
        world.host("b").labels.insert("ssd".to_owned());
    })
);
situation!(
    preferred_hosts_first,
    changed(
        World::new(&["a", "b", "c"], &format!("{WEB}place = {{ prefer = ['zone-b'], spread = 'none' }}")),
        |world| {
            world.host("b").labels.insert("zone-b".to_owned());
        }
    )
);
situation!(
    a_rollout_waits_for_the_host_of_a_volume,
    changed(World::running(&["a", "b"], DB), |world| {
        world.apply(&DB.replace("db:1", "db:2"));
        world.silent_for("a", 6);
    })
);
situation!(
    a_slot_that_cannot_be_replaced_takes_no_turn_from_others,
    changed(World::running(&["a", "b"], &format!("{}memory = 3000", WEB.replace("= 3", "= 'each-host'"))), |world| {
        let start_first = "memory = 3000\nupdate = { order = 'start-first' }";
        world.apply(&format!("{}{start_first}", WEB.replace("= 3", "= 'each-host'").replace("web:1", "web:2")));
        world.host("b").memory = 8192;
    })
);
situation!(
    a_volume_that_the_failed_version_still_uses,
    changed(World::running(&["a", "b"], DB), |world| {
        world.crashing_revisions.insert(2);
        world.apply(&DB.replace("db:1", "db:2"));
        world.pass(34);
        // Docker did not stop it.
        world.container("db.1").state = ContainerState::Running;
        world.desired.replicas.values_mut().for_each(|replica| replica.backends.clear());
        let old = world.observed.containers.iter_mut().find(|container| container.generation == 1).unwrap();
        old.state = ContainerState::Stopped;
    })
);
situation!(
    a_surplus_on_a_host_that_stays_silent,
    changed(web(), |world| {
        world.begin(&WEB.replace("= 3", "= 2"), RolloutReason::Scale);
        world.silent_for("c", 6);
        world.act();
    })
);
situation!(
    somebody_elses_container_has_the_name,
    changed(World::new(&["a"], &WEB.replace("= 3", "= 1")), |world| {
        let mut foreign = World::running(&["a"], WEB).container("web.1").clone();
        foreign.slot = None;
        world.observed.containers.push(foreign);
    })
);
situation!(
    somebody_killed_stopped_paused_removed_and_renamed,
    changed(World::running(&["a", "b", "c"], &WEB.replace("= 3", "= 5")), |world| {
        let killed = world.container("web.1");
        (killed.state, killed.exit_code) = (ContainerState::Stopped, Some(137));
        world.container("web.2").state = ContainerState::Paused;
        world.lose_container("web.3");
        world.container("web.4").name = "mine".to_owned();
        world.container("web.5").state = ContainerState::Created;
    })
);
situation!(a_job_that_ended_well, job(false));
situation!(a_job_that_ended_well_long_ago, job(true));
situation!(
    a_job_that_ended_well_just_before_its_host_fell_silent,
    changed(job(false), |world| world.silent_for("a", 60))
);
situation!(
    a_job_that_ended_well_on_a_host_that_is_gone_for_good,
    changed(job(true), |world| world.reach("a", Reach::Lost))
);
situation!(
    a_job_that_ended_well_on_a_host_that_a_new_leader_has_not_seen,
    changed(job(true), |world| world.not_seen("a", Reach::Silent { since: world.ago(60) }))
);
situation!(
    a_job_that_ended_well_on_a_host_that_is_drained,
    changed(job(true), |world| world.host("a").draining = true)
);
situation!(a_job_that_ended_well_and_was_removed, changed(job(true), |world| world.lose_container("job.1")));
situation!(
    a_new_version_of_a_job_whose_host_is_gone_for_good,
    changed(job(true), |world| {
        world.reach("a", Reach::Lost);
        world.apply(&JOB.replace("job:1", "job:2"));
    })
);
situation!(
    a_job_that_ended_well_on_a_host_that_is_gone_for_good_in_another_revision,
    changed(job(true), |world| {
        world.reach("a", Reach::Lost);
        world.apply(&format!("{JOB}update = {{ parallel = 2 }}"));
    })
);
situation!(
    half_a_rollout_found_by_a_new_leader,
    changed(web(), |world| {
        world.apply(&WEB.replace("web:1", "web:2"));
        while world.observed.containers.len() < 4 || world.steps().iter().all(|step| step.action.is_wait()) {
            world.pass(1);
        }
        // The next container was recorded, and its server died before it asked Docker.
        let steps = world.steps();
        let create = steps.iter().find(|step| step.to_string().starts_with("create web.2.2")).unwrap();
        world.desired.record(create, world.now);
    })
);
situation!(
    a_restored_store,
    changed(web(), |world| {
        world.desired.observe_only = true;
        world.desired.replicas.clear();
    })
);
situation!(the_revision_that_is_to_run_is_missing, changed(web(), |world| world.desired.revisions.clear()));
situation!(
    orphans_of_a_lost_store,
    changed(web(), |world| {
        world.desired = Desired::first(spec(WEB), world.now);
    })
);
situation!(
    orphans_beside_which_others_were_made,
    changed(World::running(&["a"], &WEB.replace("= 3", "= 1")), |world| {
        world.desired = Desired::first(spec(&WEB.replace("web:1", "web:2").replace("= 3", "= 1")), world.now);
        world.rest();
    })
);
situation!(
    an_application_with_an_orphan_that_is_destroyed,
    changed(World::running(&["a"], &WEB.replace("= 3", "= 1")), |world| {
        world.desired = Desired::first(spec(&WEB.replace("= 3", "= 1")), world.now);
        world.rest();
        world.desired.goal = Goal::Destroy;
    })
);
situation!(
    an_orphan_keeps_its_volume,
    changed(World::running(&["a", "b"], DB), |world| {
        world.desired = Desired::first(spec(DB), world.now);
    })
);
situation!(
    orphans_that_are_adopted,
    changed(web(), |world| {
        world.desired = Desired::first(spec(&WEB.replace("= 3", "= 4")), world.now);
        world.desired.rollout.as_mut().unwrap().reason = RolloutReason::Adopt;
    })
);
situation!(
    orphans_that_are_adopted_beside_a_command_before,
    changed(web(), |world| {
        world.desired = Desired::first(spec(&migrating("web:1", 4)), world.now);
        world.desired.rollout.as_mut().unwrap().reason = RolloutReason::Adopt;
    })
);
situation!(
    orphans_that_are_adopted_so_that_no_command_before_is_needed,
    changed(web(), |world| {
        world.desired = Desired::first(spec(&migrating("web:1", 3)), world.now);
        world.desired.rollout.as_mut().unwrap().reason = RolloutReason::Adopt;
    })
);
situation!(
    a_restart_where_the_clock_of_a_host_is_ahead,
    changed(World::running(&["a"], &WEB.replace("= 3", "= 1")), |world| {
        world.container("web.1").created = world.now + jiff::SignedDuration::from_hours(1);
        world.begin(&WEB.replace("= 3", "= 1"), RolloutReason::Restart);
    })
);
situation!(a_restart, changed(web(), |world| world.begin(WEB, RolloutReason::Restart)));
situation!(an_application_that_is_stopped, changed(web(), |world| world.desired.goal = Goal::Stop));
situation!(
    an_application_that_is_started_again,
    changed(web(), |world| {
        world.desired.goal = Goal::Stop;
        world.pass(3);
        world.desired.goal = Goal::Run;
    })
);
situation!(an_application_that_is_destroyed, changed(web(), |world| world.desired.goal = Goal::Destroy));
situation!(
    a_slot_of_which_nothing_is_left,
    changed(web(), |world| {
        world.begin(&WEB.replace("= 3", "= 2"), RolloutReason::Scale);
        world.lose_container("web.3");
        assert!(world.desired.replicas.contains_key(&slot("web.3")));
    })
);
situation!(
    a_server_died_before_it_made_a_volume,
    changed(World::new(&["a", "b"], DB), |world| {
        let steps = world.steps();
        world.desired.record(&steps[0], world.now);
    })
);
situation!(
    a_server_died_before_it_made_a_volume_and_so_did_its_host,
    changed(World::new(&["a", "b"], DB), |world| {
        let steps = world.steps();
        world.desired.record(&steps[0], world.now);
        world.silent_for("a", 1);
    })
);
situation!(
    a_server_died_after_it_had_made_a_volume,
    changed(World::new(&["a", "b"], DB), |world| {
        let steps = world.steps();
        world.carry_out(&steps[0]);
        world.desired.record(&steps[1], world.now);
    })
);
situation!(
    a_host_that_cannot_make_a_container,
    changed(web(), |world| {
        world.lose_container("web.2");
        fail_to_create(world, "web.2", "no space left on device", true);
    })
);
situation!(
    a_host_that_cannot_make_a_container_and_no_other,
    changed(World::running(&["a", "b"], &WEB.replace("= 3", "= 1")), |world| {
        world.lose_container("web.1");
        fail_to_create(world, "web.1", "no space left on device", true);
        fail_to_create(world, "web.1", "the registry does not answer", true);
    })
);
situation!(
    a_host_that_cannot_make_a_container_and_no_other_after_a_pause,
    changed(World::running(&["a", "b"], &WEB.replace("= 3", "= 1")), |world| {
        world.lose_container("web.1");
        fail_to_create(world, "web.1", "no space left on device", true);
        fail_to_create(world, "web.1", "the registry does not answer", true);
        world.now += jiff::SignedDuration::from_secs(2);
    })
);
situation!(
    a_host_that_cannot_make_a_container_in_a_rollout,
    changed(web(), |world| {
        world.apply(&WEB.replace("web:1", "web:2"));
        fail_to_create(world, "web.1", "no space left on device", true);
    })
);
situation!(
    a_single_host_that_cannot_make_a_container_in_a_rollout,
    changed(World::running(&["a"], &WEB.replace("= 3", "= 1")), |world| {
        world.apply(&WEB.replace("web:1", "web:2").replace("= 3", "= 1"));
        fail_to_create(world, "web.1", "no space left on device", true);
    })
);
situation!(
    the_host_of_a_volume_that_cannot_make_a_container,
    changed(World::running(&["a", "b"], DB), |world| {
        world.lose_container("db.1");
        fail_to_create(world, "db.1", "no space left on device", true);
    })
);
situation!(
    a_host_that_cannot_make_a_first_volume,
    changed(World::new(&["a", "b"], DB), |world| {
        let steps = world.steps();
        world.desired.record(&steps[0], world.now);
        let why = "no space left on device".to_owned();
        world.desired.note_failure(&slot("db.1"), 1, &engine("a"), why, true, world.now);
    })
);
situation!(
    a_version_without_an_image,
    changed(web(), |world| {
        world.apply(&WEB.replace("web:1", "web:2"));
        fail_to_create(world, "web.1", "no such image: web:2", false);
    })
);
situation!(
    a_first_version_without_an_image,
    changed(World::new(&["a", "b"], WEB), |world| {
        fail_to_create(world, "web.1", "no such image: web:1", false);
    })
);
situation!(
    an_image_that_is_gone,
    changed(web(), |world| {
        world.lose_container("web.2");
        for _ in 0..3 {
            fail_to_create(world, "web.2", "no such image: web:1", false);
            world.now += jiff::SignedDuration::from_secs(4);
        }
        fail_to_create(world, "web.2", "no such image: web:1", false);
    })
);
situation!(
    an_avoided_host_is_the_only_one_with_room,
    changed(World::running(&["a", "b"], &WEB.replace("= 3", "= 1")), |world| {
        let web = world.desired.replicas.get_mut(&slot("web.1")).unwrap();
        web.avoid.insert(engine("a"));
        world.lose_container("web.1");
        world.host("b").draining = true;
    })
);
situation!(
    a_host_that_is_lost_while_it_makes_a_container,
    changed(web(), |world| {
        world.lose_container("web.2");
        fail_to_create(world, "web.2", "host b does not answer", true);
        world.silent_for("b", 1);
    })
);
situation!(a_slot_that_was_forgotten_is_filled_again, forgotten_and_filled_again());
situation!(
    a_container_of_a_slot_that_was_forgotten_is_back,
    changed(forgotten_and_filled_again(), |world| {
        let old = web().container("web.3").clone();
        world.rest();
        world.reach("c", Reach::Up);
        world.observed.containers.push(old);
    })
);
situation!(
    orphans_beyond_the_slots_of_a_lost_store,
    changed(web(), |world| {
        world.desired = Desired::first(spec(&WEB.replace("= 3", "= 2")), world.now);
        world.rest();
    })
);
situation!(
    a_singleton_on_a_drained_host,
    changed(World::running(&["a", "b"], &singleton("web:1")), |world| world.host("a").draining = true)
);
situation!(
    a_singleton_on_a_drained_host_when_it_is_stopped,
    changed(World::running(&["a", "b"], &singleton("web:1")), |world| {
        world.host("a").draining = true;
        world.pass(33);
    })
);
situation!(
    volumes_of_one_slot_on_two_hosts,
    changed(World::running(&["a", "b"], &two_volumes()), |world| {
        let moved = world.desired.volumes.iter_mut().find(|volume| volume.name == "log").unwrap();
        moved.engine = engine("b");
        world.observed.volumes.insert((engine("b"), slot("db.1"), "log".to_owned()));
        world.lose_container("db.1");
    })
);
situation!(
    a_container_with_a_volume_is_gone_from_a_drained_host,
    changed(World::running(&["a", "b"], DB), |world| {
        world.host("a").draining = true;
        world.lose_container("db.1");
    })
);
situation!(
    an_orphan_of_a_singleton,
    changed(World::running(&["a", "b"], &singleton("web:1")), |world| {
        world.desired = Desired::first(spec(&singleton("web:1")), world.now);
    })
);
situation!(a_host_that_was_cloned, cloned());
situation!(
    a_host_that_was_cloned_while_the_other_is_stopped,
    changed(cloned(), |world| {
        let recorded = world.observed.containers.iter_mut().find(|container| container.engine == engine("a")).unwrap();
        recorded.state = ContainerState::Stopped;
    })
);
situation!(a_host_that_was_cloned_is_silent, changed(cloned(), |world| world.silent_for("a", 60)));
situation!(
    a_host_that_was_cloned_is_drained,
    changed(cloned(), |world| {
        world.host("a").draining = true;
        world.pass(45);
    })
);
