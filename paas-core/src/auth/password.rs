//! Passwords: rules, hashes, and random ones.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use parking_lot::Mutex;
use rand::RngExt;
use rand::distr::Alphanumeric;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{AuthError, Result};
use crate::model::Invalid;

/// Shortest and longest password, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=1024;
/// How many hashes are computed at once: each takes its memory, and a storm of logins must not take all of it.
const AT_ONCE: usize = 2;
/// How many passwords wait to be checked at most. With the default cost the last of them waits for about three seconds.
const QUEUE: usize = 128;
/// How many of them from one address, so that one does not keep all others out.
const QUEUE_OF_ONE: usize = 32;
/// After how long it is worth to ask again when they are too many.
const COME_BACK: Duration = Duration::from_secs(2);
/// 24 letters and digits: more than 140 bits.
const RANDOM_LENGTH: usize = 24;

/// How much work one hash of a password is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashCost {
    /// Memory, KiB; at least 8.
    pub memory_kib: u32,
    /// Passes over that memory; at least 1.
    pub passes: u32,
}

impl Default for HashCost {
    /// 46 MiB and 1 pass. OWASP's password storage cheat sheet recommends it for argon2id as no weaker than 19 MiB and 2 passes.
    ///
    /// What is larger than 32 MiB, glibc's allocator gives back to the system as soon as it is freed. After the first hash of 19
    /// MiB it would keep as much for every thread that ever makes one.
    fn default() -> Self {
        Self { memory_kib: 47_104, passes: 1 }
    }
}

pub(super) struct Passwords {
    hasher: Argon2<'static>,
    /// What a name that does not exist is compared with, so that it takes as long as one that does.
    decoy: Arc<OnceLock<String>>,
    turns: Arc<Semaphore>,
    /// Those that wait for a turn to be checked, by where they come from.
    waiting: Mutex<HashMap<Option<IpAddr>, usize>>,
}

/// A place in the queue of passwords that are to be checked, until this is dropped.
struct Waiting<'a> {
    passwords: &'a Passwords,
    source: Option<IpAddr>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.passwords.waiting.lock();
        if let Some(count) = waiting.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.source);
            }
        }
    }
}

/// The right to compute one hash now.
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Passwords {
    pub(super) fn new(cost: HashCost) -> Self {
        // A cost that cannot be is replaced by the default rather than by none.
        let params = Params::new(cost.memory_kib, cost.passes, 1, None).unwrap_or_default();
        Self {
            hasher: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            decoy: Arc::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Mutex::default(),
        }
    }

    pub(super) fn check_rules(password: &str) -> Result<()> {
        if LENGTHS.contains(&password.len()) {
            return Ok(());
        }
        let (least, most) = (LENGTHS.start(), LENGTHS.end());
        Err(Invalid::new("password", format!("must be {least} to {most} characters long")).into())
    }

    pub(super) fn random() -> String {
        rand::rng().sample_iter(Alphanumeric).take(RANDOM_LENGTH).map(char::from).collect()
    }

    /// A turn for a password that came from `source`, when it is its turn.
    ///
    /// # Errors
    /// [`AuthError::Busy`] when too many wait already, in all or from there.
    pub(super) async fn turn(&self, source: Option<IpAddr>) -> Result<Turn> {
        let place = {
            let mut waiting = self.waiting.lock();
            let (all, from_there) = (waiting.values().sum::<usize>(), waiting.get(&source).copied().unwrap_or(0));
            if all >= QUEUE || (source.is_some() && from_there >= QUEUE_OF_ONE) {
                return Err(AuthError::Busy { retry_after: COME_BACK });
            }
            *waiting.entry(source).or_default() += 1;
            Waiting { passwords: self, source }
        };
        let turn = self.next_turn().await;
        drop(place);
        turn
    }

    async fn next_turn(&self) -> Result<Turn> {
        let turn = self.turns.clone().acquire_owned().await;
        turn.map(|permit| Turn { _permit: permit }).map_err(|error| AuthError::Crypto(error.to_string()))
    }

    /// The hash of a new password. Only those who are let in ask for one, so they wait for as long as it takes.
    pub(super) async fn hash(&self, password: &str) -> Result<String> {
        let (hasher, password) = (self.hasher.clone(), password.to_owned());
        let hash = Self::compute(self.next_turn().await?, move || {
            let hash = hasher.hash_password(password.as_bytes());
            hash.map(|hash| hash.to_string()).map_err(|error| AuthError::Crypto(error.to_string()))
        });
        hash.await?
    }

    /// Whether a password fits a hash; without a hash it does not, and takes as long.
    pub(super) async fn matches(&self, turn: Turn, hash: Option<&str>, password: &str) -> Result<bool> {
        if password.len() > *LENGTHS.end() {
            return Ok(false);
        }
        let (hasher, password, decoy) = (self.hasher.clone(), password.to_owned(), self.decoy.clone());
        let hash = hash.map(str::to_owned);
        Self::compute(turn, move || {
            // Made at the first password of all, of any account: otherwise the first unknown name would take longer.
            let decoy = decoy.get_or_init(|| {
                let made = hasher.hash_password(b"nobody has this password");
                made.map(|hash| hash.to_string()).unwrap_or_default()
            });
            let fits = PasswordHash::new(hash.as_deref().unwrap_or(decoy))
                .is_ok_and(|hash| hasher.verify_password(password.as_bytes(), &hash).is_ok());
            fits && hash.is_some()
        })
        .await
    }

    async fn compute<T: Send + 'static>(turn: Turn, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let work = move || {
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| AuthError::Crypto(error.to_string()))
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords() -> Passwords {
        Passwords::new(HashCost { memory_kib: 8, passes: 1 })
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[tokio::test]
    async fn those_that_wait_are_bounded_in_all_and_from_one_address() {
        let passwords = passwords();
        let turns = [passwords.turn(None).await.unwrap(), passwords.turn(None).await.unwrap()];
        let mut waiting = Vec::new();
        for other in 1..=4 {
            for _ in 0..QUEUE_OF_ONE {
                let mut turn = Box::pin(passwords.turn(address(other)));
                assert!(futures::poll!(&mut turn).is_pending());
                waiting.push(turn);
            }
            assert!(matches!(passwords.turn(address(other)).await, Err(AuthError::Busy { .. })));
        }
        assert!(matches!(passwords.turn(address(9)).await, Err(AuthError::Busy { .. })));
        drop((waiting, turns));
        assert!(passwords.waiting.lock().is_empty(), "who gives up makes room");
        passwords.turn(address(1)).await.unwrap();
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_has_no_password_and_takes_no_other_turn() {
        let passwords = passwords();
        let (one, other) = (passwords.turn(None).await.unwrap(), passwords.turn(None).await.unwrap());
        let hash = passwords.hash("correct horse");
        let both =
            tokio::join!(passwords.matches(one, None, "a"), passwords.matches(other, None, "nobody has this password"));
        assert!(matches!(both, (Ok(false), Ok(false))));
        let hash = hash.await.unwrap();
        let turn = passwords.turn(None).await.unwrap();
        assert!(passwords.matches(turn, Some(&hash), "correct horse").await.unwrap());
    }
}
