//! The records of launches: what was asked of Docker, and what became of it.
//!
//! A record is written before Docker is asked, and says that a launch is done before anybody is told of its container. So
//! whatever dies when: a container whose launch is *asked* is one that nobody was told of, and may be kept or removed; one
//! whose launch is *done* is the one that was answered. What is known of the launches is kept in memory beside the store,
//! since only the server that leads changes it; where two servers decide about one launch all the same, the version of the
//! record says which of them did.

mod known;
mod later;
mod launching;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::engine::ObservedContainer;
use crate::events::{EventLog, EventSink, Publisher};
use crate::model::{ContainerId, EngineId, Event, EventKind, Group, LaunchId, RequestId};
use crate::store::records::{LaunchRecord, LaunchState};
use crate::store::tables::LAUNCHES;
use crate::store::{Collection, KeyRange, MAX_WRITES, MemoryStore, Result, Store, StoreError, Version, Write};

use super::view::Ticket;
use known::{Entry, Known, Stage};
pub(crate) use launching::{Fate, Launching};

/// The version of a launch that was taken in and is not written down yet.
const NOT_KEPT: Version = Version(0);

/// What the platform knows of its launches. One for each controller.
#[derive(Debug)]
pub(crate) struct Launches {
    store: Arc<dyn Store>,
    records: Collection<LaunchRecord>,
    publisher: Publisher,
    known: Mutex<Known>,
    /// Held while it is written down which containers were taken in and which are gone, so that a launch that is both is kept.
    writing: tokio::sync::Mutex<()>,
    /// Rings whenever it is known what became of a launch.
    changes: Notify,
    /// How many are done and not written down yet.
    waiting: AtomicUsize,
}

/// A launch that Docker is going to be asked for.
#[derive(Clone, Debug)]
pub(crate) struct NewLaunch {
    pub(crate) launch: LaunchId,
    pub(crate) record: LaunchRecord,
}

/// A launch of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OfRequest {
    pub(crate) index: u32,
    pub(crate) launch: LaunchId,
    pub(crate) engine: EngineId,
    pub(crate) fate: Settled,
}

/// What became of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Nobody knows yet.
    Not,
    /// Its container was started, and the caller may have been told of it.
    Done(ContainerId),
    /// Nothing came of it.
    Nothing,
}

/// A launch is being settled until this is dropped. Where it is not known then what became of it, because the store did not
/// take it or because nobody waited for the store, it is interrupted as before.
struct Settling<'a> {
    launches: &'a Launches,
    engine: &'a EngineId,
    launch: LaunchId,
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        let mut known = self.launches.known.lock();
        if let Some(entry) = known.get_mut(self.engine, self.launch)
            && entry.stage == Stage::Settling
        {
            entry.stage = Stage::Interrupted;
        }
        drop(known);
        self.launches.changes.notify_waiters();
    }
}

/// What a record says of a container that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not the container of that launch.
    Another,
    /// It is ours, and there is nothing to do.
    Ours,
    /// It is ours, and there is no record of it yet.
    New,
    /// Its launch was interrupted: it is to be settled.
    Interrupted,
    /// It is to go.
    Unwanted(Why),
}

/// Why a container is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its launch did not come to its end.
    Interrupted,
    /// Its group became smaller while its host was away.
    Surplus,
}

