//! Documents in etcd.
//!
//! Below the prefix of the URL, a document is `tables/TABLE/KEY`, in JSON. Its version is the revision of etcd that wrote it.

mod range;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse, TxnResponse};
use futures::stream::{BoxStream, StreamExt};
use serde_json::Value;

use super::{Change, Document, KeyRange, Result, Store, StoreError, StoreErrorKind, Table, Version, check_key};
use crate::etcd::{Address, Connection, Effect, EtcdError, EtcdErrorKind, LARGEST_ANSWER, Seen};

/// How long etcd may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest document, bytes of JSON. etcd takes requests of 1.5 MiB unless told otherwise; some of it is for the key.
const LARGEST: usize = 1_500_000;

/// Documents in etcd, which several servers can share. Cheap to clone.
///
/// A write is durable on a majority of etcd's servers when it is answered. etcd keeps everything that was ever written
/// until it is told to forget: it is to be run with `--auto-compaction-retention`.
#[derive(Clone, Debug)]
pub struct EtcdStore {
    connection: Arc<Connection>,
    newest: Arc<range::Newest>,
}

impl EtcdStore {
    /// The store on the etcd that a URL names; `rest` is what follows `etcd:`.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] says what is wrong with the URL, or with which of its files;
    /// [`StoreErrorKind::Unavailable`] when etcd does not answer, [`StoreErrorKind::Broken`] when it does not let us in.
    pub async fn open(rest: &str) -> Result<Self> {
        let unusable = |error| failed("open", Table::new("store"), "", error);
        let address = Address::parse(rest).map_err(unusable)?;
        let connection = Arc::new(Connection::new(address, PATIENCE));
        connection.revision(connection.prefix()).await.map_err(unusable)?;
        Ok(Self { connection, newest: Arc::default() })
    }

    /// What the keys of a table begin with.
    fn prefix(&self, table: Table) -> String {
        format!("{}/tables/{}/", self.connection.prefix(), table.name())
    }

    fn key(&self, table: Table, key: &str) -> String {
        self.prefix(table) + key
    }

