//! Following engines: what is read, what is recorded, and what is left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::cluster::ClusterSettings;
use crate::engine::{EngineErrorKind, EngineUsage, EventDetail, MockDockerEngine, SimulatedEngine};
use crate::events::RecordingSink;
use crate::model::{ContainerState, Cpus, EngineId, EngineSpec, HealthStatus, MemoryMb, Resources, SimulatedHost};
use crate::scheduler::Spread;

/// An engine whose streams of events are silent for ever: how often one was opened, and whether it answers.
fn silent_engine() -> (MockDockerEngine, Arc<AtomicUsize>, Arc<AtomicBool>) {
    let (opened, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let mut engine = MockDockerEngine::new();
    let info = EngineInfo {
        daemon_id: "one".into(),
        cpus: Cpus::from_milli(1000),
        memory: MemoryMb::new(1024),
        docker_version: "test".into(),
        images: Vec::new(),
        networks: None,
        volumes: None,
        warnings: Vec::new(),
        time: None,
    };
    engine.expect_info().returning(move || Ok(info.clone()));
    engine.expect_list().returning(|| Ok(Vec::new()));
    engine.expect_usage().returning(|| Ok(EngineUsage::default()));
    engine.expect_events().returning({
        let opened = opened.clone();
        move |_| {
            opened.fetch_add(1, Ordering::SeqCst);
            Ok(futures::stream::pending().boxed())
        }
    });
    engine.expect_ping().returning({
        let answers = answers.clone();
        move |_| match answers.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(EngineError::new(EngineErrorKind::Unreachable, "ping", "no answer")),
        }
    });
    (engine, opened, answers)
}

fn cluster_with(settings: ClusterSettings) -> (Cluster, Arc<RecordingSink>) {
    let (events, scheduler) = (Arc::new(RecordingSink::default()), Arc::new(Spread::default()));
    (Cluster::new(settings, scheduler, events.clone(), "test".to_owned()), events)
}

fn cluster() -> (Cluster, Arc<RecordingSink>) {
    cluster_with(ClusterSettings::default())
}

/// Adds a simulated host, and waits until it was read.
async fn add(cluster: &Cluster, host: &SimulatedEngine, id: &str) -> EngineId {
    let id: EngineId = id.parse().unwrap();
    let spec = EngineSpec::new(id.clone(), format!("sim://{id}").parse().unwrap());
    cluster.add_engine(spec, Arc::new(host.clone()));
    cluster.wait_synced(&id).await;
    id
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let reached = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(Duration::from_secs(30), reached).await.is_ok(), "never: {what}");
}

fn messages(events: &RecordingSink) -> Vec<String> {
    events.events().into_iter().map(|event| event.message).collect()
}

