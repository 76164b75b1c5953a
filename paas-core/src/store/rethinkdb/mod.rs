//! Documents in a RethinkDB server.
//!
//! A table of the platform is a table of the database, a document a row `{"id": key, "rev": version, "doc": document}`;
//! documents that RethinkDB would not give back exactly (floats, integers beyond 2^53, text with a zero byte, …) are kept
//! as JSON text under `"json"` in the place of `"doc"`. Versions are random, so they never come again.
//!
//! The wire protocol is spoken here, and not through a driver: the drivers there are hang on a question that was given
//! up, have no deadlines, and bring dependencies that nobody maintains. There is no TLS.
//!
//! # Guarantees
//! A write is answered when a majority of the replicas have it on the disk. Where a connection breaks under a write, the
//! write is asked for again, and its random version says whether the first attempt took effect; where even that leaves
//! it open, the error is [`StoreErrorKind::Unavailable`].
//!
//! There are no transactions over several documents. Of writes that belong together the first is made alone, so that it
//! decides who of several wins, and then the others, all as one question: see `commit`.

mod asking;
mod body;
mod bounds;
mod commit;
mod making;
mod pool;
#[cfg_attr(not(any(test, feature = "testing")), allow(dead_code, reason = "only the double speaks all of it"))]
pub(crate) mod protocol;
pub(crate) mod scram;
mod session;
mod target;
mod terms;
#[cfg(test)]
mod tests;
mod trouble;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use self::asking::Attempts;
use self::making::Made;
use self::pool::Pool;
use self::target::Target;
use self::terms::{Queries, Query};
use self::trouble::{ServerError, Trouble};
use super::{
    Action, Document, Fence, KeyRange, Result, Store, StoreError, StoreErrorKind, Table, Version, Write, check_key,
    check_writes, tables,
};

/// Largest document, bytes of its JSON. The server takes 64 MB for a whole question, and is slow long before.
const MAX_DOCUMENT: usize = 16 << 20;

/// How long, and how many.
#[derive(Clone, Debug)]
struct Limits {
    /// For a connection, and for proving who we are.
    connect: Duration,
    /// How long the server may be silent while it is to answer, or to take in what is sent. A long answer may take as long
    /// as it comes.
    query: Duration,
    /// For trying again what may work soon. A server that is killed and started again takes four to ten seconds.
    retry: Duration,
    /// After how long somebody who makes tables and shows no life is taken to have died.
    abandoned: Duration,
    /// How many sessions at once.
    sessions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            query: Duration::from_secs(8),
            retry: Duration::from_secs(12),
            abandoned: Duration::from_secs(10),
            sessions: 16,
        }
    }
}

/// Documents in a RethinkDB server, version 2.3 or later. Several programs may use one database at once.
pub struct RethinkDbStore {
    shared: Arc<Shared>,
    fence: Fence,
}

struct Shared {
    pool: Arc<Pool>,
    queries: Queries,
    made: Made,
}

impl RethinkDbStore {
    /// Opens `rethinkdb://user:password@host:port/database`. Makes the database, and the tables of the platform, if they
    /// are not there; other tables are made with their first document.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] for another URL, [`StoreErrorKind::Unavailable`] when the server cannot be reached,
    /// [`StoreErrorKind::Broken`] when it does not let us in. None repeats user or password.
    pub async fn open(url: &str) -> Result<Self> {
        Self::open_with(url, Limits::default()).await
    }

    /// Opens a database that is there, and makes nothing.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] when there is no such database; otherwise as [`RethinkDbStore::open`].
    pub async fn open_existing(url: &str) -> Result<Self> {
        let nothing = Table::new("store");
        let store = Self::new(url, Limits::default())?;
        let failed = |trouble: Trouble| trouble.into_store_error("open", nothing, "");
        if store.has_database().await.map_err(failed)? {
            store.remember().await.map_err(failed)?;
            return Ok(store);
        }
        Err(StoreError::new(StoreErrorKind::NotFound, "open", nothing, "")
            .with_detail(format!("there is no database {}", store.shared.pool.target().database)))
    }

