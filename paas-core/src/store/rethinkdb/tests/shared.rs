//! Several servers on one database: who makes the tables, what one that leads no more still writes, and commits of which
//! only a half was made.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use futures::poll;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::faults::limits;
use super::*;
use crate::store::tables::{ACCOUNTS, EVENTS, PLATFORM};
use crate::testing::rethinkdb::Fault;

const THINGS: Table = Table::new("things");

async fn open(double: &RethinkDouble) -> Result<RethinkDbStore> {
    RethinkDbStore::open_with(&double.url("paas"), limits()).await
}

async fn open_together(double: &RethinkDouble) -> Vec<RethinkDbStore> {
    let opened = join_all((0..4).map(|_| open(double))).await;
    opened.into_iter().map(|store| store.unwrap()).collect()
}

async fn all_write(stores: &[RethinkDbStore]) {
    for (number, store) in stores.iter().enumerate() {
        for table in tables::every() {
            let key = number.to_string();
            store.insert(table, &key, json!(number)).await.unwrap();
            store.delete(table, &key, None).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_together_on_nothing_all_work() {
    for _ in 0..5 {
        let double = RethinkDouble::start().await.unwrap();
        let stores = open_together(&double).await;
        all_write(&stores).await;
        // The first document of a table that is not the platform's as well.
        let first = join_all(
            stores
                .iter()
                .enumerate()
                .map(|(at, store)| store.insert(THINGS, if at == 0 { "a" } else { "b" }, json!(at))),
        )
        .await;
        assert_eq!(first.iter().filter(|made| made.is_ok()).count(), 2, "{first:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_together_on_a_database_without_tables_all_work() {
    let double = RethinkDouble::start().await.unwrap();
    // As one leaves it that died after it had made the database.
    double.make_database("paas");
    let stores = open_together(&double).await;
    all_write(&stores).await;
    assert_eq!(double.databases(), ["paas", "rethinkdb", "test"], "what it was decided with is gone again");
    let alone = RethinkDouble::start().await.unwrap();
    alone.make_database("paas");
    alone.set_fault(Some(Fault::NoDatabases));
    all_write(&[open(&alone).await.unwrap()]).await;
}

#[tokio::test]
async fn a_lock_whose_holder_died_is_taken_over() {
    let double = RethinkDouble::start().await.unwrap();
    let first = open(&double).await.unwrap();
    first.insert(PLATFORM, "making-tables", json!({ "format": 1 })).await.unwrap();
    first.insert(THINGS, "a", json!(1)).await.unwrap();
    assert_eq!(first.get(PLATFORM, "making-tables").await.unwrap(), None);
}

#[tokio::test]
async fn a_dropped_table_is_no_empty_one_for_who_starts_later() {
    for table in [ACCOUNTS, EVENTS] {
        let double = RethinkDouble::start().await.unwrap();
        let store = open(&double).await.unwrap();
        store.insert(PLATFORM, "name", json!("p")).await.unwrap();
        drop(store);
        double.drop_table("paas", table.name());
        let error = open(&double).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Broken);
        assert!(error.to_string().contains(table.name()) && error.to_string().contains("backup"), "{error}");
        assert!(!double.has_table("paas", table.name()));
        let existing = RethinkDbStore::open_existing(&double.url("paas")).await.unwrap();
        assert_eq!(existing.list(table, &KeyRange::all()).await.unwrap_err().kind(), StoreErrorKind::Broken);
    }
}

#[tokio::test]
async fn a_table_that_this_version_adds_is_made_in_a_database_of_before() {
    let double = RethinkDouble::start().await.unwrap();
    let store = open(&double).await.unwrap();
    store.insert(PLATFORM, "name", json!("p")).await.unwrap();
    // Before, there was neither the record nor its table.
    double.drop_table("paas", "store");
    drop(store);
    open(&double).await.unwrap();
    assert!(double.has_table("paas", "store"));
    double.drop_table("paas", "store");
    double.drop_table("paas", ACCOUNTS.name());
    assert_eq!(open(&double).await.unwrap_err().kind(), StoreErrorKind::Broken, "those of before were all there");
}

#[tokio::test]
async fn a_table_that_is_there_twice_is_broken_and_the_cure_is_said() {
    let double = RethinkDouble::start().await.unwrap();
    let store = open(&double).await.unwrap();
    double.make_twin("paas", "events");
    for error in [
        store.get(EVENTS, "a").await.unwrap_err(),
        store.insert(EVENTS, "a", json!(1)).await.unwrap_err(),
        open(&double).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::Broken);
        assert!(error.to_string().contains("ambiguous") && error.to_string().contains("table_config"), "{error}");
    }
}

#[tokio::test]
async fn a_commit_is_one_question() {
    let double = RethinkDouble::start().await.unwrap();
    let store = open(&double).await.unwrap();
    store.insert(THINGS, "there", json!(1)).await.unwrap();
    let mut writes = vec![Write::new(THINGS, "there", Action::Delete(None))];
    writes.extend((0..99).map(|number| Write::new(EVENTS, number.to_string(), Action::Insert(json!([number, 0.5])))));
    let before = double.questions();
    let version = store.commit(writes).await.unwrap();
    assert_eq!(double.questions() - before, 1);
    let made = store.list(EVENTS, &KeyRange::all()).await.unwrap();
    assert_eq!(made.len(), 99);
    assert!(made.iter().all(|document| document.version == version));
}

#[tokio::test]
async fn a_database_that_dies_between_two_writes_of_a_commit_leaves_no_half() {
    let double = RethinkDouble::start().await.unwrap();
    let store = open(&double).await.unwrap();
    for dies_after in 0..5 {
        let key = |name: &str| format!("{name}{dies_after}");
        let old = store.insert(THINGS, &key("session"), json!("of the account")).await.unwrap();
        store.insert(ACCOUNTS, &key("account"), json!("goes")).await.unwrap();
        double.set_fault(Some(Fault::DieAfterWrites(dies_after)));
        let writes = vec![
            Write::new(ACCOUNTS, key("account"), Action::Delete(None)),
            Write::new(THINGS, key("session"), Action::Delete(Some(old))),
            Write::new(THINGS, key("never there"), Action::Clear),
            Write::new(EVENTS, key("event"), Action::Insert(json!("deleted"))),
        ];
        let version = store.commit(writes).await.unwrap();
        double.set_fault(None);
        assert_eq!(store.get(ACCOUNTS, &key("account")).await.unwrap(), None, "{dies_after}");
        assert_eq!(store.get(THINGS, &key("session")).await.unwrap(), None, "{dies_after}");
        assert_eq!(store.get(EVENTS, &key("event")).await.unwrap().unwrap().version, version, "{dies_after}");
    }
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_known_by_its_version() {
    let double = RethinkDouble::start().await.unwrap();
    let store = open(&double).await.unwrap();
    for after in [0, 12, 40] {
        let key = format!("lost{after}");
        let pair = || [THINGS, EVENTS].map(|table| Write::new(table, key.clone(), Action::Insert(json!(1)))).to_vec();
        store.ensure_table(THINGS).await.unwrap();
        double.set_fault(Some(Fault::LoseAnswers { times: 1, after }));
        let version = store.commit(pair()).await.unwrap();
        assert_eq!(store.get(EVENTS, &key).await.unwrap().unwrap().version, version);
        double.set_fault(Some(Fault::LoseAnswers { times: 1, after }));
        assert_eq!(store.commit(pair()).await.unwrap_err().kind(), StoreErrorKind::Unavailable, "of somebody else");
    }
}

/// A fence that can be taken down.
fn fence() -> (Arc<AtomicBool>, Fence) {
    let holds = Arc::new(AtomicBool::new(true));
    (holds.clone(), Fence::new(move || holds.load(Ordering::Relaxed)))
}

#[tokio::test]
async fn what_is_not_sent_when_the_term_ends_is_never_sent() {
    let double = RethinkDouble::start().await.unwrap();
    let store = open(&double).await.unwrap();
    store.insert(THINGS, "there", json!(1)).await.unwrap();
    let (holds, fence) = fence();
    let fenced = store.fenced(fence);
    // The session is taken and the task is made that sends; before it has a turn the process is stopped for a while.
    let mut insert = pin!(fenced.insert(THINGS, "late", json!(1)));
    assert!(poll!(&mut insert).is_pending());
    holds.store(false, Ordering::Relaxed);
    let error = insert.await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("does not lead"), "{error}");
    assert_eq!(store.get(THINGS, "late").await.unwrap(), None);

    // One that waits for a session meanwhile.
    holds.store(true, Ordering::Relaxed);
    double.set_fault(Some(Fault::Silent));
    let busy: Vec<_> = (0..limits().sessions).map(|_| store.get(THINGS, "there")).collect();
    let waiting = async {
        sleep(Duration::from_millis(100)).await;
        timeout(Duration::from_secs(10), fenced.insert(THINGS, "late", json!(1))).await.unwrap().unwrap_err()
    };
    let stopped = async {
        sleep(Duration::from_millis(300)).await;
        holds.store(false, Ordering::Relaxed);
        double.set_fault(None);
    };
    let (_, error, ()) = tokio::join!(join_all(busy), waiting, stopped);
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert_eq!(store.get(THINGS, "late").await.unwrap(), None);
    assert!(fenced.get(THINGS, "there").await.unwrap().is_some(), "and everything can be read");
}

#[tokio::test]
async fn a_large_answer_may_take_as_long_as_it_comes() {
    let double = RethinkDouble::start().await.unwrap();
    let store = open(&double).await.unwrap();
    store.insert(THINGS, "large", json!("x".repeat(1 << 20))).await.unwrap();
    // 16 pieces, 100 ms apart: longer than the 500 ms that the server may be silent.
    double.set_fault(Some(Fault::Slow(100)));
    let began = std::time::Instant::now();
    assert!(store.get(THINGS, "large").await.unwrap().is_some());
    assert!(began.elapsed() > limits().query);
}

#[tokio::test]
async fn another_server_of_the_cluster_is_asked_when_one_is_away() {
    let double = RethinkDouble::start().await.unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let several = format!("127.0.0.1:1,{},{}", silent.local_addr().unwrap(), double.address());
    let url = double.url("paas").replace(&double.address().to_string(), &several);
    let store = RethinkDbStore::open_with(&url, limits()).await.unwrap();
    store.insert(THINGS, "a", json!(1)).await.unwrap();
    double.cut();
    let began = std::time::Instant::now();
    store.get(THINGS, "a").await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(300), "the one that answered last comes first");
}

/// As a restart of a real one, seen to take 4.2 s, with the limits of every day.
#[tokio::test]
async fn a_restart_is_waited_for() {
    let double = RethinkDouble::start().await.unwrap();
    let store = RethinkDbStore::open(&double.url("paas")).await.unwrap();
    double.stop();
    let restart = async {
        sleep(Duration::from_secs(2)).await;
        double.start_again(Duration::from_millis(2200)).await.unwrap();
    };
    let (written, ()) = tokio::join!(store.insert(EVENTS, "meanwhile", json!(1)), restart);
    written.unwrap();
}
