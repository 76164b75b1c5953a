//! Asks each engine, on its own ticker, whether it answers and what its containers use.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::probe::{Heard, Unheard};
use super::{Cluster, EngineHandle};
use crate::background::Report;
use crate::model::{EngineId, EngineStatus};

/// How long an answer that is late is still listened for, beyond the timeout. It tells a slow host from a dead one.
const LATE: Duration = Duration::from_secs(10);

/// The most containers of a host that are asked about in each interval, on average: Docker has to be asked for each of them.
const MEASURED_AN_INTERVAL: usize = 10;

/// What became of a probe.
enum Outcome {
    /// The host answered, after so long.
    Answered(Heard, Duration),
    /// It did not answer in time, and why. While it still may, the rest of the probe.
    Missed(Unheard, Option<BoxFuture<'static, Outcome>>),
    /// A late answer did not come at all.
    Over,
}

/// Probes one engine for ever. What it finds decides whether the engine takes containers.
///
/// Probes do not wait for each other: each has its own tick and its own timeout. A host that is known to be slow is given
/// up to `probe_misses` times the timeout, so that slowness alone does not make it suspect again and again.
pub(super) async fn monitor(cluster: Cluster, engine: EngineHandle, report: Report) {
    let settings = cluster.shared.settings.clone();
    let most = settings.probe_timeout * settings.probe_misses.max(1);
    let mut ticker = jittered(engine.id(), settings.probe_interval);
    let mut probes = FuturesUnordered::new();
    let mut usual = Duration::ZERO;
    let mut missed = 0;
    loop {
        let outcome = tokio::select! {
            // In this order, so that a simulation goes the same way twice; no tick is starved by answers to those before.
            biased;
            () = report.woken() => {
                ticker.reset_immediately();
                continue;
            }
            Some(outcome) = probes.next() => outcome,
            _ = ticker.tick() => {
                let deadline = (usual * 2).clamp(settings.probe_timeout, most);
                probes.push(probe(cluster.clone(), engine.clone(), deadline).boxed());
                continue;
            }
        };
        match outcome {
            Outcome::Answered(heard, took) => {
                missed = 0;
                // Forgets slowly: one quick answer does not make a slow host quick.
                usual = took.max(usual.mul_f64(0.9));
                answered(&cluster, &engine, heard, took);
                report.ok();
            }
            Outcome::Missed(unheard, rest) => {
                missed += 1;
                probes.extend(rest);
                report.failed(&unheard.reason);
                unanswered(&cluster, &engine, missed, unheard);
            }
            Outcome::Over => {}
        }
    }
}

async fn probe(cluster: Cluster, engine: EngineHandle, deadline: Duration) -> Outcome {
    let asked = Instant::now();
    let Some(spec) = cluster.engine_spec(engine.id()) else { return Outcome::Over };
    let answer = async move { cluster.shared.prober.ask(&spec.addr, &**engine.client(), deadline + LATE).await };
    let mut answer = Box::pin(answer);
    match timeout(deadline, &mut answer).await {
        Ok(Ok(heard)) => Outcome::Answered(heard, asked.elapsed()),
        Ok(Err(unheard)) => Outcome::Missed(unheard, None),
        Err(_) => {
            let late = async move {
                match answer.await {
                    Ok(heard) => Outcome::Answered(heard, asked.elapsed()),
                    Err(_) => Outcome::Over,
                }
            };
            Outcome::Missed(Unheard::silent(format!("no answer within {deadline:?}")), Some(late.boxed()))
        }
    }
}

fn answered(cluster: &Cluster, engine: &EngineHandle, heard: Heard, took: Duration) {
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let now = cluster.shared.clock.now();
    cluster.with(engine, |view| {
        view.set_response_time(engine.id(), milliseconds);
        view.note_heard(engine.id(), heard, now);
    });
    match engine.status() {
        // A missed probe loses no event: the stream is still open, or its end brings the follower here.
        EngineStatus::Suspect => cluster.set_status(engine, EngineStatus::Up, None),
        EngineStatus::Pending | EngineStatus::Down if !cluster.is_absent(engine.id()) => engine.wake(),
        _ => {}
    }
}

fn unanswered(cluster: &Cluster, engine: &EngineHandle, missed: u32, unheard: Unheard) {
    let Unheard { reason, nobody_listens } = unheard;
    let now = cluster.shared.clock.now();
    cluster.with(engine, |view| view.note_unheard(engine.id(), nobody_listens, now));
    let status = match engine.status() {
        EngineStatus::Up | EngineStatus::Suspect if missed >= cluster.shared.settings.probe_misses => {
            EngineStatus::Down
        }
        EngineStatus::Up | EngineStatus::Suspect => EngineStatus::Suspect,
        // A new one that takes long to answer may still be read.
        EngineStatus::Pending if missed < cluster.shared.settings.probe_misses => return,
        // Why it is one is worth more than that it does not answer, either.
        EngineStatus::Duplicate => return,
        other => other,
    };
    cluster.set_status(engine, status, Some(reason));
}

/// Measures for ever what the containers of one engine use, where the host does not say by itself what is in use. One with many
/// containers is measured less often, so that being measured costs a host no more the more it does.
pub(super) async fn measure(cluster: Cluster, engine: EngineHandle, report: Report) {
    let id = engine.id();
    let every = cluster.shared.settings.usage_interval;
    sleep(part_of(id, every)).await;
    loop {
        if engine.status() == EngineStatus::Up && !cluster.tells_its_use(id) {
            match engine.client().usage().await {
                Ok(usage) => {
                    cluster.with(&engine, |view| view.set_usage(id, usage));
                    report.ok();
                }
                Err(error) => {
                    tracing::debug!(engine = %id, %error, "usage of CPU and memory not measured");
                    report.failed(&error);
                }
            }
        }
        let containers = cluster.shared.view.read().containers_on(id);
        let pause = every * u32::try_from(containers.div_ceil(MEASURED_AN_INTERVAL).max(1)).unwrap_or(u32::MAX);
        // Sooner or later than that each time, so that those that were started together do not stay together.
        let _ = timeout(pause / 2 + part_of(id, pause), report.woken()).await;
    }
}

/// A ticker whose first tick comes at a moment of the first interval that is the engine's own, so that a thousand of them do
/// not all tick at once.
fn jittered(engine: &EngineId, every: Duration) -> tokio::time::Interval {
    let mut ticker = interval_at(Instant::now() + part_of(engine, every), every);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

/// A part of a time that follows from the name of an engine: many of them are spread over it, and a simulation goes the same way twice.
pub(super) fn part_of(engine: &EngineId, time: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    engine.as_str().hash(&mut hasher);
    // The upper half of the hash, of as many as there are.
    time.mul_f64((hasher.finish() >> 32) as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use jiff::Timestamp;

    use super::*;
    use crate::cluster::ClusterSettings;
    use crate::engine::{EngineUsage, MockDockerEngine};
    use crate::events::RecordingSink;
    use crate::model::{EngineSpec, HostUsage, MemoryMb};
    use crate::scheduler::Spread;

    #[tokio::test(start_paused = true)]
    async fn a_host_that_says_what_is_in_use_is_not_asked() {
        let (events, scheduler) = (Arc::new(RecordingSink::default()), Arc::new(Spread::default()));
        let cluster = Cluster::new(ClusterSettings::default(), scheduler, events, "test".to_owned());
        let id: EngineId = "one".parse().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let mut engine = MockDockerEngine::new();
        engine.expect_usage().returning({
            let asked = asked.clone();
            move || {
                asked.fetch_add(1, Ordering::SeqCst);
                Ok(EngineUsage::default())
            }
        });
        let spec = EngineSpec::new(id.clone(), "sim://one".parse().unwrap());
        let stop = cluster.background().stopping().child_token();
        let handle = EngineHandle::new(id.clone(), 1, Arc::new(engine), stop.clone());
        cluster.shared.view.write().add_engine(spec, handle.clone(), Timestamp::now());
        cluster.shared.view.write().set_status(&id, EngineStatus::Up, None, Timestamp::now());
        let (measured, engine) = (cluster.in_background(), handle.clone());
        let work = move |report| measure(measured.clone(), engine.clone(), report);
        cluster.background().spawn("measure", None, stop, work);
        let in_a_minute = async |said| {
            cluster.set_host_usage(&id, said);
            sleep(Duration::from_secs(60)).await;
            asked.swap(0, Ordering::SeqCst)
        };
        assert_eq!(in_a_minute(Some(HostUsage { cpus: 1.0, memory: MemoryMb::new(1) })).await, 0);
        assert!(in_a_minute(None).await >= 4);
        cluster.shutdown().await;
    }
}
