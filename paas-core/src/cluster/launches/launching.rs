//! A launch that is under way.

use std::sync::Arc;

use super::{Entry, Launches, NewLaunch, Stage, Ticket, Why};
use crate::model::{ContainerId, EngineId, Event, LaunchId};
use crate::store::records::{LaunchRecord, LaunchState};
use crate::store::tables::LAUNCHES;
use crate::store::{Result, Version, Write};

/// What a launch that failed left on its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing.
    Nothing,
    /// Perhaps a container: it goes when it is seen.
    Perhaps,
}

/// A launch that this server is at. Dropped before it came to an end, it is interrupted: what it left is found out.
#[derive(Debug)]
#[must_use = "a launch that is dropped is interrupted"]
pub(crate) struct Launching {
    launches: Arc<Launches>,
    launch: LaunchId,
    engine: EngineId,
    is_over: bool,
}

impl Drop for Launching {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Some(entry) = self.launches.known.lock().get_mut(&self.engine, self.launch) {
            entry.stage = Stage::Interrupted;
        }
        self.launches.changes.notify_waiters();
    }
}

impl Launching {
    pub(super) fn new(launches: Arc<Launches>, launch: LaunchId, engine: EngineId) -> Self {
        Self { launches, launch, engine, is_over: false }
    }

    /// A launch of which everything is written down already.
    pub(super) fn over(launches: Arc<Launches>, launch: LaunchId, engine: EngineId) -> Self {
        Self { launches, launch, engine, is_over: true }
    }

    /// Writes down that its container was started, with the event that tells of it. From then on somebody may be told.
    ///
    /// # Errors
    /// The store did not take it. Where that is [a conflict](Launching::is_decided) another server decided otherwise;
    /// otherwise it may be tried again.
    pub(crate) async fn done(&mut self, container: &ContainerId, event: &Event, ticket: Ticket) -> Result<()> {
        let Some((version, record)) = self.record() else { return Ok(()) };
        let record = LaunchRecord { state: LaunchState::Done, container: Some(container.clone()), ..record };
        let version = self.launches.replace(self.launch, version, &record, Some(event.clone())).await?;
        self.end(Entry { since: ticket, ..Entry::kept(version, record) });
        Ok(())
    }

    /// Notes which container was started, before the store has that it is done: a client that asks again is to be told of it.
    pub(super) fn runs_as(&self, container: &ContainerId) {
        if let Some(entry) = self.launches.known.lock().get_mut(&self.engine, self.launch) {
            entry.container = Some(container.clone());
        }
    }

    /// Whether an error of [`Launching::done`] says that another server has decided what becomes of the launch.
    pub(crate) fn is_decided(error: &crate::store::StoreError) -> bool {
        error.is_conflict_in(LAUNCHES)
    }

    /// Writes down that it failed, and that Docker is going to be asked for another one in its place, on another engine.
    ///
    /// # Errors
    /// The store did not take it: Docker is not to be asked. What is left of this one goes all the same.
    pub(crate) async fn next(mut self, fate: Fate, new: NewLaunch) -> Result<Launching> {
        let next = self.launches.records.insertion(&new.launch.to_string(), &new.record)?;
        let version = self.fail(fate, next, None).await?;
        Ok(self.launches.launching(new, version))
    }

    /// Writes down that it failed, with the event that tells of it.
    pub(crate) async fn failed(mut self, fate: Fate, event: Event) {
        let launches = self.launches.clone();
        let written = match launches.publisher.insertion(&event) {
            Ok(insertion) => self.fail(fate, insertion, Some(event)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::warn!(%error, launch = %self.launch, "a failed launch could not be recorded");
        }
    }

    async fn fail(&mut self, fate: Fate, with: Write, event: Option<Event>) -> Result<Version> {
        let Some((version, record)) = self.record() else { return self.launches.store.commit(vec![with]).await };
        let mut now = Entry::kept(version, record.clone());
        let own = match fate {
            Fate::Nothing => LaunchRecord::clearance(self.launch),
            Fate::Perhaps => {
                let record = LaunchRecord { state: LaunchState::Abandoned, ..record };
                let own = self.launches.records.replacement(&self.launch.to_string(), version, &record)?;
                now = Entry::kept(version, record);
                own
            }
        };
        let outcome = self.launches.store.commit(vec![own, with]).await;
        match (&outcome, fate) {
            (Ok(version), Fate::Perhaps) => self.end(Entry { version: *version, ..now }),
            // This server removes it when it sees it, written down or not.
            (Err(_), Fate::Perhaps) => self.end(Entry { stage: Stage::Unwanted(Why::Interrupted), ..now }),
            (Ok(_), Fate::Nothing) => {
                self.is_over = true;
                self.launches.known.lock().remove(&self.engine, self.launch);
                self.launches.changes.notify_waiters();
            }
            // Interrupted, with nothing left to be found.
            (Err(_), Fate::Nothing) => {}
        }
        if let (Ok(_), Some(event)) = (&outcome, event) {
            self.launches.publisher.publish(event).await;
        }
        outcome
    }

    fn record(&self) -> Option<(Version, LaunchRecord)> {
        let known = self.launches.known.lock();
        let entry = known.get(&self.engine, self.launch)?;
        Some((entry.version, entry.record.as_deref()?.clone()))
    }

    fn end(&mut self, entry: Entry) {
        self.is_over = true;
        self.launches.known.lock().put(self.launch, entry);
        self.launches.changes.notify_waiters();
    }
}
