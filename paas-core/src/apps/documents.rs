//! The documents of an application: read once, and written as the steps change them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::convert;
use super::{Desired, Replica, Slot, Volume};
use crate::model::app::{AppName, AppSpec};
use crate::store::records::{
    ApplicationRecord, EndedRecord, ReplicaRecord, RevisionRecord, RolloutRecord, VolumeRecord,
};
use crate::store::tables::{APPLICATIONS, REPLICAS, REVISIONS, VOLUMES};
use crate::store::{Collection, KeyRange, MAX_WRITES, Result, Store, Version, Write};

/// The tables of applications.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    applications: Collection<ApplicationRecord>,
    revisions: Collection<RevisionRecord>,
    replicas: Collection<ReplicaRecord>,
    volumes: Collection<VolumeRecord>,
}

/// A document and its version in the store.
#[derive(Clone, Debug)]
struct Kept<T> {
    version: Version,
    record: T,
}

/// Everything that is kept of one application, as the planner reads it and as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Documents {
    tables: Tables,
    application: Option<Kept<ApplicationRecord>>,
    revisions: BTreeMap<u64, Kept<RevisionRecord>>,
    replicas: BTreeMap<Slot, Kept<ReplicaRecord>>,
    volumes: BTreeMap<String, Kept<VolumeRecord>>,
    desired: Arc<Desired>,
    /// A later version wrote something that this one does not know.
    is_foreign: bool,
}

/// What is written beside what the planner reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    /// Who made the revisions that are new; empty for the platform.
    pub(crate) user: String,
    /// Why, in the words of that person.
    pub(crate) message: String,
    /// How a rollout ended, that ends with this.
    pub(crate) ended: Option<EndedRecord>,
    /// The volumes go with the application.
    pub(crate) delete_volumes: bool,
}

/// Writes that take the store to another state, and what is kept then.
#[derive(Debug)]
pub(crate) struct Change {
    writes: Vec<(Written, Write)>,
    next: Documents,
}

/// The document that a write is of.
#[derive(Clone, Debug)]
enum Written {
    Application,
    Revision(u64),
    Replica(Slot),
    Volume(String),
}

/// The version of a document that is not written yet.
const UNWRITTEN: Version = Version(0);

impl Change {
    /// What the planner reads then.
    pub(super) fn desired(&self) -> Arc<Desired> {
        self.next.desired.clone()
    }

    fn push(&mut self, document: Written, write: Write) {
        self.writes.push((document, write));
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Writes it, with what belongs to it, and gives what is kept then.
    ///
    /// Of more than fit into one commit, the first are written with what belongs to them: no invariant spans two documents.
    ///
    /// # Errors
    /// The store did not take all of it: what is kept has to be read again.
    pub(super) async fn commit(mut self, store: &dyn Store, mut with: Vec<Write>) -> Result<Documents> {
        while !self.writes.is_empty() || !with.is_empty() {
            // Of a thousand steps there are a thousand events.
            let beside = with.len().min(MAX_WRITES / 2);
            let count = self.writes.len().min(MAX_WRITES - beside);
            let (written, mut writes): (Vec<Written>, Vec<Write>) = self.writes.drain(..count).unzip();
            writes.extend(with.drain(..beside));
            let version = store.commit(writes).await?;
            written.iter().for_each(|document| self.next.set_version(document, version));
        }
        Ok(self.next)
    }
}

impl Tables {
    pub(crate) fn new(store: &Arc<dyn Store>) -> Self {
        Self {
            applications: Collection::new(store.clone(), APPLICATIONS),
            revisions: Collection::new(store.clone(), REVISIONS),
            replicas: Collection::new(store.clone(), REPLICAS),
            volumes: Collection::new(store.clone(), VOLUMES),
        }
    }

    /// The names of all applications. What is no name was written by nobody here.
    pub(super) async fn names(&self) -> Result<Vec<AppName>> {
        let all = self.applications.each().await?;
        let name = |found: Result<crate::store::Versioned<ApplicationRecord>>| match found {
            Ok(found) => found.key.parse().ok(),
            Err(error) => {
                tracing::error!(%error, "an application cannot be read, and is left alone");
                None
            }
        };
        Ok(all.into_iter().filter_map(name).collect())
    }
}

/// The keys that begin with `app/`.
pub(super) fn below(app: &AppName) -> KeyRange {
    // '0' follows '/'.
    KeyRange { from: Some(format!("{app}/")), to: Some(format!("{app}0")), ..KeyRange::all() }
}

impl Documents {
    /// Reads what is kept of an application; nothing is, where there is none.
    pub(crate) async fn load(tables: Tables, app: &AppName) -> Result<Self> {
        let mut documents = Self::none(tables, app);
        let Tables { applications, revisions, replicas, volumes } = documents.tables.clone();
        let found = applications.get(app.as_str()).await?;
        documents.application = found.map(|found| Kept { version: found.version, record: found.value });
        for found in revisions.list(&below(app)).await? {
            let number = found.key.rsplit('/').next().and_then(|number| number.parse().ok());
            let kept = Kept { version: found.version, record: found.value };
            documents.revisions.extend(number.map(|number| (number, kept)));
        }
        for found in replicas.list(&below(app)).await? {
            let kept = Kept { version: found.version, record: found.value };
            documents.replicas.extend(convert::slot_of(app, &found.key).map(|slot| (slot, kept)));
        }
        for found in volumes.list(&below(app)).await? {
            documents.volumes.insert(found.key, Kept { version: found.version, record: found.value });
        }
        documents.read(app);
        Ok(documents)
    }

