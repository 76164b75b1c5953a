//! Whose a container is, and the removal of what launches left on the hosts.
//!
//! Ours is a container with our platform's label on it that the record of its launch does not take for another one, or that the
//! record names although somebody gave it another name; what the engine makes of labels that were copied, or inherited from an image, is in [`crate::engine::labels`]. Ours to remove
//! without being asked is only what the record of a launch names: a container that nobody was told of and that never ran, one of a
//! launch that was given up, and one that was too many while its host was away.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;

use crate::engine::{EngineError, EngineErrorKind, ObservedContainer, Owner};
use crate::model::{ContainerId, ContainerState, EngineId, EngineStatus, Event, EventKind, LaunchId};
use crate::store::Result;

use super::launches::{NewLaunch, Verdict, Why};
use super::view::Ticket;
use super::{Cluster, adopt_platform};

/// How long a host may take to be read before a launch on it that was interrupted is given up.
const READ: Duration = Duration::from_secs(10);
/// How long at most until it is looked again whether a launch that somebody else settles is settled.
const STEP: Duration = Duration::from_millis(200);

/// What there is to do about a launch.
#[derive(Clone, Debug)]
pub(super) enum Todo {
    /// To find out what became of it.
    Settle { launch: LaunchId, found: Option<Orphan> },
    /// To remove its container.
    Remove { orphan: Orphan, why: Why },
    /// To write down that its container is ours.
    Keep(Vec<NewLaunch>),
    /// To forget those whose containers are gone.
    Forget(Vec<LaunchId>),
    /// To write down that a platform was taken over. Only once a container of it is here: its name may have been mistyped.
    Adopt(String),
}

/// A container of a launch.
#[derive(Clone, Debug)]
pub(super) struct Orphan {
    id: ContainerId,
    name: String,
    launch: LaunchId,
    state: ContainerState,
}

/// What was found on an engine that something is to be done about.
#[derive(Debug)]
pub(super) struct Orphans {
    engine: EngineId,
    ticket: Ticket,
    todo: Vec<Todo>,
}

/// The containers that are being removed. A host tells of one several times while it goes, and it goes once.
#[derive(Debug, Default)]
pub(super) struct Collecting(Mutex<HashSet<ContainerId>>);

/// A container is the holder's to remove until this is dropped.
#[derive(Debug)]
struct Collection<'a> {
    of: &'a Collecting,
    id: ContainerId,
}

impl Collecting {
    /// Makes this one the caller's to remove. `None` when somebody else is at it.
    fn begin(&self, id: &ContainerId) -> Option<Collection<'_>> {
        let is_ours = self.0.lock().insert(id.clone());
        is_ours.then(|| Collection { of: self, id: id.clone() })
    }
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        self.of.0.lock().remove(&self.id);
    }
}

impl Cluster {
    /// Decides of containers found on an engine whose they are: those that are not ours are others' from here on. Gives what
    /// there is to do about the others.
    pub(super) fn recognise(&self, engine: &EngineId, found: &mut [ObservedContainer], ticket: Ticket) -> Orphans {
        self.recall(engine, found);
        let (mut todo, mut new) = (Vec::new(), Vec::new());
        let duplicates = self.shared.view.read().duplicates_of(engine);
        for (position, found) in found.iter_mut().enumerate() {
            let Some(managed) = &mut found.managed else { continue };
            if !self.shared.platform.owns(&managed.platform) {
                managed.owner = Owner::OtherPlatform;
                continue;
            }
            // What this version does not know is shown, and left alone. A container of an application has no launch of its own:
            // what is to become of it is in the records of the application.
            if managed.group().is_none() {
                continue;
            }
            let launch = managed.launch;
            let orphan = || Orphan {
                id: found.id.clone(),
                name: found.name.trim_start_matches('/').to_owned(),
                launch,
                state: found.state,
            };
            match self.shared.launches.judge(engine, &duplicates, found, launch) {
                Verdict::Another => found.managed = None,
                Verdict::Ours => {}
                Verdict::New => new.push(position),
                Verdict::Interrupted => todo.push(Todo::Settle { launch, found: Some(orphan()) }),
                Verdict::Unwanted(why) => todo.push(Todo::Remove { orphan: orphan(), why }),
            }
        }
        // Of several that bear the labels of one launch, because somebody copied them, the original is the one that is called
        // as the launch would have it, or else the oldest.
        new.sort_by_key(|position| {
            let ObservedContainer { name, created, id, managed, .. } = &found[*position];
            let end = managed.as_ref().map(|managed| managed.launch.to_string()).unwrap_or_default();
            let is_original = end.get(end.len().saturating_sub(8)..).is_some_and(|end| name.ends_with(end));
            (!is_original, *created, id.clone())
        });
        let mut taken = Vec::new();
        for position in new {
            match self.shared.launches.take_in(engine, &found[position], ticket) {
                Some(one) => taken.push(one),
                None => found[position].managed = None,
            }
        }
        if !taken.is_empty() {
            todo.push(Todo::Keep(taken));
        }
        Orphans { engine: engine.clone(), ticket, todo }
    }

