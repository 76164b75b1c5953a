//! Keys, and the text they are kept as.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::Rng;
use ring::aead::{CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use ring::hmac;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a line with a key begins with. A key for another cipher gets another number.
const FORMAT: &str = "paas-key-1";
/// How much of the hash of a key is its fingerprint, bytes.
const FINGERPRINT: usize = 8;

const HEAD: &str = "\
# The keys that seal the secrets in the store of paas-server, the newest last.
# Nobody else may read them. Keep a copy of this file, and not beside the backups of the store.
";

/// What a key is known by: 16 hexadecimal digits of its hash, which say nothing about the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Fingerprint {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A key of 256 bits. Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKey {
    bytes: [u8; 32],
    fingerprint: Fingerprint,
}

impl SealingKey {
    /// A new key, from the system's random numbers.
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        Self::of(bytes)
    }

    fn of(bytes: [u8; 32]) -> Self {
        let digest = Sha256::new().chain_update(FORMAT).chain_update([0]).chain_update(bytes).finalize();
        Self { bytes, fingerprint: Fingerprint(hex::encode(&digest[..FINGERPRINT])) }
    }

    /// What it is known by.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// A hash of `parts` that says nothing about them to who lacks this key: HMAC-SHA256 with a key that is derived from it for
    /// that purpose, in hexadecimal digits.
    pub(super) fn keyed_hash(&self, purpose: &str, parts: &[&[u8]]) -> String {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.bytes), purpose.as_bytes());
        let mut hash = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()));
        for part in parts {
            // With its length, so that different parts cannot run together to the same bytes.
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hex::encode(hash.sign())
    }

    /// The cipher with this key. Nothing when the library does not take 32 bytes, which it does.
    pub(super) fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&CHACHA20_POLY1305, &self.bytes).ok().map(LessSafeKey::new)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SealingKey").field(&self.fingerprint.as_str()).finish()
    }
}

/// One or more keys, the newest last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRing(Vec<SealingKey>);

/// Why a text holds no keys. The text itself is never told: it may hold some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// There is no key in it.
    #[error("it holds no key; a key is a line of '{FORMAT}' and 44 characters")]
    Empty,
    /// A line is no key.
    #[error(
        "line {line} is neither a key ('{FORMAT}' and 44 characters) nor a comment; it may come from a newer version"
    )]
    NoKey {
        /// Which line, from 1.
        line: usize,
    },
}

impl KeyRing {
    /// One new key.
    pub fn generate() -> Self {
        Self(vec![SealingKey::generate()])
    }

    /// The keys in a text, as [`KeyRing::to_text`] writes them.
    ///
    /// # Errors
    /// [`KeyRingError`].
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        let mut ring = Self(Vec::new());
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = KeyRingError::NoKey { line: index + 1 };
            let bytes = line.strip_prefix(FORMAT).and_then(|rest| STANDARD.decode(rest.trim()).ok());
            let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
            ring.add(SealingKey::of(bytes.ok_or(wrong)?));
        }
        if ring.0.is_empty() { Err(KeyRingError::Empty) } else { Ok(ring) }
    }

    /// The keys as text, secrets included: a comment, and then a line each.
    pub fn to_text(&self) -> String {
        let lines = self.0.iter().map(|key| format!("{FORMAT} {}\n", STANDARD.encode(key.bytes)));
        HEAD.to_owned() + &lines.collect::<String>()
    }

    /// Adds a key, unless it is there. Whether it was added.
    pub fn add(&mut self, key: SealingKey) -> bool {
        let is_new = self.get(key.fingerprint()).is_none();
        if is_new {
            self.0.push(key);
        }
        is_new
    }

    /// Adds the keys that another has. How many were new.
    pub fn add_all(&mut self, other: &Self) -> usize {
        other.0.iter().filter(|&key| self.add(key.clone())).count()
    }

    /// The key of that fingerprint.
    pub fn get(&self, fingerprint: &Fingerprint) -> Option<&SealingKey> {
        self.0.iter().find(|key| key.fingerprint() == fingerprint)
    }

    /// All keys, the newest last.
    pub(super) fn keys(&self) -> impl Iterator<Item = &SealingKey> {
        self.0.iter()
    }

    /// The key that was added last.
    pub fn newest(&self) -> &SealingKey {
        // There is always one: a ring is made with a key, and none is taken out.
        &self.0[self.0.len() - 1]
    }

    /// The fingerprints of all keys, the newest last.
    pub fn fingerprints(&self) -> impl Iterator<Item = &Fingerprint> {
        self.0.iter().map(SealingKey::fingerprint)
    }
}