    /// An application that there is not.
    pub(super) fn none(tables: Tables, app: &AppName) -> Self {
        Self {
            tables,
            application: None,
            revisions: BTreeMap::new(),
            replicas: BTreeMap::new(),
            volumes: BTreeMap::new(),
            desired: Arc::new(Desired::none(app.clone())),
            is_foreign: false,
        }
    }

    /// Makes what the planner reads of what is stored.
    fn read(&mut self, app: &AppName) {
        let mut desired = Desired::none(app.clone());
        let spec = |(number, kept): (&u64, &Kept<RevisionRecord>)| (*number, Arc::new(kept.record.spec.clone()));
        desired.revisions = self.revisions.iter().map(spec).collect();
        desired.replicas =
            self.replicas.iter().map(|(slot, kept)| (slot.clone(), Replica::from(&kept.record))).collect();
        desired.volumes = self.volumes.values().map(|kept| Volume::from(&kept.record)).collect();
        if let Some(Kept { record, .. }) = &self.application {
            (desired.target, desired.declared) = (record.target, record.declared);
            (desired.last_done, desired.done_before) = (record.last_done, record.done_before);
            desired.forgotten = record.forgotten;
            match (convert::goal_of(record.goal), record.rollout.as_ref().map(convert::rollout_of)) {
                (Some(goal), Some(Some(rollout))) => (desired.goal, desired.rollout) = (goal, Some(rollout)),
                (Some(goal), None) => desired.goal = goal,
                _ => self.is_foreign = true,
            }
        }
        self.desired = Arc::new(desired);
    }

    /// What the planner reads.
    pub(crate) fn desired(&self) -> &Arc<Desired> {
        &self.desired
    }

    /// Whether there is such an application.
    pub(crate) fn is_there(&self) -> bool {
        self.application.is_some()
    }

    /// Whether a later version wrote something that this one does not know: it is left alone.
    pub(crate) fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// How the last rollout ended.
    pub(crate) fn ended(&self) -> Option<&EndedRecord> {
        self.application.as_ref()?.record.ended.as_ref()
    }

    /// The revisions that are kept, by number.
    pub(crate) fn revisions(&self) -> impl DoubleEndedIterator<Item = (u64, &RevisionRecord)> {
        self.revisions.iter().map(|(number, kept)| (*number, &kept.record))
    }

    /// What has to be written so that it is kept as `desired` says.
    pub(crate) fn change_to(&self, mut desired: Desired, beside: &Beside, now: Timestamp) -> Result<Change> {
        if !self.is_there() {
            desired.declared = Some(now);
        }
        let mut change = Change { writes: Vec::new(), next: self.clone() };
        self.write_application(&mut change, &desired, beside)?;
        self.write_revisions(&mut change, &desired, beside, now)?;
        self.write_replicas(&mut change, &desired)?;
        self.write_volumes(&mut change, &desired, now)?;
        change.next.desired = Arc::new(desired);
        Ok(change)
    }

    /// Whether its volumes go with it when it is destroyed.
    pub(super) fn removes_volumes(&self) -> bool {
        self.application.as_ref().is_some_and(|kept| kept.record.delete_volumes)
    }

    /// What has to be written so that nothing is left of the application but some of its volumes.
    pub(super) fn removal(&self, stays: &[Volume]) -> Change {
        let app = &self.desired.app;
        let Tables { applications, revisions, replicas, volumes } = &self.tables;
        let mut next = Self::none(self.tables.clone(), app);
        next.volumes.clone_from(&self.volumes);
        next.volumes.retain(|_, kept| stays.contains(&Volume::from(&kept.record)));
        next.read(app);
        let left: Vec<&String> = self.volumes.keys().filter(|key| !next.volumes.contains_key(*key)).collect();
        let mut change = Change { writes: Vec::new(), next };
        if let Some(kept) = &self.application {
            change.push(Written::Application, applications.deletion(app.as_str(), Some(kept.version)));
        }
        for number in self.revisions.keys() {
            change.push(Written::Revision(*number), revisions.clearance(&RevisionRecord::key(app, *number)));
        }
        for slot in self.replicas.keys() {
            change.push(Written::Replica(slot.clone()), replicas.clearance(&replica_key(app, slot)));
        }
        for key in left {
            change.push(Written::Volume(key.clone()), volumes.clearance(key));
        }
        change
    }