    /// Finds out which containers are ours that somebody gave another name. What is written on such a one is of a container of
    /// another name, as on a copy; by its id it is the same.
    fn recall(&self, engine: &EngineId, found: &mut [ObservedContainer]) {
        self.shared.view.read().recall_replicas(found);
        for found in found.iter_mut().filter(|found| found.managed.is_none()) {
            let Some(written) = found.labels_of_another.take() else { continue };
            let (spec, managed) = *written;
            if managed.group().is_some() && self.shared.launches.is_of(engine, managed.launch, &found.id) {
                (found.spec, found.managed) = (spec, Some(managed));
            }
        }
    }

    /// The same for everything that is on an engine: what is missing says something as well.
    pub(super) fn recognise_all(&self, engine: &EngineId, found: &mut [ObservedContainer], ticket: Ticket) -> Orphans {
        self.recall(engine, found);
        let mut platforms = BTreeMap::new();
        let mut launches = HashSet::new();
        for managed in found.iter().filter_map(|found| found.managed.as_ref()) {
            launches.insert(managed.launch);
            *platforms.entry(managed.platform.to_string()).or_default() += 1;
        }
        let mut orphans = self.recognise(engine, found, ticket);
        for platform in self.shared.platforms_seen.note(engine, platforms) {
            if !self.shared.platform.owns(&platform) {
                tracing::warn!(%engine, platform, "containers of another platform are shown and left alone");
            } else if self.shared.platform.name() != platform {
                orphans.todo.push(Todo::Adopt(platform));
            }
        }
        let (gone, interrupted) =
            self.shared.launches.missing(engine, ticket, self.now(), |launch| launches.contains(&launch));
        orphans.todo.extend(interrupted.into_iter().map(|launch| Todo::Settle { launch, found: None }));
        if !gone.is_empty() {
            orphans.todo.push(Todo::Forget(gone));
        }
        orphans
    }

    /// Does what there is to do, in the background. Given up at the end: who starts next finds it again.
    pub(super) fn collect(&self, orphans: Orphans) {
        let Orphans { engine, ticket, todo } = orphans;
        for todo in todo {
            let (cluster, engine) = (self.in_background(), engine.clone());
            let stop = self.background().stopping().clone();
            self.background().tracker().spawn(async move {
                stop.run_until_cancelled(cluster.do_now(&engine, todo, ticket)).await;
            });
        }
    }

    async fn do_now(&self, engine: &EngineId, todo: Todo, ticket: Ticket) {
        match todo {
            Todo::Keep(taken) => self.shared.launches.keep_taken_in(taken).await,
            Todo::Forget(gone) => self.shared.launches.forget(gone).await,
            Todo::Adopt(platform) => {
                if let Err(error) = adopt_platform(self.shared.launches.store(), &platform).await {
                    tracing::warn!(%error, platform, "that a platform was taken over was not written down");
                }
            }
            Todo::Remove { orphan, why } => self.remove_orphan(engine, orphan, why).await,
            Todo::Settle { launch, found } => {
                if let Err(error) = self.settle_found(engine, launch, found, ticket).await {
                    tracing::warn!(%error, %engine, "what became of a launch was not written down");
                }
            }
        }
    }

    /// Settles a launch that was interrupted by what was found of it. What was made and never started goes.
    async fn settle_found(
        &self,
        engine: &EngineId,
        launch: LaunchId,
        found: Option<Orphan>,
        ticket: Ticket,
    ) -> Result<()> {
        let started = found.as_ref().filter(|orphan| orphan.state != ContainerState::Created);
        let settled = self.shared.launches.settle(engine, launch, started.map(|orphan| &orphan.id), ticket).await?;
        if settled.is_some()
            && let Some(orphan) = found
            && self.shared.launches.is_unwanted(engine, launch)
        {
            self.remove_orphan(engine, orphan, Why::Interrupted).await;
        }
        Ok(())
    }

