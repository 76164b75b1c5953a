//! Sealing and opening one text.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::RwLock;
use rand::Rng;
use ring::aead::{Aad, NONCE_LEN, Nonce};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Fingerprint, KeyFile, KeyFileError, KeyRing, SealingKey};
use crate::store::Table;

/// The format of what is sealed. It is part of what is authenticated.
const FORMAT: u32 = 1;

/// Where a secret is kept. It opens nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The table.
    pub table: Table,
    /// The key of the record.
    pub key: &'a str,
    /// The field, as a JSON pointer: `/tls/key`.
    pub field: &'a str,
}

impl Place<'_> {
    /// What is authenticated beside the secret. Neither a table nor a key nor a field holds a zero byte.
    fn associated(&self) -> Vec<u8> {
        format!("paas-seal-{FORMAT}\0{}\0{}\0{}", self.table, self.key, self.field).into_bytes()
    }
}

/// Why a secret cannot be sealed or opened. Names no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is a secret, and nothing to seal or open it with.
    #[error("there is no key for its {field}; give the controller a sealer (ControllerBuilder::sealer)")]
    NoSealer {
        /// The field.
        field: String,
    },
    /// It is sealed with a key that is not there.
    #[error(
        "its {field} is sealed with the key {fingerprint}, which is not in the key file; bring the key with \
         'paas-server key import', or delete the record and make it again"
    )]
    UnknownKey {
        /// The field.
        field: String,
        /// The key.
        fingerprint: Fingerprint,
    },
    /// It was changed since it was sealed, or belongs to another record.
    #[error("its {field} does not open: it was changed or comes from another record; delete it and make it again")]
    Changed {
        /// The field.
        field: String,
    },
    /// It is not in a form that this version knows.
    #[error("its {field} is sealed in a way that this version does not know; a newer one may have written it")]
    UnknownFormat {
        /// The field.
        field: String,
    },
    /// The library did not seal it.
    #[error("its {field} cannot be sealed")]
    Failed {
        /// The field.
        field: String,
    },
}

/// A secret as it is stored, in the place of the text.
#[derive(Serialize, Deserialize)]
struct Sealed {
    /// [`FORMAT`].
    sealed: u32,
    key: Fingerprint,
    /// The nonce, the encrypted text and its tag, in base64.
    data: String,
}

/// Seals secrets for the store, and opens them. Cheap to clone; every clone has the same keys.
#[derive(Clone)]
pub struct Sealer {
    shared: Arc<Shared>,
}

struct Shared {
    /// Where the keys come from. It is read again for one that is not known.
    file: Option<KeyFile>,
    keys: RwLock<KeyRing>,
    /// The key that seals, if that is not the newest.
    seals: RwLock<Option<Fingerprint>>,
}

impl Sealer {
    /// One key that is forgotten with the process: for a store in memory, and for no other. What is sealed with it in a store
    /// that outlives the process can never be opened again; the next controller on such a store is not built, and says so.
    pub fn ephemeral() -> Self {
        Self::new(KeyRing::generate())
    }

    /// These keys.
    pub fn new(keys: KeyRing) -> Self {
        Self::of(keys, None)
    }

