//! Engines: add, delete, show.

use std::time::Duration;

use tokio::time::timeout;

use super::{Actor, Controller, ControllerError, Result};
use crate::engine::{DockerEngine, EngineErrorKind};
use crate::model::{Engine, EngineId, EngineSpec, EngineStatus, Event, EventKind, Invalid};
use crate::store::StoreErrorKind;

/// How long a new engine may take to answer before it is taken in as pending.
const FIRST_ANSWER: Duration = Duration::from_secs(3);

/// The most containers that are named when an engine is not deleted because of them.
const NAMED: usize = 5;

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
    /// # Errors
    /// [`ControllerError::EngineExists`] when the id, the address, or the daemon behind the address is in use already;
    /// [`ControllerError::Invalid`] when the description or its certificates cannot be right.
    pub async fn add_engine(&self, actor: &Actor, spec: EngineSpec) -> Result<Engine> {
        self.check_open()?;
        spec.validate()?;
        let mut members = self.shared.membership.lock().await;
        let cluster = &self.shared.cluster;
        let id = spec.id.clone();
        if cluster.engine(id.as_str()).is_some() {
            return Err(exists(format!(
                "there is an engine '{id}' already; choose another id, or delete that one first"
            )));
        }
        if let Some(other) = cluster.engine_at(&spec.addr.place()) {
            return Err(exists(format!("{} is engine '{other}' already", spec.addr)));
        }
        #[cfg(feature = "docker")]
        if let Some(tls) = &spec.tls {
            crate::engine::check_certificates(tls).map_err(refused)?;
        }
        let connection = (self.shared.connector.0)(&spec).map_err(refused)?;
        let answers = self.first_contact(&id, &*connection).await?;
        match self.shared.engines.insert(id.as_str(), &spec).await {
            Ok(_) => {}
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {
                return Err(exists(format!("there is an engine '{id}' already; choose another id")));
            }
            Err(error) => return Err(ControllerError::Store(error)),
        }
        let event = Event::new(EventKind::AddEngine, format!("added engine {id} at {}", spec.addr)).on(&id);
        if let Err(error) = self.record(actor.sign(event)).await {
            if let Err(error) = self.shared.engines.delete(id.as_str()).await {
                tracing::warn!(%error, "an engine that was not added stays in the store");
            }
            return Err(error);
        }
        members.added_by_hand(&id);
        cluster.add_engine(spec, connection);
        if answers {
            self.until_read(&id).await;
        }
        self.engine(id.as_str())
    }

    /// Asks a new engine what it is; false when it does not answer yet.
    async fn first_contact(&self, id: &EngineId, connection: &dyn DockerEngine) -> Result<bool> {
        let info = match timeout(FIRST_ANSWER, connection.info()).await {
            Ok(Ok(info)) => info,
            Ok(Err(error)) if error.kind() == EngineErrorKind::Tls => return Err(refused(error)),
            Ok(Err(_)) | Err(_) => return Ok(false),
        };
        match self.shared.cluster.engine_of_daemon(id, &info.daemon_id) {
            Some(other) => Err(exists(format!("that is the Docker daemon of engine '{other}' under another address"))),
            None => Ok(true),
        }
    }

    /// Waits until what runs on a new engine is known, so that it can be placed on as soon as it was added.
    async fn until_read(&self, id: &EngineId) {
        let read = async {
            while self.shared.cluster.status(id) == Some(EngineStatus::Pending) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Not read in time: it is pending, and becomes ready by itself.
        let _ = timeout(FIRST_ANSWER, read).await;
    }

    /// Keeps new containers away from an engine, or lets them come again. Those on it go on running.
    ///
    /// # Errors
    /// [`ControllerError::EngineNotFound`].
    pub async fn set_draining(&self, actor: &Actor, id: &str, draining: bool) -> Result<Engine> {
        self.check_open()?;
        let _one_at_a_time = self.shared.membership.lock().await;
        let engine = self.engine(id)?;
        if engine.draining == draining {
            return Ok(engine);
        }
        match self.shared.engines.update(id, |spec| spec.draining = draining).await {
            Ok(_) => {}
            // It registered itself.
            Err(error) if error.kind() == StoreErrorKind::NotFound => self.keep_drained(id, draining).await?,
            Err(error) => return Err(ControllerError::Store(error)),
        }
        self.shared.cluster.set_draining(&engine.id, draining);
        let (kind, what) = if draining {
            (EventKind::DrainEngine, "gets no new containers")
        } else {
            (EventKind::UndrainEngine, "gets new containers again")
        };
        self.record(actor.sign(Event::new(kind, format!("engine {id} {what}")).on(&engine.id))).await?;
        self.engine(id)
    }

    /// Remembers whether an engine that registers itself is drained: the store has nothing else of it.
    async fn keep_drained(&self, id: &str, draining: bool) -> Result<()> {
        let drained = &self.shared.drained;
        let kept = if draining { drained.insert(id, &true).await.map(drop) } else { drained.delete(id).await };
        match kept {
            Err(error) if !matches!(error.kind(), StoreErrorKind::AlreadyExists | StoreErrorKind::NotFound) => {
                Err(ControllerError::Store(error))
            }
            _ => Ok(()),
        }
    }

    /// Deletes an engine. It gets no more containers; those on it go on running, and are not shown any more. Without
    /// `force`, an engine on which containers of the platform run stays.
    ///
    /// # Errors
    /// [`ControllerError::EngineNotFound`]; [`ControllerError::Conflict`] names what runs there.
    pub async fn delete_engine(&self, actor: &Actor, id: &str, force: bool) -> Result<()> {
        self.check_open()?;
        let mut members = self.shared.membership.lock().await;
        let engine = match self.engine(id) {
            Ok(engine) => engine,
            // One that could not be connected to at start is in the store and nowhere else.
            Err(unknown) => return self.delete_unusable_engine(actor, id).await?.ok_or(unknown),
        };
        if !force {
            self.check_nothing_runs_on(&engine.id)?;
        }
        match self.shared.engines.delete(id).await {
            Ok(()) => {}
            Err(error) if error.kind() == StoreErrorKind::NotFound => {}
            Err(error) => return Err(ControllerError::Store(error)),
        }
        self.keep_drained(id, false).await?;
        self.forget_registered(&engine.id).await;
        members.deleted(&engine.id);
        self.shared.cluster.remove_engine(&engine.id);
        self.shared.slots.forget(&engine.id);
        let event = Event::new(EventKind::DeleteEngine, format!("deleted engine {id} at {}", engine.addr));
        self.record(actor.sign(event.on(&engine.id))).await
    }

    async fn delete_unusable_engine(&self, actor: &Actor, id: &str) -> Result<Option<()>> {
        match self.shared.engines.delete(id).await {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), StoreErrorKind::NotFound | StoreErrorKind::Invalid) => {
                return Ok(None);
            }
            Err(error) => return Err(ControllerError::Store(error)),
        }
        self.record(actor.sign(Event::new(EventKind::DeleteEngine, format!("deleted engine {id}")))).await.map(Some)
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
        for stored in self.shared.engines.all().await.map_err(ControllerError::Store)? {
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

fn exists(reason: String) -> ControllerError {
    ControllerError::EngineExists { reason }
}

fn refused(error: crate::engine::EngineError) -> ControllerError {
    let field = if error.kind() == EngineErrorKind::Tls { "tls" } else { "addr" };
    Invalid::new(field, error.detail()).into()
}
