//! The database file: claimed by one process, of a known version, never replaced when it is damaged.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::schema::{self, Unfit};
use crate::store::{Result, StoreError, StoreErrorKind, Table};

/// What is said of a database that cannot be written.
const READ_ONLY: &str = "it cannot be written; see its permissions, and whether the disk is read-only";

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
        let folder = folder(path);
        if !folder.is_dir() {
            return Err(broken(path, format!("there is no folder {}; make it first", folder.display())));
        }
        if path.is_dir() {
            return Err(broken(path, "it is a folder, not a file".to_owned()));
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".lock");
        let claim = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&beside);
        let claim = claim.map_err(|error| cannot(path, "locked", error))?;
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

    /// A connection that writes, to a database that is whole and up to date; makes the database when there is none.
    pub(super) fn open_for_writing(&self) -> Result<Connection> {
        match fs::metadata(&self.path) {
            Ok(found) if found.len() == 0 => Err(broken(
                &self.path,
                "it is empty, so what was in it is lost; restore a backup, or remove it to begin with nothing"
                    .to_owned(),
            )),
            Ok(_) => self.open_existing(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make()?;
                self.open_existing()
            }
            Err(error) => Err(broken(&self.path, "it cannot be looked at".to_owned()).with_source(error)),
        }
    }

    fn open_existing(&self) -> Result<Connection> {
        let mut connection = self.connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::check(&mut connection).map_err(|unfit| self.unfit(unfit))?;
        Ok(connection)
    }

    /// Makes the database under another name, and gives it its own when everything is in it: a file that is only half
    /// made is never taken for a database, nor a lost one for a new one.
    fn make(&self) -> Result<()> {
        let beside = |ending: &str| {
            let mut name = self.path.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        if beside("-wal").exists() {
            return Err(broken(
                &self.path,
                "it is gone, but its log (-wal) is there; put it back, or remove the log to begin with nothing"
                    .to_owned(),
            ));
        }
        let cannot = |error| cannot(&self.path, "made", error);
        let half = beside(".new");
        for ending in [".new", ".new-wal", ".new-shm"] {
            match fs::remove_file(beside(ending)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(error)),
                _ => {}
            }
        }
        // Before SQLite would make it readable by others.
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(&half).map_err(cannot)?;
        let mut connection = self.connect(&half, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::make(&mut connection).map_err(|unfit| self.unfit(unfit))?;
        // Writes the log back into the file and removes it.
        connection.close().map_err(|(_, error)| self.unusable(error))?;
        fs::rename(&half, &self.path).map_err(cannot)?;
        // So that the name survives as well.
        File::open(folder(&self.path)).and_then(|folder| folder.sync_all()).map_err(cannot)
    }

    pub(super) fn open_for_reading(&self) -> Result<Connection> {
        self.connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    fn connect(&self, path: &Path, flags: OpenFlags) -> Result<Connection> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|error| self.unusable(error))?;
        connection.busy_timeout(BUSY).map_err(|error| self.unusable(error))?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    }

    fn unfit(&self, unfit: Unfit) -> StoreError {
        let what = match unfit {
            Unfit::Newer(found) => {
                format!("it is of version {found}, and this program knows {}; use a newer program", schema::newest())
            }
            Unfit::Foreign => "it is the database of another program; give another path".to_owned(),
            Unfit::Damaged(what) => format!("it is damaged: {what}; restore a backup"),
            Unfit::ReadOnly => READ_ONLY.to_owned(),
            Unfit::Sqlite(error) => return self.unusable(error),
        };
        broken(&self.path, what)
    }

    fn unusable(&self, error: rusqlite::Error) -> StoreError {
        let what = match error.sqlite_error_code() {
            _ if is_full(&error) => return full(&self.path, "open").with_source(error),
            Some(ErrorCode::NotADatabase) => "it is no SQLite database; move it away or restore a backup",
            Some(ErrorCode::DatabaseCorrupt) => "it is damaged; restore a backup",
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => READ_ONLY,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another program has it locked",
            _ => "it cannot be opened",
        };
        broken(&self.path, what.to_owned()).with_source(error)
    }
}

fn broken(path: &Path, detail: String) -> StoreError {
    let detail = format!("{}: {detail}", path.display());
    StoreError::new(StoreErrorKind::Broken, "open", Table::new("store"), "").with_detail(detail)
}

/// What could not be done with a file because of the system.
fn cannot(path: &Path, done: &str, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => full(path, "open").with_source(error),
        _ => broken(path, format!("it cannot be {done}: {}", reason(&error))).with_source(error),
    }
}

fn full(path: &Path, operation: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Full, operation, Table::new("store"), "").with_detail(no_room(path))
}

/// What is said of a full disk, and where room is to be made.
fn no_room(path: &Path) -> String {
    format!("the disk is full where {} lies; make room there", path.display())
}

/// Some of what SQLite does on a full disk fails with a code of its own.
fn is_full(error: &rusqlite::Error) -> bool {
    let Some(failure) = error.sqlite_error() else { return false };
    failure.code == ErrorCode::DiskFull || failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
}

/// What a person reads about a file that could not be opened.
fn reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "the disk is read-only",
        io::ErrorKind::PermissionDenied => "this user may not write there",
        _ => "see the cause",
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What a failure of SQLite with the database at `path` means for the caller.
pub(super) fn convert(
    path: &Path,
    error: rusqlite::Error,
    operation: &'static str,
    table: Table,
    key: &str,
) -> StoreError {
    if is_full(&error) {
        return StoreError::new(StoreErrorKind::Full, operation, table, key)
            .with_detail(no_room(path))
            .with_source(error);
    }
    let (kind, detail) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (StoreErrorKind::Unavailable, "another program has the database locked")
        }
        Some(ErrorCode::ReadOnly) => (StoreErrorKind::Broken, "the database cannot be written"),
        Some(ErrorCode::TooBig) => (StoreErrorKind::Invalid, "the document is too large"),
        _ => (StoreErrorKind::Broken, "SQLite failed"),
    };
    StoreError::new(kind, operation, table, key).with_detail(detail).with_source(error)
}