fn web() -> crate::model::ImageRef {
    "web:1".parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_was_away_is_listened_to_again() {
    let (engine, opened, answers) = silent_engine();
    let (cluster, _events) = cluster();
    let id: EngineId = "one".parse().unwrap();
    cluster.add_engine(EngineSpec::new(id.clone(), "sim://one".parse().unwrap()), Arc::new(engine));
    until("up", || cluster.status(&id) == Some(EngineStatus::Up)).await;
    assert_eq!(opened.load(Ordering::SeqCst), 1);
    answers.store(false, Ordering::SeqCst);
    until("down", || cluster.status(&id) == Some(EngineStatus::Down)).await;
    answers.store(true, Ordering::SeqCst);
    until("up", || cluster.status(&id) == Some(EngineStatus::Up)).await;
    assert_eq!(opened.load(Ordering::SeqCst), 2, "the old stream may be one to nobody");
    cluster.shutdown().await;
}

#[test]
fn what_comes_and_goes_with_every_container_changes_no_host() {
    for action in ["connect", "disconnect", "mount", "unmount", "create", "destroy", "remove"] {
        assert!(!changes_host(action), "{action}");
    }
    for action in ["pull", "tag", "delete", "load", "reload"] {
        assert!(changes_host(action), "{action}");
    }
}

#[tokio::test]
async fn what_the_platform_removes_is_not_read_meanwhile() {
    let (cluster, events) = cluster();
    let id: EngineId = "one".parse().unwrap();
    cluster.add_engine(EngineSpec::new(id.clone(), "sim://one".parse().unwrap()), Arc::new(silent_engine().0));
    let engine = cluster.handle(&id).unwrap();
    let container: ContainerId = "0123456789abcdef".parse().unwrap();
    let (mut heard, mut changed) = (Heard::default(), Changed::default());
    let removal = cluster.removing(&container);
    let die = |nanoseconds| EngineEvent {
        time: Timestamp::from_nanosecond(nanoseconds).unwrap(),
        action: "die".to_owned(),
        container: Some(container.clone()),
        name: "a".to_owned(),
        image: None,
        launch: None,
        detail: EventDetail::default(),
    };
    take_event(&cluster, &engine, die(1), &mut heard, &mut changed);
    assert_eq!(changed.take(), None);
    drop(removal);
    take_event(&cluster, &engine, die(2), &mut heard, &mut changed);
    assert_eq!(changed.take(), Some(container.clone()));
    cluster.shutdown().await;
    assert_eq!(events.events().iter().filter(|event| event.kind.as_str() == "die").count(), 2, "both are told");
}

#[tokio::test]
async fn what_is_gone_is_not_read_again_unless_it_was_found_again() {
    let (cluster, _events) = cluster();
    let host = SimulatedEngine::new(&SimulatedHost::new("one"));
    let engine = add(&cluster, &host, "one").await;
    let container = host.outsider_run(web(), None);
    cluster.refresh(&engine, &container).await.unwrap();
    assert!(!cluster.being_removed(&container));
    cluster.removed(&container);
    assert!(cluster.being_removed(&container));
    cluster.refresh(&engine, &container).await.unwrap();
    assert!(!cluster.being_removed(&container), "the host has it after all");
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_clock_that_steps_hides_nothing_of_what_happens() {
    for (step, breaks) in [(-600, false), (600, false), (-600, true), (600, true), (-86_400, true)] {
        let (cluster, events) = cluster();
        let host = SimulatedEngine::new(&SimulatedHost::new("one"));
        add(&cluster, &host, "one").await;
        let container = host.outsider_run(web(), None);
        until("running", || cluster.container(&container).is_some()).await;
        if breaks {
            host.set_reachable(false);
        }
        host.step_clock(SignedDuration::from_secs(step));
        host.outsider_end(&container, 3).unwrap();
        host.set_reachable(true);
        let state = || cluster.container(&container).map(|known| known.container.state);
        until("stopped", || state() == Some(ContainerState::Stopped)).await;
        let of_note =
            || messages(&events).into_iter().filter(|message| !message.starts_with("engine ")).collect::<Vec<_>>();
        until("recorded", || of_note().len() >= 4).await;
        let all: Vec<String> = of_note();
        let words: Vec<&str> = all.iter().map(|message| message.split(' ').next().unwrap()).collect();
        assert_eq!(words, ["pull", "create", "start", "die"], "{step} {breaks}: each once");
        assert!(all[3].ends_with(": exit code 3"), "{}", all[3]);
        cluster.shutdown().await;
    }
}

#[tokio::test]
async fn streams_that_break_again_and_again_lose_and_repeat_nothing() {
    let (cluster, events) =
        cluster_with(ClusterSettings { probe_interval: Duration::from_millis(50), ..Default::default() });
    let host = SimulatedEngine::new(&SimulatedHost::new("one"));
    add(&cluster, &host, "one").await;
    let containers: Vec<ContainerId> = (0..6).map(|_| host.outsider_run(web(), None)).collect();
    for (number, container) in containers.iter().enumerate() {
        host.break_streams();
        host.step_clock(SignedDuration::from_secs([90, -700, 3][number % 3]));
        host.outsider_end(container, 0).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        host.outsider_remove(container).unwrap();
    }
    until("gone", || cluster.containers(true).is_empty()).await;
    let count = |word: &str| messages(&events).iter().filter(|message| message.starts_with(word)).count();
    until("all recorded", || count("destroy") == 6).await;
    assert_eq!(["create", "start", "die", "destroy"].map(count), [6; 4]);
    cluster.shutdown().await;
}

#[tokio::test]
async fn checks_of_health_are_recorded_by_what_they_find() {
    for record_exec_events in [false, true] {
        let (cluster, events) = cluster_with(ClusterSettings { record_exec_events, ..ClusterSettings::default() });
        let host = SimulatedEngine::new(&SimulatedHost::new("one"));
        add(&cluster, &host, "one").await;
        let container = host.outsider_run(web(), None);
        host.set_health(&container, HealthStatus::Unhealthy).unwrap();
        host.outsider_stop(&container).unwrap();
        let found = |word: &str| events.events().into_iter().find(|event| event.kind.as_str() == word);
        until("stopped", || found("stop").is_some()).await;
        let health = found("health_status").unwrap();
        assert!(health.message.starts_with("health_status: unhealthy outsider-"), "{}", health.message);
        assert_eq!(health.health.as_deref(), Some("unhealthy"));
        assert_eq!(health.image.as_deref(), Some("web:1"));
        let (kill, die) = (found("kill").unwrap(), found("die").unwrap());
        assert_eq!((kill.signal.as_deref(), die.exit_code), (Some("15"), Some(143)));
        assert!(kill.message.ends_with(" on one: signal 15"), "{}", kill.message);
        assert_eq!(found("exec_create").is_some(), record_exec_events);
        cluster.shutdown().await;
    }
}

#[tokio::test]
async fn a_limit_that_somebody_changes_counts_and_a_list_does_not_take_it_back() {
    let (cluster, _events) = cluster();
    let host = SimulatedEngine::new(&SimulatedHost::new("one"));
    let engine = add(&cluster, &host, "one").await;
    let container = host.outsider_run(web(), None);
    let raised = Resources { cpus: Cpus::from_milli(1500), memory: MemoryMb::new(3072) };
    until("counted", || cluster.reserved(&engine) != Resources::ZERO).await;
    host.outsider_update(&container, raised).unwrap();
    until("the new limits count", || cluster.reserved(&engine) == raised).await;
    cluster.audit().unwrap();
    cluster.shutdown().await;
}

/// One host under two addresses, with another id for each question: only the containers tell.
#[tokio::test]
async fn one_host_that_is_two_engines_is_counted_once() {
    let (cluster, _events) = cluster();
    let (one, other) = (SimulatedHost::new("one"), SimulatedHost::new("other"));
    let (one, other) = (SimulatedEngine::new(&one), SimulatedEngine::new(&other));
    let first = add(&cluster, &one, "p1").await;
    let second = add(&cluster, &other, "p2").await;
    assert_eq!(cluster.status(&second), Some(EngineStatus::Up), "nothing runs, so nothing tells");
    let container = one.outsider_run(web(), None);
    until("counted", || cluster.reserved(&first) != Resources::ZERO).await;
    other.outsider_twin(&one.really_there()[0]);
    until("found out", || cluster.status(&second) == Some(EngineStatus::Duplicate)).await;
    let reason = cluster.engine("p2").unwrap().health.reason.unwrap();
    for part in [container.short(), "engine p1", "same Docker daemon", "cloned", "engine-id", "key.json"] {
        assert!(reason.contains(part), "no {part:?} in {reason}");
    }
    assert_eq!(cluster.info().cpus, cluster.engine("p1").unwrap().cpus, "the pool counts it once");
    cluster.audit().unwrap();
    one.outsider_stop(&container).unwrap();
    other.outsider_stop(&container).unwrap();
    until("given back", || cluster.reserved(&first) == Resources::ZERO).await;
    assert_eq!(cluster.reserved(&second), Resources::ZERO);
    // Without the first, the second is one like any other.
    cluster.remove_engine(&first);
    until("up", || cluster.status(&second) == Some(EngineStatus::Up)).await;
    assert!(cluster.container(&container).is_some());
    cluster.audit().unwrap();
    cluster.shutdown().await;
}

#[tokio::test]
async fn what_was_begun_with_an_engine_is_not_noted_of_its_successor() {
    let (cluster, _events) = cluster();
    let host = SimulatedEngine::new(&SimulatedHost::new("one"));
    let id = add(&cluster, &host, "one").await;
    let before = cluster.handle(&id).unwrap();
    let container = host.outsider_run(web(), None);
    let reservation = {
        let spec = crate::model::ContainerSpec::new(web());
        cluster.place(crate::scheduler::PlacementRequest::new(&spec, 1)).unwrap().remove(0)
    };
    cluster.remove_engine(&id);
    let successor = SimulatedEngine::new(&SimulatedHost::new("successor"));
    add(&cluster, &successor, "one").await;
    cluster.refresh_on(&before, &container).await.unwrap();
    cluster.set_status(&before, EngineStatus::Down, None);
    assert!(cluster.container(&container).is_none() && reservation.connection().is_none());
    reservation.commit(host.really_there().remove(0), cluster.ticket());
    assert!(cluster.container(&container).is_none());
    assert_eq!((cluster.status(&id), cluster.reserved(&id)), (Some(EngineStatus::Up), Resources::ZERO));
    timeout(Duration::from_secs(1), before.lost())
        .await
        .expect("a caller that waits for the one before hears that it is gone");
    assert_eq!(cluster.background().tasks().len(), 5, "those of one engine, the recorder, and what tells of room");
    cluster.audit().unwrap();
    cluster.shutdown().await;
}

#[tokio::test]
async fn the_networks_of_an_engine_are_not_noted_of_its_successor() {
    let (cluster, _events) = cluster();
    let host = SimulatedEngine::new(&SimulatedHost::new("one"));
    host.outsider_network("first");
    let id = add(&cluster, &host, "one").await;
    // Made since the host was last read, so it is asked, and takes its time.
    host.outsider_network("second");
    host.set_latency(Duration::from_millis(300));
    let mut spec = crate::model::ContainerSpec::new(web());
    spec.network_mode = "second".into();
    let place = {
        let (cluster, request) = (cluster.clone(), crate::scheduler::PlacementRequest::new(&spec, 1));
        tokio::spawn(async move { cluster.place_anywhere(request).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    cluster.remove_engine(&id);
    let successor = SimulatedEngine::new(&SimulatedHost::new("successor"));
    successor.outsider_network("first");
    add(&cluster, &successor, "one").await;
    assert!(place.await.unwrap().is_err(), "the successor has no such network");
    cluster.shutdown().await;
}

#[tokio::test]
async fn with_the_last_handle_everything_ends() {
    let (cluster, _events) = cluster();
    let host = SimulatedEngine::new(&SimulatedHost::new("one"));
    add(&cluster, &host, "one").await;
    let (again, background) = (cluster.clone(), cluster.background().clone());
    drop(cluster);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(host.open_streams(), 1, "there is another handle");
    drop(again);
    until("everything has ended", || background.tasks().is_empty()).await;
    assert_eq!(host.open_streams(), 0);
}
