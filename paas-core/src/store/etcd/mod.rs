//! Documents in etcd.
//!
//! Below the prefix of the URL, a document is `tables/TABLE/KEY`, in JSON. Its version is the revision of etcd that wrote it.

mod range;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Client, Compare, CompareOp, GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse, TxnResponse};
use serde_json::Value;

use super::{
    Action, Document, Fence, KeyRange, LeaderKey, Result, Store, StoreError, StoreErrorKind, Table, Version, Write,
    check_key, check_writes,
};
use crate::etcd::{self, Address, Connection, Effect, EtcdError, EtcdErrorKind, LARGEST_ANSWER};

/// How long etcd may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest document, bytes of JSON. etcd takes requests of 1.5 MiB unless told otherwise; some of it is for the key.
const LARGEST: usize = 1_500_000;
/// How often a write is tried that was refused although nothing speaks against it when it is looked at.
const WRITE_ATTEMPTS: usize = 10;

/// Documents in etcd, which several servers can share. Cheap to clone.
///
/// A write is durable on a majority of etcd's servers when it is answered. etcd keeps everything that was ever written
/// until it is told to forget: it is to be run with `--auto-compaction-retention`.
#[derive(Clone, Debug)]
pub struct EtcdStore {
    connection: Arc<Connection>,
    newest: Arc<range::Newest>,
    fence: Fence,
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
        let connection = Arc::new(Connection::new(address, TIMEOUT));
        connection.revision(connection.prefix()).await.map_err(unusable)?;
        Ok(Self { connection, newest: Arc::default(), fence: Fence::default() })
    }

    /// What the keys of a table begin with.
    fn prefix(&self, table: Table) -> String {
        format!("{}/tables/{}/", self.connection.prefix(), table.name())
    }

    fn key(&self, table: Table, key: &str) -> String {
        self.prefix(table) + key
    }

    /// Makes writes if all of them can be made. Asked once: a write whose answer was lost may have happened.
    async fn write(&self, operation: &'static str, writes: &[Write]) -> Result<Version> {
        let Some(first) = writes.first() else { return Ok(Version(0)) };
        let failed = |error| failed(operation, first.table, &first.key, error);
        let leader_keys = self.leader_keys().await.map_err(failed)?;
        let (mut when, mut then, mut size) = (leads(&leader_keys), Vec::new(), 0);
        for write in writes {
            let path = self.key(write.table, &write.key);
            when.extend(condition(&path, &write.action));
            then.push(match &write.action {
                Action::Insert(body) | Action::Replace(_, body) => {
                    let json = in_json(operation, write, body)?;
                    size += path.len() + json.len();
                    TxnOp::put(path, json, None)
                }
                Action::Delete(_) | Action::Clear => TxnOp::delete(path, None),
            });
        }
        if writes.len() > 1 && size > LARGEST {
            let detail = format!("etcd takes at most {LARGEST} bytes at once, and these writes have {size} together");
            return Err(first.error(operation, StoreErrorKind::Invalid).with_detail(detail));
        }
        let txn = Txn::new().when(when).and_then(then);
        for _ in 0..WRITE_ATTEMPTS {
            let answer = self.transact(Effect::Different, &txn).await.map_err(failed)?;
            if answer.succeeded() {
                return Ok(Version(answer.header().map_or(0, |header| header.revision().unsigned_abs())));
            }
            // To ask for this along with each write would make every write half as large again for etcd's log.
            if let Some(refusal) = self.refusal(operation, writes, &leader_keys).await.map_err(failed)? {
                return Err(refusal);
            }
            // What was in the way is gone already.
        }
        let detail = "others keep changing the same documents";
        Err(first.error(operation, StoreErrorKind::Unavailable).with_detail(detail))
    }

    async fn transact(&self, effect: Effect, txn: &Txn) -> etcd::Result<TxnResponse> {
        let call = |client: Client| {
            let txn = txn.clone();
            async move {
                // There may have been a wait for a connection.
                if effect == Effect::Different && !self.fence.holds() {
                    return Err(EtcdError::new(EtcdErrorKind::Fenced, "this server does not lead any more"));
                }
                Ok(client.kv_client().txn(txn).await?)
            }
        };
        self.connection.call(effect, call).await
    }

    /// The keys that show that this server leads, as far as they are in this etcd.
    async fn leader_keys(&self) -> etcd::Result<Vec<&LeaderKey>> {
        let mut seen = Vec::new();
        for key in self.fence.leader_keys() {
            if self.connection.sees(key).await? {
                seen.push(key);
            }
        }
        Ok(seen)
    }

    /// Which of the writes cannot be made, as everything is now; the first when this server does not lead any more.
    async fn refusal(
        &self,
        operation: &'static str,
        writes: &[Write],
        leader_keys: &[&LeaderKey],
    ) -> etcd::Result<Option<StoreError>> {
        let read =
            |write: &Write| TxnOp::get(self.key(write.table, &write.key), Some(GetOptions::new().with_keys_only()));
        let reads = Txn::new().when(leads(leader_keys)).and_then(writes.iter().map(read).collect::<Vec<_>>());
        let answer = self.transact(Effect::Same, &reads).await?;
        if !answer.succeeded() {
            let refused = |first: &Write| Fence::refusal(operation, first.table, &first.key);
            return Ok(writes.first().map(refused));
        }
        let version = |response: &TxnOpResponse| match response {
            TxnOpResponse::Get(found) => found.kvs().first().map(|kv| Version(kv.mod_revision().unsigned_abs())),
            _ => None,
        };
        let answers = answer.op_responses();
        let refusal =
            |(write, found): (&Write, _)| write.refusal(version(found)).map(|kind| write.error(operation, kind));
        Ok(writes.iter().zip(&answers).find_map(refusal))
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn insert(&self, table: Table, key: &str, body: Value) -> Result<Version> {
        check_key("insert", table, key)?;
        self.write("insert", &[Write::new(table, key, Action::Insert(body))]).await
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
        self.write("replace", &[Write::new(table, key, Action::Replace(expected, body))]).await
    }

    async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> Result<()> {
        self.write("delete", &[Write::new(table, key, Action::Delete(expected))]).await.map(drop)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Version> {
        check_writes(&writes)?;
        self.write("commit", &writes).await
    }

    async fn list(&self, table: Table, range: &KeyRange) -> Result<Vec<Document>> {
        let prefix = self.prefix(table);
        let found = self.read_range(table, range).await.map_err(|error| failed("list", table, "", error))?;
        found.iter().map(|kv| document("list", table, &prefix, kv)).collect()
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Store> {
        Arc::new(Self { fence: self.fence.clone().and(fence), ..self.clone() })
    }
}

/// That every one of these keys is still there.
fn leads(leader_keys: &[&LeaderKey]) -> Vec<Compare> {
    let is_there = |key: &&LeaderKey| Compare::create_revision(key.key.as_str(), CompareOp::Equal, key.create_revision);
    leader_keys.iter().map(is_there).collect()
}

/// What must be so for a write: one comparison, as etcd counts those like operations.
fn condition(path: &str, action: &Action) -> Option<Compare> {
    match action {
        Action::Insert(_) => Some(Compare::create_revision(path, CompareOp::Equal, 0)),
        Action::Delete(None) => Some(Compare::create_revision(path, CompareOp::Greater, 0)),
        Action::Replace(Version(version), _) | Action::Delete(Some(Version(version))) => {
            // No document has the revision 0, which is how etcd says that there is none; nor one that it cannot count up to.
            let revision = i64::try_from(*version).ok().filter(|revision| *revision > 0).unwrap_or(i64::MAX);
            Some(Compare::mod_revision(path, CompareOp::Equal, revision))
        }
        Action::Clear => None,
    }
}

fn in_json(operation: &'static str, write: &Write, body: &Value) -> Result<Vec<u8>> {
    let invalid = || write.error(operation, StoreErrorKind::Invalid);
    let json = serde_json::to_vec(body).map_err(|error| invalid().with_source(error))?;
    if json.len() > LARGEST {
        let detail = format!("etcd takes documents of at most {LARGEST} bytes, and this one has {}", json.len());
        return Err(invalid().with_detail(detail));
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
        EtcdErrorKind::Unavailable | EtcdErrorKind::Compacted | EtcdErrorKind::NoLease | EtcdErrorKind::Fenced => {
            StoreErrorKind::Unavailable
        }
        EtcdErrorKind::Full => StoreErrorKind::Full,
        EtcdErrorKind::Refused => StoreErrorKind::Broken,
        EtcdErrorKind::Invalid | EtcdErrorKind::TooLarge => StoreErrorKind::Invalid,
    };
    StoreError::new(kind, operation, table, key).with_detail(format!("etcd: {error}"))
}
