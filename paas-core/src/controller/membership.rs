//! Following the registry: engines that register themselves are taken in, and those that leave get no more work.
//!
//! An engine that was added by hand stays whatever the registry says; whether it answers is the monitor's to find out. One
//! that only registered is *absent* when its lease is over: it is down, its containers are unknown, and after a while it
//! is forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{Controller, Result};
use crate::model::{EngineId, EngineSpec, Event, EventKind};
use crate::registry::{Member, MemberChange, RegistryError};

/// How long to wait before the registry is asked again after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// How often to look for engines that have been absent for too long.
const LOOK: Duration = Duration::from_secs(10);

/// The engines that registered themselves: since when each is absent, if it is.
#[derive(Debug, Default)]
struct Registered(BTreeMap<EngineId, Option<Instant>>);

impl Controller {
    /// Follows the registry until the controller closes.
    pub(super) async fn follow_registry(self) {
        let closing = self.shared.closing.clone();
        let mut registered = Registered::default();
        let follow = async {
            loop {
                let Err(error) = self.follow_registry_once(&mut registered).await else { continue };
                tracing::warn!(%error, "lost the registry");
                sleep(RETRY).await;
            }
        };
        closing.run_until_cancelled(follow).await;
    }

    /// Takes the list, and every change after it, until changes are missed or the registry is lost.
    async fn follow_registry_once(&self, registered: &mut Registered) -> Result<(), RegistryError> {
        let listing = self.shared.registry.list().await?;
        let gone: Vec<EngineId> =
            registered.0.keys().filter(|id| !listing.members.iter().any(|member| member.id == **id)).cloned().collect();
        for id in gone {
            self.left(registered, &id).await;
        }
        for member in listing.members {
            self.joined(registered, member).await;
        }
        let mut changes = self.shared.registry.watch(listing.revision).await?;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    Some(MemberChange::Joined(member, _)) => self.joined(registered, member).await,
                    Some(MemberChange::Left(id, _)) => self.left(registered, &id).await,
                    Some(MemberChange::Refused(member, _)) => self.contested(&member).await,
                    Some(MemberChange::Missed) | None => return Ok(()),
                },
                _ = look.tick() => self.forget_the_long_absent(registered).await,
            }
        }
    }

    async fn joined(&self, registered: &mut Registered, member: Member) {
        let _one_at_a_time = self.shared.membership.lock().await;
        let cluster = &self.shared.cluster;
        let id = member.id.clone();
        if let Some(known) = cluster.engine_spec(&id) {
            if known.addr.place() != member.addr.place() {
                let message =
                    format!("{} claims to be engine {id}, which is at {}; it is refused", member.addr, known.addr);
                self.note(Event::new(EventKind::RefuseEngine, message).on(&id)).await;
                return;
            }
            if let Some(absent) = registered.0.get_mut(&id) {
                *absent = None;
                cluster.set_absent(&id, false);
            }
            return;
        }
        if let Some(other) = cluster.engine_at(&member.addr.place()) {
            let message =
                format!("{id} registered with {}, which is engine {other} already; it is refused", member.addr);
            self.note(Event::new(EventKind::RefuseEngine, message).on(&id)).await;
            return;
        }
        let mut spec = EngineSpec::new(id.clone(), member.addr);
        spec.labels = member.labels;
        spec.draining = match self.shared.drained.get(id.as_str()).await {
            Ok(drained) => drained.is_some(),
            Err(error) => {
                tracing::warn!(%id, %error, "whether the engine is drained is not known; it gets nothing new");
                true
            }
        };
        let connection = match (self.shared.connector.0)(&spec) {
            Ok(connection) => connection,
            Err(error) => {
                let message = format!("{id} registered and cannot be used: {error}");
                self.note(Event::new(EventKind::RefuseEngine, message).on(&id)).await;
                return;
            }
        };
        let message = format!("engine {id} registered itself at {}", spec.addr);
        registered.0.insert(id.clone(), None);
        cluster.add_engine(spec, connection);
        self.note(Event::new(EventKind::AddEngine, message).on(&id)).await;
    }

    async fn contested(&self, member: &Member) {
        let Member { id, addr, .. } = member;
        let message = format!("{addr} claims to be engine {id}, which is alive elsewhere; it is refused");
        self.note(Event::new(EventKind::RefuseEngine, message).on(id)).await;
    }

    async fn left(&self, registered: &mut Registered, id: &EngineId) {
        let _one_at_a_time = self.shared.membership.lock().await;
        if let Some(absent) = registered.0.get_mut(id)
            && absent.is_none()
        {
            *absent = Some(Instant::now());
            if self.shared.cluster.engine_spec(id).is_none() {
                // Somebody deleted it.
                return;
            }
            self.shared.cluster.set_absent(id, true);
            self.note(Event::new(EventKind::EngineStatus, format!("engine {id} left the registry")).on(id)).await;
        }
    }

    async fn forget_the_long_absent(&self, registered: &mut Registered) {
        let _one_at_a_time = self.shared.membership.lock().await;
        let patience = self.shared.settings.forget_absent_after;
        let is_over = |absent: &Option<Instant>| absent.is_some_and(|since| since.elapsed() > patience);
        let over: Vec<EngineId> =
            registered.0.iter().filter(|(_, absent)| is_over(absent)).map(|(id, _)| id.clone()).collect();
        for id in over {
            registered.0.remove(&id);
            self.shared.slots.forget(&id);
            // Somebody may have deleted it meanwhile.
            if !self.shared.cluster.remove_engine(&id) {
                continue;
            }
            let message = format!("engine {id} was away for too long and is forgotten");
            self.note(Event::new(EventKind::DeleteEngine, message).on(&id)).await;
        }
    }

    /// Records what nobody asked for. Losing such an event is worth a warning and no more.
    async fn note(&self, event: Event) {
        tracing::info!("{}", event.message);
        if let Err(error) = self.record(event.tagged("cluster")).await {
            tracing::warn!(%error, "an event could not be recorded");
        }
    }
}