    /// Changes a key if everything compares as it should; otherwise reads how it is, for the error. Asked once: a write whose
    /// answer was lost may have happened.
    async fn change(&self, key: String, when: Vec<Compare>, then: TxnOp) -> Result<TxnResponse, EtcdError> {
        let read = TxnOp::get(key, Some(GetOptions::new().with_keys_only()));
        let txn = Txn::new().when(when).and_then([then]).or_else([read]);
        self.connection
            .call(Effect::Different, |client| {
                let txn = txn.clone();
                async move { Ok(client.kv_client().txn(txn).await?) }
            })
            .await
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn insert(&self, table: Table, key: &str, body: Value) -> Result<Version> {
        const OPERATION: &str = "insert";
        check_key(OPERATION, table, key)?;
        let (path, body) = (self.key(table, key), in_json(OPERATION, table, key, &body)?);
        let is_new = vec![Compare::create_revision(path.as_str(), CompareOp::Equal, 0)];
        let answer = self.change(path.clone(), is_new, TxnOp::put(path, body, None)).await;
        let answer = answer.map_err(|error| failed(OPERATION, table, key, error))?;
        match answer.succeeded() {
            true => Ok(written_at(&answer)),
            false => Err(StoreError::new(StoreErrorKind::AlreadyExists, OPERATION, table, key)),
        }
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Document>> {
        let path = self.key(table, key);
        let found = self.connection.call(Effect::Same, |client| {
            let mut keys = client.kv_client().max_decoding_message_size(LARGEST_ANSWER);
            let path = path.as_str();
            async move { Ok(keys.get(path, None).await?) }
        });
        let found = found.await.map_err(|error| failed("get", table, key, error))?;
        found.kvs().first().map(|kv| document("get", table, &self.prefix(table), kv)).transpose()
    }

    async fn replace(&self, table: Table, key: &str, expected: Version, body: Value) -> Result<Version> {
        const OPERATION: &str = "replace";
        let (path, body) = (self.key(table, key), in_json(OPERATION, table, key, &body)?);
        let when = is_still(&path, Some(expected));
        let answer = self.change(path.clone(), when, TxnOp::put(path, body, None)).await;
        let answer = answer.map_err(|error| failed(OPERATION, table, key, error))?;
        expect(OPERATION, table, key, &answer)?;
        Ok(written_at(&answer))
    }

    async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> Result<()> {
        const OPERATION: &str = "delete";
        let path = self.key(table, key);
        let when = is_still(&path, expected);
        let answer = self.change(path.clone(), when, TxnOp::delete(path, None)).await;
        let answer = answer.map_err(|error| failed(OPERATION, table, key, error))?;
        expect(OPERATION, table, key, &answer)
    }

    async fn list(&self, table: Table, range: &KeyRange) -> Result<Vec<Document>> {
        let prefix = self.prefix(table);
        let found = self.read_range(table, range).await.map_err(|error| failed("list", table, "", error))?;
        found.iter().map(|kv| document("list", table, &prefix, kv)).collect()
    }

    async fn watch(&self, table: Table) -> Result<BoxStream<'static, Change>> {
        let prefix = self.prefix(table);
        let seen = self.connection.watch(prefix.clone(), None).await;
        let seen = seen.map_err(|error| failed("watch", table, "", error))?;
        let changes = seen.map(move |seen| match seen {
            Seen::Put(kv) => match document("watch", table, &prefix, &kv) {
                Ok(document) => Change::Put(document),
                Err(error) => {
                    // Whoever reads the table gets this error.
                    tracing::warn!(%error, "a change is not one of ours");
                    Change::Missed
                }
            },
            Seen::Deleted { key, .. } => Change::Deleted(key_within(&prefix, &key)),
            Seen::Missed => Change::Missed,
        });
        Ok(changes.boxed())
    }
}

/// That a key has a document, of that version if one is given.
fn is_still(path: &str, expected: Option<Version>) -> Vec<Compare> {
    let exists = Compare::create_revision(path, CompareOp::Greater, 0);
    // A version that etcd cannot count up to is that of no document.
    let revision = |Version(version)| i64::try_from(version).unwrap_or(i64::MAX);
    let same = expected.map(|version| Compare::mod_revision(path, CompareOp::Equal, revision(version)));
    std::iter::once(exists).chain(same).collect()
}

/// That the comparison held. If not, what was read instead says why.
fn expect(operation: &'static str, table: Table, key: &str, answer: &TxnResponse) -> Result<()> {
    if answer.succeeded() {
        return Ok(());
    }
    let exists = answer.op_responses().iter().any(|response| match response {
        TxnOpResponse::Get(found) => !found.kvs().is_empty(),
        _ => false,
    });
    let kind = if exists { StoreErrorKind::VersionMismatch } else { StoreErrorKind::NotFound };
    Err(StoreError::new(kind, operation, table, key))
}

fn written_at(answer: &TxnResponse) -> Version {
    Version(answer.header().map_or(0, |header| header.revision().unsigned_abs()))
}

fn in_json(operation: &'static str, table: Table, key: &str, body: &Value) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(body)
        .map_err(|error| StoreError::new(StoreErrorKind::Invalid, operation, table, key).with_source(error))?;
    if json.len() > LARGEST {
        let detail = format!("etcd takes documents of at most {LARGEST} bytes, and this one has {}", json.len());
        return Err(StoreError::new(StoreErrorKind::Invalid, operation, table, key).with_detail(detail));
    }
    Ok(json)
}

fn document(operation: &'static str, table: Table, prefix: &str, kv: &KeyValue) -> Result<Document> {
    let key = key_within(prefix, kv.key());
    match serde_json::from_slice(kv.value()) {
        Ok(body) => Ok(Document { version: Version(kv.mod_revision().unsigned_abs()), key, body }),
        Err(error) => Err(StoreError::new(StoreErrorKind::Broken, operation, table, key)
            .with_detail("something that is no JSON was written there")
            .with_source(error)),
    }
}

/// The key of a document within its table.
fn key_within(prefix: &str, path: &[u8]) -> String {
    String::from_utf8_lossy(path.get(prefix.len()..).unwrap_or_default()).into_owned()
}

fn failed(operation: &'static str, table: Table, key: &str, error: EtcdError) -> StoreError {
    let kind = match error.kind() {
        EtcdErrorKind::Unavailable | EtcdErrorKind::Compacted | EtcdErrorKind::NoLease => StoreErrorKind::Unavailable,
        EtcdErrorKind::Refused | EtcdErrorKind::Full => StoreErrorKind::Broken,
        EtcdErrorKind::Invalid | EtcdErrorKind::TooLarge => StoreErrorKind::Invalid,
    };
    StoreError::new(kind, operation, table, key).with_detail(format!("etcd: {error}"))
}
