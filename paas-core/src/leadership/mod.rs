//! Which of several servers leads.
//!
//! Servers that share a registry and a store elect one that leads: only it changes hosts and writes records. It leads as long
//! as it can renew its lease, and stops by its own clock before the lease can pass to another: its [`Term`] is over then,
//! and what is *fenced* by the term (see [`FencedEngine`] and [`FencedStore`]) refuses
//! every change from that moment on, also in a process that was stopped for a while and does not know it yet.

mod fenced_engine;
mod fenced_store;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::registry::{LeaseId, Registry, RegistryError, RegistryErrorKind};

pub use fenced_engine::FencedEngine;
pub use fenced_store::FencedStore;

/// The election that servers stand in.
const ELECTION: &str = "leader";
/// How long to wait before a registry that failed is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// A server that wants to lead.
#[derive(Clone, Debug)]
pub struct Candidate {
    registry: Arc<dyn Registry>,
    name: String,
    ttl: Duration,
}

/// The time in which a server leads. Cheap to clone; every clone is the same term.
#[derive(Clone)]
pub struct Term {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    began: Instant,
    /// Nanoseconds after `began` at which the term is over unless it is extended.
    ends_after: AtomicU64,
    over: CancellationToken,
}

impl Candidate {
    /// A candidate that others know by `name`: the URL they reach it at. When it dies, another can lead after `ttl`, and
    /// a moment for the election.
    pub fn new(registry: Arc<dyn Registry>, name: impl Into<String>, ttl: Duration) -> Self {
        Self { registry, name: name.into(), ttl }
    }

    /// The name others know it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who leads, as far as the registry knows.
    ///
    /// # Errors
    /// The registry does not answer.
    pub async fn leader(&self) -> Result<Option<String>, RegistryError> {
        self.registry.leader(ELECTION).await
    }

    /// Waits until this server leads, however long the registry is away meanwhile. The lease is kept in the background until
    /// the term is over.
    pub async fn lead(&self) -> Term {
        loop {
            match self.try_to_lead().await {
                Ok(term) => return term,
                Err(error) if error.kind() == RegistryErrorKind::LeaseExpired => {}
                Err(error) => tracing::warn!(%error, "cannot stand for election"),
            }
            sleep(RETRY).await;
        }
    }

    async fn try_to_lead(&self) -> Result<Term, RegistryError> {
        let asked = Instant::now();
        let lease = self.registry.grant(self.ttl).await?;
        let term = Term::new(&self.name, asked + self.usable());
        let keeper = Keeper { candidate: self.clone(), lease, term: term.clone() };
        tokio::spawn(keeper.keep());
        // Given up when the lease is lost, and when nobody waits for this any more.
        let guard = term.shared.over.clone().drop_guard();
        tokio::select! {
            biased;
            // Also when the registry took so long to answer that the lease may be over already.
            () = term.over() => {
                let detail = "the lease could not be kept while waiting";
                Err(RegistryError::new(RegistryErrorKind::LeaseExpired, "campaign", detail))
            }
            elected = self.registry.campaign(ELECTION, &self.name, lease) => {
                elected?;
                guard.disarm();
                Ok(term)
            }
        }
    }

    /// How much of the lease is used: what is under way when the term is over has the rest to come to an end.
    fn usable(&self) -> Duration {
        self.ttl - self.ttl / 5
    }
}

/// Keeps the lease of a term, and gives it back at the end.
struct Keeper {
    candidate: Candidate,
    lease: LeaseId,
    term: Term,
}

impl Keeper {
    async fn keep(self) {
        let Candidate { registry, ttl, .. } = &self.candidate;
        let over = &self.term.shared.over;
        let mut ticker = interval(*ttl / 6);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.term.is_over() {
            tokio::select! {
                () = over.cancelled() => break,
                () = sleep_until(self.term.ends()) => break,
                _ = ticker.tick() => {}
            }
            let asked = Instant::now();
            match timeout_at(self.term.ends(), registry.keep_alive(self.lease)).await {
                Ok(Ok(())) => self.term.extend(asked + self.candidate.usable()),
                Ok(Err(error)) if error.kind() == RegistryErrorKind::LeaseExpired => break,
                Ok(Err(error)) => tracing::warn!(%error, "the lease was not renewed"),
                Err(_) => break,
            }
        }
        over.cancel();
        // Whoever comes next need not wait for its end. That it could not be ended costs no more than that wait.
        if timeout_at(Instant::now() + *ttl, registry.revoke(self.lease)).await.is_err() {
            tracing::debug!("the lease could not be given back");
        }
    }
}

impl Term {
    fn new(name: &str, ends: Instant) -> Self {
        let began = Instant::now();
        let shared =
            Shared { name: name.to_owned(), began, ends_after: AtomicU64::new(0), over: CancellationToken::new() };
        let term = Self { shared: Arc::new(shared) };
        term.set_end(ends);
        term
    }

    /// The name of the server that leads.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Whether the server leads no more. Once true it stays true.
    pub fn is_over(&self) -> bool {
        self.shared.over.is_cancelled() || Instant::now() >= self.ends()
    }

    /// Waits until the term is over.
    pub async fn over(&self) {
        loop {
            let ends = self.ends();
            tokio::select! {
                () = self.shared.over.cancelled() => return,
                () = sleep_until(ends) => if self.is_over() { return },
            }
        }
    }

    /// Ends the term at once, and lets another server lead.
    pub fn resign(&self) {
        self.shared.over.cancel();
    }

