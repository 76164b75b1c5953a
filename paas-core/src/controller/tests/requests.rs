//! Requests that are made again, also after the server that began them died.

use super::*;
use crate::leadership::Candidate;
use crate::model::{ContainerState, RequestId};
use crate::registry::EmbeddedRegistry;
use crate::store::KeyRange;
use crate::store::tables::REQUESTS;

fn small() -> ContainerSpec {
    ContainerSpec { memory: Some(MemoryMb::new(16)), ..web() }
}

fn request(count: usize) -> RunRequest {
    RunRequest { spec: small(), count, pull: false }
}

async fn run_once(controller: &Controller, count: usize, id: RequestId) -> LaunchSummary {
    controller.run_once(&ann(), request(count), id).await.unwrap().finish().await
}

fn ids(summary: &LaunchSummary) -> Vec<String> {
    let mut ids: Vec<String> = summary.started.iter().map(|container| container.id.to_string()).collect();
    ids.sort();
    ids
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_made_again_starts_nothing_more() {
    let mut platform = Platform::of(&["a", "b"]).await;
    let (one, other) = (RequestId::of("ann", "one"), RequestId::of("ann", "other"));
    let first = run_once(&platform.controller, 6, one).await;
    assert!(first.is_complete());
    assert_eq!(ids(&run_once(&platform.controller, 6, one).await), ids(&first));
    platform.restart().await;
    assert_eq!(ids(&run_once(&platform.controller, 6, one).await), ids(&first));
    assert_eq!(platform.really_there(), 6);
    run_once(&platform.controller, 2, other).await;
    assert_eq!(platform.really_there(), 8, "another request is another request");
    let both = tokio::join!(
        run_once(&platform.controller, 3, RequestId::of("ann", "both")),
        run_once(&platform.controller, 3, RequestId::of("ann", "both"))
    );
    assert_eq!(ids(&both.0), ids(&both.1));
    assert_eq!(platform.really_there(), 11);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_a_server_had_begun_when_it_died_is_completed_and_not_doubled() {
    let mut platform = Platform::of(&["a", "b"]).await;
    let id = RequestId::of("ann", "interrupted");
    // Every operation takes its time from here on, so that the server dies in the middle.
    for host in platform.hosts.values() {
        host.set_latency(Duration::from_millis(100));
    }
    let running = tokio::spawn({
        let controller = platform.controller.clone();
        async move { controller.run_once(&ann(), request(20), id).await.unwrap().finish().await }
    });
    assert!(eventually(|| platform.really_there() >= 7).await);
    // As the process dies: what is in flight is never heard of again.
    running.abort();
    for host in platform.hosts.values() {
        host.set_reachable(false);
    }
    platform.controller.shared.cluster.shutdown().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    for host in platform.hosts.values() {
        host.set_reachable(true);
    }
    let before = platform.really_there();
    assert!((1..20).contains(&before), "{before}");
    platform.restart().await;
    let again = run_once(&platform.controller, 20, id).await;
    assert!(again.is_complete());
    assert_eq!(ids(&again).len(), 20);
    let there = || platform.really_there();
    assert!(eventually(|| there() == 20).await, "{}", there());
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_is_answered_again_while_its_host_is_away() {
    let mut platform = Platform::of(&["a", "b"]).await;
    let id = RequestId::of("ann", "twice");
    let first = run_once(&platform.controller, 4, id).await;
    assert!(first.is_complete());
    // One host is away when another server takes over and the request is made again.
    platform.host("a").set_reachable(false);
    platform.until("a", EngineStatus::Down).await;
    platform.controller.shared.cluster.shutdown().await;
    platform.controller = build(&platform.hosts, platform.store.clone(), platform.events.clone()).await;
    platform.until("b", EngineStatus::Up).await;
    let again = run_once(&platform.controller, 4, id).await;
    assert_eq!(ids(&again), ids(&first));
    let away: Vec<_> = again.started.iter().filter(|one| one.engine.id.as_str() == "a").collect();
    assert_eq!(away.len(), 2);
    for one in away {
        let before = first.started.iter().find(|before| before.id == one.id).unwrap();
        assert_eq!((one.state, &one.name, &one.image), (ContainerState::Unknown, &before.name, &before.image));
    }
    assert_eq!(platform.really_there(), 4);
    platform.host("a").set_reachable(true);
    platform.until("a", EngineStatus::Up).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(platform.really_there(), 4);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_given_again_and_a_key_is_for_one_request() {
    let platform = Platform::of(&["a"]).await;
    let controller = &platform.controller;
    let begin = async |key: &str, body: &str| controller.begin_request(&ann(), key, &[b"POST", body.as_bytes()]).await;
    let Begin::Execute(idempotent) = begin("key", "one").await.unwrap() else { panic!("answered") };
    assert!(!idempotent.is_again());
    drop(idempotent);
    let Begin::Execute(idempotent) = begin("key", "one").await.unwrap() else { panic!("answered") };
    assert!(idempotent.is_again(), "it was begun and never answered");
    let answer = KeptAnswer { status: 201, content_type: Some("application/json".into()), body: "[]".into() };
    idempotent.finish(answer.clone()).await.unwrap();
    let Begin::Replay(kept) = begin("key", "one").await.unwrap() else { panic!("not answered") };
    assert_eq!(kept, answer);
    assert!(matches!(begin("key", "two").await, Err(ControllerError::KeyReused { .. })));

    let Begin::Execute(idempotent) = begin("other", "two").await.unwrap() else { panic!("answered") };
    idempotent.forget().await.unwrap();
    let Begin::Execute(idempotent) = begin("other", "three").await.unwrap() else { panic!("answered") };
    assert!(!idempotent.is_again());
    let large = KeptAnswer { body: "x".repeat(1 << 20), ..answer };
    idempotent.finish(large).await.unwrap();
    let Begin::Execute(idempotent) = begin("other", "three").await.unwrap() else {
        panic!("a large answer is not kept")
    };
    assert!(idempotent.is_again());
}

#[tokio::test(start_paused = true)]
async fn old_requests_are_forgotten() {
    let platform = Platform::of(&[]).await;
    let controller = &platform.controller;
    for number in 0..1200 {
        let begun = controller.begin_request(&ann(), &number.to_string(), &[]).await;
        assert!(matches!(begun, Ok(Begin::Execute(_))));
    }
    let count = async || controller.shared.requests.all().await.unwrap().len();
    controller.forget_requests_before(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(count().await, 1200);
    controller.forget_requests_before(Duration::ZERO).await.unwrap();
    assert_eq!(count().await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_later_version_added_to_a_request_stays_when_it_is_done_here() {
    let platform = Platform::of(&[]).await;
    let controller = &platform.controller;
    drop(controller.begin_request(&ann(), "key", &[]).await.unwrap());
    let mut kept = platform.store.list(REQUESTS, &KeyRange::all()).await.unwrap().remove(0);
    kept.body["later"] = serde_json::json!(2);
    platform.store.replace(REQUESTS, &kept.key, kept.version, kept.body).await.unwrap();
    let Begin::Execute(again) = controller.begin_request(&ann(), "key", &[]).await.unwrap() else { panic!("not done") };
    again.finish(KeptAnswer { status: 204, content_type: None, body: String::new() }).await.unwrap();
    let body = platform.store.get(REQUESTS, &kept.key).await.unwrap().unwrap().body;
    assert_eq!((&body["later"], &body["answer"]["status"]), (&serde_json::json!(2), &serde_json::json!(204)));
}

#[tokio::test(start_paused = true)]
async fn a_request_is_forgotten_when_its_time_has_passed() {
    let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
    let controller = Controller::builder().clock(clock.clone()).build().await.unwrap();
    drop(controller.begin_request(&ann(), "key", &[]).await.unwrap());
    let count = async || controller.shared.requests.all().await.unwrap().len();
    let age = Duration::from_secs(24 * 3600);
    clock.advance(age);
    controller.forget_requests_before(age).await.unwrap();
    assert_eq!(count().await, 1);
    clock.advance(Duration::from_secs(1));
    controller.forget_requests_before(age).await.unwrap();
    assert_eq!(count().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_deposed_changes_nothing_any_more() {
    let platform = Platform::of(&["a", "b"]).await;
    let registry = Arc::new(EmbeddedRegistry::new());
    let term = Candidate::new(registry, "one", Duration::from_secs(3)).lead().await;
    let hosts = platform.hosts.clone();
    let connector: Connector = Arc::new(move |spec: &EngineSpec| -> crate::engine::Result<Arc<dyn DockerEngine>> {
        Ok(Arc::new(hosts[spec.id.as_str()].clone()))
    });
    let builder =
        Controller::builder().sealer(sealer()).store(platform.store.clone()).connector(connector).term(term.clone());
    let deposed = builder.build().await.unwrap();
    deposed.wait_ready(Duration::from_secs(5)).await;
    assert_eq!(deposed.cluster_info().leader.as_deref(), Some("one"));
    let id = deposed.run(&ann(), request(2)).await.unwrap().finish().await.started[0].id.to_string();
    for host in platform.hosts.values() {
        host.set_latency(Duration::from_millis(200));
    }
    let running = deposed.run(&ann(), request(10)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    term.resign();
    let summary = running.finish().await;
    assert!(deposed.is_deposed() && !summary.is_complete());
    let there = platform.really_there();
    assert!(deposed.destroy(&ann(), &id).await.is_err());
    assert!(deposed.begin_request(&ann(), "key", &[]).await.is_err());
    let refused = deposed.run(&ann(), request(3)).await;
    assert!(matches!(refused, Err(ControllerError::Store(_))), "{refused:?}");
    assert_eq!(platform.really_there(), there);
    deposed.shutdown().await;
}
