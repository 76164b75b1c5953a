//! A server that refuses, hangs, breaks in the middle, stammers and starts again.

use std::time::Instant;

use futures::future::join_all;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::*;
use crate::testing::rethinkdb::Fault;
use crate::testing::store::writes_take_effect_once_across_cuts;

const THINGS: Table = Table::new("things");

/// Shorter than the real ones, so that a test need not wait.
pub(super) fn limits() -> Limits {
    Limits {
        connect: Duration::from_millis(500),
        query: Duration::from_millis(500),
        retry: Duration::from_millis(1500),
        abandoned: Duration::from_millis(400),
        sessions: 4,
    }
}

async fn start() -> (RethinkDouble, RethinkDbStore) {
    let double = RethinkDouble::start().await.unwrap();
    let store = RethinkDbStore::open_with(&double.url("paas"), limits()).await.unwrap();
    store.insert(THINGS, "there", json!("before")).await.unwrap();
    (double, store)
}

async fn kind_of_get(store: &RethinkDbStore) -> StoreErrorKind {
    store.get(THINGS, "there").await.unwrap_err().kind()
}

/// What was there is there, however often it is asked for.
async fn works(store: &RethinkDbStore) {
    let reads = join_all((0..20).map(|_| store.get(THINGS, "there"))).await;
    for read in reads {
        assert_eq!(read.unwrap().unwrap().body, json!("before"));
    }
}

#[tokio::test]
async fn nobody_hears_who_asks_or_with_which_password() {
    let (double, store) = start().await;
    double.stop();
    let url = double.url("paas");
    let stranger = url.replace("paas:", "stranger:");
    let opened = RethinkDbStore::open_with(&url, limits()).await.unwrap_err();
    assert_eq!(opened.kind(), StoreErrorKind::Unavailable);
    let asked = store.get(THINGS, "there").await.unwrap_err();
    double.start_again(Duration::ZERO).await.unwrap();
    let refused = RethinkDbStore::open_with(&stranger, limits()).await.unwrap_err();
    let wrong = RethinkDbStore::open_with(&url.replace("s3cret", "hunter2"), limits()).await.unwrap_err();
    assert_eq!((refused.kind(), wrong.kind()), (StoreErrorKind::Broken, StoreErrorKind::Broken));
    assert!(refused.to_string().contains("Unknown user"), "{refused}");
    assert!(wrong.to_string().contains("Wrong password"), "{wrong}");
    for shown in [opened, asked, refused, wrong].map(|error| format!("{error} {error:?}")) {
        let tells = ["s3cret", "hunter2", "stranger"].iter().any(|secret| shown.contains(secret));
        assert!(!tells, "{shown}");
        assert!(shown.contains("127.0.0.1"), "and yet it says where: {shown}");
    }
    assert!(!format!("{store:?}").contains("s3cret"));
}

#[tokio::test]
async fn another_server_on_that_port_is_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-OpenSSH_9.2\r\n\0").await;
        }
    });
    let error = RethinkDbStore::open_with(&format!("rethinkdb://127.0.0.1:{port}/paas"), limits()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Broken);
    assert!(error.to_string().contains("SSH-2.0"), "{error}");
}

#[tokio::test]
async fn a_refusing_server_is_unavailable_until_it_is_back() {
    let (double, store) = start().await;
    double.stop();
    let began = Instant::now();
    assert_eq!(kind_of_get(&store).await, StoreErrorKind::Unavailable);
    let write = store.insert(THINGS, "new", json!(1)).await.unwrap_err();
    assert_eq!(write.kind(), StoreErrorKind::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    double.start_again(Duration::ZERO).await.unwrap();
    works(&store).await;
}

#[tokio::test]
async fn a_server_that_is_away_for_a_moment_is_waited_for() {
    let (double, store) = start().await;
    double.stop();
    let (read, written, ()) = tokio::join!(store.get(THINGS, "there"), store.insert(THINGS, "new", json!(1)), async {
        sleep(Duration::from_millis(300)).await;
        // As the real one: for a while after its start no replica is available.
        double.start_again(Duration::from_millis(400)).await.unwrap();
    });
    assert_eq!(read.unwrap().unwrap().body, json!("before"));
    assert_eq!(store.get(THINGS, "new").await.unwrap().unwrap().version, written.unwrap());
}

#[tokio::test]
async fn replicas_that_stay_away_are_an_error() {
    let (double, store) = start().await;
    double.stop();
    double.start_again(Duration::from_secs(60)).await.unwrap();
    let error = store.get(THINGS, "there").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("primary replica"), "{error}");
}

