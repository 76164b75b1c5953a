//! Writes that are made together.

use std::collections::HashSet;

use serde_json::Value;

use super::{Result, StoreError, StoreErrorKind, Table, Version, check_key};

/// The most writes of one commit: etcd takes 128 operations at once, unless it is told otherwise.
pub const MAX_WRITES: usize = 100;

/// A change to one document, to be made together with others.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Where the document is.
    pub table: Table,
    /// Its key.
    pub key: String,
    /// What is to be done with it.
    pub action: Action,
}

/// What a write does, and what must be so for it.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Adds a document, where there is none.
    Insert(Value),
    /// Replaces the document of this version.
    Replace(Version, Value),
    /// Deletes the document; when a version is given, only of that version.
    Delete(Option<Version>),
    /// Sees to it that there is no document, whether or not there was one.
    Clear,
}

impl Write {
    /// A write to `key` of `table`.
    pub fn new(table: Table, key: impl Into<String>, action: Action) -> Self {
        Self { table, key: key.into(), action }
    }

    /// Why it cannot be made, when the document has this version, or there is none. For the use of backends.
    pub fn refusal(&self, found: Option<Version>) -> Option<StoreErrorKind> {
        match (&self.action, found) {
            (Action::Insert(_), Some(_)) => Some(StoreErrorKind::AlreadyExists),
            (Action::Replace(..) | Action::Delete(_), None) => Some(StoreErrorKind::NotFound),
            (Action::Replace(expected, _) | Action::Delete(Some(expected)), Some(found)) if *expected != found => {
                Some(StoreErrorKind::VersionMismatch)
            }
            _ => None,
        }
    }

    /// The error of a verb or a commit that failed at this write. For the use of backends.
    pub fn error(&self, operation: &'static str, kind: StoreErrorKind) -> StoreError {
        StoreError::new(kind, operation, self.table, self.key.clone())
    }
}

/// Refuses what no backend takes as one commit. For the use of backends.
///
/// # Errors
/// [`StoreErrorKind::Invalid`] for more than [`MAX_WRITES`], for one document twice, and for a key that cannot be one.
pub fn check_writes(writes: &[Write]) -> Result<()> {
    const OPERATION: &str = "commit";
    let mut seen = HashSet::new();
    for write in writes {
        let invalid = |detail: String| Err(write.error(OPERATION, StoreErrorKind::Invalid).with_detail(detail));
        if writes.len() > MAX_WRITES {
            return invalid(format!("{} writes are to be made together, and at most {MAX_WRITES} can", writes.len()));
        }
        check_key(OPERATION, write.table, &write.key)?;
        if !seen.insert((write.table, &write.key)) {
            return invalid("it is to be written twice at once".to_owned());
        }
    }
    Ok(())
}
