//! How everything is changed: committed to the store, applied to memory, published; in that order, in a task of its own.
//!
//! The change and the event that tells of it are one write, and so is the note that the request was done, where it has a
//! key: whenever a server dies, either all of it is there or nothing is. The task is the controller's and not the caller's:
//! a client that hangs up between two of the steps changes nothing about the others.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::records::Record;
use super::{Actor, Controller, ControllerError, Result};
use crate::auth::Session;
use crate::backoff::Backoff;
use crate::model::Event;
use crate::store::{self, Write};

/// How long to wait for a store that does not say whether a change was made.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// After how long a write is not under way any more that the store did not answer.
const LATE: Duration = Duration::from_secs(15);

/// What is written together with a change.
#[derive(Debug)]
pub(super) struct Publication {
    event: Event,
    writes: Vec<Write>,
}

impl Publication {
    /// The writes to be committed after those of the change itself.
    pub(super) fn writes(&self) -> Vec<Write> {
        self.writes.clone()
    }

    /// What was done already, to be recorded later: maybe that a session has ended, of which something is left until then.
    pub(super) fn into_record(self, ending: Option<(Write, Option<Session>)>) -> Record {
        let (write, ended) = ending.unzip();
        let writes = write.into_iter().chain(self.writes).collect();
        Record { writes, event: Some(self.event), answered: None, ended: ended.flatten() }
    }
}

impl Controller {
    /// Does `work` to its end, also when nobody waits for the answer any more. Shutting down waits for it, too.
    ///
    /// # Errors
    /// [`ControllerError::Panicked`] when `work` panicked; the log has its words.
    pub async fn run_to_end<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        // Nobody aborts such a task, so without an outcome the whole program is ending.
        self.spawn_to_end(work).await.unwrap_or(Err(ControllerError::ShuttingDown))
    }

    /// The same for work whose outcome nobody has to wait for.
    pub fn spawn_to_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        // Caught here and not by who waits: that one may be gone.
        let work = AssertUnwindSafe(work).catch_unwind().map(|outcome| outcome.map_err(panicked));
        self.shared.operations.spawn(work)
    }

    /// Makes a change of `actor` in a task of its own.
    pub(super) async fn owned<T, F, Fut>(&self, actor: &Actor, change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Controller, Actor) -> Fut,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        self.run_to_end(change(self.clone(), actor.clone())).await.flatten()
    }

    /// The event of a change of `actor`, and the note that the request of `actor` is done by it.
    pub(super) fn publication(&self, actor: &Actor, event: Event) -> Result<Publication> {
        self.publication_of(actor, event, "")
    }

    /// The same with what the change makes, for when its answer is lost.
    pub(super) fn publication_of(&self, actor: &Actor, event: Event, made: &str) -> Result<Publication> {
        let event = actor.sign(event);
        let mut writes = vec![self.shared.publisher.insertion(&event).map_err(ControllerError::Store)?];
        if let Some(request) = actor.request() {
            writes.push(self.note_of(request, made)?);
        }
        Ok(Publication { event, writes })
    }

    /// Commits a change with everything that tells of it, has it applied to memory, and publishes the event.
    pub(super) async fn commit(
        &self,
        mut writes: Vec<Write>,
        publication: Publication,
        apply: impl FnOnce(),
    ) -> store::Result<()> {
        writes.extend(publication.writes());
        self.shared.store.commit(writes).await?;
        apply();
        self.publish(publication).await;
        Ok(())
    }

    /// Makes memory what the store has, as soon as the store says what that is: after a change of which it left open whether
    /// it was made. What fails in a way that no waiting mends, such as a record that cannot be read, is looked at once more
    /// later, and then left.
    pub(super) fn settle<F, Fut>(&self, apply: F)
    where
        F: Fn(Controller) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send,
    {
        // As long as the controller is there, and no longer: it must not keep itself alive for a store that stays away.
        let controller = self.in_background();
        self.shared.operations.spawn(async move {
            let closing = controller.shared.closing.clone();
            let mut pauses = PAUSES;
            let settle = async {
                // And again later: what was under way may have been made after the store was asked what it has.
                for late in [LATE, Duration::ZERO] {
                    while let Err(error) = apply(controller.clone()).await {
                        if !error.is_retryable() {
                            tracing::error!(%error, "whether a change was made is not known, and asking again does not help");
                            break;
                        }
                        tracing::warn!(%error, "whether a change was made is not known yet");
                        sleep(pauses.next_pause()).await;
                    }
                    sleep(late).await;
                }
            };
            closing.run_until_cancelled(settle).await;
        });
    }

    /// Records an event of what was done on a host, before that is answered. What is done is done: when the store does not
    /// take it, the record follows as soon as it does, and the caller is answered all the same.
    ///
    /// # Errors
    /// The event is none that could ever be kept.
    pub(super) async fn record(&self, event: Event) -> Result<()> {
        let writes = vec![self.shared.publisher.insertion(&event).map_err(ControllerError::Store)?];
        let publication = Publication { event, writes };
        if self.shared.records.waiting() > 0 {
            self.shared.records.follow(publication.into_record(None));
            return Ok(());
        }
        match self.shared.store.commit(publication.writes()).await {
            Ok(_) => self.publish(publication).await,
            Err(error) if error.is_of_the_backend() => {
                tracing::warn!(%error, event = publication.event.message, "to be recorded when the store takes it");
                self.shared.records.follow(publication.into_record(None));
            }
            Err(error) => return Err(ControllerError::Store(error)),
        }
        Ok(())
    }

    /// Publishes the event of a change that was made.
    pub(super) async fn publish(&self, publication: Publication) {
        self.shared.publisher.publish(publication.event).await;
    }
}

fn panicked(panic: Box<dyn Any + Send>) -> ControllerError {
    let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = said.unwrap_or("without words"), "a change panicked");
    ControllerError::Panicked
}
