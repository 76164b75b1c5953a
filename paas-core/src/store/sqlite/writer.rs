//! The one thread that writes.

use std::path::Path;
use std::thread::JoinHandle;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tokio::sync::{mpsc, oneshot};

use super::file::convert;
use crate::store::{Action, Fence, Result, StoreError, StoreErrorKind, Table, Version, Write};

/// How many requests one transaction takes along at most.
const BATCH: usize = 1024;

/// Writes to be made together, or not at all.
struct Request {
    operation: &'static str,
    writes: Vec<Write>,
    fence: Fence,
    answer: oneshot::Sender<Result<Version>>,
}

impl Request {
    /// An error of the whole request, in the name of its first write.
    fn error(&self, kind: StoreErrorKind) -> StoreError {
        let nothing = || StoreError::new(kind, self.operation, Table::new("store"), "");
        self.writes.first().map_or_else(nothing, |write| write.error(self.operation, kind))
    }
}

/// The way to the thread that writes.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// One that writes with a connection to the database at `path`.
    pub(super) fn spawn(path: &Path, connection: Connection) -> Result<Self> {
        let (queue, waiting) = mpsc::channel(BATCH);
        let path = path.to_owned();
        let write = move || write_all(&path, connection, waiting);
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(write);
        let thread = thread.map_err(|error| {
            StoreError::new(StoreErrorKind::Unavailable, "open", Table::new("store"), "").with_source(error)
        })?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Waits until writes are durable, or one was refused.
    pub(super) async fn write(&self, fence: &Fence, operation: &'static str, writes: Vec<Write>) -> Result<Version> {
        let (answer, answered) = oneshot::channel();
        let request = Request { operation, writes, fence: fence.clone(), answer };
        let gone = request.error(StoreErrorKind::Unavailable).with_detail("the store is closed");
        let Some(queue) = &self.queue else { return Err(gone) };
        if queue.send(request).await.is_err() {
            return Err(gone);
        }
        answered.await.unwrap_or(Err(gone))
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

fn write_all(path: &Path, mut connection: Connection, mut waiting: mpsc::Receiver<Request>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut was_written = true;
    while waiting.blocking_recv_many(&mut batch, BATCH) > 0 {
        let is_written = commit(path, &mut connection, &mut batch, was_written);
        if is_written && !was_written {
            tracing::info!(file = %path.display(), "the database can be written again");
        }
        was_written = is_written;
    }
}

/// Writes a batch in one transaction, and answers when it is durable. A change that is refused spoils no other. False when
/// nothing could be written, which is logged as an error once and not for every attempt.
fn commit(path: &Path, connection: &mut Connection, batch: &mut Vec<Request>, was_written: bool) -> bool {
    let outcomes = match write_batch(connection, batch) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            let code = error.sqlite_error().copied();
            let code = code.unwrap_or(rusqlite::ffi::Error { code: rusqlite::ErrorCode::Unknown, extended_code: 0 });
            match was_written {
                true => tracing::error!(%error, file = %path.display(), "nothing can be written to the database"),
                false => tracing::debug!(%error, "nothing can be written to the database"),
            }
            for request in batch.drain(..) {
                let again = rusqlite::Error::SqliteFailure(code, Some(error.to_string()));
                let (table, key) =
                    request.writes.first().map_or((Table::new("store"), ""), |first| (first.table, &first.key));
                let refusal = convert(path, again, request.operation, table, key);
                // The caller may have gone.
                let _ = request.answer.send(Err(refusal));
            }
            return false;
        }
    };
    for (request, outcome) in batch.drain(..).zip(outcomes) {
        let _ = request.answer.send(outcome);
    }
    true
}

fn write_batch(connection: &mut Connection, batch: &[Request]) -> rusqlite::Result<Vec<Result<Version>>> {
    let transaction = connection.transaction()?;
    let first: i64 = transaction.query_row("SELECT last_version FROM counter", [], |row| row.get(0))?;
    let mut last = first;
    let mut outcomes = Vec::with_capacity(batch.len());
    for request in batch {
        outcomes.push(match refusal(&transaction, request)? {
            Some(refused) => Err(refused),
            None => {
                last += 1;
                request.writes.iter().try_for_each(|write| make(&transaction, write, last))?;
                Ok(Version(last.cast_unsigned()))
            }
        });
    }
    if last == first {
        return Ok(outcomes);
    }
    transaction.execute("UPDATE counter SET last_version = ?1", [last])?;
    transaction.commit()?;
    Ok(outcomes)
}

/// Why a request cannot be done, if it cannot. The outer error is SQLite's and spoils the whole batch.
fn refusal(transaction: &Transaction<'_>, request: &Request) -> rusqlite::Result<Option<StoreError>> {
    for write in &request.writes {
        if let Err(refused) = request.fence.check(request.operation, write.table, &write.key) {
            return Ok(Some(refused));
        }
        let found: Option<i64> = transaction
            .prepare_cached("SELECT version FROM documents WHERE tbl = ?1 AND key = ?2")?
            .query_row(params![write.table.name(), write.key], |row| row.get(0))
            .optional()?;
        if let Some(kind) = write.refusal(found.map(|version| Version(version.cast_unsigned()))) {
            return Ok(Some(write.error(request.operation, kind)));
        }
    }
    Ok(None)
}

/// Makes one write that is not refused.
fn make(transaction: &Transaction<'_>, write: &Write, version: i64) -> rusqlite::Result<()> {
    let Write { table, key, action } = write;
    match action {
        Action::Insert(body) | Action::Replace(_, body) => transaction
            .prepare_cached("INSERT OR REPLACE INTO documents (tbl, key, version, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![table.name(), key, version, body.to_string()])?,
        Action::Delete(_) | Action::Clear => transaction
            .prepare_cached("DELETE FROM documents WHERE tbl = ?1 AND key = ?2")?
            .execute(params![table.name(), key])?,
    };
    Ok(())
}
