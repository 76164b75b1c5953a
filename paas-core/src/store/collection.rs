//! Typed access to a table.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Action, Document, KeyRange, Result, Store, StoreError, StoreErrorKind, Table, Version, Write, records};
use crate::seal::{Sealer, seal_body, unseal_body};

/// How often an update is tried again when somebody else was faster.
const UPDATE_ATTEMPTS: usize = 50;

/// A document read with its type.
#[derive(Clone, PartialEq)]
pub struct Versioned<T> {
    /// Its key.
    pub key: String,
    /// Its version.
    pub version: Version,
    /// Its content.
    pub value: T,
    /// What is stored, in clear, with what this version does not know.
    body: Value,
}

impl<T: std::fmt::Debug> std::fmt::Debug for Versioned<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the body: the type knows what of it nobody should read.
        let mut shown = f.debug_struct("Versioned");
        shown
            .field("key", &self.key)
            .field("version", &self.version)
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

/// Typed access to one table of a store. Cheap to clone.
///
/// A record may have fields that this version does not know. They are passed over, and stay where a record is rewritten
/// that was read before: with [`Collection::update`] and [`Collection::rewriting`].
#[derive(Debug)]
pub struct Collection<T> {
    store: Arc<dyn Store>,
    table: Table,
    /// What seals the secrets of the table, and opens them.
    sealer: Option<Sealer>,
    marker: PhantomData<fn() -> T>,
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), table: self.table, sealer: self.sealer.clone(), marker: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> Collection<T> {
    /// The documents of `table` as values of this type. Where the table has secrets, those cannot be written.
    pub fn new(store: Arc<dyn Store>, table: Table) -> Self {
        Self::sealed(store, table, None)
    }

    /// The same, with what seals the secrets of the table and opens them.
    pub fn sealed(store: Arc<dyn Store>, table: Table, sealer: Option<Sealer>) -> Self {
        Self { store, table, sealer, marker: PhantomData }
    }

    /// The version of the value under a key, whether or not it can be read.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn version(&self, key: &str) -> Result<Option<Version>> {
        Ok(self.store.get(self.table, key).await?.map(|document| document.version))
    }

    /// Every value, by key, and for each that cannot be read why: one keeps no other from being read.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub async fn each(&self) -> Result<Vec<Result<Versioned<T>>>> {
        let documents = self.store.list(self.table, &KeyRange::all()).await?;
        Ok(documents.into_iter().map(|document| self.to_value("read", document)).collect())
    }

    /// Adds a value under a key that has none.
    ///
    /// # Errors
    /// As [`Store::insert`].
    pub async fn insert(&self, key: &str, value: &T) -> Result<Version> {
        self.store.insert(self.table, key, self.to_body("insert", key, value)?).await
    }

    /// The value under a key.
    ///
    /// # Errors
    /// As [`Store::get`]; [`StoreErrorKind::Broken`] when the document is not of this type.
    pub async fn get(&self, key: &str) -> Result<Option<Versioned<T>>> {
        self.store.get(self.table, key).await?.map(|document| self.to_value("get", document)).transpose()
    }

    /// Replaces the value under a key if it still has the version `expected`.
    ///
    /// # Errors
    /// As [`Store::replace`].
    pub async fn replace(&self, key: &str, expected: Version, value: &T) -> Result<Version> {
        self.store.replace(self.table, key, expected, self.to_body("replace", key, value)?).await
    }

    /// Changes the value under a key, and again if somebody else was faster. Gives the value as it is now.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] without a value; otherwise as [`Store::replace`].
    pub async fn update(&self, key: &str, mut change: impl FnMut(&mut T) + Send) -> Result<T> {
        let mut attempts = 0;
        loop {
            let found = self.get(key).await?;
            let missing = || StoreError::new(StoreErrorKind::NotFound, "update", self.table, key);
            let mut found = found.ok_or_else(missing)?;
            let before = self.in_clear("update", key, &found.value)?;
            change(&mut found.value);
            let body = self.rewritten("update", &found, before, &found.value)?;
            attempts += 1;
            match self.store.replace(self.table, key, found.version, body).await {
                Ok(_) => return Ok(found.value),
                Err(error) if error.kind() == StoreErrorKind::VersionMismatch && attempts < UPDATE_ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes the value under a key.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] without a value.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.store.delete(self.table, key, None).await
    }

    /// The write that adds a value under a key that has none, to be committed with others.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] when the value has no form in JSON.
    pub fn insertion(&self, key: &str, value: &T) -> Result<Write> {
        Ok(Write::new(self.table, key, Action::Insert(self.to_body("insert", key, value)?)))
    }

    /// The write that replaces the value of a version, to be committed with others.
    ///
    /// # Errors
    /// As [`Collection::insertion`].
    pub fn replacement(&self, key: &str, expected: Version, value: &T) -> Result<Write> {
        Ok(Write::new(self.table, key, Action::Replace(expected, self.to_body("replace", key, value)?)))
    }

    /// The write that puts `value` in the place of what was `found`, if that is still there, to be committed with others.
    ///
    /// # Errors
    /// As [`Collection::insertion`].
    pub fn rewriting(&self, found: &Versioned<T>, value: &T) -> Result<Write> {
        let before = self.in_clear("replace", &found.key, &found.value)?;
        let body = self.rewritten("replace", found, before, value)?;
        Ok(Write::new(self.table, found.key.as_str(), Action::Replace(found.version, body)))
    }

    /// The write that deletes a value, of that version if one is given, to be committed with others.
    pub fn deletion(&self, key: &str, expected: Option<Version>) -> Write {
        Write::new(self.table, key, Action::Delete(expected))
    }

    /// The write that sees to it that there is no value, to be committed with others.
    pub fn clearance(&self, key: &str) -> Write {
        Write::new(self.table, key, Action::Clear)
    }

    /// The values of a range.
    ///
    /// # Errors
    /// As [`Store::list`]; [`StoreErrorKind::Broken`] when a document is not of this type.
    pub async fn list(&self, range: &KeyRange) -> Result<Vec<Versioned<T>>> {
        let documents = self.store.list(self.table, range).await?;
        documents.into_iter().map(|document| self.to_value("list", document)).collect()
    }

    /// Every value, by key.
    ///
    /// # Errors
    /// As [`Collection::list`].
    pub async fn all(&self) -> Result<Vec<Versioned<T>>> {
        self.list(&KeyRange::all()).await
    }

    fn to_body(&self, operation: &'static str, key: &str, value: &T) -> Result<Value> {
        self.seal(operation, key, self.in_clear(operation, key, value)?)
    }

    /// The body of what was `found` when its value becomes `value`: with the fields that this version does not know.
    fn rewritten(&self, operation: &'static str, found: &Versioned<T>, before: Value, value: &T) -> Result<Value> {
        let after = self.in_clear(operation, &found.key, value)?;
        self.seal(operation, &found.key, records::rewrite(&found.body, &before, after))
    }

    fn in_clear(&self, operation: &'static str, key: &str, value: &T) -> Result<Value> {
        let invalid = || StoreError::new(StoreErrorKind::Invalid, operation, self.table, key);
        serde_json::to_value(value).map_err(|error| invalid().with_source(error))
    }

    fn seal(&self, operation: &'static str, key: &str, mut body: Value) -> Result<Value> {
        let invalid = || StoreError::new(StoreErrorKind::Invalid, operation, self.table, key);
        let sealed = seal_body(self.sealer.as_ref(), self.table, key, &mut body);
        sealed.map_err(|error| invalid().with_detail(error.to_string()))?;
        Ok(body)
    }

    fn to_value(&self, operation: &'static str, document: Document) -> Result<Versioned<T>> {
        let Document { key, version, mut body } = document;
        if let Err(error) = unseal_body(self.sealer.as_ref(), self.table, &key, &mut body) {
            let broken = StoreError::new(StoreErrorKind::Broken, operation, self.table, key);
            return Err(broken.with_detail(error.to_string()));
        }
        match records::read(&body) {
            Ok(value) => Ok(Versioned { key, version, value, body }),
            Err(error) => Err(StoreError::new(StoreErrorKind::Broken, operation, self.table, key)
                .with_detail(format!("the document is not what this version writes: {error}"))
                .with_source(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::MemoryStore;

    const NUMBERS: Table = Table::new("numbers");

    #[tokio::test]
    async fn updates_at_once_all_take_effect() {
        let numbers = Collection::<u64>::new(Arc::new(MemoryStore::new()), NUMBERS);
        numbers.insert("sum", &0).await.unwrap();
        futures::future::join_all((0..20).map(|_| numbers.update("sum", |sum| *sum += 1))).await;
        assert_eq!(numbers.get("sum").await.unwrap().unwrap().value, 20);
    }

    #[tokio::test]
    async fn an_older_server_rewrites_what_a_newer_one_wrote_without_losing_any_of_it() {
        use crate::model::EngineSpec;
        let store = Arc::new(MemoryStore::new());
        let newer =
            json!({ "id": "e", "addr": "tcp://10.0.0.1:2375", "cpus": 2, "zone": "later", "pools": { "a": [1] } });
        store.insert(NUMBERS, "e", newer.clone()).await.unwrap();
        let engines = Collection::<EngineSpec>::new(store.clone(), NUMBERS);
        let drained = |draining: Option<bool>| {
            let mut expected = newer.clone();
            if let Some(draining) = draining {
                expected["draining"] = json!(draining);
            }
            expected
        };
        engines.update("e", |engine| engine.draining = true).await.unwrap();
        assert_eq!(store.get(NUMBERS, "e").await.unwrap().unwrap().body, drained(Some(true)));
        let found = engines.get("e").await.unwrap().unwrap();
        let back = EngineSpec { draining: false, ..found.value.clone() };
        store.commit(vec![engines.rewriting(&found, &back).unwrap()]).await.unwrap();
        assert_eq!(store.get(NUMBERS, "e").await.unwrap().unwrap().body, drained(None));
    }

    #[tokio::test]
    async fn a_document_of_another_type_names_itself() {
        let store = Arc::new(MemoryStore::new());
        store.insert(NUMBERS, "odd", json!("text")).await.unwrap();
        let error = Collection::<u64>::new(store, NUMBERS).get("odd").await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Broken);
        assert!(error.to_string().contains("numbers/odd"), "{error}");
    }
}
