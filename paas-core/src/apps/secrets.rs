//! The secrets of applications, as they are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::documents::below;
use crate::model::app::{AppName, SecretName, SecretValue};
use crate::seal::Sealer;
use crate::store::records::{SecretOutline, SecretRecord};
use crate::store::tables::SECRETS;
use crate::store::{Collection, MAX_WRITES, Result, Store, StoreError, StoreErrorKind, Version, Write};

/// What is known of the secrets of an application without opening one.
pub(crate) type Outlines = BTreeMap<SecretName, SecretOutline>;

/// The table of secrets.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    store: Arc<dyn Store>,
    records: Collection<SecretRecord>,
}

impl Secrets {
    pub(super) fn new(store: &Arc<dyn Store>, sealer: Option<Sealer>) -> Self {
        Self { store: store.clone(), records: Collection::sealed(store.clone(), SECRETS, sealer) }
    }

    /// The records, whose values are sealed when they are written and opened when they are read.
    pub(crate) fn records(&self) -> &Collection<SecretRecord> {
        &self.records
    }

    /// Every secret of an application that can be read, also those that were deleted. Nothing is opened for that.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn outlines(&self, app: &AppName) -> Result<Outlines> {
        let mut outlines = Outlines::new();
        for document in self.store.list(SECRETS, &below(app)).await? {
            let name = document.key.split_once('/').and_then(|(_, name)| name.parse().ok());
            match (name, outline_of(&document.key, document.body)) {
                (Some(name), Ok(outline)) => drop(outlines.insert(name, outline)),
                // One keeps no other from being used.
                (_, Err(error)) => tracing::error!(%error, "a secret cannot be read, and counts as missing"),
                (None, Ok(_)) => {}
            }
        }
        Ok(outlines)
    }

    /// One secret, also one that was deleted, with the version of its record. Nothing is opened for that.
    ///
    /// # Errors
    /// The store cannot be read, or has something else in the place of the secret.
    pub(crate) async fn outline(&self, app: &AppName, name: &SecretName) -> Result<Option<(Version, SecretOutline)>> {
        let found = self.store.get(SECRETS, &SecretRecord::key(app, name)).await?;
        found.map(|found| Ok((found.version, outline_of(&found.key, found.body)?))).transpose()
    }

    /// One value of a secret, the newest where no number is given. Nothing where it is not kept.
    ///
    /// # Errors
    /// The store cannot be read, or the value cannot be opened.
    pub(crate) async fn value(
        &self,
        app: &AppName,
        name: &SecretName,
        version: Option<u64>,
    ) -> Result<Option<SecretValue>> {
        let Some(found) = self.records.get(&SecretRecord::key(app, name)).await? else { return Ok(None) };
        let mut record = found.value;
        let version = version.unwrap_or(record.newest);
        Ok(record.versions.remove(&version).map(|version| version.value))
    }

    /// Removes all secrets of an application.
    ///
    /// # Errors
    /// The store did not remove all of them.
    pub(super) async fn remove_all(&self, app: &AppName) -> Result<()> {
        let all = self.store.list(SECRETS, &below(app)).await?;
        let writes: Vec<Write> = all.iter().map(|document| self.records.clearance(&document.key)).collect();
        for some in writes.chunks(MAX_WRITES) {
            self.store.commit(some.to_vec()).await?;
        }
        Ok(())
    }
}

fn outline_of(key: &str, body: serde_json::Value) -> Result<SecretOutline> {
    // What is wrong with it is not said: it may be a value that stands in a wrong place.
    serde_json::from_value(body).map_err(|_| {
        StoreError::new(StoreErrorKind::Broken, "read", SECRETS, key)
            .with_detail("it is no secret that this version can read")
    })
}
