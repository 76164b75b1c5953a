//! Changes of one container, and what others do behind our back.

use super::*;
use crate::engine::{Asked, EngineErrorKind, LogOptions};
use crate::model::{ContainerState, EventKind};

const GRACE: Duration = Duration::from_secs(1);

fn state(platform: &Platform, id: &str) -> ContainerState {
    platform.controller.container(id).unwrap().state
}

#[tokio::test(start_paused = true)]
async fn what_an_ended_container_held_is_free_until_it_is_started() {
    let platform = Platform::of(&["a"]).await;
    let large = || ContainerSpec { memory: Some(MemoryMb::new(600)), ..web() };
    let first = platform.run(large(), 1).await.started.remove(0);
    platform.host("a").outsider_stop(&first.id).unwrap();
    assert!(eventually(|| platform.controller.cluster().reserved(&engine_id("a")).memory == MemoryMb::ZERO).await);
    let second = platform.run(large(), 1).await.started.remove(0);
    let refused = platform.controller.start(&ann(), first.id.as_str()).await.unwrap_err();
    assert_eq!(refused.to_string(), "1 engine: 1 has 424 of 600 MB free");
    platform.controller.destroy(&ann(), second.id.as_str()).await.unwrap();
    platform.controller.start(&ann(), first.id.as_str()).await.unwrap();
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_container_goes_through_its_life() {
    let platform = Platform::of(&["a"]).await;
    let controller = &platform.controller;
    let container = platform.run(web(), 1).await.started[0].clone();
    let id = container.id.as_str();
    controller.stop(&ann(), &id[..12], GRACE).await.unwrap();
    assert_eq!(state(&platform, id), ContainerState::Stopped);
    assert!(controller.containers(false).is_empty() && controller.containers(true).len() == 1);
    controller.start(&ann(), container.name.trim_start_matches('/')).await.unwrap();
    assert_eq!(state(&platform, id), ContainerState::Running);
    controller.restart(&ann(), id, GRACE).await.unwrap();
    controller.destroy(&ann(), id).await.unwrap();
    assert!(matches!(controller.container(id), Err(ControllerError::ContainerNotFound { .. })));
    let ours: Vec<String> = platform
        .events
        .events()
        .into_iter()
        .filter(|event| event.user.is_some() && event.kind != EventKind::AddEngine)
        .map(|event| event.kind.to_string())
        .collect();
    let expected = ["run-container", "stop-container", "start-container", "restart-container", "destroy-container"];
    assert_eq!(ours, expected);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn ids_may_be_shortened_as_long_as_they_fit_one() {
    let platform = Platform::of(&["a"]).await;
    platform.run(ContainerSpec { memory: Some(MemoryMb::new(16)), ..web() }, 40).await;
    let Err(ControllerError::Invalid(_)) = platform.controller.container("") else { panic!("found") };
    let Err(ControllerError::Invalid(_)) = platform.controller.container("/") else { panic!("found") };
    let ambiguous =
        (0..16).map(|digit| format!("{digit:x}")).find_map(|digit| match platform.controller.container(&digit) {
            Err(ControllerError::ContainerAmbiguous(ambiguity)) => Some(ambiguity.candidates),
            _ => None,
        });
    assert!(ambiguous.is_some_and(|candidates| candidates.len() >= 2), "of forty ids two begin alike");
    let nobody = platform.controller.container("zz");
    assert!(matches!(nobody, Err(ControllerError::ContainerNotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_container_says_itself_how_long_it_has_to_end() {
    let platform = Platform::of(&["a"]).await;
    let patient = platform.run(ContainerSpec { stop_timeout: Some(120), ..web() }, 1).await.started[0].clone();
    let other = platform.run(web(), 1).await.started[0].clone();
    let own = |name: &str| platform.controller.own_grace(name);
    assert_eq!(
        (own(patient.id.as_str()), own(&patient.name)),
        (Some(Duration::from_secs(120)), Some(Duration::from_secs(120)))
    );
    assert_eq!((own(other.id.as_str()), own("nobody")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_container_is_not_started_where_there_is_no_room() {
    let platform = Platform::of(&["a"]).await;
    let id = platform.run(web(), 1).await.started[0].id.to_string();
    platform.controller.stop(&ann(), &id, GRACE).await.unwrap();
    platform.run(web(), 4).await;
    let refused = platform.controller.start(&ann(), &id).await;
    assert!(matches!(refused, Err(ControllerError::NoRoom(_))));
    assert_eq!(state(&platform, &id), ContainerState::Stopped);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_an_engine_does_not_do_is_reported_and_changes_nothing() {
    let platform = Platform::of(&["a"]).await;
    let id = platform.run(web(), 1).await.started[0].id.to_string();
    platform.host("a").fail_next("stop", 1, EngineErrorKind::Failed);
    let failed = platform.controller.stop(&ann(), &id, GRACE).await;
    assert!(matches!(failed, Err(ControllerError::Engine { .. })));
    assert_eq!(state(&platform, &id), ContainerState::Running);
    platform.heard().await;
    assert!(!platform.kinds().contains(&"stop-container".to_owned()));
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_down_is_not_waited_for() {
    let platform = Platform::of(&["a"]).await;
    let id = platform.run(web(), 1).await.started[0].id.to_string();
    platform.host("a").set_hanging(true);
    let begun = tokio::time::Instant::now();
    let failed = platform.controller.stop(&ann(), &id, GRACE).await;
    assert!(failed.is_err() && begun.elapsed() < Duration::from_secs(5), "after {:?}", begun.elapsed());
    platform.until("a", EngineStatus::Down).await;
    assert_eq!(state(&platform, &id), ContainerState::Unknown);
    let failed = platform.controller.logs(&id, &LogOptions::default()).await;
    assert!(matches!(failed, Err(ControllerError::Engine { .. })));
    platform.host("a").set_hanging(false);
    platform.until("a", EngineStatus::Up).await;
    assert_eq!(state(&platform, &id), ContainerState::Running);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn an_engine_removes_a_few_at_a_time_and_is_not_asked_for_what_goes() {
    let platform = Platform::of(&["a"]).await;
    let host = platform.host("a");
    let small = ContainerSpec { memory: Some(MemoryMb::new(32)), ..web() };
    let ids: Vec<_> = platform.run(small, 14).await.started.into_iter().map(|one| one.id.to_string()).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let inspected = host.asked("inspect").times;
    host.set_latency(Duration::from_millis(100));
    let actor = ann();
    let all = ids.iter().map(|id| platform.controller.destroy(&actor, id));
    for outcome in futures::future::join_all(all).await {
        outcome.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(host.asked("remove"), Asked { times: 14, now: 0, at_once: 4 });
    assert_eq!(host.asked("inspect").times, inspected);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn who_wants_one_container_gone_does_not_wait_for_a_whole_group() {
    let platform = Platform::of(&["a"]).await;
    let small = ContainerSpec { memory: Some(MemoryMb::new(32)), ..web() };
    let other = platform.run(web(), 1).await.started[0].id.to_string();
    let group = platform.run(small, 21).await.started[0].id.to_string();
    platform.host("a").set_latency(Duration::from_millis(100));
    let scaling = platform.controller.scale(&ann(), &group, 1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let begun = tokio::time::Instant::now();
    platform.controller.destroy(&ann(), &other).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(250), "after {:?}", begun.elapsed());
    assert_eq!(scaling.finish().await.destroyed.len(), 20);
    assert!(begun.elapsed() > Duration::from_millis(450), "the group takes longer: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_others_do_is_seen_counted_and_told() {
    let platform = Platform::of(&["a"]).await;
    let id = platform.host("a").outsider_run("db:1".parse().unwrap(), None);
    assert!(eventually(|| platform.controller.container(id.as_str()).is_ok()).await);
    assert!(!platform.controller.container(id.as_str()).unwrap().managed);
    assert_eq!(platform.controller.cluster_info().reserved_memory, MemoryMb::new(256));
    platform.host("a").outsider_stop(&id).unwrap();
    assert!(eventually(|| platform.controller.cluster_info().reserved_memory == MemoryMb::ZERO).await);
    platform.host("a").outsider_remove(&id).unwrap();
    assert!(eventually(|| platform.controller.container(id.as_str()).is_err()).await);
    let of_docker = |event: &Event| event.tags == ["docker"] && event.container.as_ref() == Some(&id);
    let told = || -> Vec<String> {
        platform.events.events().into_iter().filter(of_docker).map(|event| event.kind.to_string()).collect()
    };
    assert!(eventually(|| told() == ["create", "start", "kill", "die", "stop", "destroy"]).await, "{:?}", told());
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn events_during_a_break_are_not_missed_and_not_told_twice() {
    let platform = Platform::of(&["a"]).await;
    let before = platform.host("a").outsider_run("db:1".parse().unwrap(), None);
    assert!(eventually(|| platform.controller.container(before.as_str()).is_ok()).await);
    platform.host("a").set_reachable(false);
    platform.until("a", EngineStatus::Down).await;
    let during = platform.host("a").outsider_run("db:1".parse().unwrap(), None);
    platform.host("a").outsider_remove(&before).unwrap();
    platform.host("a").set_reachable(true);
    platform.until("a", EngineStatus::Up).await;
    assert!(platform.controller.container(before.as_str()).is_err());
    assert!(platform.controller.container(during.as_str()).is_ok());
    let count = |kind: &str, id: &crate::model::ContainerId| {
        let events = platform.events.events();
        events.iter().filter(|event| event.kind.as_str() == kind && event.container.as_ref() == Some(id)).count()
    };
    assert!(eventually(|| count("destroy", &before) == 1 && count("start", &during) == 1).await);
    assert_eq!(count("create", &before), 1);
}
