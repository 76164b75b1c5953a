//! What is sealed opens in its place, with its key, unchanged, and in no other way.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::{EngineSpec, RegistryLogin, TlsMaterial};
use crate::store::tables::{ENGINES, PLATFORM, REGISTRY_LOGINS};
use crate::store::{Collection, KeyRange, MemoryStore, Store, StoreErrorKind, Table};
use crate::testing::store::FailingStore;

const PASSWORD: Place<'static> = Place { table: REGISTRY_LOGINS, key: "docker.io", field: "/password" };
const SECRET: &str = "hush-hush";

fn login(server: &str) -> RegistryLogin {
    RegistryLogin { server: Some(server.into()), username: "ann".into(), password: format!("{SECRET} {server}") }
}

fn engine() -> EngineSpec {
    let tls = TlsMaterial { ca_cert: "ca".into(), cert: "cert".into(), key: format!("{SECRET} key") };
    EngineSpec {
        tls: Some(tls),
        registry_login: Some(login("own.local")),
        ..EngineSpec::new("one".parse().unwrap(), "https://10.0.0.1".parse().unwrap())
    }
}

fn logins(store: &Arc<dyn Store>, sealer: &Sealer) -> Collection<RegistryLogin> {
    Collection::sealed(store.clone(), REGISTRY_LOGINS, Some(sealer.clone()))
}

fn engines(store: &Arc<dyn Store>, sealer: &Sealer) -> Collection<EngineSpec> {
    Collection::sealed(store.clone(), ENGINES, Some(sealer.clone()))
}

