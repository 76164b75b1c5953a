//! The registry on a real etcd, and what happens to etcd meanwhile.

use std::time::Instant;

use tokio::time::{sleep, timeout};

use super::*;
use crate::testing::etcd::Etcd;
use crate::testing::registry::member;
use crate::testing::wire::Wire;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(20);

fn open(url: &str) -> EtcdRegistry {
    EtcdRegistry::open(url.strip_prefix("etcd:").unwrap()).unwrap()
}

/// Watches in the background; every change is sent on, and that there was a break is not.
async fn heard(registry: &EtcdRegistry) -> tokio::sync::mpsc::UnboundedReceiver<MemberChange> {
    let from = registry.list().await.unwrap().revision;
    let mut changes = registry.watch(from).await.unwrap();
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(change) = changes.next().await {
            if change != MemberChange::Resumed && tell.send(change).is_err() {
                return;
            }
        }
    });
    told
}

async fn next(told: &mut tokio::sync::mpsc::UnboundedReceiver<MemberChange>) -> String {
    match timeout(TIMEOUT, told.recv()).await.expect("something is heard").unwrap() {
        MemberChange::Joined(member, _) => format!("joined {}", member.id),
        MemberChange::Left(id, _) => format!("left {id}"),
        MemberChange::Refused(member, _) => format!("refused {}", member.id),
        MemberChange::Lagged => "missed".to_owned(),
        MemberChange::Resumed => "resumed".to_owned(),
    }
}

