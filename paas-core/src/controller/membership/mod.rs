//! Following the registry: engines that register themselves are taken in, and those that leave get no more work.
//!
//! An engine that was added by hand stays whatever the registry says; whether it answers is the monitor's to find out. One
//! that only registered is *absent* when its lease is over: it is down, its containers are unknown, and after a while it
//! is forgotten. While the registry itself is away, everything stays as it is known; the store knows who had registered, so
//! that this holds for a server that is started meanwhile, too.

mod members;

use futures::StreamExt;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::engines::OF_A_CLONE;
use super::{Controller, Result};
use crate::background::Report;
use crate::model::{EngineId, EngineSpec, EngineStatus, Event, EventKind};
use crate::registry::{Member, MemberChange, RegistryError};
use crate::store::StoreErrorKind;

use members::{AdoptedHost, Joined, Presence};
pub(super) use members::{DeletedHost, Members};

/// How long to wait before the registry is asked again after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// How often to look for engines that have been away for too long, and for refused ones that can be taken in now.
const LOOK: Duration = Duration::from_secs(1);
/// How long a host that should be in the registry and is not, after the server was started, or the registry was away or lost what
/// it knew, may take to register again. Agents say every few seconds that they are alive.
const TO_COME_BACK: Duration = Duration::from_secs(10);

impl Controller {
    /// Follows the registry for ever.
    pub(super) async fn follow_registry(self, report: Report) {
        let mut lost = false;
        loop {
            let Err(error) = self.follow_registry_once(&mut lost, &report).await else { continue };
            report.failed(&error);
            if !lost {
                let known = self.shared.cluster.engines().len();
                tracing::warn!(%error, engines = known, "the registry does not answer; what is known of engines stays");
            }
            lost = true;
            sleep(RETRY).await;
        }
    }

