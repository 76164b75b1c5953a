//! Asking the server, and again for a while where that may help.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::RethinkDbStore;
use super::pool::Pool;
use super::terms::Query;
use super::trouble::Trouble;
use crate::backoff::Backoff;
use crate::store::Fence;

/// How long to wait after failures in a row.
pub(super) const PAUSES: Backoff = Backoff::new(Duration::from_millis(25), Duration::from_secs(1));

impl RethinkDbStore {
    /// Asks, and again for a while if that may help. For questions that change nothing when they are asked twice.
    pub(super) async fn ask(&self, query: &Query) -> Result<Vec<Value>, Trouble> {
        let mut attempts = Attempts::new(&self.shared.pool);
        loop {
            match self.ask_once(query, &Fence::default(), &attempts).await {
                Err(trouble) if trouble.passes() => attempts.pause(trouble).await?,
                outcome => return outcome,
            }
        }
    }

    /// Asks once, if the fence holds when it comes to that.
    ///
    /// The session is taken here: who leaves while waiting for one has asked nothing. What is asked then goes on in a task
    /// of its own, so that a caller that leaves costs no session.
    pub(super) async fn ask_once(
        &self,
        query: &Query,
        fence: &Fence,
        attempts: &Attempts,
    ) -> Result<Vec<Value>, Trouble> {
        let pool = self.shared.pool.clone();
        let taken = timeout_at(attempts.until, pool.take()).await;
        let mut lease = taken.map_err(|_| Trouble::NotAsked("there was no free session"))??;
        let (query, fence) = (query.clone(), fence.clone());
        let asked = tokio::spawn(async move {
            // The process may have been stopped since, for longer than its term.
            if !fence.holds() {
                lease.give_back();
                return Err(Trouble::Fenced);
            }
            let answer = lease.session.ask(&query.0, pool.deadline()).await;
            if matches!(answer, Ok(_) | Err(Trouble::Server(..))) {
                lease.give_back();
            }
            answer
        });
        // The task ends early only with the runtime.
        asked.await.unwrap_or(Err(Trouble::TimedOut("answer before the end")))
    }
}

/// Tries again for a while, with pauses that grow.
pub(super) struct Attempts {
    until: Instant,
    pauses: Backoff,
}

impl Attempts {
    pub(super) fn new(pool: &Pool) -> Self {
        Self { until: Instant::now() + pool.limits().retry, pauses: PAUSES }
    }

    /// Waits before the next attempt; gives the trouble back when it went on for too long.
    pub(super) async fn pause(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        let pause = self.pauses.next_pause();
        if Instant::now() + pause > self.until {
            return Err(trouble);
        }
        tracing::debug!(%trouble, ?pause, "asking RethinkDB again");
        sleep(pause).await;
        Ok(())
    }
}
