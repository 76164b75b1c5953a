//! What is particular to simulated hosts; the rest is the conformance suite's.

use super::*;
use crate::model::{ContainerSpec, ContainerState, Cpus, LaunchId, MemoryMb, RestartPolicy};

fn engine(failure_rate: f64, seed: u64) -> SimulatedEngine {
    SimulatedEngine::new(&SimulatedHost { failure_rate, seed, ..SimulatedHost::new("test") })
}

fn request(name: &str) -> CreateRequest {
    CreateRequest {
        name: name.to_owned(),
        spec: ContainerSpec::new("web:1".parse().unwrap()),
        links: Vec::new(),
        platform: "p".into(),
        engine: "test".parse().unwrap(),
        launch: LaunchId::new(),
        user: String::new(),
        mark: None,
        log_rotation: None,
        replica: None,
        network: None,
        hidden_environment: Default::default(),
    }
}

#[tokio::test]
async fn conforms() {
    crate::testing::engine::conforms(Arc::new(engine(0.0, 0)), "web:1".parse().unwrap()).await;
}

#[tokio::test]
async fn conforms_when_it_is_slow() {
    let host = SimulatedHost { latency: Duration::from_millis(2), ..SimulatedHost::new("slow") };
    crate::testing::engine::conforms(Arc::new(SimulatedEngine::new(&host)), "web:1".parse().unwrap()).await;
}

#[tokio::test]
async fn one_name_is_one_host() {
    let host = SimulatedHost::new("one-name");
    let first = SimulatedEngine::named(&host);
    first.create(&request("a")).await.unwrap();
    assert_eq!(SimulatedEngine::named(&host).list().await.unwrap().len(), 1);
    SimulatedEngine::forget("one-name");
    assert!(SimulatedEngine::named(&host).list().await.unwrap().is_empty());
}

async fn failures(seed: u64) -> Vec<bool> {
    let engine = engine(0.5, seed);
    let mut failed = Vec::new();
    for number in 0..50 {
        failed.push(engine.create(&request(&format!("c{number}"))).await.is_err());
    }
    let there = engine.really_there().len();
    let reported = failed.iter().filter(|failed| !**failed).count();
    assert!(there > reported, "some answers were lost after the container was made");
    failed
}

#[tokio::test]
async fn the_same_seed_gives_the_same_failures() {
    assert_eq!(failures(7).await, failures(7).await);
    assert_ne!(failures(7).await, failures(8).await);
}