async fn everything(store: &dyn Store) -> String {
    let mut text = String::new();
    for table in [ENGINES, REGISTRY_LOGINS, PLATFORM] {
        for document in store.list(table, &KeyRange::all()).await.unwrap() {
            text += &format!("{table} {} {}\n", document.key, document.body);
        }
    }
    text
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

proptest! {
    #[test]
    fn any_text_is_sealed_and_opened(text in any::<String>()) {
        let sealer = Sealer::ephemeral();
        let sealed = sealer.seal(PASSWORD, &text).unwrap();
        prop_assert_eq!(sealer.open(PASSWORD, &sealed).unwrap(), text);
    }

    #[test]
    fn nothing_that_was_changed_opens(text in "[a-z]{0,40}", at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        let sealer = Sealer::ephemeral();
        let mut sealed = sealer.seal(PASSWORD, &text).unwrap();
        let mut data = STANDARD.decode(sealed["data"].as_str().unwrap()).unwrap();
        let at = at.index(data.len());
        data[at] ^= 1 << bit;
        sealed["data"] = json!(STANDARD.encode(&data));
        prop_assert_eq!(sealer.open(PASSWORD, &sealed), Err(SealError::Changed { field: "password".into() }));
        data.truncate(at);
        sealed["data"] = json!(STANDARD.encode(&data));
        prop_assert_eq!(sealer.open(PASSWORD, &sealed), Err(SealError::Changed { field: "password".into() }));
    }

    #[test]
    fn whatever_stands_where_a_secret_should_is_an_error_and_no_panic(text in any::<String>(), number in any::<i64>()) {
        let sealer = Sealer::ephemeral();
        let good = sealer.seal(PASSWORD, "x").unwrap();
        for (field, value) in [("data", json!(text)), ("sealed", json!(number)), ("key", json!(text)), ("data", json!(number))] {
            let mut bad = good.clone();
            bad[field] = value;
            prop_assume!(bad != good);
            prop_assert!(sealer.open(PASSWORD, &bad).is_err());
        }
        for bad in [json!(text), json!(number), json!([]), json!({}), Value::Null] {
            prop_assert!(sealer.open(PASSWORD, &bad).is_err());
        }
    }

    #[test]
    fn a_text_that_is_no_key_ring_is_refused_without_being_repeated(text in "[ -~\n]{0,200}") {
        if let Err(error) = KeyRing::parse(&text) {
            for word in text.split_whitespace().filter(|word| word.len() > 12) {
                prop_assert!(!error.to_string().contains(word));
            }
        }
    }
}

#[test]
fn a_secret_opens_in_no_other_place_and_with_no_other_key() {
    let sealer = Sealer::ephemeral();
    let sealed = sealer.seal(PASSWORD, SECRET).unwrap();
    for place in [
        Place { table: ENGINES, ..PASSWORD },
        Place { key: "r.local", ..PASSWORD },
        Place { field: "/registry_login/password", ..PASSWORD },
    ] {
        assert!(matches!(sealer.open(place, &sealed), Err(SealError::Changed { .. })), "{place:?}");
    }
    let error = Sealer::ephemeral().open(PASSWORD, &sealed).unwrap_err();
    assert!(matches!(&error, SealError::UnknownKey { fingerprint, .. } if *fingerprint == sealer.fingerprint()));
    assert!(error.to_string().contains("key import"), "{error}");
    let again = sealer.seal(PASSWORD, SECRET).unwrap();
    assert_ne!(sealed, again, "a nonce is used once");
    let printed = format!("{sealer:?} {sealed} {error}");
    assert!(!printed.contains(SECRET), "{printed}");
    let ring = KeyRing::generate();
    let line = ring.to_text().lines().last().unwrap().trim_start_matches("paas-key-1 ").to_owned();
    assert!(!format!("{ring:?} {:?}", Sealer::new(ring.clone())).contains(&line));
}

#[test]
fn what_another_program_sealed_in_this_format_opens() {
    let keys = KeyRing::parse(include_str!("golden/secret.key")).unwrap();
    assert_eq!(keys.to_text(), include_str!("golden/secret.key"), "the file is written as it always was");
    let fingerprints: Vec<_> = keys.fingerprints().map(Fingerprint::as_str).collect();
    assert_eq!(fingerprints, [OLD, NEW]);
    let sealer = Sealer::new(keys);
    let records: Vec<Value> = serde_json::from_str(include_str!("golden/records.json")).unwrap();
    let mut opened = Vec::new();
    for mut record in records {
        let table = if record["table"] == "engines" { ENGINES } else { REGISTRY_LOGINS };
        let key = record["key"].as_str().unwrap().to_owned();
        unseal_body(Some(&sealer), table, &key, &mut record["body"]).unwrap();
        opened.push(record["body"].clone());
    }
    let first: RegistryLogin = serde_json::from_value(opened[0].clone()).unwrap();
    let engine: EngineSpec = serde_json::from_value(opened[2].clone()).unwrap();
    assert_eq!((first.username.as_str(), first.password.as_str()), ("ann", "pass wörd \"1\""));
    assert_eq!(opened[1]["password"], "pass wörd \"1\"");
    assert_eq!(engine.tls.unwrap().key, format!("-----BEGIN PRIVATE KEY-----\n{}\n", "x".repeat(100)));
    assert_eq!(engine.registry_login.unwrap().password, "own");
}

const OLD: &str = "8a9e5acc681bad54";
const NEW: &str = "3d4da37baae5fb84";

#[tokio::test]
async fn records_are_sealed_where_they_lie_and_nowhere_else() {
    let (store, sealer) = (memory(), Sealer::ephemeral());
    logins(&store, &sealer).insert("r.local", &login("r.local")).await.unwrap();
    engines(&store, &sealer).insert("one", &engine()).await.unwrap();
    let text = everything(&*store).await;
    assert!(!text.contains(SECRET) && text.contains("ann") && text.contains("\"cert\":\"cert\""), "{text}");
    assert_eq!(logins(&store, &sealer).get("r.local").await.unwrap().unwrap().value, login("r.local"));
    assert_eq!(engines(&store, &sealer).all().await.unwrap()[0].value, engine());
    let error = logins(&store, &Sealer::ephemeral()).get("r.local").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Broken);
    assert!(error.to_string().contains("registry_logins/r.local"), "{error}");
    // Moved to another key by hand.
    let moved = store.get(REGISTRY_LOGINS, "r.local").await.unwrap().unwrap().body;
    store.insert(REGISTRY_LOGINS, "evil.local", moved).await.unwrap();
    let each = logins(&store, &sealer).each().await.unwrap();
    assert!(each[0].as_ref().is_err_and(|error| error.to_string().contains("registry_logins/evil.local")));
    assert_eq!(each[1].as_ref().unwrap().value, login("r.local"), "one keeps no other from being read");
}

#[tokio::test]
async fn without_a_sealer_a_secret_is_not_written_and_everything_else_is() {
    let store = memory();
    let plain = Collection::<EngineSpec>::new(store.clone(), ENGINES);
    let error = plain.insert("one", &engine()).await.unwrap_err();
    assert!(error.kind() == StoreErrorKind::Invalid && error.to_string().contains("ControllerBuilder::sealer"));
    let without = EngineSpec { tls: None, registry_login: None, ..engine() };
    plain.insert("one", &without).await.unwrap();
    assert_eq!(plain.get("one").await.unwrap().unwrap().value, without);
}

/// As a version without keys wrote them.
async fn put_plain(store: &dyn Store, table: Table, key: &str, value: &impl serde::Serialize) {
    store.insert(table, key, serde_json::to_value(value).unwrap()).await.unwrap();
}

