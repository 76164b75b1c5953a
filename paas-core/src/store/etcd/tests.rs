//! The store on a real etcd.

use std::time::Instant;

use futures::future::join_all;
use serde_json::json;
use tokio::time::sleep;

use super::*;
use crate::store::Direction;
use crate::testing::etcd::Etcd;
use crate::testing::store::writes_take_effect_once_across_cuts;

const TABLE: Table = Table::new("things");

async fn open(etcd: &Etcd) -> EtcdStore {
    EtcdStore::open(&format!("//{}", etcd.host())).await.unwrap()
}

fn number(number: usize) -> String {
    format!("{number:06}")
}

async fn keys(store: &EtcdStore, range: KeyRange) -> Vec<String> {
    store.list(TABLE, &range).await.unwrap().into_iter().map(|document| document.key).collect()
}

/// Writes documents, a few hundred at once.
async fn fill(store: &EtcdStore, numbers: std::ops::Range<usize>) {
    for first in numbers.clone().step_by(500) {
        let some = (first..numbers.end.min(first + 500)).map(|at| async move {
            store.insert(TABLE, &number(at), json!({"number": at})).await.unwrap();
        });
        join_all(some).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let Some(etcd) = Etcd::start("store::etcd::conforms").await else { return };
    crate::testing::store::conforms(Arc::new(open(&etcd).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_etcd_is_refused_with_the_reason() {
    let Some(etcd) = Etcd::start("what_is_too_large_for_etcd_is_refused_with_the_reason").await else { return };
    let store = open(&etcd).await;
    let longest = "k".repeat(super::super::MAX_KEY);
    let largest = json!("x".repeat(LARGEST - 2));
    let version = store.insert(TABLE, &longest, largest.clone()).await.unwrap();
    assert_eq!(store.get(TABLE, &longest).await.unwrap().unwrap().body, largest);
    let larger = json!("x".repeat(LARGEST - 1));
    for refused in
        [store.insert(TABLE, "a", larger.clone()).await, store.replace(TABLE, &longest, version, larger).await]
    {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        assert!(error.to_string().contains("at most 1500000 bytes"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_documents_are_listed_piece_by_piece() {
    let Some(etcd) = Etcd::start("large_documents_are_listed_piece_by_piece").await else { return };
    let store = open(&etcd).await;
    // Many small ones let the pieces grow; then all of the large ones would be one piece of more than is read at once.
    fill(&store, 0..1000).await;
    for at in 1000..1060 {
        store.insert(TABLE, &number(at), json!("x".repeat(1_400_000))).await.unwrap();
    }
    let all: Vec<String> = (0..1060).map(number).collect();
    assert_eq!(keys(&store, KeyRange::all()).await, all);
    let mut backwards = all.clone();
    backwards.reverse();
    assert_eq!(keys(&store, KeyRange::last(usize::MAX)).await, backwards);
    assert_eq!(keys(&store, KeyRange::last(70)).await, backwards[..70]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_are_found_among_very_many() {
    const MANY: usize = 10_000;
    let Some(etcd) = Etcd::start("the_newest_are_found_among_very_many").await else { return };
    let store = open(&etcd).await;
    fill(&store, 0..MANY).await;
    let newest = |count: usize, of: usize| (of - count..of).rev().map(number).collect::<Vec<_>>();
    for (limit, turn) in [(100, "sorted"), (100, "from where that ended"), (1, "fewer"), (3000, "more"), (100, "again")]
    {
        let begun = Instant::now();
        assert_eq!(keys(&store, KeyRange::last(limit)).await, newest(limit, MANY));
        println!("the newest {limit} of {MANY}, {turn}: {:?}", begun.elapsed());
    }
    // What comes and what goes meanwhile is seen.
    for at in MANY..MANY + 50 {
        store.insert(TABLE, &number(at), json!(at)).await.unwrap();
    }
    assert_eq!(keys(&store, KeyRange::last(100)).await, newest(100, MANY + 50));
    for at in MANY - 1000..MANY + 50 {
        store.delete(TABLE, &number(at), None).await.unwrap();
    }
    assert_eq!(keys(&store, KeyRange::last(100)).await, newest(100, MANY - 1000));
    let earlier = KeyRange { to: Some(number(5000)), ..KeyRange::last(10) };
    assert_eq!(keys(&store, earlier).await, newest(10, 5000));
    let bounded = KeyRange { from: Some(number(8990)), direction: Direction::Backwards, ..KeyRange::all() };
    assert_eq!(keys(&store, bounded).await, newest(10, 9000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_of_one_moment_even_if_etcd_forgets_it_meanwhile() {
    const NAME: &str = "a_list_is_of_one_moment_even_if_etcd_forgets_it_meanwhile";
    let Some(etcd) = Etcd::start(NAME).await else { return };
    let store = open(&etcd).await;
    // Two documents that are always equal, far apart: a list of two moments would show them different.
    fill(&store, 1..2000).await;
    let last = store.insert(TABLE, &number(2000), json!(0)).await.unwrap();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            let mut version = last;
            for turn in 1..300 {
                // The first is written after the last one: the last one is never behind.
                version = store.replace(TABLE, &number(2000), version, json!(turn)).await.unwrap();
                let first = store.get(TABLE, &number(0)).await.unwrap();
                match first {
                    Some(first) => drop(store.replace(TABLE, &number(0), first.version, json!(turn)).await.unwrap()),
                    None => drop(store.insert(TABLE, &number(0), json!(turn)).await.unwrap()),
                }
            }
        }
    });
    let forgetful = async {
        while !writer.is_finished() {
            etcd.compact().await;
            sleep(Duration::from_millis(100)).await;
        }
    };
    let reader = async {
        let mut lists = 0;
        while !writer.is_finished() {
            let listed = store.list(TABLE, &KeyRange::all()).await.unwrap();
            if listed[0].key == number(0) {
                let (first, last) = (listed[0].body.as_i64().unwrap(), listed.last().unwrap().body.as_i64().unwrap());
                assert!(last == first || last == first + 1, "{first} and {last} are of two moments");
            }
            lists += 1;
        }
        println!("{lists} lists");
    };
    tokio::join!(forgetful, reader);
    writer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_verb_hangs_on_an_etcd_that_does() {
    let Some(mut etcd) = Etcd::start("no_verb_hangs_on_an_etcd_that_does").await else { return };
    let store = open(&etcd).await;
    let version = store.insert(TABLE, "one", json!(1)).await.unwrap();
    etcd.pause().await;
    let begun = Instant::now();
    let range = KeyRange::all();
    let all = tokio::join!(
        store.insert(TABLE, "two", json!(1)),
        store.get(TABLE, "one"),
        store.replace(TABLE, "one", version, json!(2)),
        store.delete(TABLE, "one", None),
        store.list(TABLE, &range),
    );
    let kinds = [
        all.0.unwrap_err().kind(),
        all.1.unwrap_err().kind(),
        all.2.unwrap_err().kind(),
        all.3.unwrap_err().kind(),
        all.4.unwrap_err().kind(),
    ];
    assert_eq!(kinds, [StoreErrorKind::Unavailable; 5]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    etcd.resume();
    etcd.stop().await;
    assert_eq!(EtcdStore::open(&format!("//{}", etcd.host())).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    etcd.start_again().await;
    let found = store.get(TABLE, "one").await;
    assert!(found.is_ok(), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_is_named() {
    let Some(etcd) = Etcd::start("what_others_wrote_is_named").await else { return };
    let store = open(&etcd).await;
    etcd.client().await.put("/paas/tables/things/odd", "no JSON", None).await.unwrap();
    for error in [store.get(TABLE, "odd").await.unwrap_err(), store.list(TABLE, &KeyRange::all()).await.unwrap_err()] {
        assert_eq!(error.kind(), StoreErrorKind::Broken);
        assert!(error.to_string().contains("things/odd"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_take_effect_once_across_cuts_and_restarts() {
    let Some(mut etcd) = Etcd::start("writes_take_effect_once_across_cuts_and_restarts").await else { return };
    let store = Arc::new(open(&etcd).await);
    writes_take_effect_once_across_cuts(store, async || {
        etcd.kill();
        etcd.start_again().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_users_and_roles_costs_nobody_a_call() {
    const NAME: &str = "a_change_of_users_and_roles_costs_nobody_a_call";
    use crate::registry::{EtcdRegistry, Registry};
    let Some(etcd) = Etcd::start_with_jwt(NAME).await else { return };
    etcd.ask_for_passwords("paas", "secret", "/paas").await;
    let url = format!("//paas:secret@{}", etcd.host());
    let store = EtcdStore::open(&url).await.unwrap();
    let registry = EtcdRegistry::open(&url).unwrap();
    let lease = registry.grant(Duration::from_secs(60)).await.unwrap();
    registry.campaign("leader", "one", lease).await.unwrap();
    let member = crate::testing::registry::member("m");
    for round in 0..3 {
        etcd.add_role(&format!("store{round}"), "secret").await;
        let version = store.insert(TABLE, &number(round), json!(1)).await.unwrap();
        etcd.add_role(&format!("replace{round}"), "secret").await;
        store.replace(TABLE, &number(round), version, json!(2)).await.unwrap();
        etcd.add_role(&format!("list{round}"), "secret").await;
        assert_eq!(store.list(TABLE, &KeyRange::all()).await.unwrap().len(), round + 1);
        etcd.add_role(&format!("lease{round}"), "secret").await;
        registry.keep_alive(lease).await.unwrap();
        etcd.add_role(&format!("register{round}"), "secret").await;
        registry.register(&member, lease).await.unwrap();
        etcd.add_role(&format!("leader{round}"), "secret").await;
        assert_eq!(registry.leader("leader").await.unwrap().as_deref(), Some("one"));
        etcd.add_role(&format!("watch{round}"), "secret").await;
        let mut leaders = registry.watch_leader("leader").await.unwrap();
        assert_eq!(futures::StreamExt::next(&mut leaders).await.unwrap().as_deref(), Some("one"));
    }
    etcd.add_role("revoke", "secret").await;
    registry.revoke(lease).await.unwrap();
}

/// Also one whose clock is wrong, or that asks itself too early whether it leads.
#[tokio::test(flavor = "multi_thread")]
async fn etcd_itself_refuses_what_a_leader_writes_after_its_term() {
    const NAME: &str = "etcd_itself_refuses_what_a_leader_writes_after_its_term";
    use crate::registry::{EtcdRegistry, Registry};
    let Some(etcd) = Etcd::start(NAME).await else { return };
    let store = open(&etcd).await;
    let registry = EtcdRegistry::open(&format!("//{}", etcd.host())).unwrap();
    let lease = registry.grant(Duration::from_secs(60)).await.unwrap();
    let key = registry.campaign("leader", "one", lease).await.unwrap().unwrap();
    let fenced = store.fenced(Fence::new(|| true).with_leader_key(key.clone()));
    crate::testing::store::writes_are_committed_together(&fenced).await;
    crate::testing::store::a_refused_commit_writes_nothing(&fenced).await;
    let version = fenced.insert(TABLE, "there", json!(1)).await.unwrap();
    registry.revoke(lease).await.unwrap();
    // The next term is of the same server, and yet another.
    let lease = registry.grant(Duration::from_secs(60)).await.unwrap();
    registry.campaign("leader", "one", lease).await.unwrap();
    for refused in [
        fenced.insert(TABLE, "late", json!(1)).await.map(drop),
        fenced.replace(TABLE, "there", version, json!(2)).await.map(drop),
        fenced.delete(TABLE, "there", None).await,
        fenced.commit(vec![Write::new(TABLE, "there", Action::Clear)]).await.map(drop),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(error.to_string().contains("does not lead"), "{error}");
    }
    assert_eq!(keys(&store, KeyRange::all()).await, ["there"]);
    // A registry in another etcd says nothing about this one.
    let elsewhere = LeaderKey { cluster_id: key.cluster_id ^ 1, ..key };
    store.fenced(Fence::default().with_leader_key(elsewhere)).insert(TABLE, "other", json!(1)).await.unwrap();
}