#[tokio::test]
async fn planned_failures_come_as_planned() {
    let engine = engine(0.0, 0);
    engine.fail_next("create", 2, EngineErrorKind::Unreachable);
    for name in ["a", "b"] {
        assert_eq!(engine.create(&request(name)).await.unwrap_err().kind(), EngineErrorKind::Unreachable);
    }
    engine.create(&request("c")).await.unwrap();
    assert_eq!(engine.really_there().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_hangs_answers_late_or_never() {
    let engine = engine(0.0, 0);
    engine.set_hanging(true);
    assert_eq!(engine.ping(Duration::from_secs(1)).await.unwrap_err().kind(), EngineErrorKind::Unreachable);
    assert_eq!(engine.list().await.unwrap_err().kind(), EngineErrorKind::Unreachable);
    let waiting = tokio::spawn({
        let engine = engine.clone();
        async move { engine.list().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    engine.set_hanging(false);
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_ends_its_event_streams() {
    let engine = engine(0.0, 0);
    let mut events = engine.events(None).await.unwrap();
    engine.create(&request("a")).await.unwrap();
    for action in ["pull", "create"] {
        assert_eq!(events.next().await.unwrap().unwrap().action, action);
    }
    engine.set_reachable(false);
    assert!(events.next().await.unwrap().is_err());
    assert!(events.next().await.is_none());
    assert!(engine.info().await.is_err());
    engine.set_reachable(true);
    assert!(engine.info().await.is_ok());
}

#[tokio::test]
async fn a_program_that_ends_is_started_again_where_its_restart_policy_says_so() {
    let engine = engine(0.0, 0);
    let mut request = request("again");
    request.spec.restart_policy = RestartPolicy::OnFailure { maximum_retry: 2 };
    let id = engine.create(&request).await.unwrap().id;
    engine.start(&id).await.unwrap();
    let state = async || {
        let found = engine.inspect(&id).await.unwrap();
        (found.state, found.run.restarts, found.run.exit_code)
    };
    for restarts in 1..=2 {
        engine.outsider_end(&id, 7).unwrap();
        assert_eq!(state().await, (ContainerState::Running, restarts, None));
    }
    engine.outsider_end(&id, 7).unwrap();
    assert_eq!(state().await, (ContainerState::Stopped, 2, Some(7)), "often enough");
    engine.start(&id).await.unwrap();
    assert_eq!(state().await, (ContainerState::Running, 0, None), "somebody started it");
    engine.outsider_end(&id, 0).unwrap();
    assert_eq!(state().await, (ContainerState::Stopped, 0, Some(0)), "it did not fail");
}

#[tokio::test]
async fn a_paused_container_goes_on_when_it_is_started() {
    let engine = engine(0.0, 0);
    let id = engine.outsider_run("db:1".parse().unwrap(), None);
    let mut events = engine.events(None).await.unwrap();
    engine.outsider_pause(&id).unwrap();
    assert_eq!(engine.inspect(&id).await.unwrap().state, ContainerState::Paused);
    assert_eq!(engine.outsider_pause(&id).unwrap_err().kind(), EngineErrorKind::Conflict);
    engine.start(&id).await.unwrap();
    assert_eq!(engine.inspect(&id).await.unwrap().state, ContainerState::Running);
    for action in ["pause", "unpause"] {
        assert_eq!(events.next().await.unwrap().unwrap().action, action);
    }
}

#[tokio::test]
async fn health_is_what_the_check_found_while_it_runs() {
    let engine = engine(0.0, 0);
    let id = engine.outsider_run("db:1".parse().unwrap(), None);
    let health = async || engine.inspect(&id).await.unwrap().run.health;
    assert_eq!(health().await, None);
    let mut events = engine.events(None).await.unwrap();
    engine.set_health(&id, HealthStatus::Unhealthy).unwrap();
    assert_eq!(health().await, Some(HealthStatus::Unhealthy));
    let told =
        events.by_ref().map(Result::unwrap).filter(|event| futures::future::ready(event.action == "health_status"));
    assert_eq!(Box::pin(told).next().await.unwrap().detail.health.as_deref(), Some("unhealthy"));
    engine.outsider_end(&id, 1).unwrap();
    assert_eq!(health().await, None);
}

#[tokio::test]
async fn health_checks_pass_on_the_host_of_an_address() {
    let host = SimulatedHost::new("in-good-health");
    for (engine, found) in
        [(SimulatedEngine::new(&host), HealthStatus::Starting), (SimulatedEngine::named(&host), HealthStatus::Healthy)]
    {
        let mut checked = request("a");
        checked.spec.health = Some(crate::model::HealthCheck::default());
        let id = engine.create(&checked).await.unwrap().id;
        engine.start(&id).await.unwrap();
        assert_eq!(engine.inspect(&id).await.unwrap().run.health, Some(found));
    }
}

#[tokio::test]
async fn outsiders_containers_count_with_their_limits_or_the_default() {
    let engine = engine(0.0, 0);
    let limits = Resources { cpus: Cpus::from_milli(500), memory: MemoryMb::new(100) };
    let limited = engine.outsider_run("db:1".parse().unwrap(), Some(limits));
    let unlimited = engine.outsider_run("db:1".parse().unwrap(), None);
    assert_eq!(engine.inspect(&limited).await.unwrap().reserved, limits);
    let default = Resources { cpus: Cpus::DEFAULT_RESERVATION, memory: MemoryMb::DEFAULT_RESERVATION };
    let found = engine.inspect(&unlimited).await.unwrap();
    assert_eq!((found.reserved, found.managed), (default, None));
    engine.outsider_stop(&limited).unwrap();
    assert_eq!(engine.inspect(&limited).await.unwrap().state, ContainerState::Stopped);
    engine.outsider_remove(&limited).unwrap();
    assert!(engine.inspect(&limited).await.is_err());
}

#[tokio::test]
async fn a_daemon_that_is_gone_is_refused_by_its_host_and_leaves_the_containers() {
    let engine = engine(0.0, 0);
    let id = engine.outsider_run("db:1".parse().unwrap(), None);
    let mut events = engine.events(None).await.unwrap();
    engine.set_daemon_gone(true);
    assert!(events.next().await.unwrap().is_err());
    let refused = engine.ping(Duration::from_secs(1)).await.unwrap_err();
    assert!(refused.kind() == EngineErrorKind::Unreachable && refused.nobody_listens());
    engine.set_reachable(false);
    assert!(!engine.list().await.unwrap_err().nobody_listens(), "the host is away as well");
    engine.set_reachable(true);
    engine.set_daemon_gone(false);
    assert_eq!(engine.inspect(&id).await.unwrap().state, ContainerState::Running);
}