impl Launches {
    /// Reads what is kept.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn load(store: Arc<dyn Store>, publisher: Publisher) -> Result<Self> {
        const PAGE: usize = 1000;
        let launches = Self::of(store, publisher);
        let mut from = None;
        loop {
            let page = launches.records.list(&KeyRange { from, limit: PAGE, ..KeyRange::all() }).await?;
            for kept in &page {
                // A key that is no id was written by nobody here.
                let Ok(launch) = kept.key.parse() else { continue };
                launches.known.lock().put(launch, Entry::kept(kept.version, kept.value.clone()));
            }
            match page.last() {
                Some(last) if page.len() == PAGE => from = Some(format!("{}\u{1}", last.key)),
                _ => return Ok(launches),
            }
        }
    }

    /// The store that they are kept in.
    pub(super) fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Launches that are kept in memory, for a cluster without a controller.
    pub(crate) fn in_memory(subscriber: Arc<dyn EventSink>) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let log = Arc::new(EventLog::new(store.clone()));
        Self::of(store, Publisher::new(log, vec![subscriber]))
    }

    fn of(store: Arc<dyn Store>, publisher: Publisher) -> Self {
        let records = Collection::new(store.clone(), LAUNCHES);
        let (known, writing) = (Mutex::default(), tokio::sync::Mutex::default());
        let (changes, waiting) = (Notify::new(), AtomicUsize::new(0));
        Self { store, records, publisher, known, writing, changes, waiting }
    }

    /// Writes down that Docker is going to be asked for these, at most [`MAX_WRITES`] of them, in one commit.
    ///
    /// # Errors
    /// The store did not take it: Docker is not to be asked.
    pub(crate) async fn begin(self: &Arc<Self>, new: Vec<NewLaunch>) -> Result<Vec<Launching>> {
        let mut writes = Vec::with_capacity(new.len());
        for one in &new {
            writes.push(self.records.insertion(&one.launch.to_string(), &one.record)?);
        }
        let version = self.store.commit(writes).await?;
        Ok(new.into_iter().map(|one| self.launching(one, version)).collect())
    }

    /// A launch of which everything is written down already, for what is still to be told of it.
    pub(crate) fn over(self: &Arc<Self>, engine: &EngineId, launch: LaunchId) -> Launching {
        Launching::over(self.clone(), launch, engine.clone())
    }

    fn launching(self: &Arc<Self>, new: NewLaunch, version: Version) -> Launching {
        let engine = new.record.engine.clone();
        let entry = Entry { stage: Stage::UnderWay, ..Entry::kept(version, new.record) };
        self.known.lock().put(new.launch, entry);
        Launching::new(self.clone(), new.launch, engine)
    }

    /// What the records say of a container that bears the labels of a launch of this platform, and is on an engine of which
    /// others are `duplicates`.
    pub(super) fn judge(
        &self,
        engine: &EngineId,
        duplicates: &[EngineId],
        found: &ObservedContainer,
        launch: LaunchId,
    ) -> Verdict {
        let mut known = self.known.lock();
        let Some((on, entry)) = known.find(engine, launch) else { return Verdict::New };
        let name = found.name.trim_start_matches('/');
        let is_it = match (&entry.container, &entry.record) {
            (Some(container), _) => *container == found.id,
            // One host may be two engines, and be read as the other one while its container starts.
            (None, Some(record)) => {
                record.name == name && (on == engine || entry.stage == Stage::UnderWay || duplicates.contains(on))
            }
            (None, None) => false,
        };
        if !is_it {
            return Verdict::Another;
        }
        // Those who are at it know it by the engine that it had.
        let is_elsewhere = on != engine && !matches!(entry.stage, Stage::UnderWay | Stage::Settling);
        let verdict = match entry.stage {
            Stage::Interrupted => Verdict::Interrupted,
            Stage::Unwanted(why) => Verdict::Unwanted(why),
            Stage::UnderWay | Stage::Settling | Stage::Done => Verdict::Ours,
        };
        if is_elsewhere {
            // The engine goes by another name now.
            let from = on.clone();
            known.move_to(&from, engine, launch);
        }
        verdict
    }

    /// Whether the record of a launch says that this is its container.
    pub(super) fn is_of(&self, engine: &EngineId, launch: LaunchId, container: &ContainerId) -> bool {
        let known = self.known.lock();
        known.find(engine, launch).is_some_and(|(_, entry)| entry.container.as_ref() == Some(container))
    }

    /// Takes a container for ours that has no record yet: one of a version that wrote none, or of a store that was lost.
    /// `None` when another container was taken for that of the launch already.
    pub(super) fn take_in(&self, engine: &EngineId, found: &ObservedContainer, ticket: Ticket) -> Option<NewLaunch> {
        let managed = found.managed.as_ref()?;
        let record = LaunchRecord {
            image: found.spec.name.to_string(),
            group: managed.group().cloned(),
            user: managed.user.to_string(),
            request: managed.mark().map(|mark| mark.request),
            index: managed.mark().map_or(0, |mark| mark.index),
            state: LaunchState::Done,
            container: Some(found.id.clone()),
            ..LaunchRecord::asked(engine.clone(), found.name.trim_start_matches('/').to_owned(), found.created)
        };
        let mut known = self.known.lock();
        if known.find(engine, managed.launch).is_some() {
            return None;
        }
        known.put(managed.launch, Entry { since: ticket, ..Entry::kept(NOT_KEPT, record.clone()) });
        Some(NewLaunch { launch: managed.launch, record })
    }

    /// Writes down which containers were taken for ours.
    pub(super) async fn keep_taken_in(&self, taken: Vec<NewLaunch>) {
        let _writing = self.writing.lock().await;
        for some in taken.chunks(MAX_WRITES) {
            if let Err(error) = self.keep(some).await {
                // They are seen again, and taken in again, by the next server.
                tracing::warn!(%error, "which containers are this platform's was not written down");
            }
        }
    }

    async fn keep(&self, taken: &[NewLaunch]) -> Result<()> {
        let insertion = |one: &NewLaunch| self.records.insertion(&one.launch.to_string(), &one.record);
        let writes = taken.iter().map(insertion).collect::<Result<Vec<Write>>>()?;
        match self.store.commit(writes).await {
            Ok(version) => {
                let mut known = self.known.lock();
                taken.iter().for_each(|one| known.set_version(&one.record.engine, one.launch, version));
            }
            Err(error) if error.is_conflict_in(LAUNCHES) => {
                for one in taken {
                    self.keep_or_reread(one).await?;
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes down that a container was taken in, unless there is a record of its launch that was not forgotten yet: then
    /// that one holds.
    async fn keep_or_reread(&self, NewLaunch { launch, record }: &NewLaunch) -> Result<()> {
        let key = launch.to_string();
        let (version, kept) = match self.records.get(&key).await? {
            Some(kept) => (kept.version, LaunchRecord { engine: record.engine.clone(), ..kept.value }),
            None => (self.records.insert(&key, record).await?, record.clone()),
        };
        let mut known = self.known.lock();
        // Unless more was decided about it meanwhile.
        let entry = known.get(&record.engine, *launch).filter(|entry| entry.version == NOT_KEPT);
        if let Some(since) = entry.map(|entry| entry.since) {
            known.put(*launch, Entry { since, ..Entry::kept(version, kept) });
        }
        Ok(())
    }

    /// What a full list of an engine, asked for at `ticket`, says of the launches whose containers are not in it: those that
    /// were done and whose records are forgotten, and those that are to be settled.
    pub(super) fn missing(
        &self,
        engine: &EngineId,
        ticket: Ticket,
        now: Timestamp,
        is_there: impl Fn(LaunchId) -> bool,
    ) -> (Vec<LaunchId>, Vec<LaunchId>) {
        let mut known = self.known.lock();
        let (mut gone, mut interrupted) = (Vec::new(), Vec::new());
        for (launch, entry) in known.on(engine).filter(|(launch, _)| !is_there(*launch)) {
            match entry.stage {
                Stage::Interrupted => interrupted.push(launch),
                Stage::Done | Stage::Unwanted(Why::Surplus) if entry.since < ticket => gone.push(launch),
                // Docker may still be at it, and make it later.
                Stage::Unwanted(Why::Interrupted) if entry.is_old(now) => gone.push(launch),
                Stage::UnderWay | Stage::Settling | Stage::Done | Stage::Unwanted(_) => {}
            }
        }
        gone.iter().for_each(|launch| known.remove(engine, *launch));
        (gone, interrupted)
    }

    /// Forgets the records of launches whose containers are gone, and were not taken in again since.
    pub(super) async fn forget(&self, mut gone: Vec<LaunchId>) {
        let _writing = self.writing.lock().await;
        gone.retain(|launch| !self.known.lock().has(*launch));
        for some in gone.chunks(MAX_WRITES) {
            let writes = some.iter().map(|launch| LaunchRecord::clearance(*launch)).collect();
            if let Err(error) = self.store.commit(writes).await {
                // They are found to be gone again, by the next server.
                tracing::warn!(%error, "records of containers that are gone were not forgotten");
            }
        }
    }

    /// Forgets what is known of an engine that was deleted. What is on it is taken in again where it is seen again; what is to
    /// go is not forgotten.
    pub(super) fn engine_removed(&self, engine: &EngineId) -> Vec<LaunchId> {
        let mut known = self.known.lock();
        let is_done = |(launch, entry): (LaunchId, &Entry)| (entry.stage == Stage::Done).then_some(launch);
        let done: Vec<LaunchId> = known.on(engine).filter_map(is_done).collect();
        done.iter().for_each(|launch| known.remove(engine, *launch));
        done
    }

    /// The launches of a request.
    pub(crate) fn of_request(&self, request: RequestId) -> Vec<OfRequest> {
        let known = self.known.lock();
        let of_request = known.of_request(request).filter_map(|(index, engine, launch)| {
            let entry = known.get(engine, launch)?;
            let fate = match (entry.stage, &entry.container) {
                // Under way with a container: it was answered, and waits for the store.
                (Stage::Done | Stage::UnderWay, Some(container)) => Settled::Done(container.clone()),
                (Stage::UnderWay | Stage::Interrupted | Stage::Settling, _) => Settled::Not,
                (Stage::Done, None) | (Stage::Unwanted(_), _) => Settled::Nothing,
            };
            Some(OfRequest { index, launch, engine: engine.clone(), fate })
        });
        of_request.collect()
    }

    /// What is kept of a launch.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn record(&self, launch: LaunchId) -> Result<Option<LaunchRecord>> {
        Ok(self.records.get(&launch.to_string()).await?.map(|kept| kept.value))
    }

    /// The launches of a group that were interrupted, and are not settled yet.
    pub(crate) fn interrupted_of(&self, group: &Group) -> Vec<(EngineId, LaunchId)> {
        let known = self.known.lock();
        let is_one = |entry: &Entry| {
            matches!(entry.stage, Stage::Interrupted | Stage::Settling)
                && entry.record.as_ref().is_some_and(|record| record.group.as_ref().is_none_or(|own| own == group))
        };
        known.all().filter(|(.., entry)| is_one(entry)).map(|(engine, launch, _)| (engine.clone(), launch)).collect()
    }

    pub(crate) fn is_settled(&self, engine: &EngineId, launch: LaunchId) -> bool {
        let known = self.known.lock();
        known.get(engine, launch).is_none_or(|entry| !matches!(entry.stage, Stage::Interrupted | Stage::Settling))
    }

    /// Whether what comes of a launch is to go: it was given up, or its group became smaller.
    pub(super) fn is_unwanted(&self, engine: &EngineId, launch: LaunchId) -> bool {
        let known = self.known.lock();
        known.get(engine, launch).is_some_and(|entry| matches!(entry.stage, Stage::Unwanted(_)))
    }

    /// Whether a container that a host tells of by this name belongs to a launch that is under way.
    pub(super) fn is_under_way(&self, engine: &EngineId, launch: LaunchId, name: &str) -> bool {
        let known = self.known.lock();
        known.get(engine, launch).is_some_and(|entry| {
            entry.stage == Stage::UnderWay && entry.record.as_ref().is_some_and(|record| record.name == name)
        })
    }

    /// Rings at the next change from now on.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changes.notified()
    }

    /// Settles a launch that was interrupted: with a container that was started it is done, and otherwise it is given up,
    /// by its record, before anything is removed. `None` when somebody else settles it, or did.
    ///
    /// # Errors
    /// The store did not take it; it stays interrupted.
    pub(super) async fn settle(
        &self,
        engine: &EngineId,
        launch: LaunchId,
        started: Option<&ContainerId>,
        ticket: Ticket,
    ) -> Result<Option<Settled>> {
        let claimed = {
            let mut known = self.known.lock();
            let entry = known.get_mut(engine, launch).filter(|entry| entry.stage == Stage::Interrupted);
            entry.and_then(|entry| {
                let record = entry.record.as_deref().cloned()?;
                entry.stage = Stage::Settling;
                Some((entry.version, record))
            })
        };
        let Some((version, mut record)) = claimed else { return Ok(None) };
        let _settling = Settling { launches: self, engine, launch };
        let mut event = None;
        if let Some(container) = started {
            record.state = LaunchState::Done;
            record.container = Some(container.clone());
            let message = format!("run {} on {engine} as {}", record.image, record.name);
            let run = Event::new(EventKind::RunContainer, message).on(engine).of(container);
            event = Some(match record.user.parse() {
                Ok(user) => run.by(&user),
                Err(_) => run,
            });
        } else {
            record.state = LaunchState::Abandoned;
        }
        let outcome = self.replace(launch, version, &record, event).await;
        let now = match outcome {
            Ok(version) => Entry { since: ticket, ..Entry::kept(version, record) },
            Err(error) if error.is_conflict_in(LAUNCHES) => match self.reread(launch, &error).await {
                Ok(Some(entry)) => Entry { since: ticket, ..entry },
                Ok(None) => {
                    self.known.lock().remove(engine, launch);
                    return Ok(Some(Settled::Nothing));
                }
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        let settled = match (now.stage, &now.container) {
            (Stage::Done, Some(container)) => Settled::Done(container.clone()),
            (Stage::Interrupted, _) => Settled::Not,
            _ => Settled::Nothing,
        };
        self.known.lock().put(launch, now);
        Ok(Some(settled))
    }

    /// Another server decided about a launch: what it decided. What is still only asked is interrupted.
    async fn reread(&self, launch: LaunchId, why: &StoreError) -> Result<Option<Entry>> {
        tracing::info!(%launch, error = %why, "another server decided about a launch");
        let kept = self.records.get(&launch.to_string()).await?;
        Ok(kept.map(|kept| Entry::kept(kept.version, kept.value)))
    }

    /// Writes down that a container which cannot be reached is to go when it is seen.
    ///
    /// # Errors
    /// The store did not take it: the container stays.
    pub(crate) async fn make_surplus(
        &self,
        engine: &EngineId,
        launch: LaunchId,
        container: &ContainerId,
        now: Timestamp,
    ) -> Result<()> {
        let key = launch.to_string();
        loop {
            let surplus = |record: LaunchRecord| LaunchRecord {
                state: LaunchState::Surplus,
                container: Some(container.clone()),
                ..record
            };
            let (write, record) = match self.records.get(&key).await? {
                Some(kept) => {
                    let record = surplus(kept.value);
                    (self.records.replacement(&key, kept.version, &record)?, record)
                }
                None => {
                    // Its name says nothing where its id is known.
                    let record = surplus(LaunchRecord::asked(engine.clone(), String::new(), now));
                    (self.records.insertion(&key, &record)?, record)
                }
            };
            match self.store.commit(vec![write]).await {
                Ok(version) => {
                    let record = LaunchRecord { engine: engine.clone(), ..record };
                    self.known.lock().put(launch, Entry::kept(version, record));
                    return Ok(());
                }
                Err(error) if error.is_conflict_in(LAUNCHES) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Forgets a launch whose container was removed because it was to go, together with the event that tells of it.
    pub(super) async fn removed(&self, engine: &EngineId, launch: LaunchId, event: Event) -> Result<()> {
        self.commit(vec![LaunchRecord::clearance(launch)], Some(event)).await?;
        self.known.lock().remove(engine, launch);
        Ok(())
    }

    async fn replace(
        &self,
        launch: LaunchId,
        version: Version,
        record: &LaunchRecord,
        event: Option<Event>,
    ) -> Result<Version> {
        self.commit(vec![self.records.replacement(&launch.to_string(), version, record)?], event).await
    }

    /// Commits together with the event that tells of it, and publishes that.
    async fn commit(&self, mut writes: Vec<Write>, event: Option<Event>) -> Result<Version> {
        if let Some(event) = &event {
            writes.push(self.publisher.insertion(event)?);
        }
        let version = self.store.commit(writes).await?;
        if let Some(event) = event {
            self.publisher.publish(event).await;
        }
        Ok(version)
    }
}
