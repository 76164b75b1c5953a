//! How much each engine is asked to do at once: as many starts as it can use, removals a few at a time.

mod limiter;
mod starts;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::EngineId;
use limiter::ConcurrencyLimiter;
use starts::{StartQueue, StartSlot};

/// How many containers an engine removes at once: removing waits for the kernel more than it works, and from more on the
/// daemon only gets slower (measured: 87 containers on three hosts in 6.5 s one at a time, 5.2 s four, 6.4 s thirty-two).
pub(crate) const REMOVALS: usize = 4;

/// What each engine does at once.
#[derive(Debug)]
pub(crate) struct Slots {
    most_starts: usize,
    engines: Mutex<HashMap<EngineId, Engine>>,
}

#[derive(Clone, Debug)]
struct Engine {
    starts: Arc<StartQueue>,
    removals: Arc<Semaphore>,
}

impl Slots {
    /// No engine starts more than `most_starts` containers at once.
    pub(crate) fn new(most_starts: usize) -> Self {
        Self { most_starts, engines: Mutex::default() }
    }

    /// Waits until the engine may start one more container. First come, first served.
    pub(crate) async fn start(&self, engine: &EngineId) -> StartSlot {
        self.of(engine).starts.next().await
    }

    /// Waits until the engine may remove one more container.
    pub(crate) async fn removal(&self, engine: &EngineId) -> Option<OwnedSemaphorePermit> {
        self.of(engine).removals.acquire_owned().await.ok()
    }

    pub(crate) fn forget(&self, engine: &EngineId) {
        self.engines.lock().remove(engine);
    }

    fn of(&self, engine: &EngineId) -> Engine {
        let mut engines = self.engines.lock();
        let limited = || Engine {
            starts: Arc::new(StartQueue::new(ConcurrencyLimiter::new(self.most_starts))),
            removals: Arc::new(Semaphore::new(REMOVALS)),
        };
        engines.entry(engine.clone()).or_insert_with(limited).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::future::join_all;
    use tokio::time::Instant;

    use super::*;

    /// Starts so many containers on a host where starts take 200 ms, stretched when more than `cores` are under way; what
    /// that took, and how many were under way at most.
    async fn start(slots: &Slots, count: usize, cores: usize) -> (Duration, usize) {
        let engine: EngineId = "a".parse().unwrap();
        let (under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let began = Instant::now();
        let all = (0..count).map(|_| async {
            let slot = slots.start(&engine).await;
            let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            let stretched = Duration::from_millis(200) * u32::try_from(now.max(cores)).unwrap();
            tokio::time::sleep(stretched / u32::try_from(cores).unwrap()).await;
            under_way.fetch_sub(1, Ordering::SeqCst);
            slot.done();
        });
        join_all(all).await;
        (began.elapsed(), most.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_is_asked_for_as_many_as_it_does_at_once() {
        let slots = Slots::new(16);
        start(&slots, 600, 8).await;
        let (took, most) = start(&slots, 80, 8).await;
        assert_eq!(most, 8);
        assert!(took <= Duration::from_millis(200 * 12), "eighty by eight are ten turns: {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_hangs_is_not_given_more_and_more() {
        let slots = Slots::new(16);
        let engine: EngineId = "a".parse().unwrap();
        let under_way = AtomicUsize::new(0);
        let hanging = (0..20).map(|_| async {
            let _slot = slots.start(&engine).await;
            under_way.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        });
        let all = tokio::time::timeout(Duration::from_secs(3600), join_all(hanging));
        assert!(all.await.is_err());
        assert_eq!(under_way.into_inner(), 4);
        assert!(slots.of(&engine).starts.is_idle(), "all of them were given up");
    }

    #[tokio::test(start_paused = true)]
    async fn the_most_that_is_allowed_is_the_most() {
        let slots = Slots::new(1);
        let (_, most) = start(&slots, 20, 1).await;
        assert_eq!(most, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_fails_or_is_given_up_keeps_nobody_waiting_and_says_nothing() {
        let slots = Slots::new(1);
        let engine: EngineId = "a".parse().unwrap();
        drop(slots.start(&engine).await);
        let held = slots.start(&engine).await;
        let waiting = tokio::time::timeout(Duration::from_secs(1), slots.start(&engine));
        assert!(waiting.await.is_err(), "no more than it may");
        drop(held);
        slots.start(&engine).await.done();
        assert!(slots.of(&engine).starts.is_idle());
    }
}
