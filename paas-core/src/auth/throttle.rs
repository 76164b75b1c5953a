//! Slowing down those who guess passwords.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{AuthError, Result};

/// Failures that cost nothing: people mistype.
const FREE: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Names that are remembered; more cannot fill the memory.
const NAMES: usize = 10_000;

/// Counts failed logins per name. After five in a row the name has to wait: one second, then twice as long each time, up
/// to five minutes.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    failures: Mutex<HashMap<String, Failures>>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    latest: Instant,
}

impl Failures {
    fn wait(&self) -> Duration {
        match self.count.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(beyond) => LONGEST_WAIT.min(FIRST_WAIT * 2_u32.saturating_pow(beyond.min(20))),
        }
    }

    fn is_over(&self) -> bool {
        self.latest.elapsed() > LONGEST_WAIT * 2
    }
}

impl Throttle {
    pub(super) fn check(&self, name: &str) -> Result<()> {
        let failures = self.failures.lock();
        let Some(known) = failures.get(name) else { return Ok(()) };
        match known.wait().checked_sub(known.latest.elapsed()) {
            Some(left) if left > Duration::ZERO => Err(AuthError::Throttled { retry_after: left }),
            _ => Ok(()),
        }
    }

    pub(super) fn note_failure(&self, name: &str) {
        let mut failures = self.failures.lock();
        if failures.len() >= NAMES {
            failures.retain(|_, known| !known.is_over());
        }
        if failures.len() >= NAMES && !failures.contains_key(name) {
            // Full of recent names: somebody tries very many. The oldest makes place.
            let oldest = failures.iter().min_by_key(|(_, known)| known.latest).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| failures.remove(&oldest));
        }
        let known = failures.entry(name.to_owned()).or_insert(Failures { count: 0, latest: Instant::now() });
        known.count = if known.is_over() { 1 } else { known.count.saturating_add(1) };
        known.latest = Instant::now();
    }

    pub(super) fn forget(&self, name: &str) {
        self.failures.lock().remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_begins_after_five_failures_and_doubles() {
        let throttle = Throttle::default();
        for _ in 0..4 {
            throttle.note_failure("ann");
            assert!(throttle.check("ann").is_ok());
        }
        for expected in [1, 2, 4, 8] {
            throttle.note_failure("ann");
            let Err(AuthError::Throttled { retry_after }) = throttle.check("ann") else { panic!("not throttled") };
            assert_eq!(retry_after.as_secs(), expected);
            assert!(throttle.check("bob").is_ok(), "others need not wait");
            tokio::time::advance(retry_after).await;
            assert!(throttle.check("ann").is_ok());
        }
        throttle.forget("ann");
        throttle.note_failure("ann");
        assert!(throttle.check("ann").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn many_names_do_not_fill_the_memory() {
        let throttle = Throttle::default();
        for number in 0..NAMES + 100 {
            throttle.note_failure(&number.to_string());
        }
        assert!(throttle.failures.lock().len() <= NAMES);
    }
}
