//! How many containers an engine is asked to start at once: as many as its own latencies say are worth it.
//!
//! Starts that do not slow each other down take as long together as one alone, so that each further one raises the rate. Where
//! they share what they need, as on a host whose cores are busy, the rate stays and only the waiting grows. So the pace is
//! found by trying: one more at once is kept if it brings at least half of what it would bring were they independent, and
//! one less if it costs less than that. What was tried in vain is tried again ever more rarely, and a trial of more ends with the
//! first starts that speak against it: those who wait for them meanwhile wait longer. The rate is not counted but follows
//! from how long starts take: at once divided by latency (Little's law).

use std::time::Duration;

/// The fewest starts that say something about a pace: on a machine with something else to do, one start takes twice as long
/// as another for no reason of ours.
const FEWEST: usize = 6;
/// How many starts are enough to give up a trial of more.
const DISCOURAGING: usize = 2;
/// For how many windows a pace is kept before another is tried: at first, and at most.
const TIMEOUT: usize = 4;
const LONGEST_TIMEOUT: usize = 64;

/// The pace of one engine, with what is known of it.
#[derive(Debug)]
pub(super) struct Pace {
    at_once: usize,
    most: usize,
    /// Starts since the pace is what it is: how many, and what they took together.
    window: (usize, Duration),
    trial: Trial,
    deadline: usize,
}

/// What is being found out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trial {
    /// Nothing, for so many windows. Then one less is tried if `down`, otherwise one more. The best rate meanwhile is what one
    /// more has to beat: hosts that share a machine slow each other down for a while, and that is not to be gained back.
    Rest { windows: usize, down: bool, best: f64 },
    /// Whether one more at once is worth it, over this rate.
    Up { rate: f64 },
    /// Whether one less costs anything, against this rate.
    Down { rate: f64 },
}

impl Pace {
    /// Begins with `at_once`, and never has more than `most`.
    pub(super) fn new(at_once: usize, most: usize) -> Self {
        let most = most.max(1);
        let trial = Trial::Rest { windows: TIMEOUT, down: false, best: 0.0 };
        Self { at_once: at_once.clamp(1, most), most, window: (0, Duration::ZERO), trial, deadline: TIMEOUT }
    }

    /// How many at once at this moment.
    pub(super) fn at_once(&self) -> usize {
        self.at_once
    }

    /// Takes note of what a start took that ran while the engine did as many as it was to.
    pub(super) fn took(&mut self, latency: Duration) {
        self.window = (self.window.0 + 1, self.window.1 + latency);
        let (starts, time) = self.window;
        let rate = (self.at_once * starts) as f64 / time.as_secs_f64().max(1e-9);
        let is_in_vain = matches!(self.trial, Trial::Up { rate: before } if rate < before * worth(self.at_once - 1));
        if starts >= FEWEST.max(self.at_once) || (starts >= DISCOURAGING && is_in_vain) {
            self.window = (0, Duration::ZERO);
            self.decide(rate);
        }
    }

    fn decide(&mut self, rate: f64) {
        match self.trial {
            Trial::Rest { windows: 0, down: true, .. } if self.at_once > 1 => {
                self.at_once -= 1;
                self.trial = Trial::Down { rate };
            }
            Trial::Rest { windows: 0, best, .. } if self.at_once < self.most => {
                self.at_once += 1;
                self.trial = Trial::Up { rate: rate.max(best) };
            }
            Trial::Rest { windows, down, best } => {
                let (windows, down) = (windows.saturating_sub(1), down || windows == 0);
                self.trial = Trial::Rest { windows, down, best: rate.max(best) };
            }
            Trial::Up { rate: before } if rate >= before * worth(self.at_once - 1) => {
                self.deadline = TIMEOUT;
                if self.at_once < self.most {
                    self.at_once += 1;
                    self.trial = Trial::Up { rate };
                } else {
                    self.rest(true);
                }
            }
            Trial::Up { .. } => {
                self.at_once -= 1;
                self.deadline = (self.deadline * 2).min(LONGEST_TIMEOUT);
                self.rest(true);
            }
            Trial::Down { rate: before } if before < rate * worth(self.at_once) => {
                self.deadline = TIMEOUT;
                if self.at_once > 1 {
                    self.at_once -= 1;
                    self.trial = Trial::Down { rate };
                } else {
                    self.rest(false);
                }
            }
            Trial::Down { .. } => {
                self.at_once += 1;
                self.rest(false);
            }
        }
    }

