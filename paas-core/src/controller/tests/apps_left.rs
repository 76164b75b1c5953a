//! What must not be left of an application, and what must not be done for one. Most of it a simulated world found.

use super::apps::{platform, request, start, web};
use super::*;
use crate::engine::EngineErrorKind;
use crate::model::ContainerState;
use crate::store::KeyRange;
use crate::store::tables::STORE;
use crate::wire::app::{AppState, AppStatus, ApplyRequest, RolloutOutcome, ScaleRequest, read_files};

fn with_before(image: &str) -> ApplyRequest {
    request(&format!("[component.web]\nimage = '{image}'\nbefore = {{ command = ['migrate'] }}"))
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_ended_well_is_what_it_is_to_be() {
    let platform = platform(&["one"]).await;
    let file = request("[component.job]\nimage = 'job:1'\nrestart = 'on-failure'");
    platform.controller.apply_app(&ann(), "shop", file).await.unwrap();
    assert!(eventually(|| platform.really_there() == 1).await);
    let id = platform.host("one").really_there()[0].id.clone();
    platform.host("one").outsider_end(&id, 0).unwrap();
    let app = platform.settled().await;
    assert_eq!((app.summary.ready, app.component["job"].replicas[0].state.as_str()), (1, "completed"));
}

#[tokio::test(start_paused = true)]
async fn an_application_that_goes_runs_no_command_before_and_leaves_none() {
    let platform = platform(&["one"]).await;
    platform.controller.apply_app(&ann(), "shop", with_before("web:1")).await.unwrap();
    assert!(eventually(|| platform.really_there() == 1).await);
    platform.controller.destroy_app(&ann(), "shop", false).await.unwrap();
    assert!(eventually(|| platform.controller.app("shop").is_err()).await, "{:#?}", platform.controller.app("shop"));
    assert_eq!((platform.really_there(), platform.host("one").asked("create").times), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn by_a_store_that_was_restored_no_command_before_is_run_or_removed() {
    let mut platform = platform(&["one"]).await;
    platform.controller.apply_app(&ann(), "shop", with_before("web:1")).await.unwrap();
    assert!(eventually(|| platform.really_there() == 1).await);
    platform.controller.shutdown().await;
    // What a restored backup lacks is what says that this very store was acted by.
    for document in platform.store.list(STORE, &KeyRange::all()).await.unwrap() {
        platform.store.delete(STORE, &document.key, None).await.unwrap();
    }
    let id = platform.host("one").really_there()[0].id.clone();
    platform.host("one").remove(&id).await.unwrap();
    platform.controller = start(&platform).await;
    platform.until("one", EngineStatus::Up).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(platform.really_there(), 0, "the command is not run again");
    platform.controller.destroy_app(&ann(), "shop", false).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(platform.controller.app("shop").is_ok(), "nor is anything removed");
    platform.controller.resume_reconciling(&ann()).await.unwrap();
    assert!(eventually(|| platform.controller.app("shop").is_err()).await);
}

#[tokio::test(start_paused = true)]
async fn what_was_made_while_its_answer_was_lost_is_not_left_behind() {
    for operation in ["create", "start", "inspect"] {
        let platform = platform(&["one"]).await;
        let host = platform.host("one");
        host.lose_next(operation, 1, EngineErrorKind::Failed);
        platform.controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
        assert!(eventually(|| host.asked(operation).times > 0).await);
        // Somebody wants it gone before everything on the host is read again.
        tokio::time::sleep(Duration::from_secs(2)).await;
        platform.controller.destroy_app(&ann(), "shop", false).await.unwrap();
        assert!(eventually(|| platform.controller.app("shop").is_err()).await);
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(platform.really_there(), 0, "{operation}");
        platform.check_at_rest();
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_has_one_container_also_when_the_answer_to_its_start_was_lost() {
    let platform = platform(&["one"]).await;
    let host = platform.host("one");
    host.lose_next("inspect", 1, EngineErrorKind::Failed);
    let file = request("[component.db]\nimage = 'db:1'\nvolumes = ['data:/data']");
    platform.controller.apply_app(&ann(), "shop", file).await.unwrap();
    let running = || host.really_there().iter().filter(|found| found.state == ContainerState::Running).count();
    let most = std::cell::Cell::new(0);
    platform
        .app_until(|app| {
            most.set(most.get().max(running()));
            app.summary.state == AppState::Running
        })
        .await;
    assert_eq!((most.get(), running()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_given_up_has_nothing_left_when_it_is_back() {
    for destroys in [false, true] {
        let platform = platform(&["one", "two", "three"]).await;
        let controller = &platform.controller;
        controller.apply_app(&ann(), "shop", web("web:1", 6)).await.unwrap();
        platform.settled().await;
        platform.host("one").set_reachable(false);
        platform.until("one", EngineStatus::Down).await;
        controller.host_lost(&ann(), &engine_id("one"), false).await.unwrap();
        // The slots that were on it are forgotten.
        let left = if destroys { 0 } else { 1 };
        if destroys {
            controller.destroy_app(&ann(), "shop", false).await.unwrap();
            assert!(eventually(|| controller.app("shop").is_err()).await);
        } else {
            let scale = ScaleRequest { component: None, replicas: 1 };
            platform.settled().await;
            controller.scale_app(&ann(), "shop", scale).await.unwrap();
            platform.settled().await;
        }
        assert!(platform.really_there() > left);
        platform.host("one").set_reachable(true);
        assert!(eventually(|| platform.really_there() == left).await, "{}", platform.really_there());
        // From then on it is a host like the others.
        let gone = controller.host_lost(&ann(), &engine_id("one"), false).await;
        assert!(matches!(gone, Err(ControllerError::Conflict { .. })), "{gone:?}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(platform.really_there(), left);
        platform.check_at_rest();
    }
}

#[tokio::test(start_paused = true)]
async fn what_ran_on_a_volume_that_was_given_up_does_not_serve_again_with_it() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    let file = "[component.db]\nimage = 'db:1'\nvolumes = ['data:/data']";
    controller.apply_app(&ann(), "shop", request(file)).await.unwrap();
    platform.settled().await;
    platform.host("one").set_reachable(false);
    platform.until("one", EngineStatus::Down).await;
    // No other host could take it before this one is back.
    controller.host_lost(&ann(), &engine_id("one"), true).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let old = platform.host("one").really_there()[0].id.clone();
    platform.host("one").set_reachable(true);
    let is_gone = || platform.host("one").really_there().iter().all(|container| container.id != old);
    assert!(eventually(is_gone).await);
    platform.settled().await;
    let volumes = controller.shared.apps.known("shop").unwrap().shown().unwrap().desired().volumes.clone();
    assert!(volumes.iter().any(|volume| volume.made), "what serves is on a volume that is written down: {volumes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_answers_again_loses_no_volumes() {
    let platform = platform(&["one"]).await;
    let controller = platform.controller.clone();
    let file = "[component.db]\nimage = 'db:1'\nvolumes = ['data:/data']";
    controller.apply_app(&ann(), "shop", request(file)).await.unwrap();
    platform.settled().await;
    platform.host("one").set_reachable(false);
    platform.until("one", EngineStatus::Down).await;
    let apps = &platform.controller.shared.apps;
    let held = apps.documents(&apps.known("shop").unwrap()).await.unwrap();
    let giving_up = tokio::spawn(async move { controller.host_lost(&ann(), &engine_id("one"), true).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    platform.host("one").set_reachable(true);
    platform.until("one", EngineStatus::Up).await;
    drop(held);
    let outcome = giving_up.await.unwrap();
    assert!(matches!(outcome, Err(ControllerError::Conflict { .. })), "{outcome:?}");
    platform.settled().await;
    assert_eq!(apps.known("shop").unwrap().shown().unwrap().desired().volumes.len(), 1);
    // And it is a host like the others, that is waited for when it is silent.
    platform.host("one").set_reachable(false);
    platform.until("one", EngineStatus::Down).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(apps.volumes_on(&engine_id("one")).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_in_the_moment_in_which_its_host_is_back_is_not_left_there() {
    let platform = platform(&["one", "two", "three"]).await;
    let controller = &platform.controller;
    let file = "[component.web]\nimage = 'web:1'\nreplicas = 3\nheal = { after = 'never' }";
    controller.apply_app(&ann(), "shop", request(file)).await.unwrap();
    platform.settled().await;
    let left = platform.host("one").really_there()[0].id.clone();
    platform.host("one").set_reachable(false);
    platform.until("one", EngineStatus::Down).await;
    // A round that has seen that the host is gone, and has not written down yet what follows from it.
    let apps = &controller.shared.apps;
    let held = apps.documents(&apps.known("shop").unwrap()).await.unwrap();
    controller.host_lost(&ann(), &engine_id("one"), false).await.unwrap();
    platform.host("one").set_reachable(true);
    platform.until("one", EngineStatus::Up).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let mut desired = crate::apps::Desired::clone(held.desired());
    desired.replicas.retain(|_, replica| replica.engine != engine_id("one"));
    let change = held.documents().change_to(desired, &Default::default(), apps.now()).unwrap();
    held.commit(change, Vec::new()).await.unwrap();
    platform.settled().await;
    assert!(eventually(|| platform.really_there() == 3).await);
    assert!(platform.host("one").really_there().iter().all(|found| found.id != left));
}

#[tokio::test(start_paused = true)]
async fn an_application_is_not_forgotten_while_its_command_may_be_on_a_host_that_was_not_read() {
    let mut platform = platform(&["one", "two"]).await;
    platform.controller.apply_app(&ann(), "shop", with_before("web:1")).await.unwrap();
    assert!(eventually(|| commands(&platform).len() == 1).await);
    let host = commands(&platform)[0].0.clone();
    platform.controller.shutdown().await;
    platform.host(&host).set_reachable(false);
    platform.controller = start(&platform).await;
    platform.controller.destroy_app(&ann(), "shop", false).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    let app = platform.controller.app("shop").unwrap();
    let why = format!("wait: host {host} has not said yet what it does");
    assert_eq!((app.summary.state, app.notes), (AppState::Removing, vec![why]));
    platform.host(&host).set_reachable(true);
    assert!(eventually(|| platform.controller.app("shop").is_err()).await);
    assert_eq!(platform.really_there(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_application_goes_also_when_a_container_of_somebody_else_has_a_volume_of_it() {
    let mut platform = platform(&["one"]).await;
    let file = "[component.db]\nimage = 'db:1'\nvolumes = ['data:/data']";
    platform.controller.apply_app(&ann(), "shop", request(file)).await.unwrap();
    platform.settled().await;
    platform.controller.shutdown().await;
    let host = platform.host("one").clone();
    let id = host.really_there()[0].id.clone();
    host.outsider_stop(&id).unwrap();
    host.outsider_rename(&id, "kept-by-ann").unwrap();
    platform.controller = start(&platform).await;
    platform.settled().await;
    platform.controller.destroy_app(&ann(), "shop", true).await.unwrap();
    assert!(eventually(|| platform.controller.app("shop").is_err()).await, "{:#?}", platform.controller.app("shop"));
    let told =
        platform.events.events().into_iter().map(|event| event.message).find(|told| told.contains("nothing of it"));
    let expected = "shop: nothing of it is left but volume shop.db.1.data on one: kept-by-ann uses it";
    assert_eq!(told.as_deref(), Some(expected));
    // Whoever declares it again finds what is in it.
    platform.controller.apply_app(&ann(), "shop", request(file)).await.unwrap();
    platform.settled().await;
    assert_eq!((platform.really_there(), host.asked("create_volume").times), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_fixed_port_of_each_host_is_free_for_the_next_version_when_the_old_one_stopped() {
    let platform = platform(&["one", "two"]).await;
    let file = |image: &str| {
        let update = "update = { drain = '1s', progress = '1m' }";
        request(&format!("[component.web]\nimage = '{image}'\nreplicas = 2\npublish = ['8443:80']\n{update}"))
    };
    platform.controller.apply_app(&ann(), "shop", file("web:1")).await.unwrap();
    platform.settled().await;
    platform.controller.apply_app(&ann(), "shop", file("web:2")).await.unwrap();
    let app = platform.app_until(|app: &AppStatus| app.rollout.is_none()).await;
    assert_eq!(app.last_rollout.unwrap().outcome, RolloutOutcome::Done);
    assert_eq!(platform.images(), ["web:2", "web:2"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_platform_has_stopped_stays_so_when_its_host_is_started_again() {
    let platform = platform(&["one"]).await;
    let file = "[component.db]\nimage = 'db:1'\nvolumes = ['data:/data']\nupdate = { drain = '1s' }";
    platform.controller.apply_app(&ann(), "shop", request(file)).await.unwrap();
    platform.settled().await;
    platform.controller.stop_app(&ann(), "shop").await.unwrap();
    let runs = || platform.host("one").really_there().iter().any(|found| found.state == ContainerState::Running);
    assert!(eventually(|| !runs()).await);
    platform.controller.shutdown().await;
    platform.host("one").set_power(false);
    platform.host("one").set_power(true);
    assert!(!runs(), "nobody but the platform starts it again");
}

/// The containers of commands that go before, by name, with what they do.
fn commands(platform: &Platform) -> Vec<(String, String, ContainerState)> {
    let all = platform.hosts.iter().flat_map(|(host, engine)| {
        engine.really_there().into_iter().map(move |found| (host.clone(), found.name, found.state))
    });
    all.filter(|(_, name, _)| name.contains("before")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_command_before_goes_on_when_the_number_of_replicas_changes() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    controller.apply_app(&ann(), "shop", with_before("web:1")).await.unwrap();
    assert!(eventually(|| commands(&platform).len() == 1).await);
    let id = platform.host("one").really_there()[0].id.clone();
    controller.scale_app(&ann(), "shop", ScaleRequest { component: None, replicas: 2 }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let running = platform.host("one").really_there();
    assert_eq!(
        running.iter().map(|found| (&found.id, found.state)).collect::<Vec<_>>(),
        [(&id, ContainerState::Running)]
    );
    platform.host("one").outsider_end(&id, 0).unwrap();
    let app = platform.settled().await;
    assert_eq!((app.summary.revision, app.summary.ready), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_command_before_runs_beside_what_its_component_uses() {
    let platform = platform(&["one", "two", "three"]).await;
    let file = "[component.db]\nimage = 'db:1'\nport = 5432\n[component.web]\nimage = 'web:1'\nuses = ['db:5432']\nbefore = { command = ['migrate'] }\n";
    platform.controller.apply_app(&ann(), "shop", request(file)).await.unwrap();
    assert!(eventually(|| commands(&platform).len() == 1).await);
    let database = platform.controller.app_containers("shop", Some(&"db".parse().unwrap())).unwrap().remove(0).1;
    assert_eq!(commands(&platform)[0].0, database.engine.id.as_str());
}

#[tokio::test(start_paused = true)]
async fn one_that_its_host_cannot_start_again_is_made_anew() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    controller.stop_app(&ann(), "shop").await.unwrap();
    let state = |wanted| move |found: &crate::engine::ObservedContainer| found.state == wanted;
    assert!(eventually(|| platform.host("one").really_there().iter().all(state(ContainerState::Stopped))).await);
    let before = platform.host("one").really_there()[0].id.clone();
    platform.host("one").fail_next("start", 3, EngineErrorKind::Unable);
    controller.start_app(&ann(), "shop").await.unwrap();
    let app = platform.settled().await;
    assert_eq!(app.summary.ready, 1);
    assert_ne!(platform.host("one").really_there()[0].id, before);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_back_after_a_version_failed_is_the_last_other_good_one() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    for image in ["web:1", "web:2", "withdrawn:3"] {
        controller.apply_app(&ann(), "shop", web(image, 1)).await.unwrap();
        platform.settled().await;
    }
    assert_eq!(platform.images(), ["web:2"], "it went back by itself");
    for good in ["web:1", "web:2"] {
        controller.rollback_app(&ann(), "shop", Default::default()).await.unwrap();
        platform.settled().await;
        assert_eq!(platform.images(), [good]);
    }
}

#[tokio::test(start_paused = true)]
async fn where_only_one_version_was_good_there_is_none_to_take_back() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    for image in ["web:1", "withdrawn:2"] {
        controller.apply_app(&ann(), "shop", web(image, 1)).await.unwrap();
        platform.settled().await;
    }
    let refused = controller.rollback_app(&ann(), "shop", Default::default()).await;
    assert!(matches!(refused, Err(ControllerError::Conflict { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_being_removed_is_not_planned_for() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    platform.host("one").set_reachable(false);
    controller.destroy_app(&ann(), "shop", false).await.unwrap();
    let refused = controller.plan_app(&ann(), "shop", web("web:1", 1)).await;
    assert!(matches!(refused, Err(ControllerError::Conflict { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn the_volume_of_a_replica_is_mounted_by_nobody_else() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    let db = request("[component.db]\nimage = 'db:1'\nvolumes = ['data:/data']");
    controller.apply_app(&ann(), "shop", db).await.unwrap();
    platform.settled().await;
    let mut spec = ContainerSpec::new("web:1".parse().unwrap());
    spec.volumes = vec!["shop.db.1.data:/x".into()];
    let run = RunRequest { spec: spec.clone(), count: 1, pull: false };
    let shared = "app = 'thief'\n[component.web]\nimage = 'web:1'\n\
        volumes = [{ name = 'shop.db.1.data', target = '/x', shared = true }]";
    let thief = ApplyRequest { app: read_files(&[("paas.toml", shared)], |_| None).unwrap(), ..Default::default() };
    let refused = [
        controller.run(&ann(), run.clone()).await.map(drop),
        controller.run(&Actor::system(), run).await.map(drop),
        controller.apply_app(&ann(), "thief", thief).await.map(drop),
    ];
    for outcome in refused {
        let wrong = outcome.unwrap_err().to_string();
        assert!(wrong.contains("shop.db.1.data is the volume of shop/db.1"), "{wrong}");
    }
    spec.volumes = vec!["a.b.1.data:/x".into()];
    controller.run(&ann(), RunRequest { spec, count: 1, pull: false }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_made_is_taken_only_when_asked_and_never_removed() {
    let platform = platform(&["one"]).await;
    let (controller, host) = (&platform.controller, platform.host("one"));
    let db = || request("[component.db]\nimage = 'db:1'\nvolumes = ['data:/data']");
    host.outsider_volume("shop.db.1.data");
    let app = "shop".parse().unwrap();
    assert!(eventually(|| !controller.shared.cluster.volumes_of(&app).is_empty()).await);
    controller.apply_app(&ann(), "shop", db()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(platform.really_there(), 0);
    let plan = controller.plan_app(&ann(), "shop", db()).await.unwrap();
    assert!(plan.refused.iter().any(|refused| refused.contains("--adopt")), "{plan:#?}");
    let adopting = ApplyRequest { adopt: true, supersede: true, ..db() };
    assert!(controller.apply_app(&ann(), "shop", adopting).await.unwrap().changed);
    platform.settled().await;
    assert_eq!(platform.really_there(), 1);
    controller.destroy_app(&ann(), "shop", true).await.unwrap();
    assert!(eventually(|| controller.app("shop").is_err()).await, "it is gone");
    assert!(host.find_volume("shop.db.1.data").await.unwrap().is_some(), "and that stays");
}

#[tokio::test(start_paused = true)]
async fn a_replica_and_another_container_are_never_started_beside_each_other_on_a_volume() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    let mut spec = ContainerSpec::new("httpd:2".parse().unwrap());
    spec.volumes = vec!["shop.db.1.data:/x".into()];
    let run = controller.run(&ann(), RunRequest { spec, count: 1, pull: false }).await.unwrap();
    let other = run.finish().await.started.remove(0);
    let db = request("[component.db]\nimage = 'db:1'\nvolumes = ['data:/data']");
    controller.apply_app(&ann(), "shop", ApplyRequest { adopt: true, ..db }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let reason = controller.app("shop").unwrap().component.values().next().unwrap().replicas[0].reason.clone();
    assert!(reason.contains("mounts volume shop.db.1.data"), "{reason}");
    assert_eq!(platform.images(), ["httpd:2"]);
    let id = other.id.to_string();
    controller.stop(&ann(), &id, Duration::ZERO).await.unwrap();
    platform.settled().await;
    let refused = [controller.start(&ann(), &id).await, controller.restart(&ann(), &id, Duration::ZERO).await];
    for outcome in refused {
        let wrong = outcome.unwrap_err().to_string();
        assert!(wrong.contains("shop.db.1.data is the volume of shop/db.1"), "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_was_stopped_with_its_application_keeps_nothing_waiting() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    controller.apply_app(&ann(), "shop", web("web:2", 1)).await.unwrap();
    controller.stop_app(&ann(), "shop").await.unwrap();
    let stopped = platform.app_until(|app| app.summary.state == AppState::Stopped).await;
    assert!(stopped.rollout.is_some());
    let plan = controller.plan_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    assert!(plan.notes.contains(&"shop is stopped, and applying this starts it".to_owned()), "{plan:#?}");
    controller.restart_app(&ann(), "shop", Default::default()).await.unwrap();
    platform.settled().await;
    let app = controller.app("shop").unwrap();
    assert_eq!((app.summary.ready, app.rollout), (1, None));
    assert_eq!(platform.images(), ["web:2"]);
}
