//! Changes to what the store keeps: whole or not at all, and once, also when nobody hears the answer.

use super::*;
use crate::auth::{AuthSettings, HashCost};
use crate::model::{Account, NewAccount, RegistryLogin, RoleName};
use crate::store::tables::{EVENTS, JOIN_TOKENS};
use crate::store::{KeyRange, Table, tables};
use crate::testing::store::FailingStore;

/// A controller on a store that can fail. Hashing is quick: it is not what is tested.
pub(super) async fn quick(hosts: &HashMap<String, SimulatedEngine>, store: Arc<dyn Store>) -> Controller {
    let auth = AuthSettings { hash_cost: HashCost { memory_kib: 8, passes: 1 }, ..AuthSettings::default() };
    let settings = Settings { auth, ..Settings::default() };
    builder(hosts, store, Arc::new(RecordingSink::default())).settings(settings).build().await.unwrap()
}

/// One request, by its key: begun, and handed on to be done.
pub(super) async fn begin(controller: &Controller, key: &str) -> (IdempotentRequest, Actor) {
    match controller.begin_request(&ann(), key, &[key.as_bytes()]).await.unwrap() {
        Begin::Execute(exchange) => {
            let actor = ann().by_request(exchange.context());
            (exchange, actor)
        }
        Begin::Replay(answer) => panic!("answered: {answer:?}"),
    }
}

pub(super) fn new_account(name: &str) -> NewAccount {
    let password = "correct horse battery".to_owned();
    NewAccount { id: None, username: name.parse().unwrap(), password, role: RoleName::new("user") }
}

fn registry_login(username: &str) -> RegistryLogin {
    serde_json::from_value(serde_json::json!({"server": "registry.test", "username": username, "password": "p"}))
        .unwrap()
}

/// Every change to the store that a user can ask for, one after the other.
pub(super) async fn do_one(controller: &Controller, actor: &Actor, change: &str) -> Result<()> {
    match change {
        "add account" => controller.add_account(actor, new_account("bob")).await.map(drop),
        "delete account" => controller.delete_account(actor, "bob").await,
        "add engine" => controller.add_engine(actor, engine_spec("a")).await.map(drop),
        "drain" => controller.set_draining(actor, "a", true).await.map(drop),
        "undrain" => controller.set_draining(actor, "a", false).await.map(drop),
        "delete engine" => controller.delete_engine(actor, "a", true).await,
        "set login" => controller.set_registry_login(actor, registry_login("one")).await,
        "set login again" => controller.set_registry_login(actor, registry_login("two")).await,
        "delete login" => controller.delete_registry_login(actor, "registry.test").await,
        other => panic!("{other}"),
    }
}

pub(super) const CHANGES: [&str; 9] = [
    "add account",
    "add engine",
    "drain",
    "undrain",
    "set login",
    "set login again",
    "delete account",
    "delete login",
    "delete engine",
];

