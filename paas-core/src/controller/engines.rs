//! Engines: add, delete, show.

use std::time::Duration;

use tokio::time::timeout;

use super::membership::{DeletedHost, Members};
use super::{Actor, Controller, ControllerError, Result, Shared};
use crate::engine::{DockerEngine, EngineErrorKind, EngineInfo};
use crate::model::{Engine, EngineId, EngineSpec, Event, EventKind, Invalid};
use crate::store::tables::ENGINES;
use crate::store::{StoreError, StoreErrorKind, Write};

/// How long a new engine may take to answer before it is taken in as pending.
const FIRST_ANSWER: Duration = Duration::from_secs(3);

/// The most containers that are named when an engine is not deleted because of them.
const NAMED: usize = 5;

/// What to do about a second daemon that has the id of a first one.
pub(super) const OF_A_CLONE: &str = "if its machine was cloned, stop Docker there, delete /var/lib/docker/engine-id (older \
                                     ones: /etc/docker/key.json), and start it";

impl Controller {
    /// All engines, by id.
    pub fn engines(&self) -> Vec<Engine> {
        self.shared.cluster.engines()
    }

    /// One engine, by its id.
    ///
    /// # Errors
    /// [`ControllerError::EngineNotFound`].
    pub fn engine(&self, id: &str) -> Result<Engine> {
        self.shared.cluster.engine(id).ok_or_else(|| ControllerError::EngineNotFound { id: id.to_owned() })
    }

    /// Adds an engine. When it answers within a few seconds it takes containers at once; otherwise it is pending, and
    /// is taken into service when it does.
    ///
    /// One that an account other than an admin adds takes containers like any other, and is sent none of the platform's logins to
    /// image registries, until an admin adds the very same: by that it is adopted, as it stands.
    ///
    /// # Errors
    /// [`ControllerError::EngineExists`] when the id, the address, or the daemon behind the address is in use already;
    /// [`ControllerError::Invalid`] when the description or its certificates cannot be right.
    pub async fn add_engine(&self, actor: &Actor, spec: EngineSpec) -> Result<Engine> {
        let spec = EngineSpec { added_by: actor.user_name().filter(|_| actor.is_restricted()).cloned(), ..spec };
        spec.validate()?;
        self.check_policy_of_engine(actor, &spec.addr)?;
        self.owned(actor, |controller, actor| async move { controller.add_engine_now(&actor, spec).await }).await
    }

    async fn add_engine_now(&self, actor: &Actor, spec: EngineSpec) -> Result<Engine> {
        self.check_open()?;
        let id = spec.id.clone();
        if actor.made_before().is_some() {
            self.reapply_engine(&id).await?;
            self.until_read(&id).await;
            return self.engine(id.as_str());
        }
        let cluster = &self.shared.cluster;
        if spec.added_by.is_none() && self.is_of_somebody(&spec) {
            return self.adopt_engine(actor, &id).await;
        }
        self.check_is_new(&spec, None)?;
        #[cfg(feature = "docker")]
        if let Some(tls) = &spec.tls {
            crate::engine::check_certificates(tls).map_err(refused)?;
        }
        let connection = (self.shared.connector.0)(&spec).map_err(refused)?;
        // Asked before the others have to wait: it may not answer.
        let info = first_contact(&*connection).await?;
        let mut members = self.shared.membership.lock().await;
        self.check_open()?;
        self.check_is_new(&spec, info.as_ref())?;
        let event = Event::new(EventKind::AddEngine, format!("added engine {id} at {}", spec.addr)).on(&id);
        let insertion = self.shared.engines.insertion(id.as_str(), &spec).map_err(ControllerError::Store)?;
        let writes = vec![insertion, self.shared.deleted.clearance(id.as_str())];
        let answers = info.is_some();
        let apply = || {
            members.added_by_hand(&id);
            cluster.add_engine(spec, connection);
            if let Some(info) = info {
                // Known before the next is let in, which may be the same daemon.
                cluster.set_info(&id, info);
            }
        };
        match self.commit(writes, self.publication(actor, event)?, apply).await {
            Ok(()) => {}
            Err(error) if error.is_conflict_in(ENGINES) => {
                // Stored, and not known here: the store's answer to the request that added it was lost.
                self.settle_engine(&id, false);
                return Err(exists(format!("there is an engine '{id}' already; choose another id")));
            }
            Err(error) => return Err(self.engine_not_stored(&id, error)),
        }
        drop(members);
        if answers {
            self.until_read(&id).await;
        }
        self.engine(id.as_str())
    }