#[tokio::test]
async fn what_was_written_before_there_were_keys_is_read_and_then_sealed() {
    let (store, sealer) = (memory(), Sealer::ephemeral());
    put_plain(&*store, REGISTRY_LOGINS, "r.local", &login("r.local")).await;
    put_plain(&*store, ENGINES, "one", &engine()).await;
    assert_eq!(logins(&store, &sealer).get("r.local").await.unwrap().unwrap().value, login("r.local"));
    claim(&*store, Some(&sealer)).await.unwrap();
    assert_eq!(unfinished(&*store, &sealer).await.unwrap(), 2);
    assert_eq!(reseal(&*store, &sealer).await.unwrap(), Resealed { records: 2, unreadable: Vec::new() });
    assert!(!everything(&*store).await.contains(SECRET));
    assert_eq!(engines(&store, &sealer).get("one").await.unwrap().unwrap().value, engine());
    assert_eq!(reseal(&*store, &sealer).await.unwrap(), Resealed::default(), "and only once");
}

#[tokio::test]
async fn a_store_has_one_key_and_a_server_without_it_is_refused() {
    let (store, first, second) = (memory(), Sealer::ephemeral(), Sealer::ephemeral());
    assert_eq!(sealed_with(&*store).await.unwrap(), None);
    claim(&*store, None).await.unwrap();
    let (one, other) = tokio::join!(claim(&*store, Some(&first)), claim(&*store, Some(&second)));
    let (winner, refused) = if one.is_ok() { (&first, other) } else { (&second, one) };
    let refused = refused.unwrap_err();
    assert!(refused.to_string().contains(winner.fingerprint().as_str()), "{refused}");
    assert_eq!(sealed_with(&*store).await.unwrap(), Some(winner.fingerprint()));
    claim(&*store, Some(winner)).await.unwrap();
    assert!(claim(&*store, None).await.is_err());
    let built = crate::controller::Controller::builder().store(store.clone()).build().await.unwrap_err();
    assert!(built.to_string().len() > 10);
    let built = crate::controller::Controller::builder().store(store).sealer(winner.clone()).build().await.unwrap();
    built.shutdown().await;
}

#[tokio::test]
async fn a_rotation_that_is_cut_off_anywhere_goes_on_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    for writes in 0..=5 {
        let inner = memory();
        let store = FailingStore::new(inner.clone());
        let file = KeyFile::new(folder.path().join(format!("{writes}.key")));
        let before = file.create().unwrap().newest().fingerprint().clone();
        let sealer = Sealer::from_file(file.clone()).unwrap();
        claim(&store, Some(&sealer)).await.unwrap();
        for server in ["a.local", "b.local", "c.local"] {
            logins(&inner, &sealer).insert(server, &login(server)).await.unwrap();
        }
        engines(&inner, &sealer).insert("one", &engine()).await.unwrap();
        let to = file.add_new().unwrap().newest().fingerprint().clone();
        let rotating = Sealer::from_file(file.clone()).unwrap();
        store.fail_after_writes(Some(writes));
        let rotated = async {
            begin_rotation(&store, &before, &rotating, &to).await?;
            reseal(&store, &rotating).await
        };
        assert_eq!(rotated.await.is_ok(), writes == 5, "after {writes} writes");
        // A server of before, and one that starts now, read all of it.
        for reader in [&sealer, &Sealer::from_file(file.clone()).unwrap()] {
            assert_eq!(logins(&inner, reader).all().await.unwrap().len(), 3);
            assert_eq!(engines(&inner, reader).get("one").await.unwrap().unwrap().value, engine());
        }
        store.fail_after_writes(None);
        let next = Sealer::from_file(file).unwrap();
        claim(&store, Some(&next)).await.unwrap();
        if writes == 0 {
            assert_eq!(next.fingerprint(), before, "the store names the key that seals");
            begin_rotation(&store, &before, &next, &to).await.unwrap();
        }
        reseal(&store, &next).await.unwrap();
        assert_eq!((unfinished(&store, &next).await.unwrap(), next.fingerprint()), (0, to));
        assert!(!everything(&*inner).await.contains(before.as_str()));
        let stale = begin_rotation(&store, &before, &next, &before).await.unwrap_err();
        assert_eq!(stale.kind(), StoreErrorKind::VersionMismatch);
    }
}

#[tokio::test]
async fn what_cannot_be_opened_is_named_and_left_and_the_rest_is_sealed() {
    let (store, sealer) = (memory(), Sealer::ephemeral());
    logins(&store, &Sealer::ephemeral()).insert("a.local", &login("a.local")).await.unwrap();
    put_plain(&*store, REGISTRY_LOGINS, "b.local", &login("b.local")).await;
    let report = reseal(&*store, &sealer).await.unwrap();
    assert_eq!((report.records, report.unreadable.len()), (1, 1));
    assert!(report.unreadable[0].starts_with("registry_logins/a.local: its password"), "{report:?}");
    assert!(!format!("{report:?}").contains(SECRET));
    assert_eq!(logins(&store, &sealer).get("b.local").await.unwrap().unwrap().value, login("b.local"));
}

