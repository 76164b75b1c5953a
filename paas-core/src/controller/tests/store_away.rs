//! A store that is away, full or read-only while something is done.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::records::Record;
use super::lost_answers::{begin, contents, new_account, quick};
use super::*;
use crate::auth::Presented;
use crate::events::Notice;
use crate::model::RequestId;
use crate::store::records::{LaunchRecord, LaunchState};
use crate::store::{Document, KeyRange, StoreError, StoreErrorKind, tables};
use crate::testing::store::FailingStore;

const PASSWORD: &str = "correct horse battery";
const GRACE: Duration = Duration::from_secs(1);

async fn failing() -> (Platform, Arc<FailingStore>, Controller) {
    let platform = Platform::without_engines(&["a"]).await;
    let store = Arc::new(FailingStore::new(platform.store.clone()));
    let controller = quick(&platform.hosts, store.clone()).await;
    controller.add_engine(&ann(), engine_spec("a")).await.unwrap();
    (platform, store, controller)
}

fn of_users(events: Vec<Event>) -> Vec<String> {
    events.into_iter().rev().filter(|event| event.user.is_some()).map(|event| event.kind.to_string()).collect()
}

async fn run(controller: &Controller) -> String {
    let request = RunRequest { spec: web(), count: 1, pull: false };
    let summary = controller.run(&ann(), request).await.unwrap().finish().await;
    assert!(summary.is_complete(), "{summary:?}");
    summary.started[0].id.to_string()
}

#[tokio::test(start_paused = true)]
async fn what_was_done_on_a_host_is_answered_so_and_its_record_follows_in_order() {
    let (platform, store, controller) = failing().await;
    let id = run(&controller).await;
    store.fail_after_writes(Some(0));
    controller.stop(&ann(), &id, GRACE).await.unwrap();
    controller.start(&ann(), &id).await.unwrap();
    controller.restart(&ann(), &id, GRACE).await.unwrap();
    controller.destroy(&ann(), &id).await.unwrap();
    assert_eq!(platform.really_there(), 0);
    let state = controller.store_state();
    assert_eq!(state.records_waiting, 4);
    assert!(state.health.unwritable.is_some() && state.health.unreadable.is_none());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(controller.store_state().records_waiting, 4, "they wait for as long as it takes");
    store.fail_after_writes(None);
    assert!(eventually(|| controller.store_state().records_waiting == 0).await);
    assert!(controller.store_state().health.is_ok());
    let expected =
        ["add-engine", "run-container", "stop-container", "start-container", "restart-container", "destroy-container"];
    assert_eq!(of_users(controller.events(100).await.unwrap()), expected);
}

#[tokio::test(start_paused = true)]
async fn records_are_told_to_those_who_listen_when_they_are_stored() {
    use futures::StreamExt;
    let (_platform, store, controller) = failing().await;
    let id = run(&controller).await;
    let live = controller.live_events().filter_map(|notice| async move {
        match notice {
            Notice::Event(event) if event.user.is_some() => Some(event.kind.to_string()),
            _ => None,
        }
    });
    let mut live = std::pin::pin!(live);
    store.fail_after_writes(Some(0));
    controller.stop(&ann(), &id, GRACE).await.unwrap();
    store.fail_after_writes(None);
    assert_eq!(live.next().await.unwrap(), "stop-container");
}

#[tokio::test(start_paused = true)]
async fn shutting_down_gives_the_store_a_last_chance() {
    let (platform, store, controller) = failing().await;
    let id = run(&controller).await;
    store.fail_after_writes(Some(0));
    controller.stop(&ann(), &id, GRACE).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    store.fail_after_writes(None);
    controller.shutdown().await;
    let events = platform.store.list(tables::EVENTS, &KeyRange::all()).await.unwrap();
    assert!(events.iter().any(|event| event.body["type"] == "stop-container"));
}

