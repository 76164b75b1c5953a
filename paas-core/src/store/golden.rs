//! Stores as earlier versions left them. A file per version, made with that version's `store backup`; none is ever changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Collection, KeyRange, MemoryStore, Store, tables, transfer};
use crate::auth::Presented;
use crate::controller::{Actor, Controller, ControllerError};
use crate::model::{EngineSpec, Event, EventKind, RegistryLogin};

/// In 0.1.0: two accounts, two engines that were added and one that registered itself, all of them drained, a login to a
/// registry, two join tokens, two sessions, ten requests.
const STORES: [&str; 1] = ["0.1.0.jsonl"];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/stores").join(name)
}

/// The store as it was, but as if its sessions and requests were of today.
async fn restored(name: &str) -> Arc<dyn Store> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    transfer::restore(&file(name), &*store, &mut |_, _| {}).await.unwrap();
    let later = Timestamp::now().checked_add(SignedDuration::from_hours(1)).unwrap();
    for (table, field, time) in [(tables::TOKENS, "expires", later), (tables::REQUESTS, "began", Timestamp::now())] {
        for mut document in store.list(table, &KeyRange::all()).await.unwrap() {
            document.body[field] = json!(time);
            store.replace(table, &document.key, document.version, document.body).await.unwrap();
        }
    }
    store
}

#[tokio::test]
async fn what_an_earlier_version_stored_is_taken_over() {
    for name in STORES {
        let store = restored(name).await;
        let controller = Controller::builder().store(store.clone()).build().await.unwrap();
        let auth = controller.auth();
        auth.check("admin", "correct-horse-9", None).await.unwrap();
        auth.check("bob", "bob-pass-12345", None).await.unwrap();
        assert_eq!(auth.ensure_admin(None, Vec::new()).await.unwrap(), None, "there is an admin already");
        let token = "zNZf0M4_TXBW1g9PBxw6qChQfl30TIFscXM5JUso9L0".to_owned();
        let session = auth.authenticate(&Presented { username: None, token }).unwrap();
        assert!(auth.is_admin(&session));
        auth.check_join_token("jxzPVPHkjqVwXCCcQ8nQayOrpny4WRc1ZQNaeB3fnfo").await.unwrap();
        assert_eq!(auth.join_tokens().await.unwrap().len(), 2);

        controller.wait_ready(Duration::from_secs(5)).await;
        let engines = Collection::<EngineSpec>::new(store.clone(), tables::ENGINES).all().await.unwrap();
        let login = engines[0].value.registry_login.as_ref().unwrap();
        assert_eq!((login.username.as_str(), login.password.as_str()), ("eve", "reg-pass-2"));
        assert!(engines.iter().all(|engine| engine.value.draining));
        let shown = controller.engine("s1").unwrap();
        assert_eq!((shown.labels, shown.draining), (vec!["ssd".to_owned()], true));
        let logins = Collection::<RegistryLogin>::new(store.clone(), tables::REGISTRY_LOGINS).all().await.unwrap();
        assert_eq!((logins[0].key.as_str(), logins[0].value.password.as_str()), ("r.local:5000", "reg-pass-1"));
        let drained = Collection::<bool>::new(store.clone(), tables::DRAINED_ENGINES).all().await.unwrap();
        assert_eq!((drained[0].key.as_str(), drained[0].value), ("n1", true));
        let registered = Collection::<EngineSpec>::new(store.clone(), tables::REGISTERED_ENGINES).all().await.unwrap();
        assert_eq!(registered[0].value.labels, ["zone-a"]);

        let events = controller.events(1000).await.unwrap();
        let kept: Vec<&Event> = events.iter().filter(|event| event.message.starts_with("added account")).collect();
        assert!(kept.iter().all(|event| event.kind == EventKind::AddAccount) && kept.len() == 2, "{events:?}");
        // A key of that time is one that was used: what was asked then is not what is asked now.
        let actor = Actor::user("admin".parse().unwrap());
        let again = controller.begin_request(&actor, "01938f1e-0000-7000-8000-000000000001", &[b"other"]).await;
        assert!(matches!(again, Err(ControllerError::KeyReused { .. })), "{again:?}");
    }
}

/// What this version does not know stays where it is, also in what it rewrites.
#[tokio::test]
async fn fields_of_a_later_version_survive_this_one() {
    let store = restored(STORES[0]).await;
    let newer = async |table, key: &str| {
        let mut document = store.get(table, key).await.unwrap().unwrap();
        document.body["later"] = json!({ "format": 2 });
        store.replace(table, key, document.version, document.body).await.unwrap();
    };
    let of_later = [(tables::ACCOUNTS, "bob"), (tables::ENGINES, "s2"), (tables::REGISTRY_LOGINS, "r.local:5000")];
    for (table, key) in of_later {
        newer(table, key).await;
    }
    for event in store.list(tables::EVENTS, &KeyRange::last(2)).await.unwrap() {
        newer(tables::EVENTS, &event.key).await;
    }
    let sealer = crate::seal::Sealer::ephemeral();
    let controller = Controller::builder().store(store.clone()).sealer(sealer).build().await.unwrap();
    assert_eq!(controller.events(2).await.unwrap().len(), 2);
    controller.wait_ready(Duration::from_secs(5)).await;
    let actor = Actor::system();
    controller.set_draining(&actor, "s2", false).await.unwrap();
    controller.auth().change_password("bob", None, "bob-pass-67890", None, Vec::new()).await.unwrap();
    let login = RegistryLogin {
        server: Some("r.local:5000".to_owned()),
        username: "ann".to_owned(),
        password: "reg-pass-9".to_owned(),
    };
    controller.set_registry_login(&actor, login).await.unwrap();
    for (table, key) in of_later {
        let body: Value = store.get(table, key).await.unwrap().unwrap().body;
        assert_eq!(body["later"], json!({ "format": 2 }), "{table}/{key}: {body}");
    }
    assert_eq!(store.get(tables::ENGINES, "s2").await.unwrap().unwrap().body.get("draining"), None);
}
