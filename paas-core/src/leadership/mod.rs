//! Which of several servers leads.
//!
//! Servers that share a registry and a store elect one that leads: only it changes hosts and writes records. It leads as long
//! as it can renew its lease, and stops by its own clock before the lease can pass to another: its [`Term`] is over then,
//! and what is *fenced* by the term (see [`FencedEngine`] and [`FencedStore`]) refuses
//! every change from that moment on, also in a process that was stopped for a while and does not know it yet.

mod fenced_engine;
mod fenced_store;
mod number;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::registry::{LeaseId, Registry, RegistryError, RegistryErrorKind};
use crate::store::{Fence, LeaderKey, Store};

pub use fenced_engine::FencedEngine;
pub use fenced_store::FencedStore;
pub use number::{LEADER_FORMAT, TermNumber, check_may_lead};

/// The election that servers stand in.
const ELECTION: &str = "leader";
/// How long to wait before a registry that failed is asked again.
const RETRY: Duration = Duration::from_millis(500);
/// How long it takes at most until somebody who waits for the end of a term notices that the machine slept through it.
const LOOK: Duration = Duration::from_millis(500);

/// A server that wants to lead.
#[derive(Clone, Debug)]
pub struct Candidate {
    registry: Arc<dyn Registry>,
    name: String,
    ttl: Duration,
    clock: Clock,
    store: Option<Arc<dyn Store>>,
}

/// The time in which a server leads. Cheap to clone; every clone is the same term.
#[derive(Clone)]
pub struct Term {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    clock: Clock,
    began: Moment,
    /// Nanoseconds after `began` at which the term is over unless it is extended.
    ends_after: AtomicU64,
    over: CancellationToken,
    /// What shows a store in the same etcd that this server leads.
    leader_key: OnceLock<LeaderKey>,
    number: OnceLock<TermNumber>,
}

/// A moment on both of the clocks that a term goes by. The one of tokio stands still while the machine sleeps, and the
/// lease does not.
#[derive(Clone, Copy)]
struct Moment {
    awake: Instant,
    since_boot: Duration,
}

impl Moment {
    fn now(clock: &Clock) -> Self {
        Self { awake: Instant::now(), since_boot: clock.since_boot() }
    }

    /// How long ago it was, by the clock that says more.
    fn elapsed(self, clock: &Clock) -> Duration {
        self.awake.elapsed().max(clock.since_boot().saturating_sub(self.since_boot))
    }
}

impl Candidate {
    /// A candidate that others know by `name`: the URL they reach it at. When it dies, another can lead after `ttl`, and
    /// a moment for the election.
    pub fn new(registry: Arc<dyn Registry>, name: impl Into<String>, ttl: Duration) -> Self {
        Self { registry, name: name.into(), ttl, clock: Clock::system(), store: None }
    }

    /// The same candidate for the platform in `store`: its terms are numbered there. Whether it may lead that platform at all,
    /// [`check_may_lead`] says; a candidate does not ask.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// The same candidate, going by another clock than the machine's.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
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

    /// Who leads, kept up to date for as long as somebody holds what this gives: it can be looked at for each request
    /// without asking the registry. While that is away it is who was known last; at first it is nobody. To be called
    /// inside of a tokio runtime.
    pub fn watch_leader(&self) -> watch::Receiver<Option<String>> {
        let (known, receiver) = watch::channel(None);
        let registry = self.registry.clone();
        tokio::spawn(async move {
            let follow = async {
                loop {
                    match registry.watch_leader(ELECTION).await {
                        Ok(mut leaders) => {
                            while let Some(leader) = leaders.next().await {
                                known.send_if_modified(|known| std::mem::replace(known, leader.clone()) != leader);
                            }
                        }
                        Err(error) => tracing::debug!(%error, "who leads cannot be watched"),
                    }
                    sleep(RETRY).await;
                }
            };
            tokio::select! {
                () = follow => {}
                () = known.closed() => {}
            }
        });
        receiver
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
        let asked = Moment::now(&self.clock);
        let lease = self.registry.grant(self.ttl).await?;
        let term = Term::new(&self.name, self.clock.clone(), asked, self.usable());
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
                if let Some(key) = elected? {
                    // Fails only for a key that is there already, and a term has one.
                    let _ = term.shared.leader_key.set(key);
                }
                if let Some(store) = &self.store {
                    let raised = number::raise(store.fenced(term.fence())).await;
                    let number = raised.map_err(|error| {
                        let detail = format!("the term gets no number: {error}");
                        RegistryError::new(RegistryErrorKind::Unavailable, "campaign", detail)
                    })?;
                    // Set once, like the key.
                    let _ = term.shared.number.set(number);
                }
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
        let mut ticker = interval(*ttl / 6);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.term.is_over() {
            tokio::select! {
                biased;
                () = self.term.over() => break,
                _ = ticker.tick() => {}
            }
            let asked = self.term.elapsed();
            match timeout_at(self.term.ends(), registry.keep_alive(self.lease)).await {
                Ok(Ok(())) => self.term.extend(asked + self.candidate.usable()),
                Ok(Err(error)) if error.kind() == RegistryErrorKind::LeaseExpired => break,
                Ok(Err(error)) => tracing::warn!(%error, "the lease was not renewed"),
                Err(_) => break,
            }
        }
        self.term.resign();
        // The next leader need not wait for its end. That it could not be ended costs no more than that wait.
        if timeout_at(Instant::now() + *ttl, registry.revoke(self.lease)).await.is_err() {
            tracing::debug!("the lease could not be given back");
        }
    }
}

