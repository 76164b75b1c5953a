//! What an agent knows of its daemon: whether it answers, what it is, and what is in use beside it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{HostMeter, Identity};
use crate::engine::{DockerEngine, EngineError, EngineInfo};
use crate::model::{EngineId, HostUsage};
use crate::registry::Member;

/// How often to look whether the daemon says something new of itself, and to measure what is in use. Every change that is
/// told is a write to the registry and is heard by every server, so it is told no oftener, and small ones never.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// By how much of the whole machine use must have changed to be told.
const WORTH_TELLING: f64 = 0.02;

/// The daemon beside an agent.
#[derive(Debug)]
pub(super) struct Daemon {
    engine: Arc<dyn DockerEngine>,
    identity: Identity,
    deadline: Duration,
    meter: Option<HostMeter>,
}

impl Daemon {
    /// One that counts as dead when it has not answered for `deadline`.
    pub(super) fn new(engine: Arc<dyn DockerEngine>, identity: Identity, deadline: Duration) -> Self {
        Self { engine, identity, deadline, meter: None }
    }

    pub(super) fn measure_with(&mut self, meter: HostMeter) {
        self.meter = Some(meter);
    }

    pub(super) fn id(&self) -> &EngineId {
        &self.identity.id
    }

    /// Tells for ever what the host is while its daemon answers, and `None` while it does not.
    pub(super) async fn watch(mut self, tell: watch::Sender<Option<Member>>) {
        let mut answered = Instant::now();
        let mut look_again = answered;
        let mut is_silent = false;
        loop {
            let said = tell.borrow().as_ref().and_then(|known| known.usage);
            match self.ask(said, &mut look_again).await {
                Ok(member) => {
                    answered = Instant::now();
                    if is_silent {
                        tracing::info!(id = %self.id(), "the Docker daemon answers");
                    }
                    is_silent = false;
                    tell.send_if_modified(|told| {
                        member.is_some_and(|member| told.replace(member.clone()) != Some(member))
                    });
                }
                Err(error) => {
                    if !is_silent {
                        tracing::warn!(id = %self.id(), %error, "the Docker daemon does not answer");
                    }
                    is_silent = true;
                    if answered.elapsed() >= self.deadline {
                        look_again = Instant::now();
                        tell.send_if_modified(|told| told.take().is_some());
                    }
                }
            }
            sleep(self.deadline / 3).await;
        }
    }

    /// Whether the daemon answers, and what the host is if that was to be looked at again.
    async fn ask(&mut self, said: Option<HostUsage>, look_again: &mut Instant) -> Result<Option<Member>, EngineError> {
        if Instant::now() < *look_again {
            return self.engine.ping(self.deadline).await.map(|()| None);
        }
        let info = self.engine.info().await?;
        *look_again = Instant::now() + LOOK_AGAIN;
        let usage = self.usage(&info, said);
        Ok(Some(self.member(info, usage)))
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
        // A daemon that calls itself something else at each question would be news each time, to every server. No two hosts have
        // one address.
        let daemon_id = match info.daemon_id.is_empty() {
            true => format!("at {}", self.identity.addr),
            false => info.daemon_id,
        };
        Member {
            id: self.identity.id.clone(),
            addr: self.identity.addr.clone(),
            cpus: info.cpus,
            memory: info.memory,
            labels: self.identity.labels.clone(),
            daemon_id,
            docker_version: info.docker_version,
            usage,
            agent_run: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{MockDockerEngine, SimulatedEngine};
    use crate::model::{Cpus, MemoryMb, SimulatedHost};

    #[tokio::test(start_paused = true)]
    async fn a_daemon_without_an_id_that_stays_is_no_news_and_is_known_by_its_address() {
        let mut engine = MockDockerEngine::new();
        engine.expect_ping().returning(|_| Ok(()));
        engine.expect_info().returning(|| {
            Ok(EngineInfo {
                daemon_id: String::new(),
                cpus: Cpus::from_milli(1000),
                memory: MemoryMb::new(1000),
                docker_version: "4.3.1".to_owned(),
                images: Vec::new(),
                networks: None,
                volumes: None,
                warnings: Vec::new(),
                time: None,
            })
        });
        let addr = "tcp://10.77.0.3:2375".parse().unwrap();
        let identity = Identity { id: "pod".parse().unwrap(), addr, labels: Vec::new() };
        let daemon = Daemon::new(Arc::new(engine), identity, Duration::from_secs(3));
        let (tell, mut told) = watch::channel(None);
        let watching = tokio::spawn(daemon.watch(tell));
        told.changed().await.unwrap();
        assert_eq!(told.borrow_and_update().as_ref().unwrap().daemon_id, "at tcp://10.77.0.3:2375");
        assert!(tokio::time::timeout(LOOK_AGAIN * 4, told.changed()).await.is_err(), "nothing new is told");
        watching.abort();
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
        let (cpus, memory) = (Cpus::from_milli(10_000), MemoryMb::new(10_000));
        let engine = SimulatedEngine::new(&SimulatedHost { cpus, memory, ..SimulatedHost::new("used") });
        let identity =
            Identity { id: "used".parse().unwrap(), addr: "sim://used".parse().unwrap(), labels: Vec::new() };
        let mut daemon = Daemon::new(Arc::new(engine.clone()), identity, Duration::from_secs(3));
        daemon.measure_with(HostMeter::of(folder.path()));
        let info = engine.info().await.unwrap();
        write(100, 900, 5_120_000);
        let first = daemon.usage(&info, None);
        assert_eq!(first, Some(HostUsage { cpus: 1.0, memory: MemoryMb::new(5000) }));
        write(111, 989, 5_130_000);
        assert_eq!(daemon.usage(&info, first), first, "near enough to what was said");
        write(161, 1039, 5_130_000);
        assert_eq!(daemon.usage(&info, first).unwrap().cpus, 5.0);
        assert_eq!(daemon.usage(&info, first), first, "no time has passed, so nothing new is known");
    }
}
