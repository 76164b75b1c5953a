//! Slowing down those who guess passwords.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;

use super::{AuthError, Result};
use crate::clock::Clock;

/// Failures from one address that cost nothing: people mistype.
const FREE: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Failures of a name from everywhere that cost others nothing. One address alone cannot come near: it has to wait.
const FREE_FROM_EVERYWHERE: f64 = 100.0;
/// How fast those are forgotten: one in this time. A single address that does not stop fails once in [`LONGEST_WAIT`].
const FORGOTTEN_AFTER: Duration = Duration::from_secs(6);
/// How many are remembered, names and addresses each; more cannot fill the memory.
const REMEMBERED: usize = 10_000;

/// Counts failed logins.
///
/// By name and address: after five in a row that name has to wait there, one second, then twice as long each time, up to
/// five minutes. So nobody keeps somebody else out who logs in from elsewhere. By name alone, for those who have many
/// addresses: a hundred are free, and then there is one in six seconds.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    clock: Clock,
    by_source: Mutex<HashMap<(String, Option<IpAddr>), Failures>>,
    by_name: Mutex<HashMap<String, Level>>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    /// When the latest was, by how long the machine was up.
    latest: Duration,
}

impl Failures {
    fn wait(&self) -> Duration {
        match self.count.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(beyond) => LONGEST_WAIT.min(FIRST_WAIT * 2_u32.saturating_pow(beyond.min(20))),
        }
    }

    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.latest) > LONGEST_WAIT * 2
    }
}

/// Failures of one name, of which one is forgotten after the other.
#[derive(Debug)]
struct Level {
    failures: f64,
    latest: Duration,
}

impl Level {
    fn at(&self, now: Duration) -> f64 {
        (self.failures - now.saturating_sub(self.latest).div_duration_f64(FORGOTTEN_AFTER)).max(0.0)
    }

    fn wait(&self, now: Duration) -> Duration {
        FORGOTTEN_AFTER.mul_f64((self.at(now) - FREE_FROM_EVERYWHERE + 1.0).clamp(0.0, 1.0))
    }
}

impl Throttle {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    pub(super) fn check(&self, name: &str, source: Option<IpAddr>) -> Result<()> {
        let now = self.clock.since_boot();
        let there = match self.by_source.lock().get(&(name.to_owned(), source.map(network))) {
            Some(known) => known.wait().saturating_sub(now.saturating_sub(known.latest)),
            None => Duration::ZERO,
        };
        let everywhere = self.by_name.lock().get(name).map_or(Duration::ZERO, |known| known.wait(now));
        match there.max(everywhere) {
            Duration::ZERO => Ok(()),
            retry_after => Err(AuthError::Throttled { retry_after }),
        }
    }

    pub(super) fn note_failure(&self, name: &str, source: Option<IpAddr>) {
        let now = self.clock.since_boot();
        let mut by_source = self.by_source.lock();
        make_room(&mut by_source, |known| known.is_over(now), |known| known.latest);
        let known =
            by_source.entry((name.to_owned(), source.map(network))).or_insert(Failures { count: 0, latest: now });
        known.count = if known.is_over(now) { 1 } else { known.count.saturating_add(1) };
        known.latest = now;
        drop(by_source);
        let mut by_name = self.by_name.lock();
        make_room(&mut by_name, |known| known.at(now) == 0.0, |known| known.latest);
        let known = by_name.entry(name.to_owned()).or_insert(Level { failures: 0.0, latest: now });
        *known = Level { failures: known.at(now) + 1.0, latest: now };
    }

    /// Somebody knew the password there.
    pub(super) fn forget(&self, name: &str, source: Option<IpAddr>) {
        self.by_source.lock().remove(&(name.to_owned(), source.map(network)));
    }
}

/// The addresses that one person has all of: of IPv6, what a provider gives to one customer at least.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