    fn rest(&mut self, down: bool) {
        self.trial = Trial::Rest { windows: self.deadline, down, best: 0.0 };
    }
}

/// By what factor the rate must grow for one more than `at_once`: half way from no gain to all that there could be.
fn worth(at_once: usize) -> f64 {
    1.0 + 0.5 / at_once as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drives a pace on a host that does `cores` starts at once without one slowing down the other; the paces it had.
    fn on(cores: usize, pace: &mut Pace, starts: usize) -> Vec<usize> {
        let alone = Duration::from_millis(200);
        let paces = (0..starts).map(|_| {
            let at_once = pace.at_once();
            pace.took(alone * u32::try_from(at_once.max(cores)).unwrap() / u32::try_from(cores).unwrap());
            at_once
        });
        paces.collect()
    }

    #[test]
    fn a_host_without_cores_to_spare_is_asked_for_one_at_a_time() {
        let mut pace = Pace::new(1, 16);
        let paces = on(1, &mut pace, 200);
        assert!(paces.iter().all(|&at_once| at_once <= 2), "one more is tried, and no further: {paces:?}");
        let alone = paces.iter().filter(|&&at_once| at_once == 1).count();
        assert!(alone >= 160, "and ever more rarely: {alone} of 200");
    }

    #[test]
    fn a_host_with_cores_to_spare_is_asked_for_as_many_as_it_has() {
        for cores in [2, 4, 8] {
            let mut pace = Pace::new(1, 16);
            on(cores, &mut pace, 100);
            let paces = on(cores, &mut pace, 500);
            let near = paces.iter().filter(|&&at_once| at_once.abs_diff(cores) <= 1).count();
            assert!(near >= 490, "{cores} cores: {paces:?}");
        }
        // Never more than it may.
        let mut pace = Pace::new(1, 3);
        assert!(on(8, &mut pace, 100).iter().all(|&at_once| at_once <= 3));
        assert_eq!(pace.at_once(), 3);
    }

    #[test]
    fn a_host_that_gets_busy_is_asked_for_less_and_later_for_more_again() {
        let mut pace = Pace::new(1, 16);
        on(8, &mut pace, 200);
        assert!(pace.at_once() >= 7);
        on(1, &mut pace, 2000);
        assert!(pace.at_once() <= 2, "{pace:?}");
        on(8, &mut pace, 2000);
        assert!(pace.at_once() >= 7, "{pace:?}");
    }

    #[test]
    fn a_trial_of_more_ends_with_the_first_starts_that_speak_against_it() {
        let mut pace = Pace::new(1, 16);
        while pace.at_once() == 1 {
            pace.took(Duration::from_millis(200));
        }
        pace.took(Duration::from_millis(400));
        assert_eq!(pace.at_once(), 2, "one start alone may be slow for any reason");
        pace.took(Duration::from_millis(400));
        assert_eq!(pace.at_once(), 1);
    }

    #[test]
    fn one_more_has_to_beat_the_best_that_there_was() {
        let mut pace = Pace::new(1, 16);
        // Somebody else slows the host down in the end, and no longer when more is tried.
        for _ in 0..FEWEST * TIMEOUT {
            pace.took(Duration::from_millis(200));
        }
        while pace.at_once() == 1 {
            pace.took(Duration::from_millis(400));
        }
        for _ in 0..FEWEST {
            pace.took(Duration::from_millis(390));
        }
        assert_eq!(pace.at_once(), 1);
    }

    #[test]
    fn a_pace_has_bounds() {
        assert_eq!(Pace::new(0, 0).at_once(), 1);
        assert_eq!(Pace::new(9, 4).at_once(), 4);
        let mut pace = Pace::new(1, 4);
        pace.took(Duration::ZERO);
        pace.took(Duration::ZERO);
        assert!((1..=4).contains(&pace.at_once()));
    }
}
