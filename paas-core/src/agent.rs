//! The agent: a program beside a Docker daemon that registers it and keeps saying that the host is alive.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::engine::{DockerEngine, EngineInfo};
use crate::model::{EngineAddress, EngineId};
use crate::registry::{LeaseId, Member, Registry, RegistryErrorKind};

/// How often the agent looks whether the daemon says something new of itself.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What an agent says of its host beside what the daemon says.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Id of the engine: the same after every restart.
    pub id: EngineId,
    /// Where the platform reaches the daemon.
    pub addr: EngineAddress,
    /// Labels that containers can ask for.
    pub labels: Vec<String>,
}

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
    held: Mutex<Option<(LeaseId, Member)>>,
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
        if let Some((lease, said)) = &mut *held {
            match self.registry.keep_alive(*lease).await {
                Ok(()) if said == member => return Ok(()),
                Ok(()) => {
                    self.registry.register(member, *lease).await?;
                    *said = member.clone();
                    return Ok(());
                }
                Err(error) if error.kind() == RegistryErrorKind::LeaseExpired => *held = None,
                Err(error) => return Err(error.into()),
            }
        }
        let lease = self.registry.grant(ttl).await?;
        if let Err(error) = self.registry.register(member, lease).await {
            // It holds nothing; that it could not be ended costs nothing.
            let _ = self.registry.revoke(lease).await;
            return Err(error.into());
        }
        *held = Some((lease, member.clone()));
        Ok(())
    }

    async fn leave(&self, _id: &EngineId) -> Result<(), Box<dyn Error + Send + Sync>> {
        if let Some((lease, _)) = self.held.lock().await.take() {
            self.registry.revoke(lease).await?;
        }
        Ok(())
    }
}

/// Keeps one Docker daemon registered.
#[derive(Debug)]
pub struct Agent {
    registrar: Arc<dyn Registrar>,
    engine: Arc<dyn DockerEngine>,
    identity: Identity,
    ttl: Duration,
}

impl Agent {
    /// An agent of the daemon behind `engine`. When it dies, the host counts as gone after `ttl`.
    pub fn new(
        registrar: Arc<dyn Registrar>,
        engine: Arc<dyn DockerEngine>,
        identity: Identity,
        ttl: Duration,
    ) -> Self {
        Self { registrar, engine, identity, ttl }
    }

    /// Keeps the host registered until `stop` rings, whatever happens to the registry or the daemon meanwhile; then takes
    /// it out at once.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep_registered()).await;
        if let Err(error) = self.registrar.leave(&self.identity.id).await {
            let error = Chain(&*error);
            tracing::warn!(%error, "nobody hears that this host leaves; it is gone when its time is over");
        }
    }

    /// Says for ever that the host is alive.
    async fn keep_registered(&self) {
        let mut ticker = interval(self.ttl / 3);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut member: Option<Member> = None;
        let mut look_again = Instant::now();
        let mut heard = false;
        loop {
            ticker.tick().await;
            if Instant::now() >= look_again {
                match self.engine.info().await {
                    Ok(info) => {
                        look_again = Instant::now() + LOOK_AGAIN;
                        member = Some(self.member(info));
                    }
                    // A host that was known is alive all the same; whether its daemon answers the platform finds out.
                    Err(error) => tracing::warn!(%error, "the Docker daemon does not answer"),
                }
            }
            let Some(member) = &member else { continue };
            match self.registrar.say(member, self.ttl).await {
                Ok(()) if heard => {}
                Ok(()) => {
                    heard = true;
                    let Member { id, addr, cpus, memory, .. } = member;
                    tracing::info!(%id, %addr, %cpus, %memory, "registered");
                }
                Err(error) => {
                    heard = false;
                    let error = Chain(&*error);
                    tracing::warn!(id = %self.identity.id, %error, "not registered");
                }
            }
        }
    }

    fn member(&self, info: EngineInfo) -> Member {
        Member {
            id: self.identity.id.clone(),
            addr: self.identity.addr.clone(),
            cpus: info.cpus,
            memory: info.memory,
            labels: self.identity.labels.clone(),
            daemon_id: info.daemon_id,
            docker_version: info.docker_version,
        }
    }
}