/// Two containers that run and were answered, while the store took what was asked of Docker and nothing after that.
async fn run_two(platform: &Platform, store: &FailingStore, controller: &Controller, id: RequestId) -> LaunchSummary {
    controller.wait_ready(Duration::from_secs(5)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.fail_after_writes(Some(2));
    let request = RunRequest { spec: web(), count: 2, pull: false };
    let outcome = controller.run_once(&ann(), request, id).await.unwrap().finish().await;
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!((outcome.started.len(), platform.really_there()), (2, 2));
    assert!(controller.store_state().records_waiting >= 2, "a client is told that they wait");
    outcome
}

/// What the store has of launches, and how many events it has of containers that were run.
async fn written(store: &dyn Store) -> (Vec<LaunchState>, usize) {
    let state = |kept: &Document| serde_json::from_value::<LaunchRecord>(kept.body.clone()).unwrap().state;
    let launches = store.list(tables::LAUNCHES, &KeyRange::all()).await.unwrap();
    let events = store.list(tables::EVENTS, &KeyRange::all()).await.unwrap();
    let runs = events.iter().filter(|event| event.body["type"] == "run-container").count();
    (launches.iter().map(state).collect(), runs)
}

#[tokio::test(start_paused = true)]
async fn a_launch_is_not_undone_because_its_record_has_to_wait() {
    let (platform, store, controller) = failing().await;
    run_two(&platform, &store, &controller, RequestId::of("ann", "two")).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(written(&*platform.store).await, (vec![LaunchState::Asked; 2], 0));
    assert!(controller.store_state().records_waiting >= 2, "for as long as it takes");
    store.fail_after_writes(None);
    assert!(eventually(|| controller.store_state().records_waiting == 0).await);
    assert_eq!(written(&*platform.store).await, (vec![LaunchState::Done; 2], 2));
    assert_eq!(platform.really_there(), 2);
    controller.cluster().audit().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_made_again_while_its_records_wait_starts_nothing_more() {
    let (platform, store, controller) = failing().await;
    let id = RequestId::of("ann", "two");
    let first = run_two(&platform, &store, &controller, id).await;
    let request = RunRequest { spec: web(), count: 2, pull: false };
    let again = controller.run_once(&ann(), request, id).await.unwrap().finish().await;
    assert_eq!(ids(&again), ids(&first));
    assert_eq!(platform.really_there(), 2);
}

#[tokio::test(start_paused = true)]
async fn shutting_down_gives_the_store_a_last_chance_for_launches_as_well() {
    let (platform, store, controller) = failing().await;
    run_two(&platform, &store, &controller, RequestId::of("ann", "two")).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    store.fail_after_writes(None);
    controller.shutdown().await;
    assert_eq!(written(&*platform.store).await, (vec![LaunchState::Done; 2], 2));
}

fn ids(outcome: &LaunchSummary) -> std::collections::BTreeSet<String> {
    outcome.started.iter().map(|container| container.id.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_a_change_that_was_made_is_kept_when_the_store_is_back() {
    let (platform, store, controller) = failing().await;
    let (request, actor) = begin(&controller, "add account").await;
    controller.add_account(&actor, new_account("bob")).await.unwrap();
    store.fail_after_writes(Some(0));
    let answer = KeptAnswer { status: 201, content_type: None, body: "bob".to_owned() };
    request.finish(answer.clone()).await.unwrap();
    assert_eq!(controller.store_state().records_waiting, 1);
    store.fail_after_writes(None);
    assert!(eventually(|| controller.store_state().records_waiting == 0).await);
    let next = quick(&platform.hosts, platform.store.clone()).await;
    let kept = next.begin_request(&ann(), "add account", &[b"add account"]).await.unwrap();
    assert!(matches!(kept, Begin::Replay(kept) if kept == answer));
}

#[tokio::test(start_paused = true)]
async fn a_record_is_written_without_what_somebody_else_wrote_since() {
    let (platform, store, controller) = failing().await;
    controller.add_account(&ann(), new_account("bob")).await.unwrap();
    let issued = controller.login("bob", PASSWORD).await.unwrap();
    let (request, actor) = begin(&controller, "logout").await;
    store.fail_after_writes(Some(0));
    controller.logout(&actor, &issued.token).await.unwrap();
    // Its time was over in between, and so its note cannot be written any more.
    platform.store.delete(tables::REQUESTS, &request.id().to_string(), None).await.unwrap();
    store.fail_after_writes(None);
    assert!(eventually(|| controller.store_state().records_waiting == 0).await);
    let logged = of_users(controller.events(100).await.unwrap());
    assert_eq!(logged.last().unwrap(), "logout", "what those who listen were told is in the log");
    assert!(platform.store.list(tables::TOKENS, &KeyRange::all()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_no_room_to_wait_is_not_in_memory_for_ever() {
    let (_platform, store, controller) = failing().await;
    store.fail_after_writes(Some(0));
    for _ in 0..10_000 {
        let writes = vec![controller.shared.requests.clearance("nobody")];
        controller.shared.records.follow(Record { writes, event: None, answered: None, ended: None });
    }
    for _ in 0..2 {
        let Begin::Execute(request) = controller.begin_harmless_request(&ann(), "key", &[]).await.unwrap() else {
            panic!("answered")
        };
        let answer = KeptAnswer { status: 204, content_type: None, body: String::new() };
        request.finish(answer).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_to_mend_a_full_store_can_log_in_look_stop_and_destroy() {
    let (platform, store, controller) = failing().await;
    let id = run(&controller).await;
    controller.add_account(&ann(), new_account("bob")).await.unwrap();
    store.fail_after_writes(Some(0));
    let issued = controller.login("bob", PASSWORD).await.unwrap();
    assert!(issued.warning.is_some());
    let is_good = || {
        let presented = Presented { username: None, token: issued.token.clone() };
        controller.shared.auth.authenticate(&presented).is_ok()
    };
    assert!(is_good());
    assert_eq!(controller.containers(true).len(), 1);
    // The command line sends a key with each of them.
    for key in ["stop", "destroy"] {
        let parts: [&[u8]; 1] = [key.as_bytes()];
        let Begin::Execute(request) = controller.begin_harmless_request(&ann(), key, &parts).await.unwrap() else {
            panic!("answered")
        };
        let actor = ann().by_request(request.context());
        match key {
            "stop" => controller.stop(&actor, &id, GRACE).await.unwrap(),
            _ => controller.destroy(&actor, &id).await.unwrap(),
        }
        let answer = KeptAnswer { status: 204, content_type: None, body: String::new() };
        request.finish(answer.clone()).await.unwrap();
        for _ in 0..2 {
            let again = controller.begin_harmless_request(&ann(), key, &parts).await.unwrap();
            assert!(matches!(again, Begin::Replay(kept) if kept == answer), "{key}");
            let other = controller.begin_request(&ann(), key, &[b"other"]).await;
            assert!(matches!(other, Err(ControllerError::KeyReused { .. })), "{key}");
        }
    }
    // Everything else says that it was not done, and leaves nothing under its key.
    let before = contents(&*platform.store).await;
    assert!(controller.begin_request(&ann(), "add", &[]).await.is_err_and(|error| error.is_retryable()));
    assert!(controller.add_account(&ann(), new_account("eve")).await.is_err());
    assert_eq!(contents(&*platform.store).await, before);
    controller.logout(&Actor::user("bob".parse().unwrap()), &issued.token).await.unwrap();
    assert!(!is_good());
    store.fail_after_writes(None);
    assert!(eventually(|| controller.store_state().records_waiting == 0).await);
    for key in ["stop", "destroy"] {
        let next = quick(&platform.hosts, platform.store.clone()).await;
        let kept = next.begin_request(&ann(), key, &[key.as_bytes()]).await.unwrap();
        assert!(matches!(kept, Begin::Replay(_)), "{key} is kept now");
    }
    let (_request, _) = begin(&controller, "add").await;
    let events = of_users(controller.events(100).await.unwrap());
    let expected =
        ["add-engine", "run-container", "add-account", "login", "stop-container", "destroy-container", "logout"];
    assert_eq!(events, expected);
}

#[tokio::test(start_paused = true)]
async fn a_logout_that_is_never_recorded_is_warned_of_and_logged_at_the_end() {
    let (heard, _guard) = hear_log(tracing::Level::INFO);
    for recorded in [true, false] {
        let (platform, store, controller) = failing().await;
        controller.add_account(&ann(), new_account("bob")).await.unwrap();
        let issued = controller.login("bob", PASSWORD).await.unwrap();
        store.fill(true);
        let unstored = controller.login("bob", PASSWORD).await.unwrap();
        let bob = Actor::user("bob".parse().unwrap());
        let ended = controller.logout(&bob, &issued.token).await.unwrap();
        assert!(ended.warning.is_some_and(|warning| warning.contains("good again, until")));
        // What the store never had does not come back.
        assert_eq!(controller.logout(&bob, &unstored.token).await.unwrap().warning, None);
        store.fill(!recorded);
        controller.shutdown().await;
        let is_logged = String::from_utf8_lossy(&heard.lock()).contains("a token of this account was logged out");
        assert_eq!(is_logged, !recorded);
        // As was said.
        let next = quick(&platform.hosts, platform.store.clone()).await;
        let presented = Presented { username: None, token: issued.token.clone() };
        assert_eq!(next.shared.auth.authenticate(&presented).is_ok(), !recorded);
    }
    let heard = String::from_utf8(heard.lock().clone()).unwrap();
    let lines: Vec<&str> = heard.lines().filter(|line| line.contains("a token of this account")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("ERROR") && lines[0].contains("account=bob"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn what_ends_others_tokens_is_refused_while_that_cannot_be_recorded() {
    let (platform, store, controller) = failing().await;
    controller.add_account(&ann(), new_account("bob")).await.unwrap();
    let issued = controller.login("bob", PASSWORD).await.unwrap();
    let join = controller.make_join_token(&ann()).await.unwrap();
    let before = contents(&*platform.store).await;
    store.fill(true);
    let change = PasswordChange {
        username: "bob".to_owned(),
        old_password: None,
        source: None,
        password: "another password".to_owned(),
        keep_token: None,
    };
    let full = |error: &ControllerError| match error {
        ControllerError::Store(error) | ControllerError::Auth(crate::auth::AuthError::Store(error)) => {
            error.kind() == StoreErrorKind::Full
        }
        _ => false,
    };
    assert!(controller.change_password(&ann(), change).await.is_err_and(|error| full(&error)));
    assert!(controller.delete_account(&ann(), "bob").await.is_err_and(|error| full(&error)));
    assert!(controller.delete_join_token(&ann(), join.id.as_str()).await.is_err_and(|error| full(&error)));
    assert_eq!(contents(&*platform.store).await, before);
    let presented = Presented { username: None, token: issued.token };
    assert!(controller.shared.auth.authenticate(&presented).is_ok(), "what was refused changes nothing");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_read_either_takes_no_request_with_a_key() {
    let (_platform, store, controller) = failing().await;
    store.fail_after_writes(Some(0));
    store.fail_after_reads(Some(0));
    let refused = controller.begin_harmless_request(&ann(), "key", &[]).await;
    assert!(matches!(refused, Err(ControllerError::Store(_))));
    let state = controller.store_state();
    assert!(state.health.unreadable.is_some() && state.health.unwritable.is_some());
    store.fail_after_writes(None);
    store.fail_after_reads(None);
    let begun = controller.begin_request(&ann(), "key", &[]).await.unwrap();
    assert!(matches!(begun, Begin::Execute(request) if !request.is_again()), "nothing was kept");
}

#[tokio::test(start_paused = true)]
async fn a_change_is_asked_about_for_as_long_as_the_store_may_answer_and_no_longer() {
    let (_platform, store, controller) = failing().await;
    for (kind, may_answer) in [(StoreErrorKind::Broken, false), (StoreErrorKind::Unavailable, true)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        controller.settle(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move { Err(ControllerError::Store(StoreError::new(kind, "get", tables::ENGINES, "a"))) }
        });
        tokio::time::sleep(Duration::from_secs(600)).await;
        let asked = asked.load(Ordering::SeqCst);
        assert!(if may_answer { asked > 100 } else { asked == 2 }, "{kind:?}: {asked}");
    }
    drop(store);
    controller.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_whose_change_was_made_and_not_answered_is_known_as_the_store_has_it() {
    let (platform, store, controller) = failing().await;
    // The store did it, and its answer was lost.
    let stored = platform.store.get(tables::ENGINES, "a").await.unwrap().unwrap();
    store.fail_after_writes(Some(0));
    store.fail_after_reads(Some(1));
    assert!(controller.set_draining(&ann(), "a", true).await.is_err());
    let mut body = stored.body;
    body["draining"] = serde_json::json!(true);
    platform.store.replace(tables::ENGINES, "a", stored.version, body).await.unwrap();
    assert!(!controller.engine("a").unwrap().draining);
    store.fail_after_reads(None);
    assert!(eventually(|| controller.engine("a").unwrap().draining).await);
    // Or does it only after it was asked what it has.
    assert!(controller.delete_engine(&ann(), "a", true).await.is_err());
    platform.store.delete(tables::ENGINES, "a", None).await.unwrap();
    assert!(eventually(|| controller.engine("a").is_err()).await);
    store.fail_after_writes(None);
    // Added, and this server did not hear of it.
    let spec = serde_json::to_value(engine_spec("a")).unwrap();
    platform.store.insert(tables::ENGINES, "a", spec).await.unwrap();
    assert!(matches!(controller.add_engine(&ann(), engine_spec("a")).await, Err(ControllerError::EngineExists { .. })));
    assert!(eventually(|| controller.engine("a").is_ok()).await);
}
