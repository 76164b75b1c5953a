//! Leases in the memory of one server.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{LeaseId, Listing, Member, MemberChange, Registry, RegistryError, RegistryErrorKind, Result, Revision};
use crate::model::EngineId;
use crate::store::LeaderKey;

/// How many changes are kept for watchers that come later.
const HISTORY: usize = 4096;
/// The shortest time a lease is granted for.
const SHORTEST: Duration = Duration::from_secs(1);

/// Who is alive, as known to one server. Gone with the process.
#[derive(Debug)]
pub struct EmbeddedRegistry {
    shared: Arc<Shared>,
    expiry: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Rings at every change, for watchers and candidates.
    changed: Notify,
    /// Rings when the next lease to run out may be another one.
    leases_changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    last_lease: i64,
    leases: HashMap<LeaseId, Lease>,
    members: BTreeMap<EngineId, (Member, LeaseId)>,
    /// What was refused because the id was taken, by who asked.
    claims: HashMap<(EngineId, LeaseId), Member>,
    history: VecDeque<(Revision, MemberChange)>,
    revision: Revision,
    elections: HashMap<String, VecDeque<(LeaseId, String)>>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    ends: Instant,
}

impl EmbeddedRegistry {
    /// An empty registry. Must be made inside a tokio runtime, which lets leases run out.
    #[allow(clippy::new_without_default, reason = "needs a runtime, which a default should not")]
    pub fn new() -> Self {
        let shared = Arc::new(Shared::default());
        let expiry = tokio::spawn(expire(shared.clone()));
        Self { shared, expiry }
    }
}

impl Drop for EmbeddedRegistry {
    fn drop(&mut self) {
        self.expiry.abort();
    }
}

/// Ends each lease when its time is over.
async fn expire(shared: Arc<Shared>) {
    loop {
        let next = {
            let state = shared.state.lock();
            state.leases.values().map(|lease| lease.ends).min()
        };
        let rings = shared.leases_changed.notified();
        match next {
            Some(next) => tokio::select! {
                biased;
                () = tokio::time::sleep_until(next) => {}
                () = rings => continue,
            },
            None => {
                rings.await;
                continue;
            }
        }
        let over: Vec<LeaseId> = {
            let state = shared.state.lock();
            let now = Instant::now();
            state.leases.iter().filter(|(_, lease)| lease.ends <= now).map(|(id, _)| *id).collect()
        };
        for lease in over {
            shared.end(lease);
        }
    }
}

impl Shared {
    fn end(&self, lease: LeaseId) {
        self.state.lock().end(lease);
        self.changed.notify_waiters();
    }
}

impl State {
    fn live(&self, operation: &'static str, lease: LeaseId) -> Result<&Lease> {
        let found = self.leases.get(&lease).filter(|lease| lease.ends > Instant::now());
        found.ok_or_else(|| RegistryError::new(RegistryErrorKind::LeaseExpired, operation, "the lease ran out"))
    }

    fn note(&mut self, change: impl FnOnce(Revision) -> MemberChange) {
        self.revision = Revision(self.revision.0 + 1);
        self.history.push_back((self.revision, change(self.revision)));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }

    fn end(&mut self, lease: LeaseId) {
        self.leases.remove(&lease);
        let gone: Vec<EngineId> =
            self.members.iter().filter(|(_, (_, holder))| *holder == lease).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.members.remove(&id);
            self.note(|revision| MemberChange::Left(id, revision));
        }
        self.claims.retain(|(_, holder), _| *holder != lease);
        for candidates in self.elections.values_mut() {
            candidates.retain(|(holder, _)| *holder != lease);
        }
    }

    fn leader(&self, election: &str) -> Option<String> {
        let first = self.elections.get(election).and_then(VecDeque::front);
        first.map(|(_, candidate)| candidate.clone())
    }

    /// The changes after a revision; `None` when they are not all kept any more.
    fn after(&self, revision: Revision) -> Option<Vec<(Revision, MemberChange)>> {
        let oldest_kept = self.history.front().map_or(self.revision.0 + 1, |(oldest, _)| oldest.0);
        if revision.0 + 1 < oldest_kept {
            return None;
        }
        Some(self.history.iter().filter(|(at, _)| *at > revision).cloned().collect())
    }
}

