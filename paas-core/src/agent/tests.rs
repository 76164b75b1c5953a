//! The agent, with a registry in memory and a simulated host.

use futures::StreamExt;
use tokio::time::{Instant, sleep};

use super::*;
use crate::engine::SimulatedEngine;
use crate::model::SimulatedHost;
use crate::registry::{EmbeddedRegistry, LeaseId, MemberChange, Registry, Revision};

const TTL: Duration = Duration::from_secs(3);

fn agent(registry: &Arc<EmbeddedRegistry>, engine: &SimulatedEngine, name: &str) -> Agent {
    let identity = Identity {
        id: name.parse().unwrap(),
        addr: format!("sim://{name}").parse().unwrap(),
        labels: vec!["ssd".into()],
    };
    Agent::new(Arc::new(DirectRegistrar::new(registry.clone())), Arc::new(engine.clone()), identity, TTL)
}

async fn members(registry: &EmbeddedRegistry) -> Vec<String> {
    registry.list().await.unwrap().members.into_iter().map(|member| member.id.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_host_is_there_as_long_as_its_agent_and_gone_at_once_when_it_leaves() {
    let registry = Arc::new(EmbeddedRegistry::new());
    let engine = SimulatedEngine::new(&SimulatedHost::new("there"));
    let stop = CancellationToken::new();
    let running = tokio::spawn(agent(&registry, &engine, "there").run(stop.clone()));
    let mut changes = registry.watch(Revision(0)).await.unwrap();
    let Some(MemberChange::Joined(member, _)) = changes.next().await else { panic!("not joined") };
    assert_eq!((member.labels, member.daemon_id.as_str()), (vec!["ssd".to_owned()], "sim:there"));
    sleep(TTL * 10).await;
    assert_eq!(members(&registry).await, ["there"], "the lease is kept");
    let left = Instant::now();
    stop.cancel();
    running.await.unwrap();
    assert!(matches!(changes.next().await, Some(MemberChange::Left(..))));
    assert!(left.elapsed() < TTL / 3);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_dies_is_gone_when_its_lease_is_over() {
    let registry = Arc::new(EmbeddedRegistry::new());
    let engine = SimulatedEngine::new(&SimulatedHost::new("dies"));
    let dying = tokio::spawn(agent(&registry, &engine, "dies").run(CancellationToken::new()));
    sleep(TTL / 10).await;
    dying.abort();
    assert_eq!(members(&registry).await, ["dies"]);
    sleep(TTL * 2).await;
    assert!(members(&registry).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_agent_waits_for_its_daemon_and_survives_the_loss_of_its_lease() {
    let registry = Arc::new(EmbeddedRegistry::new());
    let engine = SimulatedEngine::new(&SimulatedHost::new("waits"));
    engine.set_reachable(false);
    let stop = CancellationToken::new();
    let running = tokio::spawn(agent(&registry, &engine, "waits").run(stop.clone()));
    sleep(TTL).await;
    assert!(members(&registry).await.is_empty());
    engine.set_reachable(true);
    sleep(TTL).await;
    assert_eq!(members(&registry).await, ["waits"]);
    for lease in 1..100 {
        registry.revoke(LeaseId(lease)).await.unwrap();
    }
    assert!(members(&registry).await.is_empty());
    sleep(TTL * 2).await;
    assert_eq!(members(&registry).await, ["waits"], "it registers again");
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_taken_is_had_when_it_is_free() {
    let registry = Arc::new(EmbeddedRegistry::new());
    let (one, other) = (SimulatedHost::new("one"), SimulatedHost::new("other"));
    let (stop_one, stop_other) = (CancellationToken::new(), CancellationToken::new());
    tokio::spawn(agent(&registry, &SimulatedEngine::new(&one), "same").run(stop_one.clone()));
    sleep(TTL).await;
    tokio::spawn(agent(&registry, &SimulatedEngine::new(&other), "same").run(stop_other.clone()));
    sleep(TTL * 3).await;
    let daemon = async || registry.list().await.unwrap().members[0].daemon_id.clone();
    assert_eq!(daemon().await, "sim:one");
    stop_one.cancel();
    sleep(TTL).await;
    assert_eq!(daemon().await, "sim:other");
    stop_other.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_daemon_is_silent_for_a_lease_leaves_and_comes_back_when_it_answers() {
    let registry = Arc::new(EmbeddedRegistry::new());
    let engine = SimulatedEngine::new(&SimulatedHost::new("silent"));
    let stop = CancellationToken::new();
    let running = tokio::spawn(agent(&registry, &engine, "silent").run(stop.clone()));
    sleep(TTL).await;
    // Shorter than a lease: nobody hears of it.
    let revision = registry.list().await.unwrap().revision;
    engine.set_reachable(false);
    sleep(TTL / 2).await;
    engine.set_reachable(true);
    sleep(TTL).await;
    assert_eq!(registry.list().await.unwrap().revision, revision);
    engine.set_reachable(false);
    sleep(TTL * 2).await;
    assert!(members(&registry).await.is_empty(), "its agent is alive, and it is gone all the same");
    engine.set_reachable(true);
    sleep(TTL).await;
    assert_eq!(members(&registry).await, ["silent"]);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_started_again_goes_on_with_the_lease_of_the_one_before_it() {
    let registry = Arc::new(EmbeddedRegistry::new());
    let engine = SimulatedEngine::new(&SimulatedHost::new("again"));
    let killed = tokio::spawn(agent(&registry, &engine, "again").run(CancellationToken::new()));
    sleep(TTL / 10).await;
    let revision = registry.list().await.unwrap().revision;
    killed.abort();
    let stop = CancellationToken::new();
    let running = tokio::spawn(agent(&registry, &engine, "again").run(stop.clone()));
    sleep(TTL * 5).await;
    assert_eq!(registry.list().await.unwrap().revision, revision, "nobody heard that it was away");
    assert_eq!(members(&registry).await, ["again"]);
    stop.cancel();
    running.await.unwrap();
    assert!(members(&registry).await.is_empty(), "the lease is its own, and ends with it");
}
