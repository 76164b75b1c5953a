//! What every registry must do. Run [`conforms`] on yours.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::model::{Cpus, MemoryMb};
use crate::registry::{LeaseId, Member, MemberChange, Registry, RegistryErrorKind, Result};

/// The shortest lease.
const SHORT: Duration = Duration::from_secs(1);
/// A lease that does not run out during the suite.
const LONG: Duration = Duration::from_secs(120);
/// How long to wait for what must happen.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the whole suite, all at once: every property has members of its own. It takes some seconds, in which leases run
/// out.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
///
/// use paas_core::registry::EmbeddedRegistry;
///
/// paas_core::testing::registry::conforms(Arc::new(EmbeddedRegistry::new())).await;
/// # });
/// ```
///
/// # Panics
/// At the first thing that the registry does not do as it must.
pub async fn conforms(registry: Arc<dyn Registry>) {
    tokio::join!(
        who_registers_is_listed(&registry),
        an_id_is_held_once(&registry),
        claims_on_a_taken_id_are_told(&registry),
        leases_run_out_unless_kept_alive(&registry),
        watchers_miss_nothing(&registry),
        what_one_lease_holds_ends_together(&registry),
        one_leads_at_a_time(&registry),
        many_candidates_lead_in_turn(&registry),
        giving_up_lets_the_next_one_lead(&registry),
    );
}

/// Fails, and says what was expected, unless a verb was refused with that kind of error.
#[track_caller]
fn assert_refused<T: Debug>(outcome: Result<T>, kind: RegistryErrorKind, what: &str) {
    match outcome {
        Err(error) if error.kind() == kind => {}
        Err(error) => panic!("{what} must be refused as {kind:?}, and was as {:?}: {error}", error.kind()),
        Ok(answer) => panic!("{what} must be refused as {kind:?}, and was answered with {answer:?}"),
    }
}

/// A member of that name.
///
/// # Panics
/// When the name is no engine id.
pub fn member(name: &str) -> Member {
    Member {
        id: name.parse().expect("the name is an engine id"),
        addr: format!("sim://{name}").parse().expect("the name is a host name"),
        cpus: Cpus::from_milli(4000),
        memory: MemoryMb::new(8192),
        labels: vec!["ssd".to_owned()],
        daemon_id: name.to_owned(),
        docker_version: "20.10.24".to_owned(),
        usage: None,
        agent_run: None,
    }
}

fn unlike_others(name: &str) -> String {
    format!("{name}-{}", Uuid::now_v7())
}

async fn listed(registry: &Arc<dyn Registry>, name: &str) -> Option<Member> {
    registry.list().await.unwrap().members.into_iter().find(|member| member.id.as_str() == name)
}

/// What was registered is listed as it was said, until its lease is revoked.
pub async fn who_registers_is_listed(registry: &Arc<dyn Registry>) {
    let name = unlike_others("listed");
    let lease = registry.grant(LONG).await.unwrap();
    let mut said = member(&name);
    registry.register(&said, lease).await.unwrap();
    assert_eq!(listed(registry, &name).await.as_ref(), Some(&said), "who registered is listed");
    said.cpus = Cpus::from_milli(8000);
    registry.register(&said, lease).await.unwrap();
    let found = listed(registry, &name).await;
    assert_eq!(found.as_ref(), Some(&said), "registering again replaces what was said");
    assert_eq!(registry.holder(&said.id).await.unwrap(), Some((said.clone(), lease)), "who holds the id");
    registry.revoke(lease).await.unwrap();
    assert_eq!(listed(registry, &name).await, None, "who left is not listed");
    assert_eq!(registry.holder(&said.id).await.unwrap(), None, "nobody holds the id of one that left");
    registry.revoke(lease).await.expect("ending a lease that ended is no error");
}

/// Nobody registers under an id that is alive.
pub async fn an_id_is_held_once(registry: &Arc<dyn Registry>) {
    let name = unlike_others("held");
    let (first, second) = (registry.grant(LONG).await.unwrap(), registry.grant(LONG).await.unwrap());
    registry.register(&member(&name), first).await.unwrap();
    let taken = registry.register(&member(&name), second).await;
    assert_refused(taken, RegistryErrorKind::Taken, "registering an id that another live lease holds");
    registry.revoke(first).await.unwrap();
    registry.register(&member(&name), second).await.unwrap();
    registry.revoke(second).await.unwrap();
}

