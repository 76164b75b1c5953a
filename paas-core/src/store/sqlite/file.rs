//! The database file: claimed by one process, of a known version, never replaced when it is damaged.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::store::{Result, StoreError, StoreErrorKind, Table};

/// What each version of the schema adds to the one before. The database remembers how many it has.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE documents (
        tbl TEXT NOT NULL,
        key TEXT NOT NULL,
        version INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (tbl, key)
    ) WITHOUT ROWID;
    CREATE TABLE counter (last_version INTEGER NOT NULL);
    INSERT INTO counter VALUES (0);
"];

/// How long to wait for another program that reads the file, such as a backup.
const BUSY: Duration = Duration::from_secs(5);

/// The path of the database, and the claim on it.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    /// Locked as long as it is open.
    _claim: File,
}

impl DatabaseFile {
    /// Claims the file for this process.
    pub(super) fn claim(path: &Path) -> Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(broken(path, format!("there is no folder {}; make it first", folder.display())));
        }
        if path.is_dir() {
            return Err(broken(path, "it is a folder, not a file".to_owned()));
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".lock");
        let claim = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&beside);
        let claim = claim.map_err(|error| broken(path, "it cannot be locked".to_owned()).with_source(error))?;
        match claim.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _claim: claim }),
            Err(TryLockError::WouldBlock) => Err(broken(
                path,
                "another server uses it; stop that one, or give this one a store of its own".to_owned(),
            )),
            Err(TryLockError::Error(error)) => Err(broken(path, "it cannot be locked".to_owned()).with_source(error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A connection that writes; makes the database when there is none, and brings its schema up to date.
    pub(super) fn open_for_writing(&self) -> Result<Connection> {
        if !self.path.exists() {
            // Before SQLite would make it readable by others.
            let made = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&self.path);
            made.map_err(|error| broken(&self.path, "it cannot be made".to_owned()).with_source(error))?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = self.connect(flags)?;
        let prepared = prepare(&mut connection);
        prepared.map_err(|error| match error {
            Preparing::Newer(found) => broken(
                &self.path,
                format!("it is of version {found}, and this program knows {}; use a newer program", MIGRATIONS.len()),
            ),
            Preparing::Damaged(what) => broken(&self.path, format!("it is damaged: {what}; restore a backup")),
            Preparing::Sqlite(error) => self.unusable(error),
        })?;
        Ok(connection)
    }

    pub(super) fn open_for_reading(&self) -> Result<Connection> {
        self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
    }

    fn connect(&self, flags: OpenFlags) -> Result<Connection> {
        let connection = Connection::open_with_flags(&self.path, flags).map_err(|error| self.unusable(error))?;
        connection.busy_timeout(BUSY).map_err(|error| self.unusable(error))?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    }

    fn unusable(&self, error: rusqlite::Error) -> StoreError {
        let what = match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => "it is no SQLite database; move it away or restore a backup",
            Some(ErrorCode::DatabaseCorrupt) => "it is damaged; restore a backup",
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => "it cannot be written; see its permissions",
            Some(ErrorCode::DiskFull) => "the disk is full",
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another program has it locked",
            _ => "it cannot be opened",
        };
        broken(&self.path, what.to_owned()).with_source(error)
    }
}

enum Preparing {
    Newer(usize),
    Damaged(String),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Preparing {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn prepare(connection: &mut Connection) -> Result<(), Preparing> {
    let found: usize = connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))? as usize;
    if found > MIGRATIONS.len() {
        return Err(Preparing::Newer(found));
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    if found > 0 {
        let verdict: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
        if verdict != "ok" {
            return Err(Preparing::Damaged(verdict));
        }
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found) {
        let step = connection.transaction()?;
        step.execute_batch(migration)?;
        step.pragma_update(None, "user_version", index as u32 + 1)?;
        step.commit()?;
    }
    Ok(())
}

fn broken(path: &Path, detail: String) -> StoreError {
    StoreError::new(StoreErrorKind::Broken, "open", Table::new("store"), path.display().to_string()).with_detail(detail)
}

/// What a failure of SQLite means for the caller.
pub(super) fn convert(error: rusqlite::Error, operation: &'static str, table: Table, key: &str) -> StoreError {
    let (kind, detail) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (StoreErrorKind::Unavailable, "another program has the database locked")
        }
        Some(ErrorCode::DiskFull) => (StoreErrorKind::Broken, "the disk is full"),
        Some(ErrorCode::ReadOnly) => (StoreErrorKind::Broken, "the database cannot be written"),
        Some(ErrorCode::TooBig) => (StoreErrorKind::Invalid, "the document is too large"),
        _ => (StoreErrorKind::Broken, "SQLite failed"),
    };
    StoreError::new(kind, operation, table, key).with_detail(detail).with_source(error)
}
