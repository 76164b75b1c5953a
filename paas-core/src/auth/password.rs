//! Passwords: rules, hashes, and random ones.

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use rand::RngExt;
use rand::distr::Alphanumeric;
use tokio::sync::Semaphore;

use super::{AuthError, Result};
use crate::model::Invalid;

/// Shortest and longest password, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=1024;
/// How many hashes are computed at once: each takes its memory, and a storm of logins must not take all of it.
const AT_ONCE: usize = 2;
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
    decoy: tokio::sync::OnceCell<String>,
    turns: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new(cost: HashCost) -> Self {
        // A cost that cannot be is replaced by the default rather than by none.
        let params = Params::new(cost.memory_kib, cost.passes, 1, None).unwrap_or_default();
        Self {
            hasher: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            decoy: tokio::sync::OnceCell::new(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
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

    pub(super) async fn hash(&self, password: &str) -> Result<String> {
        let (hasher, password) = (self.hasher.clone(), password.to_owned());
        self.in_turn(move || {
            let hash = hasher.hash_password(password.as_bytes());
            hash.map(|hash| hash.to_string()).map_err(|error| AuthError::Crypto(error.to_string()))
        })
        .await?
    }

    /// Whether a password fits a hash; without a hash it does not, and takes as long.
    pub(super) async fn matches(&self, hash: Option<&str>, password: &str) -> Result<bool> {
        if password.len() > *LENGTHS.end() {
            return Ok(false);
        }
        let decoy = self.decoy.get_or_try_init(|| self.hash("nobody has this password")).await?;
        let exists = hash.is_some();
        let (hasher, password) = (self.hasher.clone(), password.to_owned());
        let hash = hash.unwrap_or(decoy).to_owned();
        let fits = self
            .in_turn(move || {
                PasswordHash::new(&hash).is_ok_and(|hash| hasher.verify_password(password.as_bytes(), &hash).is_ok())
            })
            .await?;
        Ok(fits && exists)
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let failed = |error: &dyn fmt::Display| AuthError::Crypto(error.to_string());
        let turn = self.turns.clone().acquire_owned().await.map_err(|error| failed(&error))?;
        let work = move || {
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| failed(&error))
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}
