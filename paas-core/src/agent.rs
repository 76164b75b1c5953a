//! The agent: a program beside a Docker daemon that registers it and keeps saying that the host is alive.

mod usage;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::engine::{DockerEngine, EngineInfo};
use crate::model::{EngineAddress, EngineId, HostUsage};
use crate::registry::{LeaseId, Member, Registry, RegistryErrorKind};

pub use usage::HostMeter;

/// How often the agent looks whether the daemon says something new of itself, and measures what is in use. Every change that
/// is told is a write to the registry and is heard by every server, so it is told no oftener, and small ones never.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// By how much of the whole machine use must have changed to be told.
const WORTH_TELLING: f64 = 0.02;

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
                // The lease is kept also while somebody else has the id: whoever waits for it is told once, and not at
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
        let lease = self.registry.grant(ttl).await?;
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

/// Keeps one Docker daemon registered.
#[derive(Debug)]
pub struct Agent {
    registrar: Arc<dyn Registrar>,
    engine: Arc<dyn DockerEngine>,
    identity: Identity,
    ttl: Duration,
    meter: Option<HostMeter>,
}

impl Agent {
    /// An agent of the daemon behind `engine`. When it dies, the host counts as gone after `ttl`.
    pub fn new(
        registrar: Arc<dyn Registrar>,
        engine: Arc<dyn DockerEngine>,
        identity: Identity,
        ttl: Duration,
    ) -> Self {
        Self { registrar, engine, identity, ttl, meter: None }
    }

    /// Also says what is in use on the host.
    #[must_use]
    pub fn measuring(mut self, meter: HostMeter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Keeps the host registered until `stop` rings, whatever happens to the registry or the daemon meanwhile; then takes
    /// it out at once.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep_registered()).await;
        if let Err(error) = self.registrar.leave(&self.identity.id).await {
            let error = Chain(&*error);
            tracing::warn!(%error, "nobody hears that this host leaves; it is gone when its time is over");
        }
    }

    /// Says for ever that the host is alive.
    async fn keep_registered(&mut self) {
        let mut ticker = interval(self.ttl / 3);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut member: Option<Member> = None;
        let mut look_again = Instant::now();
        let mut heard = false;
        let mut said_last: Option<String> = None;
        loop {
            ticker.tick().await;
            if Instant::now() >= look_again {
                match self.engine.info().await {
                    Ok(info) => {
                        look_again = Instant::now() + LOOK_AGAIN;
                        let usage = self.usage(&info, member.as_ref().and_then(|said| said.usage));
                        member = Some(self.member(info, usage));
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
                    said_last = None;
                    let Member { id, addr, cpus, memory, .. } = member;
                    tracing::info!(%id, %addr, %cpus, %memory, "registered");
                }
                Err(error) => {
                    heard = false;
                    let error = Chain(&*error).to_string();
                    // Once, however often it is tried again.
                    if said_last.as_ref() != Some(&error) {
                        tracing::warn!(id = %self.identity.id, error, "not registered; trying on");
                    }
                    said_last = Some(error);
                }
            }
        }
    }

    /// What is in use, or what was said of it before where that is near enough.
    fn usage(&mut self, info: &EngineInfo, said: Option<HostUsage>) -> Option<HostUsage> {
        let now = self.meter.as_mut()?.measure();
        let (Some(now), Some(said)) = (now, said) else { return now.or(said) };
        let cpus = (now.cpus - said.cpus).abs() / info.cpus.as_f64().max(1.0);
        let memory = now.memory.mb().abs_diff(said.memory.mb()) as f64 / info.memory.mb().max(1) as f64;
        Some(if cpus.max(memory) < WORTH_TELLING { said } else { now })
    }

    fn member(&self, info: EngineInfo, usage: Option<HostUsage>) -> Member {
        Member {
            id: self.identity.id.clone(),
            addr: self.identity.addr.clone(),
            cpus: info.cpus,
            memory: info.memory,
            labels: self.identity.labels.clone(),
            daemon_id: info.daemon_id,
            docker_version: info.docker_version,
            usage,
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
    use crate::model::{Cpus, MemoryMb, SimulatedHost};
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

    #[tokio::test]
    async fn only_a_change_in_use_that_matters_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let write = |busy: u64, idle: u64, available: u64| {
            let cpus: String = (0..10).map(|number| format!("cpu{number} 0 0 0 0\n")).collect();
            std::fs::write(folder.path().join("stat"), format!("cpu  {busy} 0 0 {idle}\n{cpus}")).unwrap();
            let meminfo = format!("MemTotal: 10240000 kB\nMemAvailable: {available} kB\n");
            std::fs::write(folder.path().join("meminfo"), meminfo).unwrap();
        };
        write(0, 0, 0);
        let registry = Arc::new(EmbeddedRegistry::new());
        let (cpus, memory) = (Cpus::from_milli(10_000), MemoryMb::new(10_000));
        let engine = SimulatedEngine::new(&SimulatedHost { cpus, memory, ..SimulatedHost::new("used") });
        let mut agent = agent(&registry, &engine, "used").measuring(HostMeter::of(folder.path()));
        let info = engine.info().await.unwrap();
        write(100, 900, 5_120_000);
        let first = agent.usage(&info, None);
        assert_eq!(first, Some(HostUsage { cpus: 1.0, memory: MemoryMb::new(5000) }));
        write(111, 989, 5_130_000);
        assert_eq!(agent.usage(&info, first), first, "near enough to what was said");
        write(161, 1039, 5_130_000);
        assert_eq!(agent.usage(&info, first).unwrap().cpus, 5.0);
        assert_eq!(agent.usage(&info, first), first, "no time has passed, so nothing new is known");
    }
}
