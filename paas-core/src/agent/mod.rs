//! The agent: a program beside a Docker daemon that registers it and keeps saying that the host is alive.

mod daemon;
mod registrar;
#[cfg(test)]
mod tests;
mod usage;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::engine::DockerEngine;
use crate::model::{EngineAddress, EngineId};
use crate::registry::Member;

use daemon::Daemon;
pub use registrar::{DirectRegistrar, Registrar};
pub use usage::HostMeter;

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

/// Keeps one Docker daemon registered.
#[derive(Debug)]
pub struct Agent {
    registrar: Arc<dyn Registrar>,
    daemon: Daemon,
    ttl: Duration,
}

impl Agent {
    /// An agent of the daemon behind `engine`. The host counts as gone when nothing was heard of it for `ttl`: because its
    /// agent is, or because its daemon has not answered the agent for that long.
    pub fn new(
        registrar: Arc<dyn Registrar>,
        engine: Arc<dyn DockerEngine>,
        identity: Identity,
        ttl: Duration,
    ) -> Self {
        Self { registrar, daemon: Daemon::new(engine, identity, ttl), ttl }
    }

    /// Also says what is in use on the host.
    #[must_use]
    pub fn measuring(mut self, meter: HostMeter) -> Self {
        self.daemon.measure_with(meter);
        self
    }

    /// Keeps the host registered until `stop` rings, whatever happens to the registry or the daemon meanwhile; then takes
    /// it out at once.
    pub async fn run(self, stop: CancellationToken) {
        let id = self.daemon.id().clone();
        let (tell, told) = watch::channel(None);
        let mut teller = Teller { registrar: self.registrar, id, ttl: self.ttl, is_registered: false, complaint: None };
        // Apart from each other: a daemon that is slow to answer must not cost the lease.
        stop.run_until_cancelled(async { tokio::join!(self.daemon.watch(tell), teller.keep_registered(told)) }).await;
        teller.leave().await;
    }
}

/// Says what is known of a host to whom it registers with.
#[derive(Debug)]
struct Teller {
    registrar: Arc<dyn Registrar>,
    id: EngineId,
    ttl: Duration,
    is_registered: bool,
    /// What was complained of last. It is said once, however often it happens.
    complaint: Option<String>,
}

impl Teller {
    /// Says for as long as there are news that the host is alive, and takes it out while it is not known to be.
    async fn keep_registered(&mut self, mut told: watch::Receiver<Option<Member>>) {
        let mut ticker = interval(self.ttl / 3);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_alive = false;
        loop {
            tokio::select! {
                _ = ticker.tick() => {}
                changed = told.changed() => if changed.is_err() { return },
            }
            let member = told.borrow_and_update().clone();
            match &member {
                Some(member) => self.say(member).await,
                None if was_alive => self.leave().await,
                None => {}
            }
            was_alive = member.is_some();
        }
    }

    async fn say(&mut self, member: &Member) {
        match self.registrar.say(member, self.ttl).await {
            Ok(()) if self.is_registered => {}
            Ok(()) => {
                self.is_registered = true;
                self.complaint = None;
                let Member { id, addr, cpus, memory, .. } = member;
                tracing::info!(%id, %addr, %cpus, %memory, "registered");
            }
            Err(error) => {
                self.is_registered = false;
                let error = Chain(&*error).to_string();
                if self.complaint.as_ref() != Some(&error) {
                    tracing::warn!(id = %self.id, error, "not registered; trying on");
                }
                self.complaint = Some(error);
            }
        }
    }

    async fn leave(&mut self) {
        self.is_registered = false;
        if let Err(error) = self.registrar.leave(&self.id).await {
            let error = Chain(&*error);
            tracing::warn!(%error, "nobody hears that this host leaves; it is gone when its time is over");
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