    /// Whether an engine is there already, just so, and an account other than an admin added it.
    fn is_of_somebody(&self, spec: &EngineSpec) -> bool {
        self.shared.cluster.engine_spec(&spec.id).is_some_and(|known| {
            let EngineSpec { draining, added_by, .. } = EngineSpec::clone(&known);
            added_by.is_some() && *known == EngineSpec { draining, added_by, ..spec.clone() }
        })
    }

    /// Writes down that an admin answers for an engine that somebody else added.
    async fn adopt_engine(&self, actor: &Actor, id: &EngineId) -> Result<Engine> {
        let _one_at_a_time = self.shared.membership.lock().await;
        let engines = &self.shared.engines;
        let found = engines.get(id.as_str()).await.map_err(ControllerError::Store)?;
        let found = found.ok_or_else(|| ControllerError::EngineNotFound { id: id.to_string() })?;
        let write = engines.rewriting(&found, &EngineSpec { added_by: None, ..found.value.clone() });
        let message = format!("adopted engine {id} at {}", found.value.addr);
        let publication = self.publication(actor, Event::new(EventKind::AddEngine, message).on(id))?;
        let apply = || {
            self.shared.cluster.set_adopted(id);
        };
        let committed = self.commit(vec![write.map_err(ControllerError::Store)?], publication, apply).await;
        committed.map_err(|error| self.engine_not_stored(id, error))?;
        self.engine(id.as_str())
    }

    /// Refuses an engine whose id, address or daemon is another's; the daemon only when it is known.
    fn check_is_new(&self, spec: &EngineSpec, info: Option<&EngineInfo>) -> Result<()> {
        let cluster = &self.shared.cluster;
        let EngineSpec { id, addr, .. } = spec;
        if cluster.engine_spec(id).is_some() {
            return Err(exists(format!(
                "there is an engine '{id}' already; choose another id, or delete that one first"
            )));
        }
        if let Some(other) = cluster.engine_at(&addr.place()) {
            return Err(exists(format!("{addr} is engine '{other}' already")));
        }
        if let Some(other) = info.and_then(|info| cluster.engine_of_daemon(id, &info.daemon_id)) {
            return Err(exists(format!(
                "that is the Docker daemon of engine '{other}' under another address; {OF_A_CLONE}"
            )));
        }
        Ok(())
    }

    /// Waits until what runs on a new engine is known, so that it can be placed on as soon as it was added.
    async fn until_read(&self, id: &EngineId) {
        // Not read in time: it is pending, and becomes ready by itself.
        let _ = timeout(FIRST_ANSWER, self.shared.cluster.wait_synced(id)).await;
    }

    /// Keeps new containers away from an engine, or lets them come again. Those on it go on running.
    ///
    /// # Errors
    /// [`ControllerError::EngineNotFound`].
    pub async fn set_draining(&self, actor: &Actor, id: &str, draining: bool) -> Result<Engine> {
        let id = id.to_owned();
        self.owned(actor, move |controller, actor| async move { controller.drain_now(&actor, &id, draining).await })
            .await
    }

    async fn drain_now(&self, actor: &Actor, id: &str, draining: bool) -> Result<Engine> {
        let one_at_a_time = self.shared.membership.lock().await;
        self.check_open()?;
        let engine = self.engine(id)?;
        if actor.made_before().is_some() {
            drop(one_at_a_time);
            self.reapply_engine(&engine.id).await?;
            return self.engine(id);
        }
        if engine.draining == draining {
            return Ok(engine);
        }
        let (kind, what) = if draining {
            (EventKind::DrainEngine, "gets no new containers")
        } else {
            (EventKind::UndrainEngine, "gets new containers again")
        };
        let event = Event::new(kind, format!("engine {id} {what}")).on(&engine.id);
        let write = self.draining_write(id, draining).await?;
        let apply = || {
            self.shared.cluster.set_draining(&engine.id, draining);
        };
        let committed = self.commit(vec![write], self.publication(actor, event)?, apply).await;
        committed.map_err(|error| self.engine_not_stored(&engine.id, error))?;
        self.engine(id)
    }

