//! Scaling while not every member of a group does well.

use std::collections::BTreeSet;

use super::*;
use crate::engine::EngineErrorKind;
use crate::model::{Container, ContainerState};

fn small() -> ContainerSpec {
    ContainerSpec { memory: Some(MemoryMb::new(16)), ..web() }
}

fn on<'a>(started: &'a [Container], engine: &str) -> Vec<&'a Container> {
    started.iter().filter(|one| one.engine.id.as_str() == engine).collect()
}

impl Platform {
    async fn scale(&self, id: &str, count: usize) -> LaunchSummary {
        self.controller.scale(&ann(), id, count).await.unwrap().finish().await
    }

    fn running(&self) -> usize {
        let hosts = self.hosts.values().flat_map(|host| host.really_there());
        hosts.filter(|found| found.state == ContainerState::Running).count()
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_reached_is_what_goes_when_it_is_back() {
    let platform = Platform::of(&["a", "b"]).await;
    let started = platform.run(small(), 6).await.started;
    let named = on(&started, "a")[0].id.to_string();
    platform.host("b").set_reachable(false);
    platform.until("b", EngineStatus::Down).await;
    let summary = platform.scale(&named, 3).await;
    assert_eq!((summary.started.len(), summary.destroyed.len()), (0, 0), "three are wanted, and three run");
    let away: BTreeSet<_> = on(&started, "b").iter().map(|one| one.id.clone()).collect();
    assert!(summary.failed.iter().all(|failure| failure.deferred && failure.error.contains("when the engine is back")));
    assert_eq!(summary.failed.iter().map(|failure| failure.container.clone().unwrap()).collect::<BTreeSet<_>>(), away);
    assert_eq!(platform.running(), 6);
    // The second time nothing is left to say.
    assert!(platform.scale(&named, 3).await.is_complete());
    platform.host("b").set_reachable(true);
    platform.until("b", EngineStatus::Up).await;
    assert!(eventually(|| platform.running() == 3).await);
    assert_eq!(platform.host("a").really_there().len(), 3);
    let removed = platform.kinds().iter().filter(|kind| *kind == "clean-up").count();
    assert_eq!(removed, 3);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn that_they_go_outlives_the_server() {
    let mut platform = Platform::of(&["a", "b"]).await;
    let started = platform.run(small(), 4).await.started;
    let named = on(&started, "a")[0].id.to_string();
    platform.host("b").set_reachable(false);
    platform.until("b", EngineStatus::Down).await;
    platform.scale(&named, 2).await;
    platform.controller.shared.cluster.shutdown().await;
    platform.controller = build(&platform.hosts, platform.store.clone(), platform.events.clone()).await;
    platform.until("a", EngineStatus::Up).await;
    platform.host("b").set_reachable(true);
    platform.until("b", EngineStatus::Up).await;
    assert!(eventually(|| platform.running() == 2).await);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(platform.host("a").really_there().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_unreachable_does_not_count_for_one_that_runs() {
    let mut platform = Platform::without_engines(&["a", "b"]).await;
    platform.add("a").await;
    let started = platform.run(small(), 5).await.started;
    platform.add("b").await;
    platform.scale(started[0].id.as_str(), 6).await;
    assert_eq!(platform.host("b").really_there().len(), 1);
    platform.host("b").set_reachable(false);
    platform.until("b", EngineStatus::Down).await;
    let summary = platform.scale(started[0].id.as_str(), 3).await;
    assert_eq!((summary.destroyed.len(), summary.failed.len()), (2, 1));
    assert_eq!(platform.host("a").really_there().len(), 3);
    // More are wanted than run: they are started, and the one that is away stays too many.
    let summary = platform.scale(started[0].id.as_str(), 4).await;
    assert_eq!((summary.started.len(), summary.destroyed.len(), summary.failed.len()), (1, 0, 0));
    platform.host("b").set_reachable(true);
    platform.until("b", EngineStatus::Up).await;
    assert!(eventually(|| platform.running() == 4).await);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(platform.running(), 4);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_destroyed_costs_no_other_one_its_life() {
    let platform = Platform::of(&["a", "b"]).await;
    let started = platform.run(small(), 6).await.started;
    platform.host("b").fail_next("remove", 10, EngineErrorKind::Failed);
    let summary = platform.scale(on(&started, "a")[0].id.as_str(), 4).await;
    assert_eq!(summary.destroyed.len() + summary.failed.len(), 2);
    assert!(platform.running() >= 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_on_a_drained_engine_goes_before_what_is_not() {
    let platform = Platform::of(&["a", "b"]).await;
    let started = platform.run(small(), 6).await.started;
    platform.controller.set_draining(&ann(), "b", true).await.unwrap();
    let summary = platform.scale(on(&started, "a")[0].id.as_str(), 3).await;
    assert!(summary.is_complete());
    assert_eq!((platform.host("a").really_there().len(), platform.host("b").really_there().len()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_group_can_be_scaled_to_nothing() {
    let platform = Platform::of(&["a", "b"]).await;
    let started = platform.run(small(), 4).await.started;
    let summary = platform.scale(started[0].id.as_str(), 0).await;
    assert_eq!((summary.destroyed.len(), summary.is_complete()), (4, true));
    assert_eq!(platform.really_there(), 0);
    let run = platform.controller.run(&ann(), RunRequest { spec: small(), count: 0, pull: false }).await;
    assert!(matches!(run, Err(ControllerError::Invalid(_))));
    platform.check_at_rest();
}
