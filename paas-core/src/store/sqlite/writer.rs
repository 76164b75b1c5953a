//! The one thread that writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::file::convert;
use crate::store::watch::BACKLOG;
use crate::store::{Change, Document, Result, StoreError, StoreErrorKind, Table, Version};

/// How many writes one commit takes along at most.
const BATCH: usize = 1024;

/// A change to one document.
#[derive(Debug)]
pub(super) enum Write {
    Insert(Value),
    Replace(Version, Value),
    Delete(Option<Version>),
}

struct Request {
    operation: &'static str,
    table: Table,
    key: String,
    write: Write,
    answer: oneshot::Sender<Result<Version>>,
}

type Watchers = Arc<Mutex<HashMap<Table, broadcast::Sender<Change>>>>;

/// The way to the thread that writes.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    watchers: Watchers,
}

impl Writer {
    pub(super) fn spawn(connection: Connection) -> Result<Self> {
        let (queue, waiting) = mpsc::channel(BATCH);
        let watchers = Watchers::default();
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn({
            let watchers = watchers.clone();
            move || write_all(connection, waiting, &watchers)
        });
        let thread = thread.map_err(|error| {
            StoreError::new(StoreErrorKind::Unavailable, "open", Table::new("store"), "").with_source(error)
        })?;
        Ok(Self { queue: Some(queue), thread: Some(thread), watchers })
    }

    /// Waits until a change is durable, or was refused.
    pub(super) async fn write(
        &self,
        operation: &'static str,
        table: Table,
        key: &str,
        write: Write,
    ) -> Result<Version> {
        let gone =
            || StoreError::new(StoreErrorKind::Unavailable, operation, table, key).with_detail("the store is closed");
        let (answer, answered) = oneshot::channel();
        let request = Request { operation, table, key: key.to_owned(), write, answer };
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.send(request).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    pub(super) fn subscribe(&self, table: Table) -> broadcast::Receiver<Change> {
        let mut watchers = self.watchers.lock();
        watchers.entry(table).or_insert_with(|| broadcast::Sender::new(BACKLOG)).subscribe()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Ends the thread once everything that waits is written; the file is free after that.
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the store had failed");
        }
    }
}

fn write_all(mut connection: Connection, mut waiting: mpsc::Receiver<Request>, watchers: &Watchers) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.blocking_recv_many(&mut batch, BATCH) > 0 {
        commit(&mut connection, &mut batch, watchers);
    }
}

/// Writes a batch in one transaction, and answers when it is durable. A change that is refused spoils no other.
fn commit(connection: &mut Connection, batch: &mut Vec<Request>, watchers: &Watchers) {
    let outcomes = match write_batch(connection, batch) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            let code = error.sqlite_error_code();
            tracing::error!(%error, "nothing could be written");
            for request in batch.drain(..) {
                let again = rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error { code: code.unwrap_or(rusqlite::ErrorCode::Unknown), extended_code: 0 },
                    Some(error.to_string()),
                );
                let refusal = convert(again, request.operation, request.table, &request.key);
                // Whoever asked may have gone.
                let _ = request.answer.send(Err(refusal));
            }
            return;
        }
    };
    // Watchers first, in the order of the writes: who has an answer finds the change told.
    let watchers = watchers.lock();
    for (request, outcome) in batch.drain(..).zip(outcomes) {
        if let (Ok(version), Some(watching)) = (&outcome, watchers.get(&request.table)) {
            let change = match request.write {
                Write::Insert(body) | Write::Replace(_, body) => {
                    Change::Put(Document { key: request.key, version: *version, body })
                }
                Write::Delete(_) => Change::Deleted(request.key),
            };
            let _ = watching.send(change);
        }
        let _ = request.answer.send(outcome);
    }
}

fn write_batch(connection: &mut Connection, batch: &[Request]) -> rusqlite::Result<Vec<Result<Version>>> {
    let transaction = connection.transaction()?;
    let first: i64 = transaction.query_row("SELECT last_version FROM counter", [], |row| row.get(0))?;
    let mut last = first;
    let mut outcomes = Vec::with_capacity(batch.len());
    for request in batch {
        outcomes.push(write_one(&transaction, request, last + 1)?.map(|()| {
            last += 1;
            Version(last.cast_unsigned())
        }));
    }
    if last == first {
        return Ok(outcomes);
    }
    transaction.execute("UPDATE counter SET last_version = ?1", [last])?;
    transaction.commit()?;
    Ok(outcomes)
}

/// Makes one change, or says why not. The outer error is SQLite's and spoils the whole batch.
fn write_one(transaction: &Transaction<'_>, request: &Request, version: i64) -> rusqlite::Result<Result<()>> {
    let Request { operation, table, key, write, .. } = request;
    let refused = |kind| Ok(Err(StoreError::new(kind, operation, *table, key.clone())));
    let found: Option<i64> = transaction
        .prepare_cached("SELECT version FROM documents WHERE tbl = ?1 AND key = ?2")?
        .query_row(params![table.name(), key], |row| row.get(0))
        .optional()?;
    let expected = match write {
        Write::Insert(_) => None,
        Write::Replace(expected, _) => Some(*expected),
        Write::Delete(expected) => *expected,
    };
    match (write, found) {
        (Write::Insert(_), Some(_)) => return refused(StoreErrorKind::AlreadyExists),
        (Write::Replace(..) | Write::Delete(_), None) => return refused(StoreErrorKind::NotFound),
        (_, Some(found)) if expected.is_some_and(|expected| expected.0 != found.cast_unsigned()) => {
            return refused(StoreErrorKind::VersionMismatch);
        }
        _ => {}
    }
    match write {
        Write::Insert(body) | Write::Replace(_, body) => transaction
            .prepare_cached("INSERT OR REPLACE INTO documents (tbl, key, version, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![table.name(), key, version, body.to_string()])?,
        Write::Delete(_) => transaction
            .prepare_cached("DELETE FROM documents WHERE tbl = ?1 AND key = ?2")?
            .execute(params![table.name(), key])?,
    };
    Ok(Ok(()))
}
