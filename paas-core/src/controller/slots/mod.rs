//! How much each engine is asked to do at once: starts at a pace of their own, removals a few at a time.

mod pace;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::model::{Cpus, EngineId};
use pace::Pace;

/// How many containers an engine removes at once: removing waits for the kernel more than it works, and from more on the
/// daemon only gets slower (measured: 87 containers on three hosts in 6.5 s one at a time, 5.2 s four, 6.4 s thirty-two).
const REMOVALS: usize = 4;
/// How many CPUs an engine has for each start that it is asked for at once to begin with.
const CPUS_PER_START: u64 = 2;

/// What each engine does at once.
#[derive(Debug)]
pub(super) struct Slots {
    most_starts: usize,
    engines: Mutex<HashMap<EngineId, Engine>>,
}

#[derive(Clone, Debug)]
struct Engine {
    starts: Arc<Starts>,
    removals: Arc<Semaphore>,
}

impl Slots {
    /// No engine starts more than `most_starts` containers at once.
    pub(super) fn new(most_starts: usize) -> Self {
        Self { most_starts: most_starts.clamp(1, Semaphore::MAX_PERMITS), engines: Mutex::default() }
    }

    /// Waits until the engine may start one more container. First come, first served.
    pub(super) async fn start(&self, engine: &EngineId, cpus: Cpus) -> StartSlot {
        let starts = self.of(engine, cpus).starts;
        // Never closed, so there always is a permit.
        let permit = starts.permits.clone().acquire_owned().await.ok();
        let begun = Instant::now();
        let at_once = {
            let mut state = starts.state.lock();
            state.under_way += 1;
            state.pace.at_once()
        };
        let is_full = starts.state.lock().under_way >= at_once;
        StartSlot { starts, permit, begun, at_once: is_full.then_some(at_once) }
    }

    /// Waits until the engine may remove one more container.
    pub(super) async fn removal(&self, engine: &EngineId) -> Option<OwnedSemaphorePermit> {
        let removals = self.of(engine, Cpus::default()).removals;
        removals.acquire_owned().await.ok()
    }

    pub(super) fn forget(&self, engine: &EngineId) {
        self.engines.lock().remove(engine);
    }

    fn of(&self, engine: &EngineId, cpus: Cpus) -> Engine {
        let mut engines = self.engines.lock();
        if let Some(known) = engines.get(engine) {
            return known.clone();
        }
        let first = usize::try_from(cpus.milli() / 1000 / CPUS_PER_START).unwrap_or(usize::MAX);
        let made = Engine {
            starts: Arc::new(Starts::new(Pace::new(first, self.most_starts))),
            removals: Arc::new(Semaphore::new(REMOVALS)),
        };
        engines.insert(engine.clone(), made.clone());
        made
    }
}

/// The starts of one engine.
#[derive(Debug)]
struct Starts {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    /// How many permits there are: what the pace was when it was looked at last, and those that could not be taken away
    /// yet because they are in use.
    permits: usize,
    under_way: usize,
}

impl Starts {
    fn new(pace: Pace) -> Self {
        let permits = pace.at_once();
        let state = Mutex::new(State { pace, permits, under_way: 0 });
        Self { permits: Arc::new(Semaphore::new(permits)), state }
    }
}

/// Leave to start one container. Dropping it gives the next one leave; what the start took counts only if it was
/// [`StartSlot::done`].
#[derive(Debug)]
pub(super) struct StartSlot {
    starts: Arc<Starts>,
    permit: Option<OwnedSemaphorePermit>,
    begun: Instant,
    /// The pace when it began, if the engine did as many at once as that.
    at_once: Option<usize>,
}

impl StartSlot {
    /// The container runs.
    pub(super) fn done(self) {
        self.took(self.begun.elapsed());
    }

    fn took(&self, latency: Duration) {
        let mut state = self.starts.state.lock();
        // One that began at another pace says nothing about this one.
        if self.at_once == Some(state.pace.at_once()) {
            state.pace.took(latency);
        }
    }
}

impl Drop for StartSlot {
    fn drop(&mut self) {
        let mut state = self.starts.state.lock();
        state.under_way -= 1;
        let wanted = state.pace.at_once();
        if state.permits > wanted {
            state.permits -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        } else if state.permits < wanted {
            self.starts.permits.add_permits(wanted - state.permits);
            state.permits = wanted;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Starts so many containers on a host where starts take 200 ms, stretched when more than `cores` are under way; what
    /// that took, and how many were under way at most.
    async fn start(slots: &Slots, count: usize, cores: usize) -> (Duration, usize) {
        let engine: EngineId = "a".parse().unwrap();
        let (under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let begun = Instant::now();
        let all = (0..count).map(|_| async {
            let slot = slots.start(&engine, Cpus::from_milli(2000)).await;
            let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            let stretched = Duration::from_millis(200) * u32::try_from(now.max(cores)).unwrap();
            tokio::time::sleep(stretched / u32::try_from(cores).unwrap()).await;
            under_way.fetch_sub(1, Ordering::SeqCst);
            slot.done();
        });
        futures::future::join_all(all).await;
        (begun.elapsed(), most.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_is_asked_for_as_many_as_it_does_at_once() {
        let slots = Slots::new(16);
        let (_, most) = start(&slots, 50, 1).await;
        assert!(most <= 2, "{most}");
        let slots = Slots::new(16);
        start(&slots, 100, 8).await;
        let (took, most) = start(&slots, 80, 8).await;
        assert!((7..=9).contains(&most), "{most}");
        assert!(
            took <= Duration::from_millis(200 * 14),
            "eighty by eight are ten turns, some of them trials: {took:?}"
        );
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
        let state = slots.of(&engine, Cpus::default()).starts;
        assert_eq!((state.state.lock().under_way, state.permits.available_permits()), (0, 1));
    }
}