    async fn open_with(url: &str, limits: Limits) -> Result<Self> {
        let store = Self::new(url, limits)?;
        store.prepare().await.map_err(|trouble| trouble.into_store_error("open", Table::new("store"), ""))?;
        Ok(store)
    }

    fn new(url: &str, limits: Limits) -> Result<Self> {
        let nothing = Table::new("store");
        let target = Target::parse(url)
            .map_err(|detail| StoreError::new(StoreErrorKind::Invalid, "open", nothing, "").with_detail(detail))?;
        let queries = Queries::new(&target.database);
        let shared = Arc::new(Shared { pool: Pool::new(target, limits), queries, made: Made::default() });
        Ok(Self { shared, fence: Fence::default() })
    }

    /// Writes a document, under a version that says afterwards whether it was this write; or deletes one.
    async fn write(&self, write: Attempt<'_>, query: Query) -> Result<()> {
        let Attempt { operation, table, key, .. } = write;
        let failed = |trouble: Trouble| trouble.into_store_error(operation, table, key);
        let mut attempts = Attempts::new(&self.shared.pool);
        let mut in_doubt = false;
        loop {
            let trouble = match self.ask_once(&query, &self.fence, &attempts).await {
                Ok(answer) => return self.judge(write, &answer, in_doubt).await,
                Err(trouble) => trouble,
            };
            in_doubt |= trouble.leaves_doubt();
            match trouble {
                Trouble::Server(ServerError::NoSuchTable, said) if self.must_be_there(table) => {
                    return Err(failed(Trouble::Dropped(said)));
                }
                Trouble::Server(ServerError::NoSuchTable, _) if write.makes_tables => {
                    self.ensure_table(table).await.map_err(failed)?;
                    attempts.pause(trouble).await.map_err(failed)?;
                }
                Trouble::Server(ServerError::NoSuchTable, _) => {
                    return Err(StoreError::new(StoreErrorKind::NotFound, operation, table, key));
                }
                trouble if trouble.passes() => attempts.pause(trouble).await.map_err(failed)?,
                trouble => return Err(failed(trouble)),
            }
        }
    }

    /// What the answer to a write means. With a doubt, an earlier attempt may be what this one ran into.
    async fn judge(&self, write: Attempt<'_>, answer: &[Value], in_doubt: bool) -> Result<()> {
        let Attempt { operation, table, key, version, .. } = write;
        let failed = |kind| StoreError::new(kind, operation, table, key);
        let report = answer.first().unwrap_or(&Value::Null);
        let refused = match report["first_error"].as_str() {
            None if report["skipped"] == 1 => StoreErrorKind::NotFound,
            None if ["inserted", "replaced", "deleted"].iter().any(|done| report[done] == 1) => return Ok(()),
            None => return Err(failed(StoreErrorKind::Broken).with_detail("RethinkDB's report cannot be read")),
            Some(first_error) => terms::refusal(first_error).ok_or_else(|| {
                failed(StoreErrorKind::Invalid)
                    .with_detail(format!("RethinkDB says: {}", trouble::first_line(first_error)))
            })?,
        };
        if !in_doubt {
            return Err(failed(refused));
        }
        match (version, self.get(table, key).await?) {
            (Some(version), Some(found)) if found.version == version => Ok(()),
            _ => Err(failed(StoreErrorKind::Unavailable)
                .with_detail("the connection broke, and whether it was written before that is not known")),
        }
    }

    /// Makes one write; a document gets that version.
    async fn make(&self, operation: &'static str, write: &Write, version: Version) -> Result<Version> {
        let Write { table, key, action } = write;
        let (table, queries) = (*table, &self.shared.queries);
        match check_key(operation, table, key) {
            // Where no document can be there is none, and that is the answer to who changes it.
            Err(_) if !matches!(action, Action::Insert(_)) => {
                return Err(write.error(operation, StoreErrorKind::NotFound));
            }
            checked => checked?,
        }
        let query = match action {
            Action::Insert(body) => queries.insert(table, row(operation, table, key, version, body)?),
            Action::Replace(expected, body) => {
                let row = row(operation, table, key, version, body)?;
                queries.replace(table, key, *expected, Some(row))
            }
            Action::Delete(Some(expected)) => queries.replace(table, key, *expected, None),
            Action::Delete(None) | Action::Clear => queries.delete(table, key),
        };
        let puts = matches!(action, Action::Insert(_) | Action::Replace(..));
        let makes_tables = matches!(action, Action::Insert(_));
        let attempt = Attempt { operation, table, key, version: puts.then_some(version), makes_tables };
        match self.write(attempt, query).await {
            Err(error) if *action == Action::Clear && error.kind() == StoreErrorKind::NotFound => Ok(version),
            outcome => outcome.map(|()| version),
        }
    }

