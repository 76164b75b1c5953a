//! What time it is, so that what depends on time is tested by moving it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// A clock. Cheap to clone; every clone shows the same time.
#[derive(Clone, Default)]
pub struct Clock {
    /// What somebody sets by hand; nothing for the clocks of this machine.
    manual: Option<Arc<Mutex<Manual>>>,
}

#[derive(Clone, Copy)]
struct Manual {
    wall: Timestamp,
    since_boot: Duration,
}

impl Clock {
    /// The clocks of this machine.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands at `wall`, until it is set on by hand.
    pub fn manual(wall: Timestamp) -> Self {
        Self { manual: Some(Arc::new(Mutex::new(Manual { wall, since_boot: Duration::ZERO }))) }
    }

    /// The time of day. It may step, forwards and back.
    pub fn now(&self) -> Timestamp {
        self.manual.as_ref().map_or_else(Timestamp::now, |manual| manual.lock().wall)
    }

    /// How long the machine is up. It never steps back, and goes on while the machine sleeps, which what tokio and
    /// [`std::time::Instant`] go by does not.
    pub fn since_boot(&self) -> Duration {
        match &self.manual {
            Some(manual) => manual.lock().since_boot,
            None => boot_time(),
        }
    }

    /// Lets time pass on a clock that is set by hand; those of the machine go by themselves.
    pub fn advance(&self, by: Duration) {
        if let Some(manual) = &self.manual {
            let mut manual = manual.lock();
            manual.since_boot += by;
            manual.wall = manual.wall.saturating_add(by).unwrap_or(Timestamp::MAX);
        }
    }

    /// Lets the time of day of a clock that is set by hand step, as an operator or NTP does.
    pub fn step(&self, by: SignedDuration) {
        if let Some(manual) = &self.manual {
            let mut manual = manual.lock();
            manual.wall = manual.wall.saturating_add(by).unwrap_or(manual.wall);
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.manual.is_some() { "manual" } else { "system" };
        f.debug_struct("Clock").field("kind", &kind).field("now", &self.now()).finish()
    }
}

#[cfg(target_os = "linux")]
fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Elsewhere the monotonic clock must do.
#[cfg(not(target_os = "linux"))]
fn boot_time() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_goes_only_when_it_is_set_on() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let same = clock.clone();
        clock.advance(Duration::from_secs(5));
        assert_eq!((same.now().as_second(), same.since_boot()), (5, Duration::from_secs(5)));
        clock.step(SignedDuration::from_secs(-3));
        assert_eq!(
            (same.now().as_second(), same.since_boot()),
            (2, Duration::from_secs(5)),
            "only the time of day steps"
        );
    }

    #[test]
    fn the_clock_of_the_machine_goes_on() {
        let clock = Clock::system();
        let before = clock.since_boot();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.since_boot() >= before + Duration::from_millis(2));
        clock.advance(Duration::from_secs(3600));
        assert!(clock.since_boot() < before + Duration::from_secs(3600), "it cannot be set");
    }
}
