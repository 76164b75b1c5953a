//! Running and scaling.

use super::*;
use crate::engine::EngineErrorKind;
use crate::model::{ContainerState, ContainerType, RestartPolicy};
use crate::store::records::{LaunchRecord, LaunchState};
use crate::store::tables::LAUNCHES;
use crate::testing::store::FailingStore;

#[tokio::test(start_paused = true)]
async fn containers_spread_evenly_and_the_events_say_who_did_it() {
    let platform = Platform::of(&["a", "b", "c"]).await;
    let summary = platform.run(ContainerSpec { memory: Some(MemoryMb::new(32)), ..web() }, 30).await;
    assert!(summary.is_complete());
    assert_eq!((summary.requested, summary.started.len()), (30, 30));
    for host in platform.hosts.values() {
        assert_eq!(host.really_there().len(), 10);
    }
    platform.heard().await;
    let runs: Vec<Event> =
        platform.events.events().into_iter().filter(|event| event.kind.as_str() == "run-container").collect();
    assert_eq!(runs.len(), 30);
    assert!(runs.iter().all(|event| event.user.as_ref().is_some_and(|user| user.as_str() == "ann")));
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_as_a_whole_starts_nothing() {
    let platform = Platform::of(&["a"]).await;
    let request = RunRequest { spec: web(), count: 5, pull: false };
    let Err(ControllerError::NoRoom(refusal)) = platform.controller.run(&ann(), request).await else { panic!("taken") };
    assert_eq!(refusal.to_string(), "only 4 of 5 containers fit on 1 engine: 1 has 0 of 256 MB free");
    assert_eq!(platform.really_there(), 0);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_holds_no_room_and_what_ends_again_and_again_does() {
    let platform = Platform::of(&["a"]).await;
    let room = || {
        let engine = platform.controller.engine("a").unwrap();
        (engine.reserved_memory.mb(), engine.memory.mb())
    };
    let sized = |memory| ContainerSpec { memory: Some(MemoryMb::new(memory)), ..web() };
    let ends = platform.run(sized(512), 1).await.started[0].id.clone();
    let again = ContainerSpec { restart_policy: RestartPolicy::Always, ..sized(512) };
    let loops = platform.run(again, 1).await.started[0].id.clone();
    assert_eq!(room(), (1024, 1024));
    platform.host("a").outsider_end(&ends, 0).unwrap();
    assert!(eventually(|| room() == (512, 1024)).await);
    for _ in 0..5 {
        platform.host("a").outsider_end(&loops, 1).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(room(), (512, 1024), "it is started again, and needs its room");
    }
    let taken = platform.run(sized(512), 1).await.started[0].id.clone();
    let Err(ControllerError::NoRoom(refusal)) = platform.controller.start(&ann(), ends.as_str()).await else {
        panic!("there is no room")
    };
    assert!(refusal.to_string().contains("0 of 512 MB free"), "{refusal}");
    assert_eq!(room(), (1024, 1024));
    platform.controller.destroy(&ann(), taken.as_str()).await.unwrap();
    assert_eq!(room(), (512, 1024));
    platform.controller.start(&ann(), ends.as_str()).await.unwrap();
    assert_eq!(room(), (1024, 1024));
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn counts_that_make_no_sense_are_refused() {
    let platform = Platform::of(&["a"]).await;
    let id = platform.run(web(), 1).await.started[0].id.to_string();
    for count in [0, 10_001, usize::MAX] {
        let run = platform.controller.run(&ann(), RunRequest { spec: web(), count, pull: false }).await;
        assert!(matches!(run, Err(ControllerError::Invalid(_))), "{count}");
    }
    for count in [10_001, usize::MAX] {
        let scale = platform.controller.scale(&ann(), &id, count).await;
        assert!(matches!(scale, Err(ControllerError::Invalid(_))), "{count}");
    }
    assert_eq!(platform.really_there(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_fails_is_replaced_by_another() {
    let platform = Platform::of(&["a", "b"]).await;
    platform.host("a").fail_next("start", 2, EngineErrorKind::Failed);
    let summary = platform.run(ContainerSpec { memory: Some(MemoryMb::new(32)), ..web() }, 4).await;
    assert_eq!((summary.started.len(), summary.failed.len()), (4, 0));
    assert_eq!(platform.host("b").really_there().len(), 4, "two of its own, and two that failed elsewhere");
    assert_eq!(platform.host("a").really_there().len(), 0);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn ports_that_docker_chooses_are_chosen_again_when_they_are_taken() {
    let platform = Platform::of(&["a"]).await;
    let chosen = ContainerSpec { bind_ports: vec!["tcp/::80".parse().unwrap()], ..web() };
    platform.host("a").fail_next("start", 3, EngineErrorKind::PortTaken);
    assert!(platform.run(chosen, 1).await.is_complete());
    let asked = ContainerSpec { bind_ports: vec![":8080:80".parse().unwrap()], ..web() };
    platform.host("a").fail_next("start", 1, EngineErrorKind::PortTaken);
    assert!(!platform.run(asked, 1).await.is_complete(), "one that was asked for is taken, and that is that");
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_no_engine_can_start_leaves_nothing_and_says_why() {
    let platform = Platform::of(&["a", "b"]).await;
    let summary = platform.run(ContainerSpec::new("shop/missing:1".parse().unwrap()), 2).await;
    assert_eq!((summary.started.len(), summary.failed.len()), (0, 2));
    assert!(summary.failed.iter().all(|failure| failure.error.contains("no such image")), "{:?}", summary.failed);
    assert_eq!(platform.really_there(), 0);
    platform.heard().await;
    assert_eq!(platform.kinds().iter().filter(|kind| *kind == "run-failed").count(), 2);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_removed_at_once_is_removed_as_soon_as_it_is_seen() {
    let platform = Platform::of(&["a"]).await;
    platform.host("a").fail_next("start", 1, EngineErrorKind::Unreachable);
    platform.host("a").fail_next("remove", 1, EngineErrorKind::Unreachable);
    let summary = platform.run(web(), 1).await;
    assert_eq!(summary.failed.len(), 1);
    assert!(eventually(|| platform.really_there() == 0).await);
    assert!(eventually(|| platform.kinds().contains(&"clean-up".to_owned())).await);
    assert!(platform.controller.containers(true).is_empty());
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_server_left_half_way_is_removed_and_what_runs_is_kept() {
    let mut platform = Platform::of(&["a"]).await;
    let kept = platform.run(web(), 1).await.started[0].clone();
    // Made by this platform, and never started: the server died between the two.
    let request = crate::engine::CreateRequest {
        name: "half-way".into(),
        spec: web(),
        links: Vec::new(),
        platform: platform.controller.cluster().platform().to_owned(),
        engine: engine_id("a"),
        launch: crate::model::LaunchId::new(),
        user: "ann".into(),
        mark: None,
        log_rotation: None,
        replica: None,
        network: None,
        hidden_environment: Default::default(),
    };
    platform.controller.shared.cluster.shutdown().await;
    platform.host("a").create(&request).await.unwrap();
    let launches = Collection::<LaunchRecord>::new(platform.store.clone(), LAUNCHES);
    let record = LaunchRecord::asked(engine_id("a"), "half-way".into(), jiff::Timestamp::now());
    launches.insert(&request.launch.to_string(), &record).await.unwrap();
    // What no record names is not removed, also when it has the labels of the platform.
    let unnamed = crate::engine::CreateRequest {
        name: "unnamed".into(),
        launch: crate::model::LaunchId::new(),
        ..request.clone()
    };
    platform.host("a").create(&unnamed).await.unwrap();
    let of_others = crate::engine::CreateRequest {
        name: "of-others".into(),
        platform: "another".into(),
        launch: crate::model::LaunchId::new(),
        ..request
    };
    platform.host("a").create(&of_others).await.unwrap();
    platform.restart().await;
    assert!(eventually(|| platform.really_there() == 3).await);
    tokio::time::sleep(Duration::from_secs(300)).await;
    let mut names: Vec<_> = platform.host("a").really_there().into_iter().map(|found| found.name).collect();
    names.sort();
    let mut expected = [kept.name.as_str(), "/of-others", "/unnamed"];
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(launches.all().await.unwrap().len(), 2, "of what was kept, and of what was seen first now");
    assert_eq!(*platform.controller.container(kept.id.as_str()).unwrap(), kept);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_is_not_written_down_is_not_asked_of_docker() {
    let platform = Platform::of(&["a"]).await;
    let store = Arc::new(FailingStore::new(platform.store.clone()));
    let controller = build(&platform.hosts, store.clone(), platform.events.clone()).await;
    controller.wait_ready(Duration::from_secs(5)).await;
    store.fail_after_writes(Some(0));
    let refused = controller.run(&ann(), RunRequest { spec: web(), count: 2, pull: false }).await;
    assert!(matches!(refused, Err(ControllerError::Store(_))), "{refused:?}");
    assert_eq!((platform.host("a").asked("create").times, controller.cluster().reservation_count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_answered_and_its_record_follows() {
    let platform = Platform::of(&["a"]).await;
    let store = Arc::new(FailingStore::new(platform.store.clone()));
    let controller = build(&platform.hosts, store.clone(), platform.events.clone()).await;
    controller.wait_ready(Duration::from_secs(5)).await;
    // The record of the launch is taken, and then the disk is full.
    store.fail_after_writes(Some(1));
    let request = RunRequest { spec: web(), count: 1, pull: false };
    let summary = controller.run(&ann(), request).await.unwrap().finish().await;
    assert_eq!((summary.started.len(), summary.failed.len()), (1, 0));
    let launches = Collection::<LaunchRecord>::new(platform.store.clone(), LAUNCHES);
    assert_eq!(launches.all().await.unwrap()[0].value.state, LaunchState::Asked);
    store.fail_after_writes(None);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let kept = launches.all().await.unwrap();
    assert_eq!(
        (kept[0].value.state, &kept[0].value.container),
        (LaunchState::Done, &Some(summary.started[0].id.clone()))
    );
    let events = controller.events(100).await.unwrap();
    assert_eq!(events.iter().filter(|event| event.kind.as_str() == "run-container").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_group_is_scaled_up_and_down_and_others_are_left_alone() {
    let platform = Platform::of(&["a", "b"]).await;
    let small = ContainerSpec { memory: Some(MemoryMb::new(16)), ..web() };
    let id = platform.run(small.clone(), 2).await.started[0].id.to_string();
    let mut other = small.clone();
    other.environment.insert("COLOUR".into(), "blue".into());
    platform.run(other, 3).await;
    let size = || {
        let running = platform.controller.containers(false);
        running.iter().filter(|container| *container.image == small).count()
    };
    for count in [7, 1, 4, 4] {
        let summary = platform.controller.scale(&ann(), &id, count).await.unwrap().finish().await;
        assert!(summary.is_complete());
        assert_eq!(size(), count);
        // The container that was named may have been one too many.
        let one = platform.controller.containers(false).into_iter().find(|container| *container.image == small);
        assert!(one.is_some());
        if platform.controller.container(&id).is_err() {
            break;
        }
    }
    assert_eq!(platform.really_there() - size(), 3);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn the_container_that_names_a_group_stays_in_it() {
    let platform = Platform::of(&["a", "b"]).await;
    let small = ContainerSpec { memory: Some(MemoryMb::new(16)), ..web() };
    let started = platform.run(small, 6).await.started;
    for named in [&started[5], &started[5]] {
        platform.controller.scale(&ann(), named.id.as_str(), 1).await.unwrap().finish().await;
        let left: Vec<_> = platform.controller.containers(true).iter().map(|one| one.id.clone()).collect();
        assert_eq!(left, std::slice::from_ref(&named.id));
    }
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn scaling_takes_from_the_engine_that_has_most() {
    let mut platform = Platform::without_engines(&["a", "b"]).await;
    platform.add("a").await;
    let small = ContainerSpec { memory: Some(MemoryMb::new(16)), ..web() };
    let id = platform.run(small, 6).await.started[0].id.to_string();
    platform.add("b").await;
    platform.controller.scale(&ann(), &id, 8).await.unwrap().finish().await;
    assert_eq!(platform.host("b").really_there().len(), 2);
    platform.controller.scale(&ann(), &id, 4).await.unwrap().finish().await;
    let left = [platform.host("a").really_there().len(), platform.host("b").really_there().len()];
    assert_eq!(left, [2, 2]);
}

#[tokio::test(start_paused = true)]
async fn scaling_names_what_it_could_not_destroy() {
    let platform = Platform::of(&["a"]).await;
    let small = ContainerSpec { memory: Some(MemoryMb::new(16)), ..web() };
    let id = platform.run(small, 3).await.started[0].id.to_string();
    platform.host("a").fail_next("remove", 1, EngineErrorKind::Failed);
    let summary = platform.controller.scale(&ann(), &id, 1).await.unwrap().finish().await;
    assert_eq!((summary.destroyed.len(), summary.failed.len()), (1, 1));
    let left: Vec<_> = platform.controller.containers(false).iter().map(|container| container.id.clone()).collect();
    let named = summary.failed[0].container.as_ref().unwrap();
    assert!(left.len() == 2 && left.contains(named), "{named} is not among {left:?}");
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn scaling_beyond_the_room_changes_nothing() {
    let platform = Platform::of(&["a"]).await;
    let id = platform.run(web(), 2).await.started[0].id.to_string();
    let refused = platform.controller.scale(&ann(), &id, 5).await;
    assert!(matches!(refused, Err(ControllerError::NoRoom(_))));
    assert_eq!(platform.really_there(), 2);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_others_started_cannot_be_scaled() {
    let platform = Platform::of(&["a"]).await;
    let id = platform.host("a").outsider_run("db:1".parse().unwrap(), None);
    assert!(eventually(|| platform.controller.container(id.as_str()).is_ok()).await);
    let refused = platform.controller.scale(&ann(), id.as_str(), 2).await;
    assert!(matches!(refused, Err(ControllerError::NotManaged { .. })));
}

#[tokio::test(start_paused = true)]
async fn links_place_a_container_beside_the_one_they_name() {
    let platform = Platform::of(&["a", "b", "c"]).await;
    let database = platform.run(ContainerSpec::new("db:1".parse().unwrap()), 1).await.started[0].clone();
    let mut front = web();
    front.links.insert(database.id.short().to_owned(), "database".into());
    let summary = platform.run(front.clone(), 2).await;
    assert!(summary.started.iter().all(|container| container.engine.id == database.engine.id));
    front.links = [("nobody".to_owned(), "database".to_owned())].into();
    let refused = platform.controller.run(&ann(), RunRequest { spec: front.clone(), count: 1, pull: false }).await;
    let Err(ControllerError::Invalid(invalid)) = refused else { panic!("taken") };
    assert_eq!(invalid.field, "links");
    let elsewhere = platform.run(ContainerSpec::new("db:2".parse().unwrap()), 1).await.started[0].clone();
    assert_ne!(elsewhere.engine.id, database.engine.id);
    front.links = [(database.name, "one".to_owned()), (elsewhere.name, "two".to_owned())].into();
    let refused = platform.controller.run(&ann(), RunRequest { spec: front, count: 1, pull: false }).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("must be on one")));
}

#[tokio::test(start_paused = true)]
async fn one_image_is_unique_by_every_name_of_its_registry() {
    let platform = Platform::of(&["a"]).await;
    let unique = |name: &str| {
        let mut spec = ContainerSpec::new(name.parse().unwrap());
        spec.kind = crate::model::ContainerType::Unique;
        RunRequest { spec, count: 1, pull: false }
    };
    platform.controller.run(&ann(), unique("docker.io/library/httpd")).await.unwrap().finish().await;
    for again in ["index.docker.io/library/httpd", "index.docker.io/httpd", "httpd"] {
        let refused = platform.controller.run(&ann(), unique(again)).await;
        assert!(matches!(refused, Err(ControllerError::NoRoom(_))), "{again}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_port_can_be_had_once_of_each_family() {
    let platform = Platform::of(&["a"]).await;
    let listening = |port: &str| {
        let spec = ContainerSpec { bind_ports: vec![port.parse().unwrap()], ..web() };
        RunRequest { spec, count: 1, pull: false }
    };
    for port in ["0.0.0.0:8080:80", "[::]:8080:80", "9090:80"] {
        let started = platform.controller.run(&ann(), listening(port)).await.unwrap().finish().await;
        assert_eq!((started.started.len(), started.started[0].ports.len()), (1, 1), "{port}");
    }
    for port in ["8080:80", "[::1]:8080:80", "127.0.0.1:8080:80", "[::]:9090:80", "0.0.0.0:9090:80"] {
        let refused = platform.controller.run(&ann(), listening(port)).await;
        assert!(matches!(refused, Err(ControllerError::NoRoom(_))), "{port}");
    }
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn unique_ones_and_ports_have_one_place_per_engine() {
    let platform = Platform::of(&["a", "b"]).await;
    let unique = ContainerSpec { kind: ContainerType::Unique, ..web() };
    assert!(platform.run(unique.clone(), 2).await.is_complete());
    let third = platform.controller.run(&ann(), RunRequest { spec: unique, count: 1, pull: false }).await;
    assert!(third.is_err_and(|error| error.to_string().contains("already")));
    let mut listening = ContainerSpec::new("proxy:1".parse().unwrap());
    listening.bind_ports = vec![":8080:80".parse().unwrap()];
    assert!(platform.run(listening.clone(), 2).await.is_complete());
    let third = platform.controller.run(&ann(), RunRequest { spec: listening, count: 1, pull: false }).await;
    assert!(third.is_err_and(|error| error.to_string().contains("tcp/8080 taken")));
}

#[tokio::test(start_paused = true)]
async fn images_are_pulled_once_per_engine_before_they_run() {
    let platform = Platform::of(&["a", "b"]).await;
    let request = RunRequest { spec: ContainerSpec { memory: Some(MemoryMb::new(16)), ..web() }, count: 6, pull: true };
    let steps: Vec<Progress> =
        futures::StreamExt::collect(platform.controller.run(&ann(), request).await.unwrap()).await;
    let pulled = steps.iter().filter(|step| matches!(step, Progress::Pulled { .. })).count();
    assert_eq!(pulled, 2);
    assert!(matches!(steps.last(), Some(Progress::Summary { started: 6, failed: 0, .. })));
    let missing = "shop/missing:1".parse().unwrap();
    let summary = platform.controller.pull(&ann(), missing, None).await.unwrap().finish().await;
    assert_eq!(summary.failed.len(), 2);
    let nobody = platform.controller.pull(&ann(), "web".parse().unwrap(), Some(vec![engine_id("nobody")])).await;
    assert!(matches!(nobody, Err(ControllerError::EngineNotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn shutting_down_finishes_what_was_begun_and_takes_no_more() {
    let platform = Platform::of(&["a"]).await;
    let operation = platform.controller.run(&ann(), RunRequest { spec: web(), count: 3, pull: false }).await.unwrap();
    let (summary, ()) = tokio::join!(operation.finish(), platform.controller.shutdown());
    assert_eq!(summary.started.len(), 3);
    assert!(platform.host("a").really_there().iter().all(|found| found.state == ContainerState::Running));
    let late = platform.controller.run(&ann(), RunRequest { spec: web(), count: 1, pull: false }).await;
    assert!(matches!(late, Err(ControllerError::ShuttingDown)));
}
