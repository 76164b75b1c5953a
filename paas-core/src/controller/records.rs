//! Records that follow: of what was done on a host while the store took nothing.
//!
//! What is done is done, and is answered so. Its record waits here, in order and bounded, until the store takes it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::requests::AnswersToCome;
use crate::auth::Session;
use crate::background::Report;
use crate::backoff::Backoff;
use crate::events::Publisher;
use crate::model::{Event, RequestId};
use crate::store::records::KeptRequest;
use crate::store::tables::{EVENTS, REQUESTS};
use crate::store::{self, Collection, Store, StoreError, StoreErrorKind, Write};

/// How many records wait at most: an hour of an operator's work. Beyond that the newest are lost, with an error in the log.
const MOST: usize = 10_000;
/// How long to wait for the store: one that is started again takes four to ten seconds.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
/// How long the store has for all of them when the controller closes.
const LAST_CHANCE: Duration = Duration::from_secs(5);

/// One record.
#[derive(Debug)]
pub(super) struct Record {
    /// What is to be written, all of it together. Nothing for an answer that is added to what there is of its request, because
    /// the change notes in that, too, and nobody knows the version that comes of it.
    pub(super) writes: Vec<Write>,
    /// The event among that, for those who are told of it then.
    pub(super) event: Option<Event>,
    /// The request whose answer is among that.
    pub(super) answered: Option<RequestId>,
    /// The session whose end is among that.
    pub(super) ended: Option<Session>,
}

impl Record {
    /// Says what it comes to that this was never written. What happened is lost, and that is all; but a token that was ended
    /// is good again where the next server reads its session.
    fn log_loss(&self) {
        if let Some(Session { username, expires, .. }) = &self.ended {
            tracing::error!(
                account = %username,
                until = %expires,
                "a token of this account was logged out and the store took no note of it: it is good again when a server \
                 starts; end it with a new password of the account"
            );
        }
    }
}

/// The records that wait for the store.
#[derive(Debug)]
pub(super) struct Records {
    waiting: Mutex<VecDeque<Record>>,
    come: Notify,
    store: Arc<dyn Store>,
    publisher: Publisher,
    answers: Arc<AnswersToCome>,
    requests: Collection<KeptRequest>,
}

impl Records {
    pub(super) fn new(store: Arc<dyn Store>, publisher: Publisher, answers: Arc<AnswersToCome>) -> Self {
        let requests = Collection::new(store.clone(), REQUESTS);
        Self { waiting: Mutex::default(), come: Notify::new(), store, publisher, answers, requests }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Has a record follow.
    pub(super) fn follow(&self, record: Record) {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MOST {
            let what = record.event.as_ref().map_or("an answer", |event| event.message.as_str());
            tracing::error!(what, "too many records wait for the store; this one is lost");
            record.log_loss();
            if let Some(answered) = record.answered {
                self.answers.arrived(answered);
            }
            return;
        }
        if waiting.is_empty() {
            tracing::warn!("the store takes nothing; records of what is done follow when it does");
        }
        waiting.push_back(record);
        drop(waiting);
        self.come.notify_one();
    }

    /// Writes what waits, until `end` rings; and then tries once more.
    pub(super) async fn write_all(self: Arc<Self>, end: CancellationToken, report: Report) {
        let mut pauses = PAUSES;
        let write = async {
            loop {
                match self.write_next().await {
                    Ok(true) => {
                        report.ok();
                        pauses.reset();
                    }
                    Ok(false) => self.come.notified().await,
                    Err(error) => {
                        report.failed(&error);
                        sleep(pauses.next_pause()).await;
                    }
                }
            }
        };
        end.run_until_cancelled(write).await;
        let rest = async { while matches!(self.write_next().await, Ok(true)) {} };
        if timeout(LAST_CHANCE, rest).await.is_err() || self.waiting() > 0 {
            tracing::error!(records = self.waiting(), "the store took nothing until the end; these records are lost");
            self.waiting.lock().iter().for_each(Record::log_loss);
        }
    }

    /// Leaves out of the oldest record what the store refused of it, because somebody else wrote that since: what was done was
    /// done all the same, and the rest tells of it. False when there is nothing else in it.
    fn leave_out(&self, refused: &StoreError) -> bool {
        let mut waiting = self.waiting.lock();
        let Some(record) = waiting.front_mut() else { return false };
        let is_refused = |write: &Write| refused.is_conflict_in(write.table) && refused.key() == write.key;
        // A backend may not say which write it was.
        let is_named = record.writes.iter().any(is_refused);
        let is_left = |write: &&Write| if is_named { !is_refused(write) } else { write.table == EVENTS };
        let left: Vec<Write> = record.writes.iter().filter(is_left).cloned().collect();
        let is_less = !left.is_empty() && left.len() < record.writes.len();
        if is_less {
            tracing::warn!(error = %refused, "a part of a record was written by somebody else; the rest is recorded");
            record.writes = left;
        }
        is_less
    }

    /// Writes the oldest. False when there is none.
    ///
    /// # Errors
    /// The store does not take it; it goes on waiting.
    async fn write_next(&self) -> store::Result<bool> {
        let next = self.waiting.lock().front().map(|record| (record.writes.clone(), record.answered));
        let outcome = match next {
            None => return Ok(false),
            Some((writes, Some(answered))) if writes.is_empty() => self.answers.add(&self.requests, answered).await,
            Some((writes, _)) => self.store.commit(writes).await.map(drop),
        };
        match &outcome {
            Err(error) if error.is_of_the_backend() => return outcome.map(|()| false),
            Err(error) if is_conflict(error) && !is_written(error) && self.leave_out(error) => return Ok(true),
            _ => {}
        }
        let Some(record) = self.waiting.lock().pop_front() else { return Ok(false) };
        if let Some(answered) = record.answered {
            self.answers.arrived(answered);
        }
        match outcome {
            Ok(()) => {}
            // It was written before, and only the answer of the store was lost.
            Err(error) if is_written(&error) => {}
            // An answer by itself: somebody forgot the request since.
            Err(error) if is_conflict(&error) && record.event.is_none() => {}
            Err(error) => {
                tracing::error!(%error, "a record of what was done cannot be stored");
                record.log_loss();
                return Ok(true);
            }
        }
        if let Some(event) = record.event {
            self.publisher.publish(event).await;
        }
        if self.waiting() == 0 {
            tracing::info!("the store has every record");
        }
        Ok(true)
    }
}

/// Whether somebody else wrote one of the documents.
fn is_conflict(error: &StoreError) -> bool {
    matches!(error.kind(), StoreErrorKind::AlreadyExists | StoreErrorKind::VersionMismatch | StoreErrorKind::NotFound)
}

/// Whether the log has the event already, and so the store all that was written with it.
fn is_written(error: &StoreError) -> bool {
    error.kind() == StoreErrorKind::AlreadyExists && error.is_conflict_in(EVENTS)
}