    fn set_version(&mut self, document: &Written, version: Version) {
        let known = match document {
            Written::Application => self.application.as_mut().map(|kept| &mut kept.version),
            Written::Revision(number) => self.revisions.get_mut(number).map(|kept| &mut kept.version),
            Written::Replica(slot) => self.replicas.get_mut(slot).map(|kept| &mut kept.version),
            Written::Volume(key) => self.volumes.get_mut(key).map(|kept| &mut kept.version),
        };
        // What was deleted has none.
        known.into_iter().for_each(|known| *known = version);
    }

    fn write_application(&self, change: &mut Change, desired: &Desired, beside: &Beside) -> Result<()> {
        let key = desired.app.as_str();
        let known = self.application.as_ref();
        let old = known.map(|kept| &kept.record);
        let rollout = desired
            .rollout
            .as_ref()
            .map(|rollout| RolloutRecord::of(rollout, old.and_then(|old| old.rollout.as_ref())));
        let mut record = match old {
            Some(old) => old.clone(),
            None => ApplicationRecord::new(desired.target),
        };
        (record.target, record.declared) = (desired.target, desired.declared);
        (record.last_done, record.done_before) = (desired.last_done, desired.done_before);
        record.goal = desired.goal.into();
        record.rollout = rollout;
        record.forgotten = desired.forgotten;
        record.ended = beside.ended.clone().or(record.ended);
        record.delete_volumes |= beside.delete_volumes;
        let table = &self.tables.applications;
        match known {
            Some(kept) if kept.record == record => return Ok(()),
            Some(kept) => change.push(Written::Application, table.replacement(key, kept.version, &record)?),
            None => change.push(Written::Application, table.insertion(key, &record)?),
        }
        change.next.application = Some(Kept { version: UNWRITTEN, record });
        Ok(())
    }

    fn write_revisions(&self, change: &mut Change, desired: &Desired, beside: &Beside, now: Timestamp) -> Result<()> {
        let table = &self.tables.revisions;
        for (number, spec) in desired.revisions.iter().filter(|(number, _)| !self.revisions.contains_key(number)) {
            let record = RevisionRecord::new(AppSpec::clone(spec), beside.user.clone(), beside.message.clone(), now);
            change.push(
                Written::Revision(*number),
                table.insertion(&RevisionRecord::key(&desired.app, *number), &record)?,
            );
            change.next.revisions.insert(*number, Kept { version: UNWRITTEN, record });
        }
        for number in self.revisions.keys().filter(|number| !desired.revisions.contains_key(number)) {
            change.push(Written::Revision(*number), table.clearance(&RevisionRecord::key(&desired.app, *number)));
            change.next.revisions.remove(number);
        }
        Ok(())
    }

    fn write_replicas(&self, change: &mut Change, desired: &Desired) -> Result<()> {
        let table = &self.tables.replicas;
        for (slot, replica) in &desired.replicas {
            let known = self.replicas.get(slot);
            if self.desired.replicas.get(slot) == Some(replica) {
                continue;
            }
            let record = ReplicaRecord::of(replica, known.map(|kept| &kept.record));
            let key = replica_key(&desired.app, slot);
            let write = match known {
                Some(kept) => table.replacement(&key, kept.version, &record)?,
                None => table.insertion(&key, &record)?,
            };
            change.push(Written::Replica(slot.clone()), write);
            change.next.replicas.insert(slot.clone(), Kept { version: UNWRITTEN, record });
        }
        for (slot, kept) in self.replicas.iter().filter(|(slot, _)| !desired.replicas.contains_key(slot)) {
            let deletion = table.deletion(&replica_key(&desired.app, slot), Some(kept.version));
            change.push(Written::Replica(slot.clone()), deletion);
            change.next.replicas.remove(slot);
        }
        Ok(())
    }

    fn write_volumes(&self, change: &mut Change, desired: &Desired, now: Timestamp) -> Result<()> {
        let table = &self.tables.volumes;
        let mut left = self.volumes.clone();
        for volume in &desired.volumes {
            let Slot { component, number } = volume.slot.clone();
            let key = VolumeRecord::key(&desired.app, &component, number, &volume.name);
            let known = left.remove(&key);
            let (app, name, engine) = (desired.app.clone(), volume.name.clone(), volume.engine.clone());
            let record = match &known {
                Some(kept) => VolumeRecord { engine, ..kept.record.clone() },
                None => VolumeRecord::new(app, component, number, name, engine, now),
            };
            let record = VolumeRecord { made: volume.made, taken: volume.taken, ..record };
            let write = match &known {
                Some(kept) if kept.record == record => continue,
                Some(kept) => table.replacement(&key, kept.version, &record)?,
                None => table.insertion(&key, &record)?,
            };
            change.push(Written::Volume(key.clone()), write);
            change.next.volumes.insert(key, Kept { version: UNWRITTEN, record });
        }
        for (key, kept) in left {
            change.next.volumes.remove(&key);
            change.push(Written::Volume(key.clone()), table.deletion(&key, Some(kept.version)));
        }
        Ok(())
    }
}

fn replica_key(app: &AppName, slot: &Slot) -> String {
    ReplicaRecord::key(app, &slot.component, slot.number)
}