/// Watchers hear who was refused, once however often it asks; and the id is had as soon as it is free. What was said already
/// is no change.
pub async fn claims_on_a_taken_id_are_told(registry: &Arc<dyn Registry>) {
    let name = unlike_others("claimed");
    let from = registry.list().await.unwrap().revision;
    let (first, second) = (registry.grant(LONG).await.unwrap(), registry.grant(LONG).await.unwrap());
    let (holder, claimant) = (member(&name), Member { daemon_id: "another".to_owned(), ..member(&name) });
    for _ in 0..3 {
        registry.register(&holder, first).await.unwrap();
        let taken = registry.register(&claimant, second).await;
        assert_refused(taken, RegistryErrorKind::Taken, "registering an id that another live lease holds");
    }
    assert_eq!(listed(registry, &name).await, Some(holder.clone()), "whoever holds the id is listed");
    registry.revoke(first).await.unwrap();
    registry.register(&claimant, second).await.unwrap();
    registry.revoke(second).await.unwrap();
    let mut changes = registry.watch(from).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 5 {
        match timeout(TIMEOUT, changes.next()).await.expect("every change is heard").unwrap() {
            MemberChange::Joined(member, _) if member.id.as_str() == name => heard.push(("joined", member.daemon_id)),
            MemberChange::Refused(member, _) if member.id.as_str() == name => heard.push(("refused", member.daemon_id)),
            MemberChange::Left(id, _) if id.as_str() == name => heard.push(("left", String::new())),
            MemberChange::Lagged => panic!("changes were missed"),
            MemberChange::Joined(..) | MemberChange::Left(..) | MemberChange::Refused(..) | MemberChange::Resumed => {}
        }
    }
    let left = || ("left", String::new());
    let (holder, claimant) = (holder.daemon_id, claimant.daemon_id);
    let expected = [("joined", holder), ("refused", claimant.clone()), left(), ("joined", claimant), left()];
    assert_eq!(heard, expected, "what watchers hear of an id that is claimed three times and had when it is free");
}

/// A lease that is kept alive stays; one that is not ends, with its member, and cannot be used again.
pub async fn leases_run_out_unless_kept_alive(registry: &Arc<dyn Registry>) {
    let (kept, left) = (unlike_others("kept"), unlike_others("left"));
    let (kept_lease, left_lease) = (registry.grant(SHORT * 2).await.unwrap(), registry.grant(SHORT).await.unwrap());
    registry.register(&member(&kept), kept_lease).await.unwrap();
    registry.register(&member(&left), left_lease).await.unwrap();
    let ran_out = async {
        while listed(registry, &left).await.is_some() {
            registry.keep_alive(kept_lease).await.unwrap();
            sleep(SHORT / 10).await;
        }
    };
    timeout(TIMEOUT, ran_out).await.expect("a lease that is not kept alive runs out");
    assert!(listed(registry, &kept).await.is_some(), "a lease that is kept alive does not run out");
    for lease in [left_lease, LeaseId(i64::MAX)] {
        let kept = registry.keep_alive(lease).await;
        assert_refused(kept, RegistryErrorKind::LeaseExpired, "keeping a lease alive that ended or never was");
        let registered = registry.register(&member(&left), lease).await;
        assert_refused(
            registered,
            RegistryErrorKind::LeaseExpired,
            "registering under a lease that ended or never was",
        );
    }
    registry.revoke(kept_lease).await.unwrap();
}

/// From the revision of a list on, every change is heard once and in order.
pub async fn watchers_miss_nothing(registry: &Arc<dyn Registry>) {
    let name = unlike_others("watched");
    let from = registry.list().await.unwrap().revision;
    let lease = registry.grant(LONG).await.unwrap();
    for cpus in 1..=5 {
        let said = Member { cpus: Cpus::from_milli(cpus * 1000), ..member(&name) };
        registry.register(&said, lease).await.unwrap();
    }
    let mut changes = registry.watch(from).await.unwrap();
    for cpus in 6..=10 {
        let said = Member { cpus: Cpus::from_milli(cpus * 1000), ..member(&name) };
        registry.register(&said, lease).await.unwrap();
    }
    registry.revoke(lease).await.unwrap();
    let mut heard = Vec::new();
    loop {
        match timeout(TIMEOUT, changes.next()).await.expect("every change is heard").unwrap() {
            MemberChange::Joined(member, _) if member.id.as_str() == name => heard.push(member.cpus.milli() / 1000),
            MemberChange::Left(id, _) if id.as_str() == name => break,
            MemberChange::Lagged => panic!("changes were missed"),
            MemberChange::Joined(..) | MemberChange::Left(..) | MemberChange::Refused(..) | MemberChange::Resumed => {}
        }
    }
    assert_eq!(heard, (1..=10).collect::<Vec<_>>(), "every change after the list, once and in order");
}

/// A lease may hold several members; all of them end with it.
pub async fn what_one_lease_holds_ends_together(registry: &Arc<dyn Registry>) {
    let lease = registry.grant(LONG).await.unwrap();
    let names: Vec<String> = (0..5).map(|number| unlike_others(&format!("together-{number}"))).collect();
    for name in &names {
        registry.register(&member(name), lease).await.unwrap();
    }
    let listing = registry.list().await.unwrap();
    let ids: Vec<&str> = listing.members.iter().map(|member| member.id.as_str()).collect();
    assert!(ids.is_sorted(), "members are listed by id");
    let mut changes = registry.watch(listing.revision).await.unwrap();
    registry.revoke(lease).await.unwrap();
    let mut waiting: Vec<&str> = names.iter().map(String::as_str).collect();
    while !waiting.is_empty() {
        match timeout(TIMEOUT, changes.next()).await.expect("every end is heard").unwrap() {
            MemberChange::Left(id, at) => {
                assert!(at > listing.revision, "a change is after the list that it was watched from");
                waiting.retain(|name| *name != id.as_str());
            }
            MemberChange::Lagged => panic!("changes were missed"),
            MemberChange::Joined(..) | MemberChange::Refused(..) | MemberChange::Resumed => {}
        }
    }
}

