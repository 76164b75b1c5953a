//! How many containers an engine is asked to start at once: the fewest that bring nearly all that it can do.
//!
//! More starts at once bring more as long as the host has something left for them: cores, or time in which the daemon waits
//! for the kernel. From then on the rate stays and each start only takes longer. Where that is differs from host to host (of
//! two machines with two cores, one does a tenth more with four at once than with one, the other half as much again), so it
//! is measured: the limit goes from step to step, and the rate at each step is how many were under way divided by how
//! long each took (Little's law).

use std::time::Duration;

/// The limits that are tried. Doubling, because the rate at five says little more than those at four and eight.
const STEPS: [usize; 5] = [1, 2, 4, 8, 16];
/// The step to begin with: nowhere far from the best, and the best on most machines.
const FIRST: usize = 2;
/// A step is good enough with this share of the best rate: what is less lies within the noise of a busy host.
const ENOUGH: f64 = 0.95;
/// How many starts at least say something about a step, however low it is.
const FEWEST: usize = 6;
/// After how many measurements the other steps are measured again, since hosts and what runs on them change.
const REMEASURE: usize = 64;

/// The limit of one engine, with what was measured of it.
#[derive(Debug)]
pub(super) struct ConcurrencyLimiter {
    step: usize,
    /// No step is higher than this one.
    highest: usize,
    /// The limit never exceeds this number, which need not be a step.
    most: usize,
    /// Starts a second at each step, where that was measured.
    rates: [Option<f64>; STEPS.len()],
    /// The starts since the limit is what it is: how many, and what they took together.
    window: (usize, Duration),
    measurements: usize,
}

impl ConcurrencyLimiter {
    /// Never allows more than `most` at once, and always one.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        let highest = STEPS.iter().rposition(|&step| step <= most).unwrap_or(0);
        let step = FIRST.min(highest);
        Self { step, highest, most, rates: [None; STEPS.len()], window: (0, Duration::ZERO), measurements: 0 }
    }

    /// How many at once at this moment.
    pub(super) fn limit(&self) -> usize {
        STEPS[self.step].min(self.most)
    }

    /// Notes what a start took that ran while as many as the limit were under way.
    pub(super) fn record(&mut self, latency: Duration) {
        self.window.0 += 1;
        self.window.1 += latency;
        let (starts, time) = self.window;
        if starts < FEWEST.max(2 * self.limit()) {
            return;
        }
        self.window = (0, Duration::ZERO);
        let rate = (self.limit() * starts) as f64 / time.as_secs_f64().max(1e-9);
        self.rates[self.step] = Some(rate);
        self.measurements += 1;
        if self.measurements.is_multiple_of(REMEASURE) {
            self.rates = [None; STEPS.len()];
            self.rates[self.step] = Some(rate);
        }
        self.step = self.next_step();
    }

    /// The lowest step that is good enough; before that its neighbours, while they are unknown.
    fn next_step(&self) -> usize {
        let best = self.rates.iter().flatten().copied().fold(0.0, f64::max);
        let is_enough = |rate: &Option<f64>| rate.is_some_and(|rate| rate >= best * ENOUGH);
        let lowest = self.rates.iter().position(is_enough).unwrap_or(self.step);
        let is_unknown = |step: usize| self.rates[step].is_none();
        if lowest > 0 && is_unknown(lowest - 1) {
            lowest - 1
        } else if lowest < self.highest && is_unknown(lowest + 1) {
            lowest + 1
        } else {
            lowest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts on a host whose starts take `latency(at_once)`; the limits there were.
    fn run(limiter: &mut ConcurrencyLimiter, starts: usize, latency: impl Fn(usize) -> f64) -> Vec<usize> {
        let limits = (0..starts).map(|_| {
            let limit = limiter.limit();
            limiter.record(Duration::from_secs_f64(latency(limit)));
            limit
        });
        limits.collect()
    }

    /// How long a start takes where so many at once do not slow each other down, and alone 0.2 s.
    fn cores(cores: usize) -> impl Fn(usize) -> f64 {
        move |at_once| 0.2 * at_once.max(cores) as f64 / cores as f64
    }

    #[test]
    fn the_lowest_limit_that_brings_nearly_all_is_found_and_kept() {
        for (many, expected) in [(1, 1), (2, 2), (4, 4), (8, 8), (16, 16), (64, 16)] {
            let mut limiter = ConcurrencyLimiter::new(16);
            run(&mut limiter, 120, cores(many));
            assert_eq!(limiter.limit(), expected, "{many} cores");
            let kept = run(&mut limiter, 200, cores(many));
            assert!(kept.iter().all(|&limit| limit == expected), "{many} cores: {kept:?}");
        }
    }

    #[test]
    fn a_gain_of_a_tenth_is_worth_more_starts_at_once() {
        // What two real machines took for ninety on three hosts, at one, two, four and eight per host.
        for seconds in [[10.4, 9.8, 9.1, 9.1], [17.9, 12.7, 11.7, 11.7]] {
            let mut limiter = ConcurrencyLimiter::new(8);
            let latency = |at_once: usize| seconds[at_once.ilog2() as usize] / 30.0 * at_once as f64;
            run(&mut limiter, 100, latency);
            assert_eq!(limiter.limit(), 4);
        }
    }

    #[test]
    fn a_host_that_changes_is_measured_again() {
        let mut limiter = ConcurrencyLimiter::new(16);
        run(&mut limiter, 200, cores(8));
        assert_eq!(limiter.limit(), 8);
        run(&mut limiter, 3000, cores(1));
        assert_eq!(limiter.limit(), 1);
        run(&mut limiter, 3000, cores(8));
        assert_eq!(limiter.limit(), 8);
    }

    #[test]
    fn the_limit_has_bounds() {
        assert_eq!(ConcurrencyLimiter::new(0).limit(), 1);
        assert_eq!(ConcurrencyLimiter::new(usize::MAX).limit(), STEPS[FIRST]);
        let mut limiter = ConcurrencyLimiter::new(3);
        assert!(run(&mut limiter, 200, cores(64)).iter().all(|&limit| limit <= 3));
        run(&mut limiter, 100, |_| 0.0);
        assert!((1..=3).contains(&limiter.limit()));
    }
}
