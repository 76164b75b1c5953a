//! The agent: a program beside a Docker daemon that registers it and keeps saying that the host is alive.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::engine::{DockerEngine, EngineError};
use crate::model::{EngineAddress, EngineId};
use crate::registry::{LeaseId, Member, Registry, RegistryError};

/// How often the agent looks whether the daemon says something new of itself.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How long it waits after a failure.
const RETRY: Duration = Duration::from_secs(1);

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

/// Registers one Docker daemon and keeps its lease.
#[derive(Debug)]
pub struct Agent {
    registry: Arc<dyn Registry>,
    engine: Arc<dyn DockerEngine>,
    identity: Identity,
    lease_ttl: Duration,
}

/// Why the host is not registered at the moment.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the Docker daemon does not answer")]
    Engine(#[source] EngineError),
    #[error(transparent)]
    Registry(RegistryError),
}

impl Agent {
    /// An agent of the daemon behind `engine`. When it dies, the host counts as gone after `lease_ttl`.
    pub fn new(
        registry: Arc<dyn Registry>,
        engine: Arc<dyn DockerEngine>,
        identity: Identity,
        lease_ttl: Duration,
    ) -> Self {
        Self { registry, engine, identity, lease_ttl }
    }

    /// Keeps the host registered until `stop` rings, whatever happens to the registry or the daemon meanwhile; then takes
    /// it out at once.
    pub async fn run(self, stop: CancellationToken) {
        while let Some(trouble) = stop.run_until_cancelled(self.keep_registered(&stop)).await {
            tracing::warn!(id = %self.identity.id, error = %Chain(&trouble), "not registered");
            stop.run_until_cancelled(sleep(RETRY)).await;
        }
    }

    /// Registers, and keeps the lease until something goes wrong.
    async fn keep_registered(&self, stop: &CancellationToken) -> Trouble {
        let lease = match self.registry.grant(self.lease_ttl).await {
            Ok(lease) => lease,
            Err(error) => return Trouble::Registry(error),
        };
        // Taken back even when this is cancelled in the middle.
        let revoke = RevokeOnDrop { registry: self.registry.clone(), lease, stopping: stop.clone() };
        let trouble = self.keep_lease(lease).await;
        drop(revoke);
        trouble
    }

    async fn keep_lease(&self, lease: LeaseId) -> Trouble {
        let mut said = match self.register(lease, None).await {
            Ok(member) => member,
            Err(trouble) => return trouble,
        };
        tracing::info!(id = %said.id, addr = %said.addr, cpus = %said.cpus, memory = %said.memory, "registered");
        let mut ticker = interval(self.lease_ttl / 3);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look_again = Instant::now() + LOOK_AGAIN;
        loop {
            ticker.tick().await;
            if let Err(error) = self.registry.keep_alive(lease).await {
                return Trouble::Registry(error);
            }
            if Instant::now() < look_again {
                continue;
            }
            look_again = Instant::now() + LOOK_AGAIN;
            match self.register(lease, Some(&said)).await {
                Ok(member) => said = member,
                // The host is alive all the same; whether its daemon answers is for the platform to find out.
                Err(Trouble::Engine(error)) => tracing::warn!(%error, "the Docker daemon does not answer"),
                Err(trouble) => return trouble,
            }
        }
    }

    /// Says what the daemon says of itself, unless that was said before.
    async fn register(&self, lease: LeaseId, said: Option<&Member>) -> Result<Member, Trouble> {
        let info = self.engine.info().await.map_err(Trouble::Engine)?;
        let member = Member {
            id: self.identity.id.clone(),
            addr: self.identity.addr.clone(),
            cpus: info.cpus,
            memory: info.memory,
            labels: self.identity.labels.clone(),
            daemon_id: info.daemon_id,
            docker_version: info.docker_version,
        };
        if said != Some(&member) {
            self.registry.register(&member, lease).await.map_err(Trouble::Registry)?;
        }
        Ok(member)
    }
}

/// Ends a lease in the background, so that a host that is told to leave is gone at once and not when its time is over.
struct RevokeOnDrop {
    registry: Arc<dyn Registry>,
    lease: LeaseId,
    stopping: CancellationToken,
}

impl Drop for RevokeOnDrop {
    fn drop(&mut self) {
        let (registry, lease) = (self.registry.clone(), self.lease);
        let stopping = self.stopping.is_cancelled();
        tokio::spawn(async move {
            if let Err(error) = registry.revoke(lease).await
                && stopping
            {
                tracing::warn!(%error, "the registry does not hear that this host leaves; it will find out by itself");
            }
        });
    }
}

/// An error with its causes, in one line.
struct Chain<'a>(&'a dyn std::error::Error);

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
        Agent::new(registry.clone(), Arc::new(engine.clone()), identity, TTL)
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
        let lease = registry.grant(TTL).await.unwrap();
        agent(&registry, &engine, "dies").register(lease, None).await.unwrap();
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
