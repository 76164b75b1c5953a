//! Where documents come from: a store or a file, page by page and in the order of their keys.

use serde_json::Value;

use super::backup::Backup;
use super::{Result, TransferError};
use crate::store::{Direction, KeyRange, Store, Table, tables};

/// How many documents are read at once.
pub(super) const PAGE: usize = 500;

/// A document of a table, without the version: that is the backend's own.
pub(super) type Row = (String, Value);

/// Where documents come from.
#[derive(Debug)]
pub(super) enum Source<'a> {
    Store(StoreSource<'a>),
    Backup(Box<Backup>),
}

impl Source<'_> {
    /// The next documents of a table; none at its end. Tables are asked for in their order.
    pub(super) async fn page(&mut self, table: Table) -> Result<Vec<Row>> {
        match self {
            Self::Store(store) => store.page(table).await,
            Self::Backup(backup) => backup.page(table).await,
        }
    }
}

/// A store that is read from the first key to the last.
#[derive(Debug)]
pub(super) struct StoreSource<'a> {
    store: &'a dyn Store,
    read: Option<(Table, String)>,
}

impl<'a> StoreSource<'a> {
    pub(super) fn new(store: &'a dyn Store) -> Self {
        Self { store, read: None }
    }

    /// What tells this platform from others, for the mark of a transfer.
    pub(super) async fn name(&self) -> Result<String> {
        let name =
            self.store.get(tables::PLATFORM, "name").await.map_err(|error| TransferError::store("read", error))?;
        let name = name.and_then(|name| name.body.as_str().map(str::to_owned));
        Ok(name.map_or_else(|| "a store without a platform".to_owned(), |name| format!("platform {name}")))
    }

    async fn page(&mut self, table: Table) -> Result<Vec<Row>> {
        let last = self.read.as_ref().filter(|(read, _)| *read == table).map(|(_, last)| last);
        let from = last.map(|last| format!("{last}\0"));
        let range = KeyRange { from, to: None, direction: Direction::Forwards, limit: PAGE };
        let page = self.store.list(table, &range).await.map_err(|error| TransferError::store("read", error))?;
        if let Some(last) = page.last() {
            self.read = Some((table, last.key.clone()));
        }
        Ok(page.into_iter().map(|document| (document.key, document.body)).collect())
    }
}
