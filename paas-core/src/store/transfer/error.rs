//! What can keep everything from being moved.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::{StoreError, Table};

/// A transfer that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// One of the stores did not do something.
    #[error("the store could not {what} everything")]
    Store {
        /// What.
        what: &'static str,
        /// Why.
        source: StoreError,
    },
    /// The store to be filled holds something else.
    #[error("{found}, which is not what should come there; give an empty store")]
    NotEmpty {
        /// What it holds.
        found: String,
    },
    /// What came is not what was there.
    #[error(
        "{table}/{key} differs after everything was written: something else uses one of the stores; stop it and run \
         this again"
    )]
    Differs {
        /// The table.
        table: Table,
        /// The key.
        key: String,
    },
    /// The store changed while it was read.
    #[error("{table} had {expected} documents and then {found}: something uses the store; stop it and run this again")]
    Changed {
        /// The table.
        table: Table,
        /// How many there were first.
        expected: usize,
        /// How many there were then.
        found: usize,
    },
    /// A file cannot be read or written.
    #[error("the file {} cannot be {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Read, or written.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// There is such a file already.
    #[error("there is a file {} already; give another name, or remove it", _0.display())]
    FileExists(PathBuf),
    /// A file is no backup, or not a whole one.
    #[error("{} is no backup that can be restored: {why}", path.display())]
    NotABackup {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
}

impl TransferError {
    pub(super) fn store(what: &'static str, source: StoreError) -> Self {
        Self::Store { what, source }
    }

    pub(super) fn file(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, what, source }
    }
}