#[test]
fn the_file_is_its_owners_alone_and_is_never_half_written_or_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("secret.key"));
    assert!(file.read().unwrap().is_none());
    assert!(matches!(file.load(), Err(KeyFileError::Missing { .. })));
    let made = file.create().unwrap();
    assert_eq!(file.create().unwrap(), made, "what is there stays");
    assert_eq!(file.path().metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let grown = file.add_new().unwrap();
    assert_eq!(grown.fingerprints().next(), made.fingerprints().next());
    assert_eq!(file.load().unwrap(), grown);
    let other = KeyRing::generate();
    assert_eq!(file.import(&other).unwrap(), 1);
    assert_eq!(file.import(&other).unwrap(), 0);
    assert_eq!(file.load().unwrap().newest(), other.newest());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    for mode in [0o640, 0o604, 0o660, 0o620, 0o601] {
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let error = file.read().unwrap_err();
        assert!(matches!(error, KeyFileError::Open { .. }) && error.to_string().contains("chmod 600"), "{error}");
        assert!(file.import(&KeyRing::generate()).is_err() && file.add_new().is_err());
    }
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o400)).unwrap();
    file.load().unwrap();
    for (text, line) in [("", 0), ("# nothing\n\n", 0), ("paas-key-1 AAAA\n", 1), ("# x\npaas-key-2 abc", 2)] {
        let error = KeyRing::parse(text).unwrap_err();
        assert_eq!(error, if line == 0 { KeyRingError::Empty } else { KeyRingError::NoKey { line } });
    }
}

#[test]
fn of_many_that_make_the_file_at_once_all_have_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path().join("secret.key"));
    let made: Vec<_> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| file.create().unwrap())).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert!(made.windows(2).all(|pair| pair[0] == pair[1]));
}

/// A hash is known again after a rotation, and is no plain one: nobody who lacks the key can try out what was hashed.
#[test]
fn what_was_hashed_with_a_key_before_is_known_again() {
    let mut keys = KeyRing::generate();
    let before = Sealer::new(keys.clone()).keyed_hashes("request", &[b"PUT", b"hunter2"]);
    keys.add(SealingKey::generate());
    let sealer = Sealer::new(keys.clone());
    let after = sealer.keyed_hashes("request", &[b"PUT", b"hunter2"]);
    assert_eq!((before.len(), after.len()), (1, 2));
    assert!(after[0] != before[0] && after[1] == before[0], "the newest first");
    assert_ne!(sealer.keyed_hashes("request", &[b"PUThunter2"]), after);
    assert_ne!(sealer.keyed_hashes("other", &[b"PUT", b"hunter2"]), after);
    assert_ne!(Sealer::ephemeral().keyed_hashes("request", &[b"PUT", b"hunter2"])[0], after[0]);
}

/// Every value of a secret is sealed in a place of its own, and moves to a new key with the others.
#[tokio::test]
async fn each_value_of_a_secret_is_sealed_and_resealed() {
    use crate::model::app::SecretValue;
    use crate::store::records::SecretRecord;
    use crate::store::tables::SECRETS;
    let store = memory();
    let mut keys = KeyRing::generate();
    let records =
        |keys: &KeyRing| Collection::<SecretRecord>::sealed(store.clone(), SECRETS, Some(Sealer::new(keys.clone())));
    let mut record = SecretRecord::without_values(0);
    for text in ["one", "two"] {
        record.add(SecretValue::new(text).unwrap(), "ann".into(), jiff::Timestamp::UNIX_EPOCH);
    }
    records(&keys).insert("shop/url", &record).await.unwrap();
    let mut kept = store.get(SECRETS, "shop/url").await.unwrap().unwrap();
    for version in ["1", "2"] {
        assert!(kept.body["versions"][version]["value"]["sealed"].is_number(), "{}", kept.body);
    }
    keys.add(SealingKey::generate());
    let report = reseal(&*store, &Sealer::new(keys.clone())).await.unwrap();
    assert_eq!((report.records, report.unreadable.len()), (1, 0));
    let only_new = KeyRing::parse(keys.to_text().lines().last().unwrap()).unwrap();
    assert_eq!(records(&only_new).get("shop/url").await.unwrap().unwrap().value, record);
    // One in the place of another does not open.
    kept = store.get(SECRETS, "shop/url").await.unwrap().unwrap();
    let first = kept.body["versions"]["1"]["value"].clone();
    kept.body["versions"]["2"]["value"] = first;
    store.replace(SECRETS, "shop/url", kept.version, kept.body).await.unwrap();
    let broken = records(&keys).get("shop/url").await.unwrap_err().to_string();
    assert!(broken.contains("versions.2.value does not open"), "{broken}");
}
