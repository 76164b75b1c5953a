//! Callers that hang up in the middle of a change: it is made to its end, in the store and in memory.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::lost_answers::{CHANGES, begin, contents, do_one, new_account, quick};
use super::*;
use crate::auth::Presented;
use crate::cluster::launches::NewLaunch;
use crate::model::{EventKind, LaunchId, RequestId};
use crate::store::records::LaunchRecord;
use crate::store::{self, Document, Fence, KeyRange, Table, Version, Write, tables};
use crate::testing::store::GatedStore;

const PASSWORD: &str = "correct horse battery";

/// A store with a gate, a controller on it, and one engine's host.
async fn gated() -> (Platform, Arc<GatedStore>, Controller) {
    let platform = Platform::without_engines(&["a"]).await;
    let store = Arc::new(GatedStore::new(platform.store.clone()));
    let controller = quick(&platform.hosts, store.clone()).await;
    (platform, store, controller)
}

/// Begins something, hangs up while it waits for the store, and lets the store go on.
async fn hang_up<T: Send + 'static>(store: &GatedStore, work: impl Future<Output = T> + Send + 'static) {
    store.close();
    let caller = tokio::spawn(work);
    store.until_one_waits().await;
    caller.abort();
    assert!(caller.await.is_err(), "the caller is gone");
    store.open();
    // Longer than anything takes that nobody waits for.
    tokio::time::sleep(Duration::from_secs(10)).await;
}

/// What a controller has in memory of what the store keeps.
fn memory(controller: &Controller) -> (BTreeSet<String>, BTreeSet<String>) {
    let engines = controller.engines().into_iter().map(|engine| format!("{} {}", engine.id, engine.draining));
    (engines.collect(), controller.shared.auth.known_sessions())
}

/// A server that starts now knows the same as this one.
async fn check_memory(platform: &Platform, controller: &Controller, what: &str) {
    let next = quick(&platform.hosts, platform.store.clone()).await;
    assert_eq!(memory(controller), memory(&next), "{what}");
    next.shared.cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_is_made_to_its_end_and_made_once() {
    let (platform, store, controller) = gated().await;
    for change in CHANGES {
        let (request, actor) = begin(&controller, change).await;
        let caller = controller.clone();
        hang_up(&store, async move {
            let _request = request;
            do_one(&caller, &actor, change).await
        })
        .await;
        check_memory(&platform, &controller, change).await;
        let after = contents(&*platform.store).await;
        let (request, actor) = begin(&controller, change).await;
        assert!(request.is_again(), "{change}");
        do_one(&controller, &actor, change).await.unwrap_or_else(|error| panic!("{change}: {error}"));
        assert_eq!(contents(&*platform.store).await, after, "{change} changed something again");
        check_memory(&platform, &controller, change).await;
        let event = controller.events(1).await.unwrap().remove(0);
        assert!(event.user.is_some() || event.tags.contains(&"cluster".to_owned()), "{change}: {event:?}");
    }
    let made = controller.events(100).await.unwrap().into_iter().filter(|event| event.user.is_some()).count();
    assert_eq!(made, CHANGES.len());
}

#[tokio::test(start_paused = true)]
async fn logins_logouts_and_new_passwords_are_made_to_their_end() {
    let (platform, store, controller) = gated().await;
    controller.add_account(&ann(), new_account("bob")).await.unwrap();
    let bob = Actor::user("bob".parse().unwrap());
    let kept = controller.login("bob", PASSWORD).await.unwrap();
    let other = controller.login("bob", PASSWORD).await.unwrap();
    let caller = controller.clone();
    hang_up(&store, async move { caller.login("bob", PASSWORD).await }).await;
    check_memory(&platform, &controller, "login").await;
    assert_eq!(controller.shared.auth.known_sessions().len(), 3);
    let (caller, actor, token) = (controller.clone(), bob.clone(), other.token.clone());
    hang_up(&store, async move { caller.logout(&actor, &token).await }).await;
    check_memory(&platform, &controller, "logout").await;
    let is_good = |token: &str| {
        controller.shared.auth.authenticate(&Presented { username: None, token: token.to_owned() }).is_ok()
    };
    assert!(!is_good(&other.token) && is_good(&kept.token));
    let change = PasswordChange {
        username: "bob".to_owned(),
        old_password: Some(PASSWORD.to_owned()),
        source: None,
        password: "battery staple".to_owned(),
        keep_token: Some(kept.token.clone()),
    };
    let caller = controller.clone();
    hang_up(&store, async move { caller.change_password(&bob, change).await }).await;
    check_memory(&platform, &controller, "password").await;
    assert!(is_good(&kept.token));
    assert_eq!(controller.shared.auth.known_sessions().len(), 1);
    assert!(controller.login("bob", PASSWORD).await.is_err());
    controller.login("bob", "battery staple").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn join_tokens_are_made_and_deleted_to_the_end() {
    let (platform, store, controller) = gated().await;
    let caller = controller.clone();
    hang_up(&store, async move { caller.make_join_token(&ann()).await }).await;
    let made = controller.join_tokens().await.unwrap().remove(0);
    let caller = controller.clone();
    hang_up(&store, async move { caller.delete_join_token(&ann(), &made.id).await }).await;
    assert!(platform.store.list(tables::JOIN_TOKENS, &KeyRange::all()).await.unwrap().is_empty());
    let kinds: Vec<_> = controller.events(10).await.unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::DeleteJoinToken, EventKind::AddJoinToken]);
}

