//! Asks each engine, on its own ticker, whether it answers and what its containers use.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use rand::RngExt;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::Cluster;
use crate::engine::DockerEngine;
use crate::model::{EngineId, EngineStatus};

/// How long an answer that is late is still listened for, beyond the timeout. It tells a slow host from a dead one.
const LATE: Duration = Duration::from_secs(10);

/// What became of a probe.
enum Outcome {
    /// The host answered, after so long.
    Answered(Duration),
    /// It did not answer in time, and why. While it still may, the rest of the probe.
    Missed(String, Option<BoxFuture<'static, Outcome>>),
    /// A late answer did not come at all.
    Over,
}

/// Probes one engine for ever. What it finds decides whether the engine takes containers.
///
/// Probes do not wait for each other: each has its own tick and its own timeout. A host that is known to be slow is given
/// up to `probe_misses` times the timeout, so that slowness alone does not make it suspect again and again.
pub(super) async fn monitor(cluster: Cluster, id: EngineId, engine: Arc<dyn DockerEngine>, wake: Arc<Notify>) {
    let settings = cluster.shared.settings.clone();
    let most = settings.probe_timeout * settings.probe_misses.max(1);
    let mut ticker = jittered(settings.probe_interval);
    let mut probes = FuturesUnordered::new();
    let mut usual = Duration::ZERO;
    let mut missed = 0;
    loop {
        let outcome = tokio::select! {
            _ = ticker.tick() => {
                let patience = (usual * 2).clamp(settings.probe_timeout, most);
                probes.push(probe(cluster.clone(), id.clone(), engine.clone(), patience).boxed());
                continue;
            }
            Some(outcome) = probes.next() => outcome,
        };
        match outcome {
            Outcome::Answered(took) => {
                missed = 0;
                // Forgets slowly: one quick answer does not make a slow host quick.
                usual = took.max(usual.mul_f64(0.9));
                answered(&cluster, &id, took, &wake).await;
            }
            Outcome::Missed(reason, rest) => {
                missed += 1;
                probes.extend(rest);
                if !unanswered(&cluster, &id, missed, reason).await {
                    return;
                }
            }
            Outcome::Over => {}
        }
    }
}

async fn probe(cluster: Cluster, id: EngineId, engine: Arc<dyn DockerEngine>, patience: Duration) -> Outcome {
    let asked = Instant::now();
    let Some(spec) = cluster.engine_spec(&id) else { return Outcome::Over };
    let answer = async move { cluster.shared.prober.ask(&spec.addr, &*engine, patience + LATE).await };
    let mut answer = Box::pin(answer);
    match timeout(patience, &mut answer).await {
        Ok(Ok(())) => Outcome::Answered(asked.elapsed()),
        Ok(Err(reason)) => Outcome::Missed(reason, None),
        Err(_) => {
            let late = async move {
                match answer.await {
                    Ok(()) => Outcome::Answered(asked.elapsed()),
                    Err(_) => Outcome::Over,
                }
            };
            Outcome::Missed(format!("no answer within {patience:?}"), Some(late.boxed()))
        }
    }
}

async fn answered(cluster: &Cluster, id: &EngineId, took: Duration, wake: &Notify) {
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    cluster.shared.view.write().set_response_time(id, milliseconds);
    match cluster.status(id) {
        // A missed probe loses no event: the stream is still open, or its end brings the follower here.
        Some(EngineStatus::Suspect) => cluster.set_status(id, EngineStatus::Up, None).await,
        Some(EngineStatus::Pending | EngineStatus::Down | EngineStatus::Duplicate) if !cluster.is_absent(id) => {
            wake.notify_one();
        }
        Some(_) | None => {}
    }
}

/// False when there is no such engine any more.
async fn unanswered(cluster: &Cluster, id: &EngineId, missed: u32, reason: String) -> bool {
    let status = match cluster.status(id) {
        Some(EngineStatus::Up | EngineStatus::Suspect) if missed >= cluster.shared.settings.probe_misses => {
            EngineStatus::Down
        }
        Some(EngineStatus::Up | EngineStatus::Suspect) => EngineStatus::Suspect,
        Some(other) => other,
        None => return false,
    };
    cluster.set_status(id, status, Some(reason)).await;
    true
}

/// Measures for ever what the containers of one engine use.
pub(super) async fn measure(cluster: Cluster, id: EngineId, engine: Arc<dyn DockerEngine>) {
    let mut ticker = jittered(cluster.shared.settings.usage_interval);
    loop {
        ticker.tick().await;
        if cluster.status(&id) != Some(EngineStatus::Up) {
            continue;
        }
        match engine.usage().await {
            Ok(usage) => cluster.shared.view.write().set_usage(&id, usage),
            Err(error) => tracing::debug!(engine = %id, %error, "use of CPU and memory not measured"),
        }
    }
}

/// A ticker whose first tick comes at a random moment of the first interval, so that a thousand of them do not all tick
/// at once.
fn jittered(every: Duration) -> tokio::time::Interval {
    let first = every.mul_f64(rand::rng().random_range(0.0..1.0));
    let mut ticker = interval_at(Instant::now() + first, every);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
