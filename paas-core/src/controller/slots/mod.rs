//! How much each engine is asked to do at once: starts at a pace of their own, removals a few at a time.

mod pace;

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::model::{Cpus, EngineId};
use pace::Pace;

/// How many containers an engine removes at once: removing waits for the kernel more than it works, and from more on the
/// daemon only gets slower (measured: 87 containers on three hosts in 6.5 s one at a time, 5.2 s four, 6.4 s thirty-two).
pub(super) const REMOVALS: usize = 4;
/// How many CPUs an engine has for each start that it is asked for at once to begin with.
const CPUS_PER_START: u64 = 2;
/// After what part of the time that a start usually takes the next one begins. A start has the daemon wait for the disk and
/// the kernel, and one after the other leaves a fifth of busy cores idle; two all along let each take most of twice its time.
/// Measured with three hosts on two cores, 90 containers: 12.0 s one after the other (each 0.37 s), 10.3 s so (0.48 s), 10.0 s
/// two at once (0.63 s), 9.8 s four at once (1.15 s).
const HANDOVER: f64 = 0.75;
/// The same where no more wait than may begin at once: the last ones make nobody behind them wait longer.
const HANDOVER_TO_THE_LAST: f64 = 0.4;
/// How many starts, the last ones, say what a start usually takes: the middle of them, so that one that was stuck says nothing.
const RECENT: usize = 5;

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
        let waiting = Waiting::on(&starts);
        // Never closed, so there always is a permit.
        let permit = starts.permits.clone().acquire_owned().await.ok();
        drop(waiting);
        let begun = Instant::now();
        let (at_once, usual) = {
            let mut state = starts.state.lock();
            state.holding += 1;
            let at_once = state.pace.at_once();
            (Some(at_once).filter(|at_once| state.holding >= *at_once), state.usual())
        };
        StartSlot { starts, permit, begun, usual, at_once }
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
            starts: Arc::new(Starts::new(Pace::new(first, self.most_starts), self.most_starts)),
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
    /// No more than so many are under way.
    most: usize,
    /// How many permits there are: what the pace was when it was looked at last, and those that could not be taken away
    /// yet because they are in use.
    permits: usize,
    /// How many wait for a permit.
    waiting: usize,
    /// How many are under way with their permit, and how many have handed it over.
    holding: usize,
    handed_over: usize,
    /// What the last starts took, the latest at the end.
    recent: VecDeque<Duration>,
}

impl State {
    fn took(&mut self, latency: Duration, at_once: Option<usize>) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(latency);
        // One that began at another pace says nothing about this one.
        if at_once == Some(self.pace.at_once()) {
            self.pace.took(latency);
        }
    }

    /// What a start usually takes; unknown before the first one.
    fn usual(&self) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// Whether only the last ones wait.
    fn is_near_the_end(&self) -> bool {
        self.waiting <= self.pace.at_once()
    }

    /// Whether one of those under way may let the next one begin before its own end. Those that did are not more than they are
    /// when starts take what they usually take: a host that hangs is not given more and more.
    fn may_hand_over(&self) -> bool {
        let usually = (self.pace.at_once() as f64 * (1.0 / HANDOVER - 1.0)).ceil() as usize;
        self.handed_over < usually && self.holding + self.handed_over < self.most
    }
}

impl Starts {
    fn new(pace: Pace, most: usize) -> Self {
        let permits = pace.at_once();
        let state = State { pace, most, permits, waiting: 0, holding: 0, handed_over: 0, recent: VecDeque::new() };
        Self { permits: Arc::new(Semaphore::new(permits)), state: Mutex::new(state) }
    }

    /// Gives a permit back, and sees to it that there are as many as the pace says.
    fn give_back(&self, permit: OwnedSemaphorePermit, state: &mut State) {
        let wanted = state.pace.at_once();
        if state.permits > wanted {
            state.permits -= 1;
            permit.forget();
        } else if state.permits < wanted {
            self.permits.add_permits(wanted - state.permits);
            state.permits = wanted;
        }
    }
}

