//! How much each engine is asked to do at once: starts at a pace of their own, removals a few at a time.

mod pace;
mod starts;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::{Cpus, EngineId};
use pace::Pace;
pub(crate) use starts::StartSlot;
use starts::{Backlog, Starts};

/// How many containers an engine removes at once: removing waits for the kernel more than it works, and from more on the
/// daemon only gets slower (measured: 87 containers on three hosts in 6.5 s one at a time, 5.2 s four, 6.4 s thirty-two).
pub(crate) const REMOVALS: usize = 4;
/// How many CPUs an engine has for each start that it is asked for at once to begin with.
const CPUS_PER_START: u64 = 2;

/// What each engine does at once.
#[derive(Debug)]
pub(crate) struct Slots {
    most_starts: usize,
    engines: Mutex<HashMap<EngineId, Engine>>,
    backlog: Arc<Backlog>,
}

#[derive(Clone, Debug)]
struct Engine {
    starts: Arc<Starts>,
    removals: Arc<Semaphore>,
}

impl Slots {
    /// No engine starts more than `most_starts` containers at once.
    pub(crate) fn new(most_starts: usize) -> Self {
        let most_starts = most_starts.clamp(1, Semaphore::MAX_PERMITS);
        Self { most_starts, engines: Mutex::default(), backlog: Arc::default() }
    }

    /// Waits until the engine may start one more container. First come, first served.
    pub(crate) async fn start(&self, engine: &EngineId, cpus: Cpus) -> StartSlot {
        self.of(engine, cpus).starts.next().await
    }

    /// Waits until the engine may remove one more container.
    pub(crate) async fn removal(&self, engine: &EngineId) -> Option<OwnedSemaphorePermit> {
        let removals = self.of(engine, Cpus::default()).removals;
        removals.acquire_owned().await.ok()
    }

    pub(crate) fn forget(&self, engine: &EngineId) {
        self.engines.lock().remove(engine);
    }

    fn of(&self, engine: &EngineId, cpus: Cpus) -> Engine {
        let mut engines = self.engines.lock();
        if let Some(known) = engines.get(engine) {
            return known.clone();
        }
        let first = usize::try_from(cpus.milli() / 1000 / CPUS_PER_START).unwrap_or(usize::MAX);
        let pace = Pace::new(first, self.most_starts);
        let made = Engine {
            starts: Arc::new(Starts::new(pace, self.most_starts, self.backlog.clone())),
            removals: Arc::new(Semaphore::new(REMOVALS)),
        };
        engines.insert(engine.clone(), made.clone());
        made
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
        let begun = Instant::now();
        let all = (0..count).map(|_| async {
            let mut slot = slots.start(&engine, Cpus::from_milli(2000)).await;
            let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            let stretched = Duration::from_millis(200) * u32::try_from(now.max(cores)).unwrap();
            slot.during(tokio::time::sleep(stretched / u32::try_from(cores).unwrap())).await;
            under_way.fetch_sub(1, Ordering::SeqCst);
            slot.done();
        });
        join_all(all).await;
        (begun.elapsed(), most.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_is_asked_for_as_many_as_it_does_at_once() {
        let slots = Slots::new(16);
        let (_, most) = start(&slots, 50, 1).await;
        assert!(most <= 4, "two while more is tried, and as many that were handed over: {most}");
        let slots = Slots::new(16);
        start(&slots, 200, 8).await;
        let (took, most) = start(&slots, 80, 8).await;
        assert!((8..=12).contains(&most), "{most}");
        assert!(
            took <= Duration::from_millis(200 * 14),
            "eighty by eight are ten turns, some of them trials: {took:?}"
        );
    }

    /// Has an engine start so many containers, each of which takes a second; when each began, milliseconds.
    async fn begins(slots: &Slots, engine: &str, count: usize) -> Vec<u128> {
        let engine: EngineId = engine.parse().unwrap();
        let begun = Instant::now();
        let all = (0..count).map(|_| async {
            let mut slot = slots.start(&engine, Cpus::default()).await;
            let began = begun.elapsed().as_millis();
            slot.during(tokio::time::sleep(Duration::from_secs(1))).await;
            slot.done();
            began
        });
        join_all(all).await
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_start_begins_shortly_before_the_usual_end_of_the_one_before() {
        let slots = Slots::new(16);
        assert_eq!(begins(&slots, "a", 2).await, [0, 1000], "what is usual is not known yet");
        assert_eq!(begins(&slots, "a", 4).await, [0, 800, 1600, 2000], "and the last one need not wait so long");
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_with_more_to_do_than_others_makes_haste_and_the_others_have_time() {
        let slots = Slots::new(16);
        tokio::join!(begins(&slots, "a", 1), begins(&slots, "b", 1));
        let (much, little) = tokio::join!(begins(&slots, "a", 6), begins(&slots, "b", 4));
        assert_eq!((much[1], little[1]), (700, 900), "a turn more than the mean of five, and one less");
        let (much, little) = tokio::join!(begins(&slots, "a", 50), begins(&slots, "b", 4));
        assert_eq!((much[1], little[1]), (600, 1000), "but not without bounds");
        assert_eq!(begins(&slots, "b", 4).await, [0, 800, 1600, 2000], "nothing is left of what is done");
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_hangs_is_not_given_more_and_more() {
        let slots = Slots::new(16);
        let engine: EngineId = "a".parse().unwrap();
        slots.start(&engine, Cpus::default()).await.done();
        let under_way = AtomicUsize::new(0);
        let hanging = (0..20).map(|_| async {
            let mut slot = slots.start(&engine, Cpus::default()).await;
            under_way.fetch_add(1, Ordering::SeqCst);
            slot.during(std::future::pending::<()>()).await;
        });
        let all = tokio::time::timeout(Duration::from_secs(3600), join_all(hanging));
        assert!(all.await.is_err());
        assert_eq!(under_way.into_inner(), 2);
        // All of them were given up.
        assert!(slots.of(&engine, Cpus::default()).starts.are_idle());
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
        drop(slots.start(&engine, Cpus::default()).await);
        let held = slots.start(&engine, Cpus::default()).await;
        let waiting = tokio::time::timeout(Duration::from_secs(1), slots.start(&engine, Cpus::default()));
        assert!(waiting.await.is_err(), "no more than it may");
        drop(held);
        slots.start(&engine, Cpus::default()).await.done();
        assert!(slots.of(&engine, Cpus::default()).starts.are_idle());
    }
}
