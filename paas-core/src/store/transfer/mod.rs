//! Moving everything that the platform knows: from one store to another, to a file, and back.
//!
//! Nothing else should use either store meanwhile; what changes under way is found when everything is compared at the
//! end. A transfer leaves a mark in the store that it fills, before anything else and until everything is compared. It
//! says that the store is not whole, so no server starts on it; and it lets the same transfer go on where it ended.

mod backup;
mod error;
mod fill;
mod source;
#[cfg(feature = "sqlite")]
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use super::{KeyRange, Store, StoreError, StoreErrorKind, Table, tables};
pub use error::TransferError;

use backup::Backup;
use source::{Source, StoreSource};

type Result<T, E = TransferError> = std::result::Result<T, E>;

/// What was moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many documents each table has.
    pub documents: Vec<(Table, usize)>,
    /// How many documents had to be written or deleted for that: fewer than there are when an earlier attempt had got
    /// some of the way.
    pub changes: usize,
}

impl Report {
    /// How many documents there are.
    pub fn total(&self) -> usize {
        self.documents.iter().map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} documents", self.total())?;
        for (index, (table, count)) in self.documents.iter().enumerate() {
            write!(f, "{}{table} {count}", if index == 0 { ": " } else { ", " })?;
        }
        Ok(())
    }
}

/// Copies every table of `from` to `to`, compares both at the end, and tells `progress` how many documents of a table
/// are there. What an earlier attempt left is gone on with.
///
/// # Errors
/// [`TransferError::NotEmpty`] when `to` holds something else. After any other error, the same call goes on.
pub async fn copy(from: &dyn Store, to: &dyn Store, progress: &mut (dyn FnMut(Table, usize) + Send)) -> Result<Report> {
    refuse_unfinished(from).await?;
    let name = StoreSource::new(from).name().await?;
    fill::fill(&name, &mut async || Ok(Source::Store(StoreSource::new(from))), to, progress).await
}

/// Writes every table of `from` into a new file, which only its owner can read. A file that is only half written has
/// another name.
///
/// # Errors
/// There is such a file, it cannot be written, or the store does not answer or changes meanwhile.
pub async fn backup(from: &dyn Store, path: &Path) -> Result<Report> {
    refuse_unfinished(from).await?;
    backup::write(from, path).await
}

/// Puts everything that a backup holds into `to`, and compares both at the end. The whole file is checked before
/// anything is written. What an earlier attempt left is gone on with.
///
/// # Errors
/// [`TransferError::NotABackup`] when the file is damaged or no backup, [`TransferError::NotEmpty`] when `to` holds
/// something else. After any other error, the same call goes on.
pub async fn restore(path: &Path, to: &dyn Store, progress: &mut (dyn FnMut(Table, usize) + Send)) -> Result<Report> {
    let name = backup::check(path).await?;
    fill::fill(&name, &mut async || Backup::open(path).await.map(Box::new).map(Source::Backup), to, progress).await
}

/// Refuses a store that a transfer was filling and did not finish.
///
/// # Errors
/// [`StoreErrorKind::Broken`] says so; otherwise as [`Store::list`].
pub async fn check_whole(store: &dyn Store) -> super::Result<()> {
    let marks = store.list(tables::TRANSFERS, &KeyRange { limit: 1, ..KeyRange::all() }).await?;
    match marks.first() {
        None => Ok(()),
        Some(mark) => {
            Err(StoreError::new(StoreErrorKind::Broken, "use", Table::new("store"), "").with_detail(format!(
                "a copy or restore into it was not finished ({}); run it again to its end",
                mark.body["source"].as_str().unwrap_or_default()
            )))
        }
    }
}

async fn refuse_unfinished(from: &dyn Store) -> Result<()> {
    check_whole(from).await.map_err(|error| TransferError::store("use", error))
}
