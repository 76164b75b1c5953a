//! Asks each engine, on its own ticker, whether it answers and what its containers use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval_at};

use super::Cluster;
use crate::engine::DockerEngine;
use crate::model::{EngineId, EngineStatus};

/// Probes one engine for ever. What it finds decides whether the engine takes containers.
pub(super) async fn monitor(cluster: Cluster, id: EngineId, engine: Arc<dyn DockerEngine>, wake: Arc<Notify>) {
    let settings = cluster.shared.settings.clone();
    let mut ticker = jittered(settings.probe_interval);
    let mut missed = 0;
    loop {
        ticker.tick().await;
        let asked = Instant::now();
        match engine.ping(settings.probe_timeout).await {
            Ok(()) => {
                missed = 0;
                let took = asked.elapsed().as_millis();
                cluster.shared.view.write().set_response_time(&id, u64::try_from(took).unwrap_or(u64::MAX));
                match cluster.status(&id) {
                    // A missed probe loses no event: the stream is still open, or its end brings the follower here.
                    Some(EngineStatus::Suspect) => cluster.set_status(&id, EngineStatus::Up, None).await,
                    Some(EngineStatus::Pending | EngineStatus::Down | EngineStatus::Duplicate)
                        if !cluster.is_absent(&id) =>
                    {
                        wake.notify_one();
                    }
                    Some(_) | None => {}
                }
            }
            Err(error) => {
                missed += 1;
                let reason = Some(error.detail().to_owned());
                let status = match cluster.status(&id) {
                    Some(EngineStatus::Up | EngineStatus::Suspect) if missed >= settings.probe_misses => {
                        EngineStatus::Down
                    }
                    Some(EngineStatus::Up | EngineStatus::Suspect) => EngineStatus::Suspect,
                    Some(other) => other,
                    None => return,
                };
                cluster.set_status(&id, status, reason).await;
            }
        }
    }
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
    let mut ticker = interval_at(tokio::time::Instant::now() + first, every);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