    /// The write that keeps whether an engine is drained. Of one that registered itself the store has nothing else.
    async fn draining_write(&self, id: &str, draining: bool) -> Result<Write> {
        let (engines, drained) = (&self.shared.engines, &self.shared.drained);
        let write = match engines.get(id).await.map_err(ControllerError::Store)? {
            Some(found) => engines.rewriting(&found, &EngineSpec { draining, ..found.value.clone() }),
            None if !draining => return Ok(drained.clearance(id)),
            None => match drained.get(id).await.map_err(ControllerError::Store)? {
                Some(mark) => drained.replacement(id, mark.version, &true),
                None => drained.insertion(id, &true),
            },
        };
        write.map_err(ControllerError::Store)
    }

    /// Deletes an engine. It gets no more containers; those on it go on running, and are not shown any more. Without
    /// `force`, an engine on which containers of the platform run stays.
    ///
    /// # Errors
    /// [`ControllerError::EngineNotFound`]; [`ControllerError::Conflict`] names what runs there.
    pub async fn delete_engine(&self, actor: &Actor, id: &str, force: bool) -> Result<()> {
        let id = id.to_owned();
        self.owned(
            actor,
            move |controller, actor| async move { controller.delete_engine_now(&actor, &id, force).await },
        )
        .await
    }

    async fn delete_engine_now(&self, actor: &Actor, id: &str, force: bool) -> Result<()> {
        let mut members = self.shared.membership.lock().await;
        self.check_open()?;
        let engine = self.engine(id);
        if actor.made_before().is_some() {
            let Ok(engine) = engine else { return Ok(()) };
            drop(members);
            return self.reapply_deletion(&engine.id).await;
        }
        let engine = match engine {
            Ok(engine) => engine,
            // One that could not be connected to at start is in the store and nowhere else.
            Err(unknown) => return self.delete_unusable_engine(actor, id).await?.ok_or(unknown),
        };
        if !force {
            self.check_nothing_runs_on(&engine.id)?;
        }
        let event = Event::new(EventKind::DeleteEngine, format!("deleted engine {id} at {}", engine.addr));
        let Shared { engines, drained, registered, .. } = &*self.shared;
        let mut writes = vec![engines.clearance(id), drained.clearance(id), registered.clearance(id)];
        if let Some(mark) = members.deletion_mark(&engine.id) {
            writes.push(self.deletion_write(id, &mark).await?);
        }
        let publication = self.publication(actor, event.on(&engine.id))?;
        let apply = || self.take_out(&mut members, &engine.id);
        let committed = self.commit(writes, publication, apply).await;
        if let Err(error) = &committed
            && error.kind() == StoreErrorKind::Unavailable
        {
            self.settle_engine(&engine.id, true);
        }
        committed.map_err(ControllerError::Store)
    }

    /// Takes an engine out of memory that the store does not have any more.
    fn take_out(&self, members: &mut Members, id: &EngineId) {
        members.deleted(id);
        self.shared.cluster.remove_engine(id);
        self.shared.slots.forget(id);
    }

    /// The write that keeps that a host which registers itself was deleted.
    async fn deletion_write(&self, id: &str, mark: &DeletedHost) -> Result<Write> {
        let deleted = &self.shared.deleted;
        let write = match deleted.get(id).await.map_err(ControllerError::Store)? {
            Some(before) => deleted.rewriting(&before, mark),
            None => deleted.insertion(id, mark),
        };
        write.map_err(ControllerError::Store)
    }

    async fn delete_unusable_engine(&self, actor: &Actor, id: &str) -> Result<Option<()>> {
        let publication =
            self.publication(actor, Event::new(EventKind::DeleteEngine, format!("deleted engine {id}")))?;
        match self.commit(vec![self.shared.engines.deletion(id, None)], publication, || {}).await {
            Err(error) if matches!(error.kind(), StoreErrorKind::NotFound | StoreErrorKind::Invalid) => Ok(None),
            outcome => outcome.map(Some).map_err(ControllerError::Store),
        }
    }

    /// A change of an engine was not answered by the store. It may have been made all the same.
    fn engine_not_stored(&self, id: &EngineId, error: StoreError) -> ControllerError {
        if error.kind() == StoreErrorKind::Unavailable {
            self.settle_engine(id, false);
        }
        ControllerError::Store(error)
    }