    /// Whether a table was there once: it is not made a second time, and not taken for an empty one.
    fn must_be_there(&self, table: Table) -> bool {
        self.shared.made.has(table) || tables::FIRST.contains(&table)
    }

    /// What there is in a table that was never made: nothing.
    async fn read(&self, operation: &'static str, table: Table, key: &str, query: &Query) -> Result<Vec<Value>> {
        match self.ask(query).await {
            Err(Trouble::Server(ServerError::NoSuchTable, _)) if !self.must_be_there(table) => Ok(Vec::new()),
            Err(Trouble::Server(ServerError::NoSuchTable, said)) => {
                Err(Trouble::Dropped(said).into_store_error(operation, table, key))
            }
            outcome => outcome.map_err(|trouble| trouble.into_store_error(operation, table, key)),
        }
    }
}

/// A write, as far as it matters after it was sent.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    operation: &'static str,
    table: Table,
    key: &'a str,
    /// What the document has if it was this write.
    version: Option<Version>,
    makes_tables: bool,
}

/// A row for a document that is not too large.
fn row(operation: &'static str, table: Table, key: &str, version: Version, body: &Value) -> Result<Value> {
    let row = body::encode(key, version, body);
    let size = row.to_string().len();
    if size <= MAX_DOCUMENT {
        return Ok(row);
    }
    Err(StoreError::new(StoreErrorKind::Invalid, operation, table, key)
        .with_detail(format!("the document has {size} bytes; RethinkDB is given at most {MAX_DOCUMENT}")))
}

#[async_trait]
impl Store for RethinkDbStore {
    async fn insert(&self, table: Table, key: &str, body: Value) -> Result<Version> {
        let version = body::fresh_version();
        self.make("insert", &Write::new(table, key, Action::Insert(body)), version).await
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Document>> {
        if check_key("get", table, key).is_err() {
            return Ok(None);
        }
        let answer = self.read("get", table, key, &self.shared.queries.get(table, key)).await?;
        let found = answer.into_iter().next().filter(|row| !row.is_null());
        found.map(|row| body::decode(row).map_err(|what| foreign("get", table, key, what))).transpose()
    }

    async fn replace(&self, table: Table, key: &str, expected: Version, body: Value) -> Result<Version> {
        let version = body::fresh_version();
        self.make("replace", &Write::new(table, key, Action::Replace(expected, body)), version).await
    }

    async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> Result<()> {
        let version = body::fresh_version();
        self.make("delete", &Write::new(table, key, Action::Delete(expected)), version).await.map(drop)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Version> {
        check_writes(&writes)?;
        self.commit_at_once(&writes).await
    }

    async fn list(&self, table: Table, range: &KeyRange) -> Result<Vec<Document>> {
        let is_empty = matches!((&range.from, &range.to), (Some(from), Some(to)) if from >= to);
        if range.limit == 0 || is_empty {
            return Ok(Vec::new());
        }
        let rows = self.read("list", table, "", &self.shared.queries.list(table, range)).await?;
        let document = |row| body::decode(row).map_err(|what| foreign("list", table, "", what));
        rows.into_iter().map(document).collect()
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Store> {
        Arc::new(Self { shared: self.shared.clone(), fence: self.fence.clone().and(fence) })
    }
}

fn foreign(operation: &'static str, table: Table, key: &str, what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Broken, operation, table, key)
        .with_detail(format!("{what}: something else writes into this table"))
}

impl fmt::Debug for RethinkDbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RethinkDbStore").field("target", self.shared.pool.target()).finish_non_exhaustive()
    }
}
