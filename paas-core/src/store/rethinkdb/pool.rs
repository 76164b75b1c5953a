//! Sessions that wait for their next question.
//!
//! A session is out of the pool while it is asked something, and comes back only after an answer. Whatever else ends a
//! question (an error, a deadline, a caller that leaves) drops the session with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use super::Limits;
use super::asking::PAUSES;
use super::session::{Salted, Session};
use super::target::Target;
use super::trouble::Trouble;
use crate::backoff::Backoff;

/// Sessions with one server.
#[derive(Debug)]
pub(super) struct Pool {
    target: Target,
    limits: Limits,
    idle: Mutex<Vec<Session>>,
    /// As many permits as there may be sessions.
    places: Arc<Semaphore>,
    /// Held while connecting, so that a server that is gone is not asked by everybody at once.
    door: tokio::sync::Mutex<Door>,
    salted: Salted,
    /// Which server let us in last.
    host: AtomicUsize,
}

/// How the last attempts to connect ended.
#[derive(Debug)]
struct Door {
    pauses: Backoff,
    closed_until: Option<Instant>,
}

impl Door {
    const OPEN: Self = Self { pauses: PAUSES, closed_until: None };
}

/// A session that somebody uses.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) session: Session,
    pool: Arc<Pool>,
    _place: OwnedSemaphorePermit,
}

impl Lease {
    /// Gives the session back, after an answer.
    pub(super) fn give_back(self) {
        self.pool.idle.lock().push(self.session);
    }
}

impl Pool {
    pub(super) fn new(target: Target, limits: Limits) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(limits.sessions));
        Arc::new(Self {
            target,
            limits,
            idle: Mutex::default(),
            places,
            door: tokio::sync::Mutex::new(Door::OPEN),
            salted: Mutex::default(),
            host: AtomicUsize::new(0),
        })
    }

    /// A session that nobody else uses: one that waits, or a new one.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Lease, Trouble> {
        let place = timeout(self.limits.query, self.places.clone().acquire_owned()).await;
        // The semaphore is never closed.
        let Ok(Ok(place)) = place else { return Err(Trouble::NotAsked("others wait for their answers")) };
        loop {
            let waiting = self.idle.lock().pop();
            let session = match waiting {
                Some(session) if session.is_quiet() => session,
                // The server closed it, or said something that nobody asked for.
                Some(_) => continue,
                None => self.connect().await?,
            };
            return Ok(Lease { session, pool: self.clone(), _place: place });
        }
    }

    async fn connect(&self) -> Result<Session, Trouble> {
        let late = |_| Trouble::NotAsked("it does not let us in");
        // Together with those who came before, nobody waits longer than for one attempt of one's own.
        timeout(self.limits.connect, async {
            let mut door = self.door.lock().await;
            if let Some(until) = door.closed_until {
                sleep_until(until).await;
            }
            // Counted as failed until it is not: this may be given up at any point.
            door.closed_until = Some(Instant::now() + door.pauses.next_pause());
            let session = self.connect_to_any().await?;
            *door = Door::OPEN;
            Ok(session)
        })
        .await
        .map_err(late)?
    }

    /// A session with the first server that lets us in, beginning with the one that did last.
    async fn connect_to_any(&self) -> Result<Session, Trouble> {
        let hosts = self.target.hosts.len();
        let begin = self.host.load(Ordering::Relaxed);
        // Each gets its share of the time, or one that is silent would be the only one that is tried.
        let share = self.limits.connect / u32::try_from(hosts).unwrap_or(u32::MAX);
        let mut worst = None;
        for host in (begin..begin + hosts).map(|turn| turn % hosts) {
            let connecting = timeout(share, Session::connect(&self.target, host, &self.salted)).await;
            match connecting.unwrap_or(Err(Trouble::NotAsked("it does not let us in"))) {
                Ok(session) => {
                    self.host.store(host, Ordering::Relaxed);
                    return Ok(session);
                }
                // What a person can do something about is worth more than that one is away.
                Err(trouble @ Trouble::Refused(_)) => worst = Some(trouble),
                Err(trouble) => worst = worst.or(Some(trouble)),
            }
        }
        Err(worst.unwrap_or(Trouble::NotAsked("the URL names no server")))
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// How long an answer may take.
    pub(super) fn deadline(&self) -> Duration {
        self.limits.query
    }
}
