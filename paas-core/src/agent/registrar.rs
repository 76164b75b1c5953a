//! How a host makes itself heard: what an agent asks of it, and the one that reaches a registry.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::model::EngineId;
use crate::registry::{self, LeaseId, Member, Registry, RegistryErrorKind};

/// How a host makes itself heard.
#[async_trait]
pub trait Registrar: Send + Sync + std::fmt::Debug {
    /// Says that the host is alive, and what it is. Said again within `ttl`, it stays registered.
    ///
    /// # Errors
    /// Why it was not heard, with its causes.
    async fn say(&self, member: &Member, ttl: Duration) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Says that the host leaves.
    ///
    /// # Errors
    /// Why it was not heard; it is gone all the same when its time is over.
    async fn leave(&self, id: &EngineId) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// Registers with a registry that this program reaches by itself.
#[derive(Debug)]
pub struct DirectRegistrar {
    registry: Arc<dyn Registry>,
    held: Mutex<Option<Held>>,
}

/// A lease, and what was registered under it, if anything was.
#[derive(Debug)]
struct Held {
    lease: LeaseId,
    said: Option<Member>,
}

impl DirectRegistrar {
    /// Registers with `registry`.
    pub fn new(registry: Arc<dyn Registry>) -> Self {
        Self { registry, held: Mutex::default() }
    }
}

#[async_trait]
impl Registrar for DirectRegistrar {
    async fn say(&self, member: &Member, ttl: Duration) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut held = self.held.lock().await;
        if let Some(Held { lease, said }) = &mut *held {
            match self.registry.keep_alive(*lease).await {
                Ok(()) if said.as_ref() == Some(member) => return Ok(()),
                // The lease is kept also while somebody else has the id: the operator is told once, and not at
                // every turn as somebody new.
                Ok(()) => {
                    self.registry.register(member, *lease).await?;
                    *said = Some(member.clone());
                    return Ok(());
                }
                Err(error) if error.kind() == RegistryErrorKind::LeaseExpired => {}
                Err(error) => return Err(error.into()),
            }
        }
        let lease = match registry::lease_of_host(&*self.registry, member).await? {
            Some(lease) => lease,
            None => self.registry.grant(ttl).await?,
        };
        let Held { said, .. } = held.insert(Held { lease, said: None });
        self.registry.register(member, lease).await?;
        *said = Some(member.clone());
        Ok(())
    }

    async fn leave(&self, _id: &EngineId) -> Result<(), Box<dyn Error + Send + Sync>> {
        if let Some(Held { lease, .. }) = self.held.lock().await.take() {
            self.registry.revoke(lease).await?;
        }
        Ok(())
    }
}
