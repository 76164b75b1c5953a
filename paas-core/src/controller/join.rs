//! Hosts that register over the API, where there is no registry that they could reach themselves.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::{Actor, Controller, ControllerError, Result};
use crate::auth::{JoinToken, NewJoinToken};
use crate::model::{EngineId, Event, EventKind, Invalid};
use crate::registry::{LeaseId, Member, RegistryError, RegistryErrorKind, lease_of_host};

/// The shortest and the longest time that a host may promise to be sessions again within.
const TTLS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// The hosts that heard over the API.
pub(super) type HeartbeatSessions = tokio::sync::Mutex<HashMap<EngineId, HeartbeatSession>>;

/// One host at its last heartbeat.
#[derive(Debug)]
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
    /// [`ControllerError::Conflict`] when another agent that is alive holds the id.
    pub async fn heartbeat(&self, member: Member, session: Uuid, ttl: Duration) -> Result<()> {
        self.check_open()?;
        if !TTLS.contains(&ttl) {
            return Err(Invalid::new("ttl_seconds", "must be 1 to 300").into());
        }
        self.check_policy_of_joining(&member.addr)?;
        let mut sessions = self.shared.heartbeats.lock().await;
        let registry = &*self.shared.registry;
        let refused = |error| refused(&member, error);
        if let Some(known) = sessions.get_mut(&member.id)
            && known.session == session
            && registry.keep_alive(known.lease).await.is_ok()
        {
            if known.said != member {
                registry.register(&member, known.lease).await.map_err(refused)?;
                known.said = member;
            }
            return Ok(());
        }
        let lease = match lease_of_host(registry, &member).await.map_err(refused)? {
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
        };
        sessions.insert(member.id.clone(), HeartbeatSession { session, lease, said: member });
        Ok(())
    }

    /// A host says that it leaves. One that is not known, or of another run, is no error.
    ///
    /// # Errors
    /// The registry does not answer.
    pub async fn deregister(&self, id: &EngineId, session: Uuid) -> Result<()> {
        let mut sessions = self.shared.heartbeats.lock().await;
        let Some(known) = sessions.get(id).filter(|known| known.session == session) else { return Ok(()) };
        let revoked = self.shared.registry.revoke(known.lease).await;
        sessions.remove(id);
        revoked.map_err(|error| ControllerError::Conflict { reason: error.to_string() })
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
        let auth = &self.shared.auth;
        let (made, insertion) = auth.new_join_token(actor.name())?;
        let mut writes = vec![insertion];
        let mut message = format!("made the join token {}", made.id);
        if let Some(unseen) = actor.made_before()
            && let Some(deletion) = auth.join_token_deletion(unseen).await?
        {
            writes.push(deletion);
            message += &format!(", in the place of {unseen}, whose answer was lost");
        }
        let publication = self.publication_of(actor, Event::new(EventKind::AddJoinToken, message), &made.id)?;
        self.commit(writes, publication).await.map_err(ControllerError::Store)?;
        Ok(made)
    }

    /// Deletes a join token.
    ///
    /// # Errors
    /// There is none of that id.
    pub async fn delete_join_token(&self, actor: &Actor, id: &str) -> Result<()> {
        if actor.made_before().is_some() {
            return Ok(());
        }
        let event = Event::new(EventKind::DeleteJoinToken, format!("deleted the join token {id}"));
        let publication = self.publication(actor, event)?;
        self.shared.auth.delete_join_token(id, publication.writes()).await?;
        self.publish(publication).await;
        Ok(())
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
