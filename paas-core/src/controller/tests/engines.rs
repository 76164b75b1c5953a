//! Adding and deleting engines.

use super::*;
use crate::engine::EngineErrorKind;
use crate::model::{EngineAddress, TlsMaterial};
use crate::store::tables::LAUNCHES;
use crate::testing::store::GatedStore;

#[tokio::test(start_paused = true)]
async fn an_added_engine_takes_containers_at_once_and_a_deleted_one_no_more() {
    let platform = Platform::of(&["a"]).await;
    let controller = &platform.controller;
    assert!(platform.run(web(), 1).await.is_complete());
    controller.delete_engine(&ann(), "a", true).await.unwrap();
    assert!(controller.engines().is_empty() && controller.containers(true).is_empty());
    let refused = controller.run(&ann(), RunRequest { spec: web(), count: 1, pull: false }).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("there are no engines")));
    assert_eq!(platform.really_there(), 1, "what runs goes on running");
    let again = controller.add_engine(&ann(), engine_spec("a")).await.unwrap();
    assert_eq!((again.health.status, again.containers), (EngineStatus::Up, 1));
    let unknown = controller.delete_engine(&ann(), "b", true).await;
    assert!(matches!(unknown, Err(ControllerError::EngineNotFound { .. })));
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn an_engine_is_added_once_by_id_by_address_and_by_daemon() {
    let platform = Platform::without_engines(&["a"]).await;
    let mut connected = platform.controller.add_engine(&ann(), engine_spec("a")).await.unwrap();
    connected.health.response_time_ms = None;
    let mut same_id = engine_spec("b");
    same_id.id = engine_id("a");
    let mut same_address = engine_spec("a");
    same_address.id = engine_id("c");
    for (spec, expected) in [(same_id, "already; choose another id"), (same_address, "is engine 'a' already")] {
        let refused = platform.controller.add_engine(&ann(), spec).await;
        assert!(refused.is_err_and(|error| error.to_string().contains(expected)), "{expected}");
    }
    assert_eq!(platform.controller.engines().len(), 1);
    platform.heard().await;
    assert_eq!(platform.kinds().iter().filter(|kind| *kind == "add-engine").count(), 1);
}

/// Two addresses of one daemon: each leads to the same simulated host.
async fn two_ways_to_one_daemon() -> (Controller, SimulatedEngine) {
    let host = SimulatedEngine::new(&SimulatedHost::new("one"));
    let connector: Connector = Arc::new({
        let host = host.clone();
        move |_: &EngineSpec| -> crate::engine::Result<Arc<dyn DockerEngine>> { Ok(Arc::new(host.clone())) }
    });
    (Controller::builder().connector(connector).build().await.unwrap(), host)
}

