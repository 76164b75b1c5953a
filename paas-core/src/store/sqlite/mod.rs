//! Documents in one SQLite file.
//!
//! One thread writes. It takes everything that waits for it and commits it together, so that many writers share one
//! wait for the disk; it answers each when that commit is durable. Readers have connections of their own and never wait
//! for the writer (write-ahead log).

mod file;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{
    Action, Direction, Document, Fence, KeyRange, Result, Store, StoreError, StoreErrorKind, Table, Version, Write,
    check_key, check_writes,
};
use file::DatabaseFile;
use writer::Writer;

/// How many reads run at once.
const READERS: usize = 4;

/// Documents in one SQLite file. The file belongs to one process at a time.
///
/// A write is on the disk before it is answered: it survives the loss of the process and of the machine's power.
pub struct SqliteStore {
    shared: Arc<Shared>,
    fence: Fence,
}

struct Shared {
    readers: Arc<Mutex<Vec<Connection>>>,
    /// As many permits as there are connections to read with. A permit goes where its connection goes.
    reading: Arc<Semaphore>,
    writer: Writer,
    // Last, so that the lock on the file is given back after the writer has ended.
    file: DatabaseFile,
}

impl SqliteStore {
    /// Opens the database at `path`, and makes it if there is none. The folder must exist.
    ///
    /// # Errors
    /// [`StoreErrorKind::Full`] when there is no room on the disk; [`StoreErrorKind::Broken`] when the file is damaged, cannot be
    /// written, is of a newer version, or belongs to another process: it is left as it is.
    pub async fn open(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        blocking(move || {
            let file = DatabaseFile::claim(&path)?;
            let connection = file.open_for_writing()?;
            let readers = (0..READERS).map(|_| file.open_for_reading()).collect::<Result<Vec<_>>>()?;
            let shared = Shared {
                readers: Arc::new(Mutex::new(readers)),
                reading: Arc::new(Semaphore::new(READERS)),
                writer: Writer::spawn(file.path(), connection)?,
                file,
            };
            Ok(Self { shared: Arc::new(shared), fence: Fence::default() })
        })
        .await
    }

    /// Reads with a connection of its own, on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        table: Table,
        key: &str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let failed = |kind| StoreError::new(kind, operation, table, key);
        // The semaphore is never closed.
        let permit = self.shared.reading.clone().acquire_owned().await;
        let permit = permit.map_err(|_| failed(StoreErrorKind::Unavailable))?;
        let readers = self.shared.readers.clone();
        let found = tokio::task::spawn_blocking(move || {
            let connection = readers.lock().pop()?;
            let found = read(&connection);
            readers.lock().push(connection);
            // Not before: who asked may have gone, and the connection was in use all the same.
            drop(permit);
            Some(found)
        });
        match found.await {
            Ok(Some(Ok(found))) => Ok(found),
            Ok(Some(Err(error))) => Err(file::convert(self.shared.file.path(), error, operation, table, key)),
            Ok(None) | Err(_) => Err(failed(StoreErrorKind::Unavailable)),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => {
            Err(StoreError::new(StoreErrorKind::Unavailable, "open", Table::new("store"), "").with_source(error))
        }
    }
}

fn document(row: &rusqlite::Row<'_>) -> rusqlite::Result<Document> {
    let text: String = row.get(2)?;
    let body = serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, error.into()))?;
    Ok(Document { key: row.get(0)?, version: Version(row.get::<_, i64>(1)?.cast_unsigned()), body })
}

#[async_trait]
impl Store for SqliteStore {
    async fn insert(&self, table: Table, key: &str, body: Value) -> Result<Version> {
        check_key("insert", table, key)?;
        self.shared.writer.write(&self.fence, "insert", vec![Write::new(table, key, Action::Insert(body))]).await
    }

    async fn get(&self, table: Table, key: &str) -> Result<Option<Document>> {
        let wanted = key.to_owned();
        self.read("get", table, key, move |connection| {
            connection
                .prepare_cached("SELECT key, version, body FROM documents WHERE tbl = ?1 AND key = ?2")?
                .query_row(params![table.name(), wanted], document)
                .optional()
        })
        .await
    }

    async fn replace(&self, table: Table, key: &str, expected: Version, body: Value) -> Result<Version> {
        self.shared
            .writer
            .write(&self.fence, "replace", vec![Write::new(table, key, Action::Replace(expected, body))])
            .await
    }

    async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> Result<()> {
        self.shared
            .writer
            .write(&self.fence, "delete", vec![Write::new(table, key, Action::Delete(expected))])
            .await
            .map(drop)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Version> {
        check_writes(&writes)?;
        self.shared.writer.write(&self.fence, "commit", writes).await
    }

    async fn list(&self, table: Table, range: &KeyRange) -> Result<Vec<Document>> {
        let range = range.clone();
        self.read("list", table, "", move |connection| {
            let order = match range.direction {
                Direction::Forwards => "ASC",
                Direction::Backwards => "DESC",
            };
            let query = format!(
                "SELECT key, version, body FROM documents
                 WHERE tbl = ?1 AND key >= ?2 AND (?3 IS NULL OR key < ?3) ORDER BY key {order} LIMIT ?4"
            );
            let limit = i64::try_from(range.limit).unwrap_or(i64::MAX);
            let from = range.from.unwrap_or_default();
            let mut statement = connection.prepare_cached(&query)?;
            statement.query_map(params![table.name(), from, range.to, limit], document)?.collect()
        })
        .await
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Store> {
        Arc::new(Self { shared: self.shared.clone(), fence: self.fence.clone().and(fence) })
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.shared.file.path()).finish_non_exhaustive()
    }
}
