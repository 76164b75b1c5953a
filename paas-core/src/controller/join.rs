//! Hosts that register over the API, where there is no registry that they could reach themselves.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::locks::KeyedLocks;
use super::{Actor, Controller, ControllerError, Result};
use crate::auth::{JoinToken, NewJoinToken};
use crate::model::{EngineId, Event, EventKind, Invalid};
use crate::registry::{LeaseId, Member, RegistryError, RegistryErrorKind, lease_of_host};

/// The shortest and the longest time within which a host may promise its next heartbeat.
const TTLS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// How long to wait for what becomes of a host that has just registered, and how often to look.
const JUDGED: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The hosts that are heard over the API.
#[derive(Debug, Default)]
pub(super) struct HeartbeatSessions {
    /// One at a time of each host. The registry may be slow, and no host waits for another.
    locks: KeyedLocks,
    known: Mutex<HashMap<EngineId, HeartbeatSession>>,
}

impl HeartbeatSessions {
    fn of(&self, id: &EngineId, session: Uuid) -> Option<HeartbeatSession> {
        self.known.lock().get(id).filter(|known| known.session == session).cloned()
    }
}

/// One host at its last heartbeat.
#[derive(Clone, Debug)]
pub(super) struct HeartbeatSession {
    /// The run of the agent: two agents with one id are told apart by it.
    session: Uuid,
    lease: LeaseId,
    said: Member,
}

impl Controller {
    /// A host says that it is alive: it is registered, or its lease is kept. `session` names the run of its agent.
    ///
    /// # Errors
    /// [`ControllerError::Conflict`] when another agent that is alive holds the id, or the host is refused as an engine, and why.
    pub async fn heartbeat(&self, member: Member, session: Uuid, ttl: Duration) -> Result<()> {
        if !TTLS.contains(&ttl) {
            return Err(Invalid::new("ttl_seconds", "must be 1 to 300").into());
        }
        self.check_policy_of_joining(&member.addr)?;
        let member = Member { agent_run: member.agent_run.or(Some(session)), ..member };
        self.owned(&Actor::system(), move |controller, _| async move { controller.hear(member, session, ttl).await })
            .await
    }

    async fn hear(&self, member: Member, session: Uuid, ttl: Duration) -> Result<()> {
        let (sessions, registry) = (&self.shared.heartbeats, &*self.shared.registry);
        let _one_of_this_host_at_a_time = sessions.locks.lock(member.id.as_str()).await;
        self.check_open()?;
        let refused = |error| refused(&member, error);
        let lease = match sessions.of(&member.id, session) {
            Some(known) if registry.keep_alive(known.lease).await.is_ok() => {
                if known.said == member {
                    return self.check_taken_in(&member).await;
                }
                registry.register(&member, known.lease).await.map_err(refused)?;
                known.lease
            }
            _ => match lease_of_host(registry, &member).await.map_err(refused)? {
                Some(lease) => {
                    registry.register(&member, lease).await.map_err(refused)?;
                    lease
                }
                None => {
                    let lease = registry.grant(ttl).await.map_err(refused)?;
                    if let Err(error) = registry.register(&member, lease).await {
                        // It holds nothing; that it could not be ended costs nothing.
                        let _ = registry.revoke(lease).await;
                        return Err(refused(error));
                    }
                    lease
                }
            },
        };
        let id = member.id.clone();
        sessions.known.lock().insert(id, HeartbeatSession { session, lease, said: member.clone() });
        self.check_taken_in(&member).await
    }

    /// Whether a host that is in the registry is an engine, too. Its lease is kept where it is not, so that it becomes one as
    /// soon as nothing is in its way.
    ///
    /// # Errors
    /// [`ControllerError::Conflict`] says why it is not.
    async fn check_taken_in(&self, member: &Member) -> Result<()> {
        let judged = timeout(JUDGED, async {
            // What was registered a moment ago is still on its way from the registry.
            loop {
                match self.shared.membership.lock().await.verdict(member) {
                    Some(verdict) => return verdict,
                    None => sleep(LOOK_AGAIN).await,
                }
            }
        });
        match judged.await {
            Ok(Some(reason)) => Err(ControllerError::Conflict { reason }),
            // The next heartbeat will tell.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// A host says that it leaves. One that is not known, or of another run, is no error.
    ///
    /// # Errors
    /// The registry does not answer.
    pub async fn deregister(&self, id: &EngineId, session: Uuid) -> Result<()> {
        let id = id.clone();
        self.owned(&Actor::system(), move |controller, _| async move {
            let sessions = &controller.shared.heartbeats;
            let _one_of_this_host_at_a_time = sessions.locks.lock(id.as_str()).await;
            let Some(known) = sessions.of(&id, session) else { return Ok(()) };
            let revoked = controller.shared.registry.revoke(known.lease).await;
            // Asked again it is to be tried again, and not to be taken for one that left.
            revoked.map_err(|error| ControllerError::Conflict { reason: error.to_string() })?;
            sessions.known.lock().remove(&id);
            Ok(())
        })
        .await
    }

    /// All join tokens, without the tokens.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn join_tokens(&self) -> Result<Vec<JoinToken>> {
        Ok(self.shared.auth.join_tokens().await?)
    }

    /// Makes a join token. When the request made one before, and its answer was lost, that one goes: nobody has seen it.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn make_join_token(&self, actor: &Actor) -> Result<NewJoinToken> {
        self.owned(actor, |controller, actor| async move {
            controller.check_open()?;
            let auth = &controller.shared.auth;
            let (made, insertion) = auth.new_join_token(actor.name())?;
            let mut writes = vec![insertion];
            let mut message = format!("made the join token {}", made.id);
            if let Some(unseen) = actor.made_before()
                && let Some(deletion) = auth.join_token_deletion(unseen).await?
            {
                writes.push(deletion);
                message += &format!(", in the place of {unseen}, whose answer was lost");
            }
            let event = Event::new(EventKind::AddJoinToken, message);
            let publication = controller.publication_of(&actor, event, &made.id)?;
            controller.commit(writes, publication, || {}).await.map_err(ControllerError::Store)?;
            Ok(made)
        })
        .await
    }

    /// Deletes a join token.
    ///
    /// # Errors
    /// There is none of that id.
    pub async fn delete_join_token(&self, actor: &Actor, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.owned(actor, move |controller, actor| async move {
            controller.check_open()?;
            if actor.made_before().is_some() {
                return Ok(());
            }
            let event = Event::new(EventKind::DeleteJoinToken, format!("deleted the join token {id}"));
            let publication = controller.publication(&actor, event)?;
            controller.shared.auth.delete_join_token(&id, publication.writes()).await?;
            controller.publish(publication).await;
            Ok(())
        })
        .await
    }
}

fn refused(member: &Member, error: RegistryError) -> ControllerError {
    let reason = match error.kind() {
        RegistryErrorKind::Taken => {
            format!("another host that is alive is called '{}'; give this one another id with --id", member.id)
        }
        _ => error.to_string(),
    };
    ControllerError::Conflict { reason }
}