/// An error with its causes, in one line.
struct Chain<'a>(&'a dyn Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tokio::time::sleep;

    use super::*;
    use crate::engine::SimulatedEngine;
    use crate::model::SimulatedHost;
    use crate::registry::{EmbeddedRegistry, MemberChange, Revision};

    const TTL: Duration = Duration::from_secs(3);

    fn agent(registry: &Arc<EmbeddedRegistry>, engine: &SimulatedEngine, name: &str) -> Agent {
        let identity = Identity {
            id: name.parse().unwrap(),
            addr: format!("sim://{name}").parse().unwrap(),
            labels: vec!["ssd".into()],
        };
        Agent::new(Arc::new(DirectRegistrar::new(registry.clone())), Arc::new(engine.clone()), identity, TTL)
    }

    async fn members(registry: &EmbeddedRegistry) -> Vec<String> {
        registry.list().await.unwrap().members.into_iter().map(|member| member.id.to_string()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_there_as_long_as_its_agent_and_gone_at_once_when_it_leaves() {
        let registry = Arc::new(EmbeddedRegistry::new());
        let engine = SimulatedEngine::new(&SimulatedHost::new("there"));
        let stop = CancellationToken::new();
        let running = tokio::spawn(agent(&registry, &engine, "there").run(stop.clone()));
        let mut changes = registry.watch(Revision(0)).await.unwrap();
        let Some(MemberChange::Joined(member, _)) = changes.next().await else { panic!("not joined") };
        assert_eq!((member.labels, member.daemon_id.as_str()), (vec!["ssd".to_owned()], "sim:there"));
        sleep(TTL * 10).await;
        assert_eq!(members(&registry).await, ["there"], "the lease is kept");
        let left = Instant::now();
        stop.cancel();
        running.await.unwrap();
        assert!(matches!(changes.next().await, Some(MemberChange::Left(..))));
        assert!(left.elapsed() < TTL / 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_dies_is_gone_when_its_lease_is_over() {
        let registry = Arc::new(EmbeddedRegistry::new());
        let engine = SimulatedEngine::new(&SimulatedHost::new("dies"));
        let dying = tokio::spawn(agent(&registry, &engine, "dies").run(CancellationToken::new()));
        sleep(TTL / 10).await;
        dying.abort();
        assert_eq!(members(&registry).await, ["dies"]);
        sleep(TTL * 2).await;
        assert!(members(&registry).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_waits_for_its_daemon_and_survives_the_loss_of_its_lease() {
        let registry = Arc::new(EmbeddedRegistry::new());
        let engine = SimulatedEngine::new(&SimulatedHost::new("waits"));
        engine.set_reachable(false);
        let stop = CancellationToken::new();
        let running = tokio::spawn(agent(&registry, &engine, "waits").run(stop.clone()));
        sleep(TTL).await;
        assert!(members(&registry).await.is_empty());
        engine.set_reachable(true);
        sleep(TTL).await;
        assert_eq!(members(&registry).await, ["waits"]);
        for lease in 1..100 {
            registry.revoke(LeaseId(lease)).await.unwrap();
        }
        assert!(members(&registry).await.is_empty());
        sleep(TTL * 2).await;
        assert_eq!(members(&registry).await, ["waits"], "it registers again");
        stop.cancel();
        running.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_that_is_taken_is_had_when_it_is_free() {
        let registry = Arc::new(EmbeddedRegistry::new());
        let (one, other) = (SimulatedHost::new("one"), SimulatedHost::new("other"));
        let (stop_one, stop_other) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn(agent(&registry, &SimulatedEngine::new(&one), "same").run(stop_one.clone()));
        sleep(TTL).await;
        tokio::spawn(agent(&registry, &SimulatedEngine::new(&other), "same").run(stop_other.clone()));
        sleep(TTL * 3).await;
        let daemon = async || registry.list().await.unwrap().members[0].daemon_id.clone();
        assert_eq!(daemon().await, "sim:one");
        stop_one.cancel();
        sleep(TTL).await;
        assert_eq!(daemon().await, "sim:other");
        stop_other.cancel();
    }
}
