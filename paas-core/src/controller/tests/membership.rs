//! Engines that register themselves.

use tokio_util::sync::CancellationToken;

use super::*;
use crate::agent::{Agent, DirectRegistrar, Identity};
use crate::model::ContainerState;
use crate::registry::Member;
use crate::store::tables;

const TTL: Duration = Duration::from_secs(3);

impl Platform {
    /// Starts the agent of a host; it ends with the token.
    fn agent(&self, id: &str, host: &str) -> CancellationToken {
        self.agent_with(id, host, "registered")
    }

    /// The same with a label of its own.
    fn agent_with(&self, id: &str, host: &str, label: &str) -> CancellationToken {
        let identity =
            Identity { id: engine_id(id), addr: format!("sim://{host}").parse().unwrap(), labels: vec![label.into()] };
        let engine = Arc::new(self.host(host).clone());
        let stop = CancellationToken::new();
        let agent =
            Agent::new(Arc::new(DirectRegistrar::new(self.controller.registry().clone())), engine, identity, TTL);
        tokio::spawn(agent.run(stop.clone()));
        stop
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_registers_serves_and_one_that_leaves_gets_no_more() {
    let platform = Platform::without_engines(&["a", "b"]).await;
    let (stop_a, _b) = (platform.agent("a", "a"), platform.agent("b", "b"));
    platform.until_known("a").await;
    platform.until_known("b").await;
    assert_eq!(platform.controller.engine("a").unwrap().labels, ["registered"]);
    let small = ContainerSpec { memory: Some(MemoryMb::new(16)), ..web() };
    assert!(platform.run(small.clone(), 4).await.is_complete());
    stop_a.cancel();
    platform.until("a", EngineStatus::Down).await;
    let on_a = |container: &&Arc<crate::model::Container>| container.engine.id.as_str() == "a";
    let states: Vec<ContainerState> =
        platform.controller.containers(true).iter().filter(on_a).map(|container| container.state).collect();
    assert_eq!(states, [ContainerState::Unknown; 2], "neither running nor gone");
    assert!(platform.run(small, 4).await.started.iter().all(|container| container.engine.id.as_str() == "b"));

    // Back again, with what runs on it.
    let _a = platform.agent("a", "a");
    platform.until("a", EngineStatus::Up).await;
    let running = platform.controller.containers(false);
    assert_eq!(running.iter().filter(on_a).filter(|one| one.state == ContainerState::Running).count(), 2);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn one_that_stays_away_is_forgotten() {
    let platform = Platform::without_engines(&["a"]).await;
    let stop = platform.agent("a", "a");
    platform.until_known("a").await;
    stop.cancel();
    assert!(eventually(|| platform.kinds().contains(&"engine-status".to_owned())).await);
    tokio::time::sleep(Duration::from_secs(3700)).await;
    assert!(platform.controller.engines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_deleted_comes_back_with_its_next_agent_and_not_before() {
    let platform = Platform::without_engines(&["a"]).await;
    let stop = platform.agent("a", "a");
    platform.until_known("a").await;
    platform.controller.delete_engine(&ann(), "a", true).await.unwrap();
    tokio::time::sleep(TTL * 3).await;
    assert!(platform.controller.engines().is_empty());
    stop.cancel();
    tokio::time::sleep(TTL).await;
    let _again = platform.agent("a", "a");
    platform.until_known("a").await;
    platform.heard().await;
    let told = platform.kinds();
    assert!(!told.contains(&"refuse-engine".to_owned()), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_deleted_stays_so_over_a_restart_until_its_agent_is_started_again() {
    let mut platform = Platform::without_engines(&["a"]).await;
    let member = crate::testing::registry::member("a");
    let (first, second) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    platform.controller.heartbeat(member.clone(), first, TTL).await.unwrap();
    platform.until_known("a").await;
    platform.controller.delete_engine(&ann(), "a", true).await.unwrap();
    // The registry of the next server knows nothing of before.
    for _ in 0..2 {
        platform.restart().await;
        for _ in 0..5 {
            tokio::time::sleep(TTL / 3).await;
            let told = platform.controller.heartbeat(member.clone(), first, TTL).await.unwrap_err().to_string();
            assert!(told.contains("start the agent again"), "{told}");
        }
        assert!(platform.controller.engines().is_empty(), "its agent is still the same");
    }
    platform.controller.heartbeat(member.clone(), second, TTL).await.unwrap();
    platform.until_known("a").await;
    platform.restart().await;
    platform.controller.heartbeat(member, second, TTL).await.unwrap();
    platform.until_known("a").await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_deleted_and_added_by_hand_is_an_engine_like_any_other() {
    let mut platform = Platform::without_engines(&["a"]).await;
    let member = crate::testing::registry::member("a");
    let session = uuid::Uuid::now_v7();
    platform.controller.heartbeat(member.clone(), session, TTL).await.unwrap();
    platform.until_known("a").await;
    platform.controller.delete_engine(&ann(), "a", true).await.unwrap();
    platform.add("a").await;
    platform.restart().await;
    platform.until_known("a").await;
    let marks = platform.store.list(crate::store::tables::DELETED_ENGINES, &crate::store::KeyRange::all()).await;
    assert!(marks.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_whose_agent_does_not_say_which_run_it_is_stays_out_until_it_has_left() {
    let platform = Platform::without_engines(&["a"]).await;
    let registry = platform.controller.registry().clone();
    let member = crate::testing::registry::member("a");
    let lease = registry.grant(TTL * 100).await.unwrap();
    registry.register(&member, lease).await.unwrap();
    platform.until_known("a").await;
    platform.controller.delete_engine(&ann(), "a", true).await.unwrap();
    // The server is killed, and the next one asks the same registry.
    platform.controller.shared.cluster.shutdown().await;
    let builder = builder(&platform.hosts, platform.store.clone(), platform.events.clone());
    let next = builder.registry(registry.clone()).build().await.unwrap();
    tokio::time::sleep(TTL).await;
    assert!(next.engines().is_empty());
    registry.revoke(lease).await.unwrap();
    tokio::time::sleep(TTL).await;
    let lease = registry.grant(TTL * 100).await.unwrap();
    registry.register(&member, lease).await.unwrap();
    assert!(eventually(|| next.engine("a").is_ok()).await);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_was_added_by_hand_needs_no_agent() {
    let platform = Platform::of(&["a"]).await;
    let stop = platform.agent("a", "a");
    tokio::time::sleep(TTL).await;
    assert_eq!(platform.controller.engines().len(), 1, "the two are one");
    stop.cancel();
    tokio::time::sleep(TTL * 3).await;
    assert_eq!(platform.controller.engine("a").unwrap().health.status, EngineStatus::Up);
}

#[tokio::test(start_paused = true)]
async fn false_claims_are_refused_with_an_event() {
    let platform = Platform::of(&["a"]).await;
    // Somebody else with the id of an engine, and an engine under a second id.
    let platform = {
        let mut platform = platform;
        platform.hosts.insert("b".into(), SimulatedEngine::new(&SimulatedHost::new("b")));
        platform
    };
    platform.agent("a", "b");
    platform.agent("c", "a");
    let refusals = || platform.kinds().iter().filter(|kind| *kind == "refuse-engine").count();
    assert!(eventually(|| refusals() == 2).await);
    assert_eq!(platform.controller.engines().len(), 1);
    assert_eq!(platform.controller.engine("a").unwrap().health.status, EngineStatus::Up);
}

#[tokio::test(start_paused = true)]
async fn a_host_can_make_itself_heard_without_reaching_the_registry() {
    let platform = Platform::without_engines(&["a"]).await;
    let member = crate::testing::registry::member("a");
    let (first, second) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    platform.controller.heartbeat(member.clone(), first, TTL).await.unwrap();
    platform.until_known("a").await;
    let other = Member { daemon_id: "other".to_owned(), ..member.clone() };
    let taken = platform.controller.heartbeat(other, second, TTL).await;
    assert!(taken.is_err_and(|error| error.to_string().contains("another id")));
    for _ in 0..10 {
        tokio::time::sleep(TTL / 3).await;
        platform.controller.heartbeat(member.clone(), first, TTL).await.unwrap();
    }
    assert_eq!(platform.controller.engine("a").unwrap().health.status, EngineStatus::Up);
    platform.controller.deregister(&member.id, second).await.unwrap();
    assert_eq!(platform.controller.engine("a").unwrap().health.status, EngineStatus::Up, "not its to say");
    platform.controller.deregister(&member.id, first).await.unwrap();
    platform.until("a", EngineStatus::Down).await;
    platform.controller.heartbeat(member.clone(), second, TTL).await.unwrap();
    platform.until("a", EngineStatus::Up).await;
    tokio::time::sleep(TTL * 2).await;
    platform.until("a", EngineStatus::Down).await;
    assert!(platform.controller.heartbeat(member, second, Duration::ZERO).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_refused_is_told_why_until_it_is_taken_in() {
    let platform = Platform::without_engines(&["a"]).await;
    let member = Member { id: engine_id("b"), ..crate::testing::registry::member("a") };
    let spec = EngineSpec::new(engine_id("a"), member.addr.clone());
    platform.controller.add_engine(&ann(), spec).await.unwrap();
    let session = uuid::Uuid::now_v7();
    let say = || platform.controller.heartbeat(member.clone(), session, TTL);
    for _ in 0..3 {
        let refused = say().await.unwrap_err();
        assert!(matches!(refused, ControllerError::Conflict { .. }), "{refused:?}");
        assert!(refused.to_string().contains("of engine a; it is refused"), "{refused}");
        tokio::time::sleep(TTL / 3).await;
    }
    platform.controller.delete_engine(&ann(), "a", true).await.unwrap();
    // It said all the while that it is alive, and so is taken in as soon as nothing is in its way.
    tokio::time::sleep(TTL / 2).await;
    say().await.unwrap();
    platform.until_known("b").await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_started_again_in_time_goes_on_where_the_one_before_it_was() {
    let platform = Platform::without_engines(&["a"]).await;
    let member = crate::testing::registry::member("a");
    let (first, second) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    platform.controller.heartbeat(member.clone(), first, TTL).await.unwrap();
    platform.until_known("a").await;
    for _ in 0..10 {
        platform.controller.heartbeat(member.clone(), second, TTL).await.unwrap();
        assert_eq!(platform.controller.engine("a").unwrap().health.status, EngineStatus::Up, "it was never away");
        tokio::time::sleep(TTL / 3).await;
    }
    platform.controller.deregister(&member.id, first).await.unwrap();
    assert_eq!(platform.controller.engine("a").unwrap().health.status, EngineStatus::Up, "not its to say any more");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_registers_stays_drained_over_a_restart() {
    let mut platform = Platform::without_engines(&["a"]).await;
    let _agent = platform.agent("a", "a");
    platform.until_known("a").await;
    platform.controller.set_draining(&ann(), "a", true).await.unwrap();
    platform.restart().await;
    let _agent = platform.agent("a", "a");
    platform.until_known("a").await;
    assert!(platform.controller.engine("a").unwrap().draining);
    platform.controller.set_draining(&ann(), "a", false).await.unwrap();
    assert!(platform.run(web(), 1).await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn what_a_later_version_keeps_of_a_host_stays_when_it_registers_anew() {
    let platform = Platform::without_engines(&["a"]).await;
    let stop = platform.agent("a", "a");
    platform.until_known("a").await;
    let stored = platform.store.get(tables::REGISTERED_ENGINES, "a").await.unwrap().unwrap();
    let mut body = stored.body;
    body["of_a_later_version"] = serde_json::json!([1]);
    platform.store.replace(tables::REGISTERED_ENGINES, "a", stored.version, body).await.unwrap();
    stop.cancel();
    platform.until("a", EngineStatus::Down).await;
    let _again = platform.agent_with("a", "a", "labelled anew");
    platform.until("a", EngineStatus::Up).await;
    assert!(eventually(|| platform.controller.engine("a").unwrap().labels == ["labelled anew"]).await);
    platform.heard().await;
    let stored = platform.store.get(tables::REGISTERED_ENGINES, "a").await.unwrap().unwrap();
    assert_eq!(stored.body["labels"], serde_json::json!(["labelled anew"]));
    assert_eq!(stored.body["of_a_later_version"], serde_json::json!([1]));
}

#[tokio::test(start_paused = true)]
async fn join_tokens_are_made_listed_and_deleted() {
    let platform = Platform::without_engines(&[]).await;
    let controller = &platform.controller;
    let made = controller.make_join_token(&ann()).await.unwrap();
    let listed = controller.join_tokens().await.unwrap();
    assert_eq!((listed.len(), listed[0].id.as_str(), listed[0].created_by.as_str()), (1, made.id.as_str(), "ann"));
    controller.auth().check_join_token(&made.token).await.unwrap();
    assert!(controller.auth().check_join_token("wrong").await.is_err());
    assert!(!format!("{made:?}").contains(&made.token));
    controller.delete_join_token(&ann(), &made.id).await.unwrap();
    assert!(controller.auth().check_join_token(&made.token).await.is_err());
    assert!(controller.delete_join_token(&ann(), &made.id).await.is_err());
    platform.heard().await;
    assert_eq!(platform.kinds(), ["add-join-token", "delete-join-token"]);
}