    /// Makes memory what the store has of an engine, as soon as the store answers.
    fn settle_engine(&self, id: &EngineId, deletion: bool) {
        let id = id.clone();
        self.settle(move |controller| {
            let id = id.clone();
            async move {
                if deletion { controller.reapply_deletion(&id).await } else { controller.reapply_engine(&id).await }
            }
        });
    }

    /// Makes memory what the store has of an engine, if it has it: for a change whose answer was lost.
    async fn reapply_engine(&self, id: &EngineId) -> Result<()> {
        let mut members = self.shared.membership.lock().await;
        let Shared { cluster, engines, drained, .. } = &*self.shared;
        let known = cluster.engine_spec(id);
        match (engines.get(id.as_str()).await.map_err(ControllerError::Store)?, known) {
            (Some(stored), None) => {
                let connection = (self.shared.connector.0)(&stored.value).map_err(refused)?;
                members.added_by_hand(id);
                cluster.add_engine(stored.value, connection);
            }
            (Some(stored), Some(_)) => {
                cluster.set_draining(id, stored.value.draining);
                if stored.value.added_by.is_none() {
                    cluster.set_adopted(id);
                }
            }
            // One that registered itself.
            (None, Some(_)) => {
                let drained = drained.get(id.as_str()).await.map_err(ControllerError::Store)?;
                cluster.set_draining(id, drained.is_some());
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// Takes an engine out of memory if the store does not have it any more: for a deletion whose answer was lost.
    async fn reapply_deletion(&self, id: &EngineId) -> Result<()> {
        let mut members = self.shared.membership.lock().await;
        let Shared { engines, registered, .. } = &*self.shared;
        let added = engines.get(id.as_str()).await.map_err(ControllerError::Store)?.is_some();
        if !added && registered.get(id.as_str()).await.map_err(ControllerError::Store)?.is_none() {
            self.take_out(&mut members, id);
        }
        Ok(())
    }

    fn check_nothing_runs_on(&self, id: &EngineId) -> Result<()> {
        let all = self.shared.cluster.containers(false);
        let ours: Vec<&str> = all
            .iter()
            .filter(|container| container.managed && container.engine.id == *id)
            .map(|container| container.name.trim_start_matches('/'))
            .collect();
        if ours.is_empty() {
            return Ok(());
        }
        let more = if ours.len() > NAMED { format!(" and {} more", ours.len() - NAMED) } else { String::new() };
        let named = ours[..ours.len().min(NAMED)].join(", ");
        let reason =
            format!("{named}{more} still run on engine {id}; drain it and destroy them, or delete it by force");
        Err(ControllerError::Conflict { reason })
    }

    /// Takes in the engines of the store, at start. One that this build cannot connect to keeps no other from working.
    pub(super) async fn load_engines(&self) -> Result<()> {
        for stored in self.shared.engines.each().await.map_err(ControllerError::Store)? {
            let stored = match stored {
                Ok(stored) => stored,
                Err(error) => {
                    let message = format!("engine {} cannot be used: {error}", error.key());
                    tracing::error!("{message}");
                    self.note(Event::new(EventKind::RefuseEngine, message)).await;
                    continue;
                }
            };
            let id = stored.value.id.clone();
            match (self.shared.connector.0)(&stored.value) {
                Ok(connection) => self.shared.cluster.add_engine(stored.value, connection),
                Err(error) => {
                    let message = format!("engine {id} cannot be used: {error}; delete it and add it again");
                    self.note(Event::new(EventKind::RefuseEngine, message).on(&id)).await;
                }
            }
        }
        Ok(())
    }
}

/// Asks a new engine what it is; nothing when it does not answer yet.
async fn first_contact(connection: &dyn DockerEngine) -> Result<Option<EngineInfo>> {
    match timeout(FIRST_ANSWER, connection.info()).await {
        Ok(Ok(info)) => Ok(Some(info)),
        Ok(Err(error)) if error.kind() == EngineErrorKind::Tls => Err(refused(error)),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

fn exists(reason: String) -> ControllerError {
    ControllerError::EngineExists { reason }
}

fn refused(error: crate::engine::EngineError) -> ControllerError {
    let field = if error.kind() == EngineErrorKind::Tls { "tls" } else { "addr" };
    Invalid::new(field, error.detail()).into()
}