/// Counts somebody who waits for a permit, until it is dropped.
struct Waiting<'a>(&'a Starts);

impl<'a> Waiting<'a> {
    fn on(starts: &'a Starts) -> Self {
        starts.state.lock().waiting += 1;
        Self(starts)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiting -= 1;
    }
}

/// Leave to start one container. It passes to the next one shortly before the usual end of the start, or when it is dropped;
/// what the start took counts only if it was [`StartSlot::done`].
#[derive(Debug)]
pub(super) struct StartSlot {
    starts: Arc<Starts>,
    /// `None` when it was handed over.
    permit: Option<OwnedSemaphorePermit>,
    begun: Instant,
    /// What a start usually takes, where that is known.
    usual: Option<Duration>,
    /// The pace when it began, if the engine did as many at once as that.
    at_once: Option<usize>,
}

impl StartSlot {
    /// Waits for a part of the start, and lets the next one begin if it is time for that meanwhile.
    pub(super) async fn during<T>(&mut self, part: impl Future<Output = T>) -> T {
        let mut part = pin!(part);
        let Some(usual) = self.usual else { return part.await };
        for (moment, is_for_the_last) in [(HANDOVER_TO_THE_LAST, true), (HANDOVER, false)] {
            tokio::select! {
                biased;
                outcome = &mut part => return outcome,
                () = sleep_until(self.begun + usual.mul_f64(moment)) => self.hand_over(is_for_the_last),
            }
        }
        part.await
    }

    fn hand_over(&mut self, is_for_the_last: bool) {
        let mut state = self.starts.state.lock();
        if state.may_hand_over()
            && (state.is_near_the_end() || !is_for_the_last)
            && let Some(permit) = self.permit.take()
        {
            state.holding -= 1;
            state.handed_over += 1;
            self.starts.give_back(permit, &mut state);
        }
    }

    /// The container runs.
    pub(super) fn done(self) {
        self.starts.state.lock().took(self.begun.elapsed(), self.at_once);
    }
}

impl Drop for StartSlot {
    fn drop(&mut self) {
        let mut state = self.starts.state.lock();
        match self.permit.take() {
            Some(permit) => {
                state.holding -= 1;
                self.starts.give_back(permit, &mut state);
            }
            None => state.handed_over -= 1,
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
            let mut slot = slots.start(&engine, Cpus::from_milli(2000)).await;
            let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            let stretched = Duration::from_millis(200) * u32::try_from(now.max(cores)).unwrap();
            slot.during(tokio::time::sleep(stretched / u32::try_from(cores).unwrap())).await;
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

    #[tokio::test(start_paused = true)]
    async fn the_next_start_begins_shortly_before_the_usual_end_of_the_one_before() {
        let slots = Slots::new(16);
        let engine: EngineId = "a".parse().unwrap();
        let second = Duration::from_secs(1);
        let mut first = slots.start(&engine, Cpus::default()).await;
        first.during(tokio::time::sleep(second)).await;
        first.done();
        let begun = Instant::now();
        let all = (0..4).map(|_| async {
            let mut slot = slots.start(&engine, Cpus::default()).await;
            let began = begun.elapsed().as_millis();
            slot.during(tokio::time::sleep(second)).await;
            slot.done();
            began
        });
        assert_eq!(
            futures::future::join_all(all).await,
            [0, 750, 1500, 1900],
            "and the last one need not wait so long"
        );
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
        let all = tokio::time::timeout(Duration::from_secs(3600), futures::future::join_all(hanging));
        assert!(all.await.is_err());
        assert_eq!(under_way.into_inner(), 2);
        // All of them were given up.
        let state = slots.of(&engine, Cpus::default()).starts;
        let state = state.state.lock();
        assert_eq!((state.waiting, state.holding, state.handed_over), (0, 0, 0));
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
        let state = slots.of(&engine, Cpus::default()).starts;
        assert_eq!((state.state.lock().holding, state.permits.available_permits()), (0, 1));
    }
}