    /// Takes the list, and every change after it, until changes are missed or the registry is lost.
    async fn follow_registry_once(&self, lost: &mut bool, report: &Report) -> Result<(), RegistryError> {
        let listing = self.shared.registry.list().await?;
        for id in self.shared.membership.lock().await.listed(&listing.members) {
            self.forget_deletion(&id).await;
        }
        for member in listing.members {
            self.joined(member).await;
        }
        self.shared.listed.cancel();
        report.ok();
        let mut changes = self.shared.registry.watch(listing.revision).await?;
        if std::mem::take(lost) {
            tracing::info!("the registry answers again");
        }
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // In this order, so that a simulation goes the same way twice.
                biased;
                _ = look.tick() => self.look_after_members().await,
                change = changes.next() => match change {
                    Some(MemberChange::Joined(member, _)) => self.joined(member).await,
                    Some(MemberChange::Left(id, _)) => self.left(&id).await,
                    Some(MemberChange::Refused(member, _)) => self.contested(&member).await,
                    // After a break those who are not listed have a while to come back, as they may have been cut off as well.
                    Some(MemberChange::Lagged | MemberChange::Resumed) | None => return Ok(()),
                },
            }
        }
    }

    /// Takes in engines that had registered themselves before this server was started.
    pub(super) async fn load_registered(&self) -> Result<()> {
        let mut members = self.shared.membership.lock().await;
        let cluster = &self.shared.cluster;
        for mark in self.shared.deleted.all().await.map_err(super::ControllerError::Store)? {
            if let Ok(id) = mark.key.parse() {
                members.was_deleted(id, mark.value);
            }
        }
        for stored in self.shared.registered.all().await.map_err(super::ControllerError::Store)? {
            let mut spec = stored.value;
            let id = spec.id.clone();
            if cluster.engine_spec(&id).is_some() || cluster.engine_at(&spec.addr.place()).is_some() {
                tracing::warn!(%id, "an engine that registered itself was added by hand since");
                self.forget_registered(&id).await;
                continue;
            }
            spec.draining = self.is_drained(&id).await;
            match (self.shared.connector.0)(&spec) {
                Ok(connection) => {
                    cluster.add_engine(spec, connection);
                    members.expect(id);
                }
                Err(error) => tracing::warn!(%id, %error, "an engine that registered itself cannot be used"),
            }
        }
        Ok(())
    }

    async fn joined(&self, member: Member) {
        let mut members = self.shared.membership.lock().await;
        match members.joined(&member) {
            Joined::Welcome => {}
            Joined::StartedAgain => self.forget_deletion(&member.id).await,
            Joined::StaysOut => return,
        }
        if let Err(reason) = self.take_in(&mut members, &member).await {
            let id = member.id.clone();
            if members.refuse(member, &reason) {
                self.note(Event::new(EventKind::RefuseEngine, format!("{reason}; it is refused")).on(&id)).await;
            }
        }
    }

    /// Takes in a host that is in the registry, or notes what is new of it.
    ///
    /// # Errors
    /// Why it cannot be taken in, in words.
    async fn take_in(&self, members: &mut Members, member: &Member) -> Result<(), String> {
        let cluster = &self.shared.cluster;
        let Member { id, addr, .. } = member;
        if let Some(known) = cluster.engine_spec(id) {
            let moved = known.addr != *addr;
            match members.adopted(id) {
                None if known.addr.place() != addr.place() => {
                    return Err(format!("{addr} claims to be engine {id}, which is at {}", known.addr));
                }
                None => {
                    cluster.note_sign_of_life(id);
                    cluster.set_host_usage(id, member.usage);
                    return Ok(());
                }
                Some(_) if !moved => {
                    self.update(members, member, &known).await;
                    return Ok(());
                }
                // The registry has one host of that id: it is somewhere else now.
                Some(_) => self.forget(members, id, &format!("engine {id} moved to {addr}")).await,
            }
        }
        let at_the_place = cluster.engine_at(&addr.place());
        self.make_way(members, at_the_place, member, "the address").await?;
        let of_the_daemon = members.with_daemon(member).or_else(|| cluster.engine_of_daemon(id, &member.daemon_id));
        let made = self.make_way(members, of_the_daemon, member, "the Docker daemon").await;
        made.map_err(|reason| format!("{reason}; {OF_A_CLONE}"))?;
        let mut spec = EngineSpec::new(id.clone(), addr.clone());
        spec.labels.clone_from(&member.labels);
        spec.draining = self.is_drained(id).await;
        let connection = (self.shared.connector.0)(&spec)
            .map_err(|error| format!("{id} registered with {addr}, which cannot be used: {error}"))?;
        self.remember_registered(&spec).await;
        members.take_in(member);
        cluster.add_engine(spec, connection);
        cluster.set_host_usage(id, member.usage);
        self.note(Event::new(EventKind::AddEngine, format!("engine {id} registered itself at {addr}")).on(id)).await;
        Ok(())
    }

    /// Forgets an engine that registered itself, left, and is in the way of a new one: the host has another name now.
    ///
    /// # Errors
    /// In words, when the engine that is in the way is still one.
    async fn make_way(
        &self,
        members: &mut Members,
        other: Option<EngineId>,
        member: &Member,
        what: &str,
    ) -> Result<(), String> {
        let Some(other) = other else { return Ok(()) };
        if let Some(AdoptedHost { presence: Presence::Lost(_), .. }) = members.adopted(&other) {
            self.forget(members, &other, &format!("engine {other} is called {} now", member.id)).await;
            return Ok(());
        }
        Err(format!("{} registered with {}, {what} of engine {other}", member.id, member.addr))
    }

    /// Notes what is new of a host that is known.
    async fn update(&self, members: &mut Members, member: &Member, known: &EngineSpec) {
        let cluster = &self.shared.cluster;
        let was_absent = members.adopted(&member.id).is_some_and(|engine| engine.presence != Presence::Alive);
        members.take_in(member);
        if known.labels != member.labels {
            cluster.set_labels(&member.id, &member.labels);
            let spec = EngineSpec { labels: member.labels.clone(), ..known.clone() };
            self.remember_registered(&spec).await;
        }
        cluster.note_sign_of_life(&member.id);
        cluster.set_host_usage(&member.id, member.usage);
        if was_absent {
            cluster.set_absent(&member.id, false);
        }
    }

    async fn left(&self, id: &EngineId) {
        let mut members = self.shared.membership.lock().await;
        // One that was added by hand stays, and is measured again.
        self.shared.cluster.set_host_usage(id, None);
        if members.forget_deletion_of(id) {
            self.forget_deletion(id).await;
        }
        if members.left(id) {
            self.shared.cluster.set_absent(id, true);
            let mut left = Event::new(EventKind::EngineStatus, format!("engine {id} left the registry")).on(id);
            (left.status, left.reason) = (Some(EngineStatus::Down), Some("it left the registry".to_owned()));
            self.note(left).await;
        }
    }

    /// Somebody claims the id of a host that is alive; its registration was refused by the registry.
    async fn contested(&self, member: &Member) {
        let mut members = self.shared.membership.lock().await;
        if members.contested(member) {
            let Member { id, addr, .. } = member;
            let message = format!(
                "{addr} claims to be engine {id}, whose own agent is alive; it is refused: give one of the two another id"
            );
            self.note(Event::new(EventKind::RefuseEngine, message).on(id)).await;
        }
    }

    /// Lets go of those that do not come back, and takes in those that could not be taken in before.
    async fn look_after_members(&self) {
        let mut members = self.shared.membership.lock().await;
        let (not_come, refused) = (members.not_come(TO_COME_BACK), members.refused());
        for id in members.long_absent(self.shared.settings.forget_absent_after) {
            self.forget(&mut members, &id, &format!("engine {id} was away for too long and is forgotten")).await;
        }
        drop(members);
        for id in not_come {
            self.left(&id).await;
        }
        for member in refused {
            self.joined(member).await;
        }
    }

    /// Takes out an engine that had registered itself.
    async fn forget(&self, members: &mut Members, id: &EngineId, why: &str) {
        members.forget(id);
        self.forget_registered(id).await;
        self.shared.slots.forget(id);
        if self.shared.cluster.remove_engine(id) {
            self.note(Event::new(EventKind::DeleteEngine, why).on(id)).await;
        }
    }

    /// Whether an engine that registers itself gets nothing new. In doubt it does not.
    async fn is_drained(&self, id: &EngineId) -> bool {
        match self.shared.drained.get(id.as_str()).await {
            Ok(drained) => drained.is_some(),
            Err(error) => {
                tracing::warn!(%id, %error, "whether the engine is drained is not known; it gets nothing new");
                true
            }
        }
    }

    /// Notes in the store that the engine registered itself. Without that it serves all the same, until the server is started
    /// again while the registry is away.
    async fn remember_registered(&self, spec: &EngineSpec) {
        let (table, id) = (&self.shared.registered, spec.id.as_str());
        let noted = match table.get(id).await {
            Ok(Some(known)) if known.value == *spec => return,
            Ok(Some(_)) => table.update(id, |known| known.clone_from(spec)).await.map(drop),
            Ok(None) => table.insert(id, spec).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = noted {
            tracing::warn!(%id, %error, "that an engine registered itself cannot be stored");
        }
    }

    /// Forgets in the store that somebody deleted a host.
    async fn forget_deletion(&self, id: &EngineId) {
        match self.shared.deleted.delete(id.as_str()).await {
            Err(error) if error.kind() != StoreErrorKind::NotFound => {
                tracing::warn!(%id, %error, "the store still says that the host was deleted");
            }
            _ => {}
        }
    }

    /// Forgets in the store that the engine had registered itself.
    async fn forget_registered(&self, id: &EngineId) {
        match self.shared.registered.delete(id.as_str()).await {
            Err(error) if error.kind() != StoreErrorKind::NotFound => {
                tracing::warn!(%id, %error, "an engine that is gone stays in the store, and may come back at the next start");
            }
            _ => {}
        }
    }

    /// Records what nobody asked for. Losing such an event is worth a warning and no more.
    pub(super) async fn note(&self, event: Event) {
        tracing::info!("{}", event.message);
        if let Err(error) = self.record(event.tagged("cluster")).await {
            tracing::warn!(%error, "an event could not be recorded");
        }
    }
}