impl Term {
    /// A term that is over `usable` after it began, unless it is extended.
    fn new(name: &str, clock: Clock, began: Moment, usable: Duration) -> Self {
        let shared = Shared {
            name: name.to_owned(),
            clock,
            began,
            ends_after: AtomicU64::new(0),
            over: CancellationToken::new(),
            leader_key: OnceLock::new(),
            number: OnceLock::new(),
        };
        let term = Self { shared: Arc::new(shared) };
        term.set_end(usable);
        term
    }

    /// The name of the server that leads.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Which term it is, if the candidate knows the store: see [`Candidate::with_store`].
    pub fn number(&self) -> Option<TermNumber> {
        self.shared.number.get().copied()
    }

    /// Whether the server leads no more. Once true it stays true.
    pub fn is_over(&self) -> bool {
        if self.shared.over.is_cancelled() {
            return true;
        }
        let is_over = self.elapsed() >= self.ends_after();
        if is_over {
            // Also for those who wait, and for good: no clock that is put right later makes it good.
            self.shared.over.cancel();
        }
        is_over
    }

    /// Waits until the term is over.
    pub async fn over(&self) {
        while !self.is_over() {
            // Not until the end at once: the clock that this sleeps by may stand still meanwhile.
            let look = self.ends().min(Instant::now() + LOOK);
            tokio::select! {
                biased;
                () = self.shared.over.cancelled() => return,
                () = sleep_until(look) => {}
            }
        }
    }

    /// Ends the term at once, and lets another server lead.
    pub fn resign(&self) {
        self.shared.over.cancel();
    }

    /// What the writes of this term must not outlast.
    pub fn fence(&self) -> Fence {
        let term = self.clone();
        let fence = Fence::new(move || !term.is_over());
        match self.shared.leader_key.get() {
            Some(key) => fence.with_leader_key(key.clone()),
            None => fence,
        }
    }

    fn elapsed(&self) -> Duration {
        self.shared.began.elapsed(&self.shared.clock)
    }

    fn ends_after(&self) -> Duration {
        Duration::from_nanos(self.shared.ends_after.load(Ordering::Acquire))
    }

    fn ends(&self) -> Instant {
        self.shared.began.awake + self.ends_after()
    }

    /// Nothing for a term that is over already: another server may have begun to lead.
    fn extend(&self, ends_after: Duration) {
        if !self.is_over() {
            self.set_end(ends_after);
        }
    }

    fn set_end(&self, ends_after: Duration) {
        let nanoseconds = u64::try_from(ends_after.as_nanos()).unwrap_or(u64::MAX);
        self.shared.ends_after.store(nanoseconds, Ordering::Release);
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
        async fn campaign(&self, election: &str, candidate: &str, lease: LeaseId) -> Result<Option<LeaderKey>> {
            self.way().await.campaign(election, candidate, lease).await
        }
        async fn leader(&self, election: &str) -> Result<Option<String>> {
            self.way().await.leader(election).await
        }
        async fn watch_leader(&self, election: &str) -> Result<BoxStream<'static, Option<String>>> {
            self.way().await.watch_leader(election).await
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
    async fn a_leader_that_is_cut_off_stops_before_another_begins() {
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
    async fn a_leader_that_slept_through_its_term_knows_it_at_once() {
        let registry = Arc::new(EmbeddedRegistry::new());
        let term = Candidate::new(registry, "one", TTL).lead().await;
        // Time passes without any task having a turn, as for a process that was stopped.
        tokio::time::advance(TTL).await;
        assert!(term.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_slept_through_the_term_knows_it_when_it_wakes() {
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        let registry = Arc::new(EmbeddedRegistry::new());
        let term = Candidate::new(registry, "one", TTL).with_clock(clock.clone()).lead().await;
        clock.advance(TTL / 2);
        assert!(!term.is_over());
        let waiting = tokio::spawn({
            let term = term.clone();
            async move { term.over().await }
        });
        // As far as tokio knows, no time passes at all while the lid is closed.
        clock.advance(TTL / 2);
        assert!(!term.fence().holds());
        tokio::time::timeout(Duration::from_secs(1), waiting).await.expect("and who waits hears of it").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_leads_is_known_without_asking() {
        let registry = Arc::new(EmbeddedRegistry::new());
        let one = Candidate::new(registry.clone(), "one", TTL);
        let two = Candidate::new(registry, "two", TTL);
        let mut known = two.watch_leader();
        assert_eq!(*known.borrow(), None);
        let term = one.lead().await;
        known.wait_for(|leader| leader.as_deref() == Some("one")).await.unwrap();
        term.resign();
        let _next = two.lead().await;
        known.wait_for(|leader| leader.as_deref() == Some("two")).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn terms_are_numbered() {
        use crate::store::MemoryStore;
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let candidate = Candidate::new(Arc::new(EmbeddedRegistry::new()), "one", TTL).with_store(store);
        let first = candidate.lead().await;
        first.resign();
        let second = candidate.lead().await;
        second.resign();
        let numbers = [first.number().unwrap(), second.number().unwrap()];
        assert_eq!(numbers.map(|number| number.term), [1, 2]);
        assert_eq!(numbers[0].incarnation, numbers[1].incarnation);
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