/// Tries again until it works, as everybody who uses the registry does.
async fn eventually<T, Fut: Future<Output = Result<T>>>(mut attempt: impl FnMut() -> Fut) -> T {
    let begun = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => assert!(begun.elapsed() < TIMEOUT, "{error}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let Some(etcd) = Etcd::start("registry::etcd::conforms").await else { return };
    crate::testing::registry::conforms(Arc::new(open(&etcd.url()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_is_away_is_told_in_time_and_found_again() {
    let Some(mut etcd) = Etcd::start("an_etcd_that_is_away_is_told_in_time_and_found_again").await else { return };
    let registry = open(&etcd.url());
    let mut told = heard(&registry).await;
    let lease = registry.grant(LONG).await.unwrap();
    registry.register(&member("before"), lease).await.unwrap();
    assert_eq!(next(&mut told).await, "joined before");
    for way in ["stopped", "killed", "paused"] {
        match way {
            "stopped" => etcd.stop().await,
            "killed" => etcd.kill(),
            _ => etcd.pause().await,
        }
        let asked = Instant::now();
        let new = member(way);
        let all = tokio::join!(registry.list(), registry.keep_alive(lease), registry.register(&new, lease));
        let failures = [all.0.err(), all.1.err(), all.2.err()].map(|error| error.map(|error| error.kind()));
        assert_eq!(failures, [Some(RegistryErrorKind::Unavailable); 3], "{way}");
        assert!(asked.elapsed() < Duration::from_secs(15), "{way}: {:?}", asked.elapsed());
        match way {
            "paused" => etcd.resume(),
            _ => etcd.start_again().await,
        }
        let back = Instant::now();
        eventually(|| registry.keep_alive(lease)).await;
        println!("{way}: reached again {:?} after it was back", back.elapsed());
        eventually(|| registry.register(&new, lease)).await;
        assert_eq!(next(&mut told).await, format!("joined {way}"), "and nothing was missed");
    }
    let ids: Vec<String> = registry.list().await.unwrap().members.iter().map(|member| member.id.to_string()).collect();
    assert_eq!(ids, ["before", "killed", "paused", "stopped"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_was_cut_off_hears_what_it_missed() {
    let Some(etcd) = Etcd::start("a_watcher_that_was_cut_off_hears_what_it_missed").await else { return };
    let wire = Wire::to(etcd.host()).await;
    let (watcher, other) = (open(&format!("etcd://{}", wire.host())), open(&etcd.url()));
    let mut told = heard(&watcher).await;
    let lease = other.grant(LONG).await.unwrap();
    let other_lease = other.grant(LONG).await.unwrap();
    for round in 0..5 {
        let names = [format!("a{round}"), format!("b{round}")];
        wire.cut();
        other.register(&member(&names[0]), lease).await.unwrap();
        other.register(&member(&names[0]), other_lease).await.unwrap_err();
        wire.heal();
        other.register(&member(&names[1]), lease).await.unwrap();
        assert_eq!(next(&mut told).await, format!("joined {}", names[0]));
        assert_eq!(next(&mut told).await, format!("refused {}", names[0]));
        assert_eq!(next(&mut told).await, format!("joined {}", names[1]));
    }
    // One revision that is many changes, told in full even if the wire breaks in the middle.
    other.revoke(lease).await.unwrap();
    let mut left = Vec::new();
    while left.len() < 10 {
        left.push(next(&mut told).await);
        wire.cut();
        wire.heal();
    }
    left.sort();
    left.dedup();
    assert_eq!(left.len(), 10, "each once: {left:?}");
    assert!(timeout(Duration::from_millis(500), told.recv()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_is_told_when_what_it_missed_is_not_kept_any_more() {
    let Some(etcd) = Etcd::start("a_watcher_is_told_when_what_it_missed_is_not_kept_any_more").await else { return };
    let wire = Wire::to(etcd.host()).await;
    let (watcher, other) = (open(&format!("etcd://{}", wire.host())), open(&etcd.url()));
    let from = watcher.list().await.unwrap().revision;
    let mut told = heard(&watcher).await;
    let lease = other.grant(LONG).await.unwrap();
    other.register(&member("first"), lease).await.unwrap();
    assert_eq!(next(&mut told).await, "joined first");
    wire.cut();
    sleep(Duration::from_millis(300)).await;
    other.register(&member("second"), lease).await.unwrap();
    other.register(&Member { labels: vec![], ..member("second") }, lease).await.unwrap();
    etcd.compact().await;
    wire.heal();
    assert_eq!(next(&mut told).await, "missed");
    assert_eq!(watcher.list().await.unwrap().members.len(), 2);
    other.register(&member("third"), lease).await.unwrap();
    assert_eq!(next(&mut told).await, "joined third", "from then on nothing is missed");
    let mut late = other.watch(from).await.unwrap();
    assert_eq!(late.next().await, Some(MemberChange::Lagged));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_lost_its_data_is_listed_again() {
    let Some(mut etcd) = Etcd::start("an_etcd_that_lost_its_data_is_listed_again").await else { return };
    let registry = open(&etcd.url());
    let mut told = heard(&registry).await;
    let lease = registry.grant(LONG).await.unwrap();
    for name in ["a", "b", "c"] {
        registry.register(&member(name), lease).await.unwrap();
        next(&mut told).await;
    }
    etcd.stop().await;
    etcd.lose_data();
    etcd.start_again().await;
    assert_eq!(next(&mut told).await, "missed");
    assert!(registry.list().await.unwrap().members.is_empty());
    assert_eq!(registry.keep_alive(lease).await.unwrap_err().kind(), RegistryErrorKind::LeaseExpired);
    let lease = registry.grant(LONG).await.unwrap();
    registry.register(&member("a"), lease).await.unwrap();
    assert_eq!(next(&mut told).await, "joined a");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_answers_is_found_among_several() {
    let Some(mut all) = Etcd::start_three("the_server_that_answers_is_found_among_several").await else { return };
    // Nobody listens on port 1.
    let hosts: Vec<String> = all.iter().map(Etcd::host).collect();
    let registry = open(&format!("etcd://127.0.0.1:1,{}", hosts.join(",")));
    let mut told = heard(&registry).await;
    let lease = registry.grant(LONG).await.unwrap();
    for (turn, asked) in all.iter_mut().enumerate() {
        // The one that is asked, since it is the first of those that answer.
        asked.kill();
        let new = member(&format!("member-{turn}"));
        let lost = Instant::now();
        eventually(|| registry.register(&new, lease)).await;
        println!("turn {turn}: another server took over after {:?}", lost.elapsed());
        assert_eq!(next(&mut told).await, format!("joined {}", new.id));
        asked.start_again().await;
    }
    registry.keep_alive(lease).await.unwrap();
    // Two of three are gone: nobody can lead, and that is told.
    all[0].kill();
    all[1].kill();
    assert_eq!(registry.list().await.unwrap_err().kind(), RegistryErrorKind::Unavailable);
    all[0].start_again().await;
    eventually(|| registry.list()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_waits_until_etcd_is_back() {
    let Some(mut etcd) = Etcd::start("a_candidate_waits_until_etcd_is_back").await else { return };
    let registry = open(&etcd.url());
    let (first, second) = (registry.grant(LONG).await.unwrap(), registry.grant(LONG).await.unwrap());
    registry.campaign("one/two", "first", first).await.unwrap();
    let waiting = tokio::spawn({
        let registry = registry.clone();
        async move { registry.campaign("one/two", "second", second).await }
    });
    sleep(Duration::from_millis(300)).await;
    assert_eq!(registry.leader("one").await.unwrap(), None, "that is another election");
    etcd.kill();
    sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    etcd.start_again().await;
    eventually(|| registry.revoke(first)).await;
    timeout(TIMEOUT, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(registry.leader("one/two").await.unwrap().as_deref(), Some("second"));

    // One whose lease ends while it waits is told so.
    let third = registry.grant(SHORT).await.unwrap();
    let ended = timeout(TIMEOUT, registry.campaign("one/two", "third", third)).await.unwrap().unwrap_err();
    assert_eq!(ended.kind(), RegistryErrorKind::LeaseExpired);
}
