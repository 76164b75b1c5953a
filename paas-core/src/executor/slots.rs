//! How much each engine is asked to do at once: as many starts as it has CPUs, removals a few at a time.
//!
//! A start is mostly work of the daemon and the kernel, 0.2 s of CPU time each. With fewer at once than CPUs some of them idle;
//! from then on the rate hardly grows, and every start takes longer. One at a time leaves waits unused also on one CPU, so it
//! is never less than two. Measured on three hosts with two CPUs (`docs/benchmarks.md`), two at once come within a tenth of the
//! best of one, two, four and eight, with starts half as long as at four. To go by the measured rate was tried and given
//! up: hosts that share CPUs, as virtual machines do, each gain by more at once what the others lose, until all are at the most.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::EngineId;

/// How many containers an engine starts at once at least, and where nobody knows how many CPUs it has.
const FEWEST_STARTS: usize = 2;
/// How many containers an engine removes at once: removing waits for the kernel more than it works, and from more on the
/// daemon only gets slower (measured: 87 containers on three hosts in 6.5 s one at a time, 5.2 s four, 6.4 s thirty-two).
pub(crate) const REMOVALS: usize = 4;

/// What each engine does at once.
#[derive(Debug)]
pub(crate) struct Slots {
    most_starts: usize,
    engines: Mutex<HashMap<EngineId, Engine>>,
}

#[derive(Debug)]
struct Engine {
    at_once: usize,
    starts: Arc<Semaphore>,
    removals: Arc<Semaphore>,
}

impl Slots {
    /// No engine starts more than `most_starts` containers at once, and each at least one.
    pub(crate) fn new(most_starts: usize) -> Self {
        Self { most_starts: most_starts.max(1), engines: Mutex::default() }
    }

    /// Waits until the engine, which has so many CPUs, may start one more container. First come, first served.
    pub(crate) async fn start(&self, engine: &EngineId, cpus: Option<u32>) -> Option<OwnedSemaphorePermit> {
        let cpus = cpus.map_or(FEWEST_STARTS, |cpus| usize::try_from(cpus).unwrap_or(usize::MAX));
        let at_once = cpus.max(FEWEST_STARTS).min(self.most_starts);
        let starts = self.with(engine, |engine| {
            // Of a host that got another size, those under way end beside the next ones.
            if engine.at_once != at_once {
                (engine.at_once, engine.starts) = (at_once, Arc::new(Semaphore::new(at_once)));
            }
            engine.starts.clone()
        });
        starts.acquire_owned().await.ok()
    }

    /// Waits until the engine may remove one more container.
    pub(crate) async fn removal(&self, engine: &EngineId) -> Option<OwnedSemaphorePermit> {
        self.with(engine, |engine| engine.removals.clone()).acquire_owned().await.ok()
    }

    pub(crate) fn forget(&self, engine: &EngineId) {
        self.engines.lock().remove(engine);
    }

    fn with<T>(&self, engine: &EngineId, use_it: impl FnOnce(&mut Engine) -> T) -> T {
        let new =
            || Engine { at_once: 0, starts: Arc::new(Semaphore::new(0)), removals: Arc::new(Semaphore::new(REMOVALS)) };
        use_it(self.engines.lock().entry(engine.clone()).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::future::join_all;
    use tokio::time::timeout;

    use super::*;

    /// Starts so many containers on a host with so many CPUs; how many were under way at most.
    async fn start(slots: &Slots, count: usize, cpus: Option<u32>) -> usize {
        let engine: EngineId = "a".parse().unwrap();
        let (under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let all = (0..count).map(|_| async {
            let _slot = slots.start(&engine, cpus).await;
            most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(200)).await;
            under_way.fetch_sub(1, Ordering::SeqCst);
        });
        join_all(all).await;
        most.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_is_asked_for_as_many_as_it_has_cpus_within_bounds() {
        let slots = Slots::new(16);
        for (cpus, expected) in [(Some(1), 2), (Some(2), 2), (Some(8), 8), (Some(64), 16), (None, 2), (Some(4), 4)] {
            assert_eq!(start(&slots, 40, cpus).await, expected, "{cpus:?}");
        }
        assert_eq!(start(&Slots::new(1), 20, Some(8)).await, 1);
        assert_eq!(start(&Slots::new(0), 20, None).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_is_given_up_keeps_nobody_waiting() {
        let slots = Slots::new(1);
        let engine: EngineId = "a".parse().unwrap();
        let held = slots.start(&engine, None).await;
        assert!(timeout(Duration::from_secs(1), slots.start(&engine, None)).await.is_err(), "no more than it may");
        drop(held);
        assert!(timeout(Duration::from_secs(1), slots.start(&engine, None)).await.is_ok());
    }
}
