//! Sessions that wait for their next question.
//!
//! A session is out of the pool while it is asked something, and comes back only after an answer. Whatever else ends a
//! question (an error, a deadline, a caller that leaves) drops the session with it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use super::session::{Salted, Session};
use super::target::Target;
use super::trouble::Trouble;
use super::{Limits, back_off};

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
}

/// How the last attempts to connect ended.
#[derive(Debug, Default)]
struct Door {
    failures: u32,
    closed_until: Option<Instant>,
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
            door: tokio::sync::Mutex::default(),
            salted: Mutex::default(),
        })
    }

    /// A session that nobody else uses: one that waits, or a new one.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Lease, Trouble> {
        let place = timeout(self.limits.query, self.places.clone().acquire_owned()).await;
        // The semaphore is never closed.
        let Ok(Ok(place)) = place else { return Err(Trouble::TimedOut("answer others")) };
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

    /// A session of its own, beside those of the pool.
    pub(super) async fn connect(&self) -> Result<Session, Trouble> {
        let late = |_| Trouble::TimedOut("let us in");
        // Together with those who came before, nobody waits longer than for one attempt of one's own.
        timeout(self.limits.connect, async {
            let mut door = self.door.lock().await;
            if let Some(until) = door.closed_until {
                sleep_until(until).await;
            }
            // Counted as failed until it is not: this may be given up at any point.
            door.failures = door.failures.saturating_add(1);
            door.closed_until = Some(Instant::now() + back_off(door.failures));
            let session = Session::connect(&self.target, &self.salted).await?;
            *door = Door::default();
            Ok(session)
        })
        .await
        .map_err(late)?
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