/// Makes room for one more: those that are over go, or else the one that failed the longest ago.
fn make_room<K: Hash + Eq + Clone, V>(
    known: &mut HashMap<K, V>,
    is_over: impl Fn(&V) -> bool,
    latest: impl Fn(&V) -> Duration,
) {
    if known.len() < REMEMBERED {
        return;
    }
    known.retain(|_, value| !is_over(value));
    if known.len() >= REMEMBERED {
        let oldest = known.iter().min_by_key(|(_, value)| latest(value)).map(|(key, _)| key.clone());
        oldest.and_then(|oldest| known.remove(&oldest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle() -> Throttle {
        Throttle::new(Clock::manual(jiff::Timestamp::UNIX_EPOCH))
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn waiting_begins_after_five_failures_and_doubles() {
        let throttle = throttle();
        for _ in 0..4 {
            throttle.note_failure("ann", None);
            assert!(throttle.check("ann", None).is_ok());
        }
        for expected in [1, 2, 4, 8] {
            throttle.note_failure("ann", None);
            let Err(AuthError::Throttled { retry_after }) = throttle.check("ann", None) else {
                panic!("not throttled")
            };
            assert_eq!(retry_after.as_secs(), expected);
            assert!(throttle.check("bob", None).is_ok(), "others need not wait");
            throttle.clock.advance(retry_after);
            assert!(throttle.check("ann", None).is_ok());
        }
        throttle.forget("ann", None);
        throttle.note_failure("ann", None);
        assert!(throttle.check("ann", None).is_ok());
    }

    #[test]
    fn one_address_keeps_nobody_out_elsewhere_however_long_it_tries() {
        let throttle = throttle();
        let (guesser, owner) = (address("10.0.0.1"), address("10.0.0.2"));
        // As fast as it is let, for a day.
        let begun = throttle.clock.since_boot();
        while throttle.clock.since_boot() - begun < Duration::from_secs(24 * 3600) {
            match throttle.check("admin", guesser) {
                Err(AuthError::Throttled { retry_after }) => throttle.clock.advance(retry_after),
                _ => throttle.note_failure("admin", guesser),
            }
            assert!(throttle.check("admin", owner).is_ok());
        }
        throttle.forget("admin", owner);
        throttle.note_failure("admin", guesser);
        assert!(throttle.check("admin", guesser).is_err(), "that the owner knows it does not help who guesses");
    }

    #[test]
    fn who_has_many_addresses_is_slowed_down_by_the_name() {
        let throttle = throttle();
        for number in 0..FREE_FROM_EVERYWHERE as u8 {
            assert!(throttle.check("ann", address(&format!("10.0.{number}.1"))).is_ok());
            throttle.note_failure("ann", address(&format!("10.0.{number}.1")));
        }
        let Err(AuthError::Throttled { retry_after }) = throttle.check("ann", None) else { panic!("not throttled") };
        assert!(retry_after <= FORGOTTEN_AFTER, "{retry_after:?}");
        assert!(throttle.check("bob", None).is_ok());
        throttle.clock.advance(FORGOTTEN_AFTER);
        assert!(throttle.check("ann", None).is_ok());
    }

    #[test]
    fn the_addresses_of_one_customer_are_one() {
        let throttle = throttle();
        for number in 0..5 {
            throttle.note_failure("ann", address(&format!("2001:db8:0:1::{number}")));
        }
        assert!(throttle.check("ann", address("2001:db8:0:1:ffff::")).is_err());
        assert!(throttle.check("ann", address("2001:db8:0:2::")).is_ok());
        for _ in 0..5 {
            throttle.note_failure("ann", address("::ffff:10.0.0.1"));
        }
        assert!(throttle.check("ann", address("10.0.0.1")).is_err(), "one address in two ways of writing");
        assert!(throttle.check("ann", address("10.0.0.2")).is_ok());
    }

    #[test]
    fn many_names_do_not_fill_the_memory() {
        let throttle = throttle();
        for number in 0..REMEMBERED + 100 {
            throttle.note_failure(&number.to_string(), None);
        }
        assert!(throttle.by_source.lock().len() <= REMEMBERED && throttle.by_name.lock().len() <= REMEMBERED);
    }
}
