//! The starts of one engine: who may begin, and when the next one may.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::pace::Pace;

/// After how many hundredths of the time that a start usually takes the next one begins. The first half of a start keeps a
/// core busy, then the daemon waits for the kernel; one after the other leaves a fifth of busy cores idle, and two all along
/// let each take most of twice its time. Measured with three hosts on two cores, 90 containers: 10.4 s one after the other
/// (each 0.33 s), 9.7 s so (0.41 s), 9.1 s four at once (1.0 s).
const HANDOVER: i64 = 80;
/// So many hundredths earlier for each turn that the engine has to do more than the mean of all that have any, and later for each
/// that it has to do less: all are done when the last one is.
const FOR_EACH_TURN: i64 = 10;
/// Never earlier than this, however much is left, and never later than the usual end.
const EARLIEST: i64 = 60;
const LATEST: i64 = 100;
/// After how many hundredths where no more wait than may begin at once: the last ones make nobody behind them wait longer.
const FOR_THE_LAST: i64 = 40;
/// Every so many hundredths it is looked whether it is time for the next one.
const LOOK: i64 = 5;
/// How many starts, the last ones, say what a start usually takes: the middle of them, so that one that was stuck says nothing.
const RECENT: usize = 5;

/// What all engines together have left to start.
#[derive(Debug, Default)]
pub(super) struct Backlog(Mutex<Sums>);

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// How many engines have anything to start.
    engines: i64,
    /// The turns of all of them together, in hundredths.
    turns: i64,
}

impl Backlog {
    fn mean(&self) -> i64 {
        let left = self.0.lock();
        left.turns / left.engines.max(1)
    }

    /// What one engine has left changed.
    fn changed(&self, before: i64, now: i64) {
        let mut left = self.0.lock();
        left.turns += now - before;
        left.engines += i64::from(now > 0) - i64::from(before > 0);
    }
}

/// The starts of one engine.
#[derive(Debug)]
pub(super) struct Starts {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
    backlog: Arc<Backlog>,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    /// No more than so many are under way.
    most: usize,
    /// How many permits there are: what the pace was when it was looked at last, and those that could not be taken away
    /// yet because they are in use.
    permits: usize,
    /// How many wait for a permit or are under way.
    left: usize,
    /// How many are under way with their permit, and how many have handed it over.
    holding: usize,
    handed_over: usize,
    /// In how many turns the engine does what is left, in hundredths.
    turns: i64,
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

    /// After how many hundredths of its usual time a start lets the next one begin, where the engines have so many turns to do
    /// in the mean.
    fn handover(&self, mean: i64) -> i64 {
        if self.left - self.holding - self.handed_over <= self.pace.at_once() {
            return FOR_THE_LAST;
        }
        (HANDOVER - FOR_EACH_TURN * (self.turns - mean) / 100).clamp(EARLIEST, LATEST)
    }

    /// Whether one of those under way may let the next one begin before its own end. Those that did are not more than they are
    /// when starts take what they usually take: a host that hangs is not given more and more.
    fn may_hand_over(&self) -> bool {
        let usually = (self.pace.at_once() * (100 - HANDOVER) as usize).div_ceil(HANDOVER as usize);
        self.handed_over < usually && self.holding + self.handed_over < self.most
    }

    /// Tells the others what this engine has left.
    fn tell(&mut self, backlog: &Backlog) {
        let turns = (self.left * 100 / self.pace.at_once()) as i64;
        backlog.changed(self.turns, turns);
        self.turns = turns;
    }
}

impl Starts {
    pub(super) fn new(pace: Pace, most: usize, backlog: Arc<Backlog>) -> Self {
        let permits = pace.at_once();
        let state =
            State { pace, most, permits, left: 0, holding: 0, handed_over: 0, turns: 0, recent: VecDeque::new() };
        Self { permits: Arc::new(Semaphore::new(permits)), state: Mutex::new(state), backlog }
    }

    /// Waits until one more may begin.
    pub(super) async fn next(self: Arc<Self>) -> StartSlot {
        let pending = Pending::on(self.clone());
        // Never closed, so there always is a permit.
        let permit = self.permits.clone().acquire_owned().await.ok();
        let begun = Instant::now();
        let mut state = self.state.lock();
        state.holding += 1;
        let at_once = state.pace.at_once();
        let at_once = Some(at_once).filter(|at_once| state.holding >= *at_once);
        StartSlot { permit, begun, usual: state.usual(), at_once, pending }
    }

    /// Whether nothing waits or is under way, and all may begin that could.
    #[cfg(test)]
    pub(super) fn are_idle(&self) -> bool {
        let state = self.state.lock();
        let counts = (state.left, state.holding, state.handed_over, state.turns);
        counts == (0, 0, 0, 0) && self.permits.available_permits() == state.permits
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

/// Counts one start as left to do, until it is dropped.
#[derive(Debug)]
struct Pending(Arc<Starts>);

impl Pending {
    fn on(starts: Arc<Starts>) -> Self {
        let mut state = starts.state.lock();
        state.left += 1;
        state.tell(&starts.backlog);
        drop(state);
        Self(starts)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.left -= 1;
        state.tell(&self.0.backlog);
    }
}

/// Leave to start one container. It passes to the next one shortly before the usual end of the start, or when it is dropped;
/// what the start took counts only if it was [`StartSlot::done`].
#[derive(Debug)]
pub(crate) struct StartSlot {
    /// `None` when it was handed over.
    permit: Option<OwnedSemaphorePermit>,
    begun: Instant,
    /// What a start usually takes, where that is known.
    usual: Option<Duration>,
    /// The pace when it began, if the engine did as many at once as that.
    at_once: Option<usize>,
    pending: Pending,
}

impl StartSlot {
    /// Waits for a part of the start, and lets the next one begin if it is time for that meanwhile.
    pub(crate) async fn during<T>(&mut self, part: impl Future<Output = T>) -> T {
        let mut part = pin!(part);
        let Some(usual) = self.usual else { return part.await };
        for moment in (FOR_THE_LAST..=LATEST).step_by(LOOK as usize) {
            tokio::select! {
                biased;
                outcome = &mut part => return outcome,
                () = sleep_until(self.begun + usual.mul_f64(moment as f64 / 100.0)) => self.hand_over(moment),
            }
            if self.permit.is_none() {
                break;
            }
        }
        part.await
    }

    /// Lets the next one begin, if it is time for that.
    fn hand_over(&mut self, moment: i64) {
        let starts = &self.pending.0;
        let mean = starts.backlog.mean();
        let mut state = starts.state.lock();
        if state.may_hand_over()
            && moment >= state.handover(mean)
            && let Some(permit) = self.permit.take()
        {
            state.holding -= 1;
            state.handed_over += 1;
            starts.give_back(permit, &mut state);
        }
    }

    /// The container runs.
    pub(crate) fn done(self) {
        self.pending.0.state.lock().took(self.begun.elapsed(), self.at_once);
    }
}

impl Drop for StartSlot {
    fn drop(&mut self) {
        let starts = &self.pending.0;
        let mut state = starts.state.lock();
        match self.permit.take() {
            Some(permit) => {
                state.holding -= 1;
                starts.give_back(permit, &mut state);
            }
            None => state.handed_over -= 1,
        }
    }
}
