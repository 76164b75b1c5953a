//! What time it is, so that what depends on time is tested by moving it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// A clock. Cheap to clone; every clone shows the same time.
#[derive(Clone, Default)]
pub struct Clock(Source);

#[derive(Clone, Default)]
enum Source {
    /// The clocks of this machine.
    #[default]
    System,
    /// What somebody sets by hand.
    Manual(Arc<Mutex<Manual>>),
    /// The time that it was at an instant, and since then that of tokio.
    Tokio(Timestamp, tokio::time::Instant),
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
        Self(Source::Manual(Arc::new(Mutex::new(Manual { wall, since_boot: Duration::ZERO }))))
    }

    /// A clock that shows `wall` now and goes on with tokio's, which a test can have stand still while there is something to do.
    pub fn with_tokio(wall: Timestamp) -> Self {
        Self(Source::Tokio(wall, tokio::time::Instant::now()))
    }

    /// The time of day. It may step, forwards and back.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Manual(manual) => manual.lock().wall,
            Source::Tokio(wall, start) => wall.saturating_add(start.elapsed()).unwrap_or(Timestamp::MAX),
        }
    }

    /// How long the machine is up. It never steps back, and goes on while the machine sleeps, which what tokio and
    /// [`std::time::Instant`] go by does not.
    pub fn since_boot(&self) -> Duration {
        match &self.0 {
            Source::System => boot_time(),
            Source::Manual(manual) => manual.lock().since_boot,
            Source::Tokio(_, start) => start.elapsed(),
        }
    }

    /// Lets time pass on a clock that is set by hand; those of the machine go by themselves.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &self.0 {
            let mut manual = manual.lock();
            manual.since_boot += by;
            manual.wall = manual.wall.saturating_add(by).unwrap_or(Timestamp::MAX);
        }
    }

    /// Lets the time of day of a clock that is set by hand step, as an operator or NTP does.
    pub fn step(&self, by: SignedDuration) {
        if let Source::Manual(manual) = &self.0 {
            let mut manual = manual.lock();
            manual.wall = manual.wall.saturating_add(by).unwrap_or(manual.wall);
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            Source::System => "system",
            Source::Manual(_) => "manual",
            Source::Tokio(..) => "tokio",
        };
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

    #[tokio::test]
    async fn the_clock_of_the_machine_goes_on() {
        let clock = Clock::system();
        let before = clock.since_boot();
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(clock.since_boot() >= before + Duration::from_millis(2));
        clock.advance(Duration::from_secs(3600));
        assert!(clock.since_boot() < before + Duration::from_secs(3600), "it cannot be set");
    }
}