    /// Settles launches that were interrupted, before what they were for goes on. An engine that does not answer is not
    /// waited for: what was launched there was never told to anybody, and goes when the engine is back.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn settle(&self, launches: Vec<(EngineId, LaunchId)>) -> Result<()> {
        let mut engines: BTreeMap<EngineId, Vec<LaunchId>> = BTreeMap::new();
        for (engine, launch) in launches {
            engines.entry(engine).or_default().push(launch);
        }
        let each = engines.iter().map(|(engine, launches)| self.settle_on(engine, launches));
        futures::future::try_join_all(each).await.map(drop)
    }

    async fn settle_on(&self, engine: &EngineId, launches: &[LaunchId]) -> Result<()> {
        let records = &self.shared.launches;
        let unsettled = || launches.iter().copied().filter(|launch| !records.is_settled(engine, *launch));
        if tokio::time::timeout(READ, self.wait_synced(engine)).await.is_err() {
            tracing::info!(%engine, "launches are given up: the engine was not heard");
        }
        // The task that reads the engine settles them, too.
        if unsettled().next().is_some()
            && let Some(EngineStatus::Up | EngineStatus::Suspect) = self.status(engine)
            && let Err(error) = self.settle_by_list(engine).await?
        {
            tracing::info!(%engine, %error, "launches are given up: the engine could not be read");
        }
        for launch in unsettled() {
            loop {
                let change = records.changed();
                if records.is_settled(engine, launch) {
                    break;
                }
                // Nobody was told of it, so to give it up is never wrong.
                if records.settle(engine, launch, None, self.ticket()).await?.is_none() {
                    let _ = tokio::time::timeout(STEP, change).await;
                }
            }
        }
        Ok(())
    }

    /// Reads everything on an engine, and settles by that.
    async fn settle_by_list(&self, engine: &EngineId) -> Result<Result<(), EngineError>> {
        let Some(handle) = self.handle(engine) else { return Ok(Ok(())) };
        let ticket = self.ticket();
        let mut found = match self.while_up(engine, handle.client().list()).await {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        // Of an engine that is another one over again nothing is noted; the task that follows it decides how it goes on.
        if self.note_twin_among(&handle, &found) {
            handle.wake();
            return Ok(Ok(()));
        }
        // Nor of another one that has its id by now.
        if self.with(&handle, |_| ()).is_none() {
            return Ok(Ok(()));
        }
        let Orphans { todo, .. } = self.recognise_all(engine, &mut found, ticket);
        self.with(&handle, |view| view.observe_all(engine, found, ticket));
        for todo in todo {
            match todo {
                Todo::Settle { launch, found } => self.settle_found(engine, launch, found, ticket).await?,
                todo => self.collect(Orphans { engine: engine.clone(), ticket, todo: vec![todo] }),
            }
        }
        Ok(Ok(()))
    }

    async fn remove_orphan(&self, engine: &EngineId, orphan: Orphan, why: Why) {
        let Some(_collection) = self.shared.collecting.begin(&orphan.id) else { return };
        let Some(connection) = self.connection(engine) else { return };
        // Somebody else removed it, or what is known of it changed.
        if !self.shared.launches.is_unwanted(engine, orphan.launch) {
            return;
        }
        let _removal = self.removing(&orphan.id);
        let name = &orphan.name;
        match connection.remove(&orphan.id).await {
            Ok(()) => {}
            Err(error) if error.kind() == EngineErrorKind::NoSuchContainer => return self.removed(&orphan.id),
            Err(error) => {
                return tracing::warn!(%engine, container = orphan.id.short(), %error, "an orphan stays");
            }
        }
        self.removed(&orphan.id);
        tracing::info!(%engine, container = orphan.id.short(), "removed an orphan");
        let why = match why {
            Why::Interrupted => "its launch had been interrupted",
            Why::Surplus => "its group had become smaller while the engine was away",
        };
        let message = format!("removed {name} from {engine}: {why}");
        let event = Event::new(EventKind::CleanUp, message).on(engine).of(&orphan.id).tagged("cluster");
        if let Err(error) = self.shared.launches.removed(engine, orphan.launch, event).await {
            // The record goes when it is found that nothing is there.
            tracing::warn!(%error, %engine, "that an orphan was removed was not written down");
        }
    }

    /// Forgets the launches on an engine that was deleted.
    pub(super) fn forget_launches_on(&self, engine: &EngineId) {
        self.shared.platforms_seen.forget(engine);
        let gone = self.shared.launches.engine_removed(engine);
        if !gone.is_empty() {
            self.collect(Orphans { engine: engine.clone(), ticket: 0, todo: vec![Todo::Forget(gone)] });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::background::Background;
    use crate::clock::Clock;
    use crate::cluster::launches::Launches;
    use crate::cluster::{ClusterSettings, Platform};
    use crate::events::{EventLog, Publisher, RecordingSink};
    use crate::scheduler::Spread;
    use crate::store::{MemoryStore, Store};
    use crate::testing::store::GatedStore;

    #[tokio::test]
    async fn what_is_cleaned_up_keeps_no_cluster_running() {
        let gated = Arc::new(GatedStore::new(Arc::new(MemoryStore::new())));
        let store: Arc<dyn Store> = gated.clone();
        let publisher = Publisher::new(Arc::new(EventLog::new(store.clone())), Vec::new());
        let launches = Launches::load(store, publisher).await.unwrap();
        let cluster = Cluster::with_launches(
            ClusterSettings::default(),
            Arc::new(Spread::default()),
            Arc::new(RecordingSink::default()),
            Platform::new("paas".to_owned()),
            launches,
            Background::default(),
            Clock::system(),
        );
        let stopping = cluster.background().stopping().clone();
        gated.close();
        let todo = vec![Todo::Forget(vec![LaunchId::new()])];
        cluster.collect(Orphans { engine: "a".parse().unwrap(), ticket: 0, todo });
        gated.until_one_waits().await;
        drop(cluster);
        assert!(stopping.is_cancelled());
    }

    #[test]
    fn one_orphan_is_removed_by_one_task_at_a_time() {
        let (collecting, id): (_, ContainerId) = (Collecting::default(), "0123456789abcdef".parse().unwrap());
        let first = collecting.begin(&id).unwrap();
        assert!(collecting.begin(&id).is_none());
        drop(first);
        assert!(collecting.begin(&id).is_some(), "also when the first one was given up");
    }
}