#[tokio::test(start_paused = true)]
async fn one_daemon_under_two_addresses_is_refused() {
    let (controller, _) = two_ways_to_one_daemon().await;
    controller.add_engine(&ann(), engine_spec("first")).await.unwrap();
    let refused = controller.add_engine(&ann(), engine_spec("second")).await;
    let reason = refused.unwrap_err().to_string();
    assert!(reason.contains("the Docker daemon of engine 'first'") && reason.contains("cloned"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn one_daemon_that_shows_only_later_is_counted_once() {
    let (controller, host) = two_ways_to_one_daemon().await;
    host.set_reachable(false);
    for name in ["first", "second"] {
        let added = controller.add_engine(&ann(), engine_spec(name)).await.unwrap();
        assert_eq!(added.health.status, EngineStatus::Pending);
    }
    host.set_reachable(true);
    let statuses = || {
        let mut statuses: Vec<_> = controller.engines().iter().map(|engine| engine.health.status).collect();
        statuses.sort();
        statuses
    };
    assert!(eventually(|| statuses() == [EngineStatus::Up, EngineStatus::Duplicate]).await, "{:?}", statuses());
    assert_eq!(controller.cluster_info().memory, MemoryMb::new(8192), "its memory is counted once");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_yet_is_pending_until_it_does() {
    let platform = Platform::without_engines(&["a"]).await;
    platform.host("a").set_reachable(false);
    let added = platform.controller.add_engine(&ann(), engine_spec("a")).await.unwrap();
    assert_eq!(added.health.status, EngineStatus::Pending);
    let refused = platform.controller.run(&ann(), RunRequest { spec: web(), count: 1, pull: false }).await;
    assert!(refused.is_err_and(|error| error.to_string() == "1 engine: 1 pending"));
    platform.host("a").set_reachable(true);
    platform.until("a", EngineStatus::Up).await;
    assert!(platform.run(web(), 1).await.is_complete());
}

/// A server that was started a moment ago says no to nobody because it has not looked yet.
#[tokio::test(start_paused = true)]
async fn a_run_waits_for_engines_that_were_not_read_yet() {
    let platform = Platform::without_engines(&["a"]).await;
    platform.host("a").set_latency(Duration::from_millis(1200));
    let adding = {
        let controller = platform.controller.clone();
        tokio::spawn(async move { controller.add_engine(&ann(), engine_spec("a")).await.unwrap() })
    };
    assert!(eventually(|| platform.controller.engine("a").is_ok()).await);
    assert_eq!(platform.controller.engine("a").unwrap().health.status, EngineStatus::Pending);
    assert!(platform.run(web(), 1).await.is_complete());
    adding.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn engines_and_what_runs_on_them_are_known_after_a_restart() {
    let mut platform = Platform::of(&["a", "b"]).await;
    let before: Vec<_> = platform.run(ContainerSpec { memory: Some(MemoryMb::new(16)), ..web() }, 6).await.started;
    platform.restart().await;
    assert_eq!(platform.controller.engines().len(), 2);
    let mut ids: Vec<_> = before.into_iter().map(|container| container.id).collect();
    ids.sort();
    let after: Vec<_> = platform.controller.containers(false).iter().map(|container| container.id.clone()).collect();
    assert_eq!(after, ids);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn descriptions_that_cannot_be_right_are_refused() {
    let platform = Platform::without_engines(&["a"]).await;
    let mut nothing = engine_spec("a");
    nothing.memory = Some(MemoryMb::ZERO);
    let mut certificates = engine_spec("a");
    let text = || "no certificate".to_owned();
    certificates.tls = Some(TlsMaterial { ca_cert: text(), cert: text(), key: text() });
    let mut unreadable = certificates.clone();
    unreadable.addr = "https://127.0.0.1:1".parse::<EngineAddress>().unwrap();
    for spec in [nothing, certificates, unreadable] {
        let refused = platform.controller.add_engine(&ann(), spec).await;
        assert!(matches!(refused, Err(ControllerError::Invalid(_))), "{refused:?}");
    }
    assert!(platform.controller.engines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_cannot_be_connected_to_keeps_no_other_from_working() {
    let platform = Platform::of(&["a", "b"]).await;
    let connector: Connector = Arc::new(|spec: &EngineSpec| -> crate::engine::Result<Arc<dyn DockerEngine>> {
        match spec.id.as_str() {
            "a" => Err(crate::engine::EngineError::new(crate::engine::EngineErrorKind::Tls, "connect", "no more")),
            name => Ok(Arc::new(SimulatedEngine::new(&SimulatedHost::new(name)))),
        }
    });
    let events = Arc::new(RecordingSink::default());
    let builder =
        Controller::builder().sealer(sealer()).store(platform.store.clone()).sink(events.clone()).connector(connector);
    let again = builder.build().await.unwrap();
    assert!(eventually(|| again.engine("b").is_ok_and(|engine| engine.health.status == EngineStatus::Up)).await);
    let told: Vec<String> = events.events().into_iter().map(|event| event.message).collect();
    assert!(told.iter().any(|message| message.starts_with("engine a cannot be used")), "{told:?}");
    again.delete_engine(&ann(), "a", false).await.unwrap();
    let unknown = again.delete_engine(&ann(), "a", false).await;
    assert!(matches!(unknown, Err(ControllerError::EngineNotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_operators_word_on_an_engines_size_counts_more_than_its_own() {
    let platform = Platform::without_engines(&["a"]).await;
    let mut spec = engine_spec("a");
    spec.memory = Some(MemoryMb::new(300));
    let added = platform.controller.add_engine(&ann(), spec).await.unwrap();
    assert_eq!(added.memory, MemoryMb::new(300));
    let refused = platform.controller.run(&ann(), RunRequest { spec: web(), count: 2, pull: false }).await;
    assert!(matches!(refused, Err(ControllerError::NoRoom(_))));
}

#[tokio::test(start_paused = true)]
async fn a_drained_engine_gets_nothing_new_until_it_is_undrained() {
    let mut platform = Platform::of(&["a", "b"]).await;
    let small = ContainerSpec { memory: Some(MemoryMb::new(16)), ..web() };
    platform.run(small.clone(), 2).await;
    assert!(platform.controller.set_draining(&ann(), "a", true).await.unwrap().draining);
    platform.run(small.clone(), 4).await;
    assert_eq!(platform.host("a").really_there().len(), 1, "what runs there goes on running");
    platform.restart().await;
    assert!(platform.controller.engine("a").unwrap().draining, "a restart forgets nothing");
    let refused = platform.controller.delete_engine(&ann(), "a", false).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("still run on engine a")));
    platform.controller.set_draining(&ann(), "a", true).await.unwrap();
    assert!(!platform.controller.set_draining(&ann(), "a", false).await.unwrap().draining);
    platform.run(small, 4).await;
    assert_eq!(platform.host("a").really_there().len(), 5);
    platform.heard().await;
    let told: Vec<String> = platform.kinds().into_iter().filter(|kind| kind.ends_with("drain-engine")).collect();
    assert_eq!(told, ["drain-engine", "undrain-engine"]);
    let unknown = platform.controller.set_draining(&ann(), "nobody", true).await;
    assert!(matches!(unknown, Err(ControllerError::EngineNotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_engine_without_running_containers_of_ours_is_deleted_without_force() {
    let platform = Platform::of(&["a"]).await;
    let id = platform.run(web(), 1).await.started[0].id.to_string();
    platform.host("a").outsider_run("db:1".parse().unwrap(), None);
    platform.controller.stop(&ann(), &id, Duration::ZERO).await.unwrap();
    platform.controller.delete_engine(&ann(), "a", false).await.unwrap();
}

/// One daemon under two addresses, found out while a container is started through the second one.
#[tokio::test(start_paused = true)]
async fn a_launch_on_an_engine_that_turns_out_to_be_another_one_leaves_nothing() {
    let mut platform = Platform::without_engines(&["p1", "p2"]).await;
    let store = Arc::new(GatedStore::new(platform.store.clone()));
    platform.controller = build(&platform.hosts, store.clone(), platform.events.clone()).await;
    platform.add("p1").await;
    platform.add("p2").await;
    let (one, other) = (platform.host("p1"), platform.host("p2"));
    platform.controller.set_draining(&ann(), "p1", true).await.unwrap();
    one.outsider_run("db:1".parse().unwrap(), None);
    let theirs = one.really_there()[0].clone();
    other.set_latency(Duration::from_millis(500));
    let run = {
        let controller = platform.controller.clone();
        let request = RunRequest { spec: web(), count: 1, pull: false };
        tokio::spawn(async move { controller.run(&ann(), request).await.unwrap().finish().await })
    };
    assert!(eventually(|| other.really_there().len() == 1).await);
    let ours = other.really_there()[0].clone();
    one.outsider_twin(&ours);
    assert!(eventually(|| platform.controller.container(ours.id.as_str()).is_ok()).await);
    // It is being started through the second address when that is found to be the first one's.
    other.set_latency(Duration::ZERO);
    store.close();
    other.fail_next("remove", 1, EngineErrorKind::Failed);
    other.outsider_twin(&theirs);
    platform.until("p2", EngineStatus::Duplicate).await;
    // The first one is read again before it is written down that the launch failed.
    store.until_one_waits_for(LAUNCHES).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    store.open();
    let summary = run.await.unwrap();
    assert_eq!(summary.failed.len(), 1, "{summary:?}");
    let failed = tokio::time::Instant::now();
    assert!(eventually(|| one.really_there().len() == 1).await, "what was launched stays on the host that both are");
    assert!(failed.elapsed() < Duration::from_secs(5), "only at the next reading, after {:?}", failed.elapsed());
    assert!(eventually(|| platform.controller.container(ours.id.as_str()).is_err()).await);
    platform.check_at_rest();
}