#[tokio::test(start_paused = true)]
async fn what_is_done_to_a_container_is_done_to_its_end_and_recorded() {
    const GRACE: Duration = Duration::from_secs(1);
    let (platform, store, controller) = gated().await;
    controller.add_engine(&ann(), engine_spec("a")).await.unwrap();
    let request = RunRequest { spec: web(), count: 1, pull: false };
    let started = controller.run(&ann(), request).await.unwrap().finish().await.started;
    let id = started[0].id.to_string();
    type Done = std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;
    let act = |what: &str| -> Done {
        let (controller, id) = (controller.clone(), id.clone());
        match what {
            "stop-container" => Box::pin(async move { controller.stop(&ann(), &id, GRACE).await }),
            "start-container" => Box::pin(async move { controller.start(&ann(), &id).await }),
            "restart-container" => Box::pin(async move { controller.restart(&ann(), &id, GRACE).await }),
            _ => Box::pin(async move { controller.destroy(&ann(), &id).await }),
        }
    };
    for what in ["stop-container", "start-container", "restart-container", "destroy-container"] {
        // While the host is at it.
        platform.host("a").set_latency(Duration::from_secs(1));
        let caller = tokio::spawn(act(what));
        tokio::time::sleep(Duration::from_millis(100)).await;
        caller.abort();
        tokio::time::sleep(Duration::from_secs(10)).await;
        platform.host("a").set_latency(Duration::ZERO);
        let by_ann = |events: Vec<Event>| events.into_iter().find(|event| event.user.is_some()).unwrap();
        assert_eq!(by_ann(controller.events(20).await.unwrap()).kind.to_string(), what);
    }
    assert_eq!(platform.really_there(), 0);
    drop(store);
    controller.cluster().audit().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_launch_is_settled_to_its_end_and_the_next_change_of_its_group_is_made() {
    let (_platform, store, controller) = gated().await;
    controller.add_engine(&ann(), engine_spec("a")).await.unwrap();
    let request = RunRequest { spec: web(), count: 1, pull: false };
    let started = controller.run(&ann(), request).await.unwrap().finish().await.started;
    let id = started[0].id.to_string();
    let asked = LaunchRecord::asked(engine_id("a"), "web-interrupted".to_owned(), jiff::Timestamp::now());
    let record = LaunchRecord { group: Some(web().group()), ..asked };
    let interrupted = NewLaunch { launch: LaunchId::new(), record };
    drop(controller.shared.cluster.launches().begin(vec![interrupted]).await.unwrap());
    // What the host told of the first one is recorded by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (caller, reference) = (controller.clone(), id.clone());
    hang_up(&store, async move { caller.scale(&ann(), &reference, 2).await }).await;
    assert!(controller.shared.cluster.launches().interrupted_of(&web().group()).is_empty());
    let actor = ann();
    let next = tokio::time::timeout(Duration::from_secs(60), controller.scale(&actor, &id, 2));
    let summary = next.await.expect("nobody is waited for").unwrap().finish().await;
    assert!(summary.is_complete(), "{summary:?}");
    controller.cluster().audit().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_told_as_one_and_costs_nobody_else_anything() {
    let platform = Platform::of(&["a"]).await;
    let controller = platform.controller.clone();
    let panics = async move { assert!(controller.engines().is_empty(), "for a test") };
    let outcome = platform.controller.run_to_end(panics).await;
    assert!(matches!(outcome, Err(ControllerError::Panicked)));
    assert!(!ControllerError::Panicked.is_retryable());
    platform.controller.set_draining(&ann(), "a", true).await.unwrap();
}

/// A store whose commits panic from some moment on.
#[derive(Debug)]
struct PanickingStore {
    inner: Arc<dyn Store>,
    panics: AtomicBool,
}

#[async_trait::async_trait]
impl Store for PanickingStore {
    async fn insert(&self, table: Table, key: &str, body: Value) -> store::Result<Version> {
        self.inner.insert(table, key, body).await
    }

    async fn get(&self, table: Table, key: &str) -> store::Result<Option<Document>> {
        self.inner.get(table, key).await
    }

    async fn replace(&self, table: Table, key: &str, expected: Version, body: Value) -> store::Result<Version> {
        self.inner.replace(table, key, expected, body).await
    }

    async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> store::Result<()> {
        self.inner.delete(table, key, expected).await
    }

    async fn commit(&self, writes: Vec<Write>) -> store::Result<Version> {
        assert!(!self.panics.load(Ordering::SeqCst), "for a test");
        self.inner.commit(writes).await
    }

    async fn list(&self, table: Table, range: &KeyRange) -> store::Result<Vec<Document>> {
        self.inner.list(table, range).await
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Store> {
        self.inner.fenced(fence)
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_middle_of_a_launch_or_a_change_is_not_told_as_the_end_of_the_server() {
    let platform = Platform::without_engines(&["a"]).await;
    let store = Arc::new(PanickingStore { inner: platform.store.clone(), panics: AtomicBool::new(false) });
    let controller = quick(&platform.hosts, store.clone()).await;
    controller.add_engine(&ann(), engine_spec("a")).await.unwrap();
    let request = || RunRequest { spec: web(), count: 1, pull: false };
    let started = controller.run(&ann(), request()).await.unwrap().finish().await.started;
    let id = started[0].id.as_str();
    // What the host says of it is recorded first.
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.panics.store(true, Ordering::SeqCst);
    let panicked = |error: Option<ControllerError>| matches!(error, Some(ControllerError::Panicked));
    assert!(panicked(controller.run(&ann(), request()).await.err()));
    assert!(panicked(controller.scale(&ann(), id, 2).await.err()));
    assert!(panicked(controller.stop(&ann(), id, Duration::from_secs(1)).await.err()));
    store.panics.store(false, Ordering::SeqCst);
    controller.destroy(&ann(), id).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_waited_for_before_it_is_asked_whether_the_server_closes() {
    let (_platform, store, controller) = gated().await;
    controller.add_engine(&ann(), engine_spec("a")).await.unwrap();
    store.close();
    let (first, second) = (controller.clone(), controller.clone());
    let first = tokio::spawn(async move { first.set_draining(&ann(), "a", true).await });
    store.until_one_waits().await;
    let second = tokio::spawn(async move { second.set_draining(&ann(), "a", false).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let closing = tokio::spawn({
        let controller = controller.clone();
        async move { controller.shutdown().await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    store.open();
    first.await.unwrap().unwrap();
    assert!(matches!(second.await.unwrap(), Err(ControllerError::ShuttingDown)));
    closing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_container_a_group_or_a_request_is_not_begun_when_the_server_closes() {
    let (platform, _store, controller) = gated().await;
    controller.add_engine(&ann(), engine_spec("a")).await.unwrap();
    let request = || RunRequest { spec: web(), count: 1, pull: false };
    let id = RequestId::of("ann", "key");
    let started = controller.run_once(&ann(), request(), id).await.unwrap().finish().await.started;
    let web = started[0].id.to_string();
    let group = controller.resolve(&web).unwrap().group.unwrap();
    let shared = &controller.shared;
    let locks = (
        shared.container_locks.lock(&web).await,
        shared.group_locks.lock(group.as_str()).await,
        shared.request_locks.lock(&id.to_string()).await,
    );
    let (one, two, three) = (controller.clone(), controller.clone(), controller.clone());
    let reference = web.clone();
    let stopping = tokio::spawn(async move { one.stop(&ann(), &web, Duration::from_secs(1)).await });
    let scaling = tokio::spawn(async move { two.scale(&ann(), &reference, 3).await.map(drop) });
    let running = tokio::spawn(async move { three.run_once(&ann(), request(), id).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let closing = tokio::spawn({
        let controller = controller.clone();
        async move { controller.shutdown().await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(locks);
    for waited in [stopping, scaling, running] {
        assert!(matches!(waited.await.unwrap(), Err(ControllerError::ShuttingDown)));
    }
    closing.await.unwrap();
    assert_eq!(platform.really_there(), 1);
}