    fn ends(&self) -> Instant {
        self.shared.began + Duration::from_nanos(self.shared.ends_after.load(Ordering::Acquire))
    }

    /// Nothing for a term that is over already: another server may have begun to lead.
    fn extend(&self, ends: Instant) {
        if !self.is_over() {
            self.set_end(ends);
        }
    }

    fn set_end(&self, ends: Instant) {
        let nanoseconds = ends.saturating_duration_since(self.shared.began).as_nanos();
        self.shared.ends_after.store(u64::try_from(nanoseconds).unwrap_or(u64::MAX), Ordering::Release);
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Term").field("name", &self.shared.name).field("is_over", &self.is_over()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use async_trait::async_trait;
    use futures::stream::BoxStream;

    use super::*;
    use crate::model::EngineId;
    use crate::registry::{EmbeddedRegistry, Listing, Member, MemberChange, Result, Revision};

    const TTL: Duration = Duration::from_secs(3);

    /// A registry that can be cut off from one of those who use it.
    #[derive(Debug)]
    struct Cut {
        registry: Arc<EmbeddedRegistry>,
        is_cut: AtomicBool,
    }

    impl Cut {
        fn of(registry: &Arc<EmbeddedRegistry>) -> Arc<Self> {
            Arc::new(Self { registry: registry.clone(), is_cut: AtomicBool::new(false) })
        }

        async fn way(&self) -> &EmbeddedRegistry {
            while self.is_cut.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(50)).await;
            }
            &self.registry
        }
    }

    #[async_trait]
    impl Registry for Cut {
        async fn grant(&self, ttl: Duration) -> Result<LeaseId> {
            self.way().await.grant(ttl).await
        }
        async fn keep_alive(&self, lease: LeaseId) -> Result<()> {
            self.way().await.keep_alive(lease).await
        }
        async fn revoke(&self, lease: LeaseId) -> Result<()> {
            self.way().await.revoke(lease).await
        }
        async fn register(&self, member: &Member, lease: LeaseId) -> Result<()> {
            self.way().await.register(member, lease).await
        }
        async fn holder(&self, id: &EngineId) -> Result<Option<(Member, LeaseId)>> {
            self.way().await.holder(id).await
        }
        async fn list(&self) -> Result<Listing> {
            self.way().await.list().await
        }
        async fn watch(&self, from: Revision) -> Result<BoxStream<'static, MemberChange>> {
            self.way().await.watch(from).await
        }
        async fn campaign(&self, election: &str, candidate: &str, lease: LeaseId) -> Result<()> {
            self.way().await.campaign(election, candidate, lease).await
        }
        async fn leader(&self, election: &str) -> Result<Option<String>> {
            self.way().await.leader(election).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_for_as_long_as_it_can_and_then_the_next() {
        let registry = Arc::new(EmbeddedRegistry::new());
        let one = Candidate::new(registry.clone(), "one", TTL);
        let two = Candidate::new(registry.clone(), "two", TTL);
        let term = one.lead().await;
        assert_eq!((term.name(), one.leader().await.unwrap().as_deref()), ("one", Some("one")));
        let mut waiting = tokio::spawn(async move { two.lead().await });
        assert!(tokio::time::timeout(TTL * 20, &mut waiting).await.is_err(), "the lease of both is kept");
        assert!(!term.is_over());
        term.resign();
        assert!(term.is_over());
        let resigned = Instant::now();
        let next = waiting.await.unwrap();
        assert!(resigned.elapsed() < TTL / 3, "nobody waits for a lease that was given back");
        assert_eq!((next.name(), next.is_over()), ("two", false));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_cut_off_stops_before_another_begins() {
        let registry = Arc::new(EmbeddedRegistry::new());
        let cut = Cut::of(&registry);
        let one = Candidate::new(cut.clone(), "one", TTL);
        let two = Candidate::new(registry.clone(), "two", TTL);
        for _ in 0..20 {
            let term = one.lead().await;
            let waiting = tokio::spawn({
                let two = two.clone();
                async move { (two.lead().await, Instant::now()) }
            });
            sleep(TTL.mul_f64(rand::random())).await;
            cut.is_cut.store(true, Ordering::Relaxed);
            let lost = Instant::now();
            term.over().await;
            let stopped = Instant::now();
            assert!(stopped - lost < TTL);
            let (next, began) = waiting.await.unwrap();
            assert!(began > stopped, "{:?} between the two", began - stopped);
            assert!(began - lost < TTL + Duration::from_secs(1), "{:?}", began - lost);
            cut.is_cut.store(false, Ordering::Relaxed);
            sleep(TTL).await;
            assert!(term.is_over(), "a term that is over stays over");
            next.resign();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_slept_through_its_term_knows_it_at_once() {
        let registry = Arc::new(EmbeddedRegistry::new());
        let term = Candidate::new(registry, "one", TTL).lead().await;
        // Time passes without any task having a turn, as for a process that was stopped.
        tokio::time::advance(TTL).await;
        assert!(term.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn a_candidate_outlives_the_absence_of_the_registry() {
        let registry = Arc::new(EmbeddedRegistry::new());
        let cut = Cut::of(&registry);
        cut.is_cut.store(true, Ordering::Relaxed);
        let candidate = Candidate::new(cut.clone(), "one", TTL);
        let waiting = tokio::spawn(async move { candidate.lead().await });
        sleep(TTL * 10).await;
        assert!(!waiting.is_finished());
        cut.is_cut.store(false, Ordering::Relaxed);
        assert!(!waiting.await.unwrap().is_over());
    }
}