    /// The keys of a file, which has to be there. Keys that are added to it later are found when they are needed.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn from_file(file: KeyFile) -> Result<Self, KeyFileError> {
        Ok(Self::of(file.load()?, Some(file)))
    }

    fn of(keys: KeyRing, file: Option<KeyFile>) -> Self {
        Self { shared: Arc::new(Shared { file, keys: RwLock::new(keys), seals: RwLock::default() }) }
    }

    /// What the key that seals is known by.
    pub fn fingerprint(&self) -> Fingerprint {
        self.sealing_key().fingerprint().clone()
    }

    /// Whether it has a key.
    pub fn has(&self, fingerprint: &Fingerprint) -> bool {
        self.key(fingerprint).is_some()
    }

    /// Seals with this key from now on. Whether it is there.
    pub(super) fn seal_with(&self, fingerprint: &Fingerprint) -> bool {
        let has = self.has(fingerprint);
        if has {
            *self.shared.seals.write() = Some(fingerprint.clone());
        }
        has
    }

    fn sealing_key(&self) -> SealingKey {
        let keys = self.shared.keys.read();
        let chosen = self.shared.seals.read().as_ref().and_then(|fingerprint| keys.get(fingerprint).cloned());
        chosen.unwrap_or_else(|| keys.newest().clone())
    }

    fn key(&self, fingerprint: &Fingerprint) -> Option<SealingKey> {
        let known = || self.shared.keys.read().get(fingerprint).cloned();
        known().or_else(|| {
            match self.shared.file.as_ref()?.load() {
                Ok(keys) => {
                    self.shared.keys.write().add_all(&keys);
                }
                Err(error) => tracing::warn!(%error, "the keys cannot be read again"),
            }
            known()
        })
    }

    /// Hashes of `parts` with each key, that of the key that seals first: what was hashed before a rotation is known again as
    /// long as the key is there. Without the key nobody can try out what the parts may have been.
    pub(crate) fn keyed_hashes(&self, purpose: &str, parts: &[&[u8]]) -> Vec<String> {
        let first = self.sealing_key();
        let keys = self.shared.keys.read();
        let others = keys.keys().filter(|key| key.fingerprint() != first.fingerprint());
        [&first].into_iter().chain(others).map(|key| key.keyed_hash(purpose, parts)).collect()
    }

    /// Seals a text for its place.
    ///
    /// # Errors
    /// [`SealError::Failed`].
    pub fn seal(&self, place: Place<'_>, text: &str) -> Result<Value, SealError> {
        let failed = || SealError::Failed { field: field(place) };
        let key = self.sealing_key();
        let mut nonce = [0; NONCE_LEN];
        rand::rng().fill_bytes(&mut nonce);
        let mut sealed = text.as_bytes().to_vec();
        let cipher = key.cipher().ok_or_else(failed)?;
        let unique = Nonce::assume_unique_for_key(nonce);
        cipher.seal_in_place_append_tag(unique, Aad::from(place.associated()), &mut sealed).map_err(|_| failed())?;
        let data = STANDARD.encode([&nonce[..], &sealed].concat());
        let sealed = Sealed { sealed: FORMAT, key: key.fingerprint().clone(), data };
        serde_json::to_value(sealed).map_err(|_| failed())
    }

    /// Opens what was sealed for that place.
    ///
    /// # Errors
    /// [`SealError`]; whatever is wrong, nothing of it is given back.
    pub fn open(&self, place: Place<'_>, sealed: &Value) -> Result<String, SealError> {
        let changed = || SealError::Changed { field: field(place) };
        let Sealed { sealed: format, key, data } =
            Sealed::deserialize(sealed).map_err(|_| SealError::UnknownFormat { field: field(place) })?;
        if format != FORMAT {
            return Err(SealError::UnknownFormat { field: field(place) });
        }
        let unknown = || SealError::UnknownKey { field: field(place), fingerprint: key.clone() };
        let cipher = self.key(&key).ok_or_else(unknown)?.cipher().ok_or_else(changed)?;
        let data = STANDARD.decode(data).map_err(|_| changed())?;
        let (nonce, sealed) = data.split_at_checked(NONCE_LEN).ok_or_else(changed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| changed())?;
        let mut text = sealed.to_vec();
        let opened = cipher.open_in_place(nonce, Aad::from(place.associated()), &mut text).map_err(|_| changed())?;
        String::from_utf8(opened.to_vec()).map_err(|_| changed())
    }

    /// Whether a value is sealed with the key that seals now.
    pub(super) fn is_current(&self, value: &Value) -> bool {
        Sealed::deserialize(value).is_ok_and(|sealed| sealed.sealed == FORMAT && sealed.key == self.fingerprint())
    }
}

/// The field in words: `tls.key`.
pub(super) fn field(place: Place<'_>) -> String {
    place.field.trim_start_matches('/').replace('/', ".")
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("keys", &*self.shared.keys.read()).finish_non_exhaustive()
    }
}