#[async_trait]
impl Registry for EmbeddedRegistry {
    async fn grant(&self, ttl: Duration) -> Result<LeaseId> {
        let ttl = ttl.max(SHORTEST);
        let mut state = self.shared.state.lock();
        state.last_lease += 1;
        let lease = LeaseId(state.last_lease);
        state.leases.insert(lease, Lease { ttl, ends: Instant::now() + ttl });
        drop(state);
        self.shared.leases_changed.notify_one();
        Ok(lease)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<()> {
        let mut state = self.shared.state.lock();
        state.live("keep the lease", lease)?;
        if let Some(lease) = state.leases.get_mut(&lease) {
            lease.ends = Instant::now() + lease.ttl;
        }
        Ok(())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.shared.end(lease);
        Ok(())
    }

    async fn register(&self, member: &Member, lease: LeaseId) -> Result<()> {
        let mut state = self.shared.state.lock();
        state.live("register", lease)?;
        match state.members.get(&member.id) {
            Some((_, holder)) if *holder != lease => {
                let claim = state.claims.insert((member.id.clone(), lease), member.clone());
                if claim.as_ref() != Some(member) {
                    state.note(|revision| MemberChange::Refused(member.clone(), revision));
                    drop(state);
                    self.shared.changed.notify_waiters();
                }
                let detail = format!("'{}' is alive already under another lease", member.id);
                return Err(RegistryError::new(RegistryErrorKind::Taken, "register", detail));
            }
            Some((known, _)) if known == member => return Ok(()),
            _ => {}
        }
        state.claims.remove(&(member.id.clone(), lease));
        state.members.insert(member.id.clone(), (member.clone(), lease));
        state.note(|revision| MemberChange::Joined(member.clone(), revision));
        drop(state);
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn holder(&self, id: &EngineId) -> Result<Option<(Member, LeaseId)>> {
        Ok(self.shared.state.lock().members.get(id).cloned())
    }

    async fn list(&self) -> Result<Listing> {
        let state = self.shared.state.lock();
        let members = state.members.values().map(|(member, _)| member.clone()).collect();
        Ok(Listing { members, revision: state.revision })
    }

    async fn watch(&self, from: Revision) -> Result<BoxStream<'static, MemberChange>> {
        let shared = self.shared.clone();
        let changes = stream::unfold((shared, from), |(shared, from)| async move {
            loop {
                // Before looking, so that a change in between rings for us.
                let rings = shared.changed.notified();
                let (changes, now) = {
                    let state = shared.state.lock();
                    (state.after(from), state.revision)
                };
                match changes {
                    None => return Some((vec![MemberChange::Lagged], (shared.clone(), now))),
                    Some(changes) if !changes.is_empty() => {
                        let changes = changes.into_iter().map(|(_, change)| change).collect();
                        return Some((changes, (shared.clone(), now)));
                    }
                    Some(_) => rings.await,
                }
            }
        });
        Ok(changes.flat_map(stream::iter).boxed())
    }

    async fn campaign(&self, election: &str, candidate: &str, lease: LeaseId) -> Result<Option<LeaderKey>> {
        let place = Candidacy { shared: &self.shared, election, lease, leads: false };
        {
            let mut state = self.shared.state.lock();
            state.live("campaign", lease)?;
            let candidates = state.elections.entry(election.to_owned()).or_default();
            if !candidates.iter().any(|(holder, _)| *holder == lease) {
                candidates.push_back((lease, candidate.to_owned()));
            }
        }
        self.shared.changed.notify_waiters();
        place.until_first().await.map(|()| None)
    }

    async fn leader(&self, election: &str) -> Result<Option<String>> {
        Ok(self.shared.state.lock().leader(election))
    }

    async fn watch_leader(&self, election: &str) -> Result<BoxStream<'static, Option<String>>> {
        // Nobody was told anything yet.
        let state = (self.shared.clone(), election.to_owned(), None::<Option<String>>);
        let leaders = stream::unfold(state, |(shared, election, told)| async move {
            loop {
                // Before looking, so that a change in between rings for us.
                let rings = shared.changed.notified();
                let leader = shared.state.lock().leader(&election);
                if told.as_ref() != Some(&leader) {
                    return Some((leader.clone(), (shared.clone(), election, Some(leader))));
                }
                rings.await;
            }
        });
        Ok(leaders.boxed())
    }
}

/// A place in the queue of an election; given up when dropped before it leads.
struct Candidacy<'a> {
    shared: &'a Shared,
    election: &'a str,
    lease: LeaseId,
    leads: bool,
}

impl Candidacy<'_> {
    async fn until_first(mut self) -> Result<()> {
        loop {
            let rings = self.shared.changed.notified();
            {
                let state = self.shared.state.lock();
                state.live("campaign", self.lease)?;
                let first = state.elections.get(self.election).and_then(VecDeque::front);
                if first.is_some_and(|(holder, _)| *holder == self.lease) {
                    self.leads = true;
                    return Ok(());
                }
            }
            rings.await;
        }
    }
}

impl Drop for Candidacy<'_> {
    fn drop(&mut self) {
        if self.leads {
            return;
        }
        if let Some(candidates) = self.shared.state.lock().elections.get_mut(self.election) {
            candidates.retain(|(holder, _)| *holder != self.lease);
        }
        self.shared.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn conforms() {
        crate::testing::registry::conforms(Arc::new(EmbeddedRegistry::new())).await;
    }

    #[tokio::test]
    async fn a_watcher_that_comes_too_late_is_told_to_list_again() {
        let registry = EmbeddedRegistry::new();
        let lease = registry.grant(SHORTEST).await.unwrap();
        for number in 0..HISTORY + 10 {
            let mut member = crate::testing::registry::member("late");
            member.daemon_id = number.to_string();
            registry.register(&member, lease).await.unwrap();
        }
        let mut changes = registry.watch(Revision(0)).await.unwrap();
        assert_eq!(changes.next().await, Some(MemberChange::Lagged));
    }
}