/// The candidate that asks first leads; when its lease ends, the next one does.
pub async fn one_leads_at_a_time(registry: &Arc<dyn Registry>) {
    let election = unlike_others("election");
    assert_eq!(registry.leader(&election).await.unwrap(), None, "nobody leads before somebody asks");
    let (first, second) = (registry.grant(LONG).await.unwrap(), registry.grant(LONG).await.unwrap());
    let mut leaders = registry.watch_leader(&election).await.unwrap();
    assert_eq!(next_leader(&mut leaders).await, None, "a watch begins with who leads at that moment: nobody");
    registry.campaign(&election, "first", first).await.unwrap();
    assert_eq!(registry.leader(&election).await.unwrap().as_deref(), Some("first"), "the first leads");
    assert_eq!(next_leader(&mut leaders).await.as_deref(), Some("first"), "a watch sees who leads");
    let mut waiting = tokio::spawn({
        let (registry, election) = (registry.clone(), election.clone());
        async move { registry.campaign(&election, "second", second).await }
    });
    assert!(timeout(SHORT / 2, &mut waiting).await.is_err(), "the second waits while the first leads");
    registry.revoke(first).await.unwrap();
    timeout(TIMEOUT, waiting).await.expect("the second leads after the first").unwrap().unwrap();
    assert_eq!(registry.leader(&election).await.unwrap().as_deref(), Some("second"), "the second leads");
    // Nobody may have led for a moment in between.
    while next_leader(&mut leaders).await.as_deref() != Some("second") {}
    registry.revoke(second).await.unwrap();
    let late = registry.campaign(&election, "late", second).await;
    assert_refused(late, RegistryErrorKind::LeaseExpired, "standing for election under a lease that ended");
}

async fn next_leader(leaders: &mut BoxStream<'static, Option<String>>) -> Option<String> {
    timeout(TIMEOUT, leaders.next()).await.expect("a change of leaders is seen").expect("the watch goes on")
}

/// Of many candidates one leads at a time, until each of them has.
pub async fn many_candidates_lead_in_turn(registry: &Arc<dyn Registry>) {
    const CANDIDATES: usize = 8;
    let election = unlike_others("in-turn");
    let leading = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let candidates = (0..CANDIDATES).map(|number| {
        let (registry, election, leading) = (registry.clone(), election.clone(), leading.clone());
        async move {
            let lease = registry.grant(LONG).await.unwrap();
            registry.campaign(&election, &number.to_string(), lease).await.unwrap();
            assert_eq!(leading.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0, "one at a time");
            assert_eq!(registry.leader(&election).await.unwrap(), Some(number.to_string()), "who was told so leads");
            leading.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            registry.revoke(lease).await.unwrap();
        }
    });
    timeout(TIMEOUT * 3, futures::future::join_all(candidates)).await.expect("each of them leads");
    assert_eq!(registry.leader(&election).await.unwrap(), None, "nobody leads when all have gone");
}

/// A candidate that stops waiting stands in nobody's way.
pub async fn giving_up_lets_the_next_one_lead(registry: &Arc<dyn Registry>) {
    let election = unlike_others("giving-up");
    let leases =
        [registry.grant(LONG).await.unwrap(), registry.grant(LONG).await.unwrap(), registry.grant(LONG).await.unwrap()];
    registry.campaign(&election, "first", leases[0]).await.unwrap();
    {
        let mut second = Box::pin(registry.campaign(&election, "second", leases[1]));
        assert!(second.as_mut().now_or_never().is_none(), "the second waits while the first leads");
        assert!(timeout(SHORT / 5, second).await.is_err(), "the second still waits");
    }
    let third = registry.campaign(&election, "third", leases[2]);
    let revoke = async {
        sleep(SHORT / 5).await;
        registry.revoke(leases[0]).await.unwrap();
    };
    let (led, ()) = timeout(TIMEOUT, async { tokio::join!(third, revoke) }).await.expect("the third leads");
    led.unwrap();
    let leader = registry.leader(&election).await.unwrap();
    assert_eq!(leader.as_deref(), Some("third"), "the third leads, as the second gave up");
    for lease in leases {
        registry.revoke(lease).await.unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "keeping it alive must be refused as LeaseExpired, and was answered with ()")]
    fn says_what_was_to_be_refused() {
        assert_refused(Ok(()), RegistryErrorKind::LeaseExpired, "keeping it alive");
    }
}
