//! Errors of the stores.

use std::error::Error;
use std::fmt;

use super::Table;

/// What a caller can do about a failed verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// There is no such document.
    NotFound,
    /// There is such a document already.
    AlreadyExists,
    /// The document was changed since it was read: read it again and decide again.
    VersionMismatch,
    /// The key or the document is not one the backend can hold.
    Invalid,
    /// The backend did not answer or is busy: the same call may work later. A write may or may not have happened.
    Unavailable,
    /// The backend has no room: its disk is full, or its quota is used up. A person must make room; nothing was written.
    Full,
    /// The backend cannot go on as it is: read-only, damaged, of another version. A person must look at it.
    Broken,
}

/// A failed verb of a store.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    operation: &'static str,
    table: &'static str,
    key: String,
    detail: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// A failure of `operation` on `key` of `table`.
    pub fn new(kind: StoreErrorKind, operation: &'static str, table: Table, key: impl Into<String>) -> Self {
        Self { kind, operation, table: table.name(), key: key.into(), detail: None, source: None }
    }

    /// The same error with a sentence that helps.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether somebody else wrote the document, which is in `table`, since it was read: read it again and decide again.
    pub fn is_conflict_in(&self, table: Table) -> bool {
        let kinds = [StoreErrorKind::AlreadyExists, StoreErrorKind::NotFound, StoreErrorKind::VersionMismatch];
        self.table == table.name() && kinds.contains(&self.kind)
    }

    /// The key of the document, or nothing.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether the same call may work in a moment, without anybody mending anything. A write may have been made all the same.
    pub fn is_retryable(&self) -> bool {
        self.kind == StoreErrorKind::Unavailable
    }

    /// Whether it is the backend that failed, and not what was asked of it: it is away, full, read-only or damaged.
    pub fn is_of_the_backend(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unavailable | StoreErrorKind::Full | StoreErrorKind::Broken)
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            StoreErrorKind::NotFound => "no such document",
            StoreErrorKind::AlreadyExists => "the document exists already",
            StoreErrorKind::VersionMismatch => "the document was changed by somebody else",
            StoreErrorKind::Invalid => "not something the store can hold",
            StoreErrorKind::Unavailable => "the store does not answer",
            StoreErrorKind::Full => "the store has no room",
            StoreErrorKind::Broken => "the store cannot be used",
        };
        match (self.table, self.key.as_str()) {
            // The store as a whole.
            ("store", "") => write!(f, "cannot {} the store", self.operation)?,
            (table, "") => write!(f, "cannot {} {table}", self.operation)?,
            (table, key) => write!(f, "cannot {} {table}/{key}", self.operation)?,
        }
        write!(f, ": {what}")?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
