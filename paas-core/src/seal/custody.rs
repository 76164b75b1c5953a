//! Which key a store is sealed with, and sealing it with another.
//!
//! The store names the key that seals. To change the key it is first named there, and then the records are sealed with it one
//! by one, each only if nobody changed it meanwhile. Whenever that is interrupted, every record is sealed with one of the two
//! keys, and the next controller goes on.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::records::{SEALED, reseal_body};
use super::{Fingerprint, SealError, Sealer};
use crate::store::tables::PLATFORM;
use crate::store::{KeyRange, Result, Store, StoreError, StoreErrorKind, Table, Version};

/// Where the store keeps the fingerprint of its key.
const KEY: &str = "secret_key";
/// How often a record that others change meanwhile is sealed again.
const ATTEMPTS: usize = 10;

#[derive(Serialize, Deserialize)]
struct Custody {
    fingerprint: Fingerprint,
}

/// What became of sealing everything with the key that seals now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// How many records were sealed.
    pub records: usize,
    /// Those that cannot be opened, each with the reason, and are left as they are.
    pub unreadable: Vec<String>,
}

async fn named(store: &dyn Store) -> Result<Option<(Version, Fingerprint)>> {
    let Some(document) = store.get(PLATFORM, KEY).await? else { return Ok(None) };
    let custody = Custody::deserialize(document.body).map_err(|error| {
        let broken = StoreError::new(StoreErrorKind::Broken, "read", PLATFORM, KEY);
        broken.with_detail("the name of the key is not what this version writes").with_source(error)
    })?;
    Ok(Some((document.version, custody.fingerprint)))
}

fn body(fingerprint: &Fingerprint) -> Value {
    serde_json::json!({ "fingerprint": fingerprint })
}

/// The key that the secrets of a store are sealed with; nothing for a store that has none yet.
///
/// # Errors
/// The store cannot be read.
pub async fn sealed_with(store: &dyn Store) -> Result<Option<Fingerprint>> {
    Ok(named(store).await?.map(|(_, fingerprint)| fingerprint))
}

/// Makes sure that `sealer` has the key of the store, and lets it seal with that one. A store that has none yet gets the newest
/// of `sealer`.
///
/// # Errors
/// [`StoreErrorKind::Broken`] when the key of the store is another; otherwise as the store.
pub async fn claim(store: &dyn Store, sealer: Option<&Sealer>) -> Result<()> {
    let wrong = |detail| Err(StoreError::new(StoreErrorKind::Broken, "use", PLATFORM, KEY).with_detail(detail));
    let fingerprint = match (sealed_with(store).await?, sealer) {
        (None, None) => return Ok(()),
        (Some(fingerprint), _) => fingerprint,
        (None, Some(sealer)) => {
            let ours = sealer.fingerprint();
            match store.insert(PLATFORM, KEY, body(&ours)).await {
                Ok(_) => ours,
                // Somebody else was faster.
                Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {
                    sealed_with(store).await?.unwrap_or(ours)
                }
                Err(error) => return Err(error),
            }
        }
    };
    match sealer {
        None => wrong(format!(
            "its secrets are sealed with the key {fingerprint}; give the controller a sealer that has it \
             (ControllerBuilder::sealer)"
        )),
        Some(sealer) if !sealer.seal_with(&fingerprint) => wrong(format!(
            "its secrets are sealed with the key {fingerprint}, and that is not among the keys that are here"
        )),
        Some(_) => Ok(()),
    }
}

/// Names the newest key of the file as the one that seals, in the place of `before`.
///
/// # Errors
/// [`StoreErrorKind::VersionMismatch`] when somebody else named another meanwhile; otherwise as the store.
pub async fn begin_rotation(store: &dyn Store, before: &Fingerprint, sealer: &Sealer, to: &Fingerprint) -> Result<()> {
    let version = match named(store).await? {
        Some((version, fingerprint)) if fingerprint == *before => version,
        _ => return Err(StoreError::new(StoreErrorKind::VersionMismatch, "rotate", PLATFORM, KEY)),
    };
    if !sealer.has(to) {
        let missing = StoreError::new(StoreErrorKind::Invalid, "rotate", PLATFORM, KEY);
        return Err(missing.with_detail(format!("the key {to} is not here")));
    }
    store.replace(PLATFORM, KEY, version, body(to)).await?;
    sealer.seal_with(to);
    Ok(())
}

/// How many records have a secret that is not sealed with the key that seals now.
///
/// # Errors
/// The store cannot be read.
pub async fn unfinished(store: &dyn Store, sealer: &Sealer) -> Result<usize> {
    let mut count = 0;
    for (table, _) in SEALED {
        for mut document in store.list(table, &KeyRange::all()).await? {
            // One that cannot be opened would never be finished.
            if let Ok(true) = reseal_body(sealer, table, &document.key, &mut document.body) {
                count += 1;
            }
        }
    }
    Ok(count)
}

/// Seals every secret of the store with the key that seals now: those of before there were keys, and those of keys before.
///
/// # Errors
/// The store cannot be read or written; what was sealed by then stays so.
pub async fn reseal(store: &dyn Store, sealer: &Sealer) -> Result<Resealed> {
    let mut report = Resealed::default();
    for (table, _) in SEALED {
        for document in store.list(table, &KeyRange::all()).await? {
            let (key, mut version, mut body) = (document.key, document.version, document.body);
            for _ in 0..ATTEMPTS {
                match reseal_one(store, sealer, table, &key, version, &mut body).await? {
                    Step::AsItIs => break,
                    Step::Sealed => {
                        report.records += 1;
                        break;
                    }
                    Step::Unreadable(error) => {
                        report.unreadable.push(format!("{table}/{key}: {error}"));
                        break;
                    }
                    Step::Changed => match store.get(table, &key).await? {
                        Some(newer) => (version, body) = (newer.version, newer.body),
                        None => break,
                    },
                }
            }
        }
    }
    Ok(report)
}

enum Step {
    AsItIs,
    Sealed,
    Unreadable(SealError),
    Changed,
}

async fn reseal_one(
    store: &dyn Store,
    sealer: &Sealer,
    table: Table,
    key: &str,
    version: Version,
    body: &mut Value,
) -> Result<Step> {
    match reseal_body(sealer, table, key, body) {
        Ok(false) => return Ok(Step::AsItIs),
        Ok(true) => {}
        Err(error) => return Ok(Step::Unreadable(error)),
    }
    match store.replace(table, key, version, body.clone()).await {
        Ok(_) => Ok(Step::Sealed),
        Err(error) if matches!(error.kind(), StoreErrorKind::VersionMismatch | StoreErrorKind::NotFound) => {
            Ok(Step::Changed)
        }
        Err(error) => Err(error),
    }
}