/// Everything in a store, but for events that nobody asked for: hosts come up when they like.
pub(super) async fn contents(store: &dyn Store) -> Vec<(Table, String, serde_json::Value)> {
    let mut all = Vec::new();
    for table in tables::ALL {
        let documents = store.list(table, &KeyRange::all()).await.unwrap();
        all.extend(documents.into_iter().map(|document| (table, document.key, document.body)));
    }
    all.retain(|(table, _, body)| *table != EVENTS || body.get("user").is_some());
    all
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_answer_was_lost_is_made_once() {
    let platform = Platform::without_engines(&["a"]).await;
    let mut controller = quick(&platform.hosts, platform.store.clone()).await;
    for change in CHANGES {
        let (lost, actor) = begin(&controller, change).await;
        do_one(&controller, &actor, change).await.unwrap();
        drop(lost);
        // The server died, and another one gets the request.
        let after = contents(&*platform.store).await;
        controller.shared.cluster.shutdown().await;
        controller = quick(&platform.hosts, platform.store.clone()).await;
        let (exchange, actor) = begin(&controller, change).await;
        assert!(exchange.is_again(), "{change}");
        do_one(&controller, &actor, change).await.unwrap_or_else(|error| panic!("{change}: {error}"));
        assert_eq!(contents(&*platform.store).await, after, "{change} changed something again");
        exchange.finish(KeptAnswer { status: 204, content_type: None, body: String::new() }).await.unwrap();
        let answered = controller.begin_request(&ann(), change, &[change.as_bytes()]).await;
        assert!(matches!(answered, Ok(Begin::Replay(KeptAnswer { status: 204, .. }))), "{change}");
    }
    let events = controller.events(100).await.unwrap();
    assert_eq!(events.iter().filter(|event| event.user.is_some()).count(), CHANGES.len());
    // Without a key a change is a new one.
    assert!(controller.delete_account(&ann(), "bob").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn of_a_join_token_that_nobody_saw_the_last_is_good() {
    let platform = Platform::without_engines(&[]).await;
    let controller = quick(&platform.hosts, platform.store.clone()).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        let (exchange, actor) = begin(&controller, "key").await;
        made.push(controller.make_join_token(&actor).await.unwrap());
        drop(exchange);
    }
    let auth = controller.auth();
    assert!(auth.check_join_token(&made[0].token).await.is_err());
    assert!(auth.check_join_token(&made[1].token).await.is_err());
    auth.check_join_token(&made[2].token).await.unwrap();
    let listed = controller.join_tokens().await.unwrap();
    assert_eq!(listed.iter().map(|token| &token.id).collect::<Vec<_>>(), [&made[2].id]);
    for (table, key, body) in contents(&*platform.store).await {
        assert!(!made.iter().any(|made| body.to_string().contains(&made.token)), "{table}/{key} has a token in clear");
    }
    // One that was deleted meanwhile does not keep its request from being done again.
    controller.delete_join_token(&ann(), &made[2].id).await.unwrap();
    let (_exchange, actor) = begin(&controller, "key").await;
    controller.make_join_token(&actor).await.unwrap();
    assert_eq!(platform.store.list(JOIN_TOKENS, &KeyRange::all()).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stops_in_the_middle_leaves_no_half_of_a_change() {
    let platform = Platform::without_engines(&["a"]).await;
    let store = Arc::new(FailingStore::new(platform.store.clone()));
    let controller = quick(&platform.hosts, store.clone()).await;
    for change in CHANGES {
        let before = contents(&*platform.store).await;
        // Change, event, and the note that the request is done: two of them, or three or more.
        for writes in 0..3 {
            let key = format!("{change} {writes}");
            let (exchange, actor) = begin(&controller, &key).await;
            store.fail_after_writes(Some(writes));
            let outcome = do_one(&controller, &actor, change).await;
            assert!(outcome.is_err(), "{change} with {writes} writes");
            store.fail_after_writes(None);
            exchange.forget().await.unwrap();
            assert_eq!(contents(&*platform.store).await, before, "{change} with {writes} writes");
        }
        do_one(&controller, &ann(), change).await.unwrap();
        let events =
            |all: &[(Table, String, serde_json::Value)]| all.iter().filter(|(table, ..)| *table == EVENTS).count();
        assert_eq!(events(&contents(&*platform.store).await), events(&before) + 1, "{change}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_account_has_no_session_left_in_the_store() {
    let platform = Platform::without_engines(&[]).await;
    let controller = quick(&platform.hosts, platform.store.clone()).await;
    let Account { username, .. } = controller.add_account(&ann(), new_account("bob")).await.unwrap();
    for _ in 0..250 {
        controller.login(username.as_str(), "correct horse battery").await.unwrap();
    }
    controller.delete_account(&ann(), username.as_str()).await.unwrap();
    assert!(platform.store.list(tables::TOKENS, &KeyRange::all()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_done_is_not_forgotten_because_the_answer_of_the_store_was_lost() {
    let platform = Platform::without_engines(&[]).await;
    let controller = quick(&platform.hosts, platform.store.clone()).await;
    let (exchange, actor) = begin(&controller, "key").await;
    controller.add_account(&actor, new_account("bob")).await.unwrap();
    // As after an error that leaves open whether it was done.
    exchange.forget().await.unwrap();
    let (exchange, actor) = begin(&controller, "key").await;
    assert!(exchange.is_again());
    controller.add_account(&actor, new_account("bob")).await.unwrap();
}