#[tokio::test]
async fn a_hanging_server_is_given_up_and_its_sessions_are_thrown_away() {
    let (double, store) = start().await;
    works(&store).await;
    double.set_fault(Some(Fault::Silent));
    let began = Instant::now();
    let kinds = join_all((0..12).map(|_| kind_of_get(&store))).await;
    assert!(kinds.iter().all(|kind| *kind == StoreErrorKind::Unavailable));
    let write = store.insert(THINGS, "new", json!(1)).await.unwrap_err();
    assert_eq!(write.kind(), StoreErrorKind::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(4), "it took {:?}", began.elapsed());
    let before = double.connections();
    double.set_fault(None);
    works(&store).await;
    assert!(double.connections() > before, "no session that was given up is used again");
    let opened = RethinkDbStore::open_with(&double.url("paas"), limits()).await;
    assert!(opened.is_ok());
}

#[tokio::test]
async fn a_server_that_hangs_from_the_beginning_is_given_up() {
    let double = RethinkDouble::start().await.unwrap();
    double.set_fault(Some(Fault::Silent));
    let began = Instant::now();
    let error = RethinkDbStore::open_with(&double.url("paas"), limits()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_caller_that_leaves_poisons_nothing() {
    let (double, store) = start().await;
    double.set_fault(Some(Fault::Pieces));
    for _ in 0..30 {
        // Given up at any point: before the question, in the middle of the answer, after it.
        let _ = timeout(Duration::from_micros(300), store.get(THINGS, "there")).await;
        let _ = timeout(Duration::from_micros(300), store.list(THINGS, &KeyRange::all())).await;
    }
    double.set_fault(None);
    let before = double.connections();
    works(&store).await;
    works(&store).await;
    assert!(double.connections() <= before + 4, "the sessions go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_in_pieces_of_one_byte_are_answers() {
    let double = RethinkDouble::start().await.unwrap();
    double.set_fault(Some(Fault::Pieces));
    let store = RethinkDbStore::open(&double.url("paas")).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    crate::testing::store::versions_never_come_again(&store).await;
    crate::testing::store::ranges_are_read_both_ways(&store).await;
}

#[tokio::test]
async fn a_write_whose_question_was_lost_is_asked_for_again() {
    let (double, store) = start().await;
    double.set_fault(Some(Fault::LoseQuestions(2)));
    let version = store.insert(THINGS, "new", json!(1)).await.unwrap();
    double.set_fault(Some(Fault::LoseQuestions(2)));
    let version = store.replace(THINGS, "new", version, json!(2)).await.unwrap();
    assert_eq!(store.get(THINGS, "new").await.unwrap().unwrap().body, json!(2));
    double.set_fault(Some(Fault::LoseQuestions(2)));
    store.delete(THINGS, "new", Some(version)).await.unwrap();
    assert_eq!(store.get(THINGS, "new").await.unwrap(), None);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_known_by_its_version() {
    let (double, store) = start().await;
    for after in [0, 1, 11, 12, 40] {
        let lose = || double.set_fault(Some(Fault::LoseAnswers { times: 1, after }));
        let key = after.to_string();
        lose();
        let first = store.insert(THINGS, &key, json!(1)).await.unwrap();
        assert_eq!(store.get(THINGS, &key).await.unwrap().unwrap().version, first);
        lose();
        let second = store.replace(THINGS, &key, first, json!(2)).await.unwrap();
        assert_eq!(store.get(THINGS, &key).await.unwrap().unwrap().version, second);
        // A document that is gone says nothing of who deleted it.
        lose();
        let deleted = store.delete(THINGS, &key, Some(second)).await.unwrap_err();
        assert_eq!(deleted.kind(), StoreErrorKind::Unavailable);
        assert_eq!(store.get(THINGS, &key).await.unwrap(), None);
        // What somebody else wrote is not taken for ours.
        lose();
        let taken = store.insert(THINGS, "there", json!("ours")).await.unwrap_err();
        assert_eq!(taken.kind(), StoreErrorKind::Unavailable);
        works(&store).await;
    }
}

#[tokio::test]
async fn a_server_that_always_breaks_is_unavailable() {
    let (double, store) = start().await;
    double.set_fault(Some(Fault::LoseAnswers { times: u32::MAX, after: 5 }));
    assert_eq!(kind_of_get(&store).await, StoreErrorKind::Unavailable);
    assert_eq!(store.insert(THINGS, "new", json!(1)).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_take_effect_once_across_cuts_and_restarts() {
    let double = RethinkDouble::start().await.unwrap();
    let store = Arc::new(RethinkDbStore::open_with(&double.url("paas"), limits()).await.unwrap());
    writes_take_effect_once_across_cuts(store.clone(), async || double.cut()).await;
    writes_take_effect_once_across_cuts(store.clone(), async || {
        double.stop();
        double.start_again(Duration::from_millis(200)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_table_that_somebody_else_writes_to_is_told_apart() {
    let (double, store) = start().await;
    double.put("paas", "things", json!({ "id": "foreign", "text": "not ours" }));
    let error = store.get(THINGS, "foreign").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Broken);
    assert!(error.to_string().contains("something else writes"), "{error}");
    assert_eq!(store.list(THINGS, &KeyRange::all()).await.unwrap_err().kind(), StoreErrorKind::Broken);
}

#[tokio::test]
async fn a_document_that_is_too_large_is_refused_and_spoils_nothing() {
    let (_double, store) = start().await;
    let large = json!("x".repeat(MAX_DOCUMENT));
    assert_eq!(store.insert(THINGS, "large", large).await.unwrap_err().kind(), StoreErrorKind::Invalid);
    works(&store).await;
}

#[tokio::test]
async fn a_table_that_is_not_there_is_empty_and_not_made_by_looking() {
    let (double, store) = start().await;
    const NOWHERE: Table = Table::new("nowhere");
    assert_eq!(store.get(NOWHERE, "a").await.unwrap(), None);
    assert!(store.list(NOWHERE, &KeyRange::all()).await.unwrap().is_empty());
    assert_eq!(store.delete(NOWHERE, "a", None).await.unwrap_err().kind(), StoreErrorKind::NotFound);
    assert!(!double.has_table("paas", "nowhere"));
    assert!(double.has_table("paas", "events"), "those of the platform are made at once");
    store.insert(NOWHERE, "a", json!(1)).await.unwrap();
    assert!(double.has_table("paas", "nowhere"));
}

#[tokio::test]
async fn a_database_that_is_not_there_is_not_made_to_be_read() {
    let (double, store) = start().await;
    let missing = RethinkDbStore::open_existing(&double.url("other")).await.unwrap_err();
    assert_eq!(missing.kind(), StoreErrorKind::NotFound);
    assert!(missing.to_string().contains("no database other"), "{missing}");
    drop(store);
    works(&RethinkDbStore::open_existing(&double.url("paas")).await.unwrap()).await;
}

#[tokio::test]
async fn a_table_that_was_dropped_is_not_made_anew() {
    let (double, store) = start().await;
    double.drop_table("paas", "things");
    let error = store.insert(THINGS, "new", json!(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Broken);
    assert!(error.to_string().contains("does not exist"), "{error}");
    assert_eq!(store.get(THINGS, "there").await.unwrap_err().kind(), StoreErrorKind::Broken, "and not an empty one");
    assert_eq!(store.list(THINGS, &KeyRange::all()).await.unwrap_err().kind(), StoreErrorKind::Broken);
    let pair = ["a", "b"].map(|key| Write::new(THINGS, key, Action::Insert(json!(1)))).to_vec();
    assert_eq!(store.commit(pair).await.unwrap_err().kind(), StoreErrorKind::Broken);
    assert!(!double.has_table("paas", "things"));
}
