//! Making a store hold just what a source holds.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::source::{PAGE, Row, Source, StoreSource};
use super::{Report, Result, TransferError};
use crate::store::{Action, Direction, Document, KeyRange, MAX_WRITES, Store, Table, Write, tables};

/// How many commits are under way at once, so that a store can write many in one go.
const AT_ONCE: usize = 8;
/// How many bytes of documents one commit has, unless one document alone has more: etcd takes 1.5 MiB in one request.
const COMMIT: usize = 1 << 20;

/// The key of the mark.
const MARK: &str = "into";

/// Fills `to` with everything of a source, which is opened once to be written and once to be compared. `name` says in the
/// mark whose documents these are.
pub(super) async fn fill<'a>(
    name: &str,
    open: &mut impl AsyncFnMut() -> Result<Source<'a>>,
    to: &dyn Store,
    progress: &mut (dyn FnMut(Table, usize) + Send),
) -> Result<Report> {
    let mut report = Report::default();
    if !is_marked(name, to).await? {
        if let Some((table, key)) = first_of(to).await? {
            // A caller that asks for what is done already learns that it is.
            return match compare(&mut open().await?, to).await {
                Err(TransferError::Differs { .. }) => {
                    Err(TransferError::NotEmpty { found: format!("the store has {table}/{key} and more") })
                }
                compared => compared.map(|documents| Report { documents, changes: 0 }),
            };
        }
        let mark = json!({ "source": name, "began": Timestamp::now().to_string() });
        to.insert(tables::TRANSFERS, MARK, mark).await.map_err(|error| TransferError::store("write", error))?;
    }
    // What this is from now on is not what it was before, nor what the source is: see `leadership::number`.
    let identity = vec![Write::new(tables::STORE, "identity", Action::Clear)];
    to.commit(identity).await.map_err(|error| TransferError::store("write", error))?;
    let mut source = open().await?;
    for table in tables::ALL {
        report.changes += fill_table(&mut source, table, to, progress).await?;
    }
    report.documents = compare(&mut open().await?, to).await?;
    to.delete(tables::TRANSFERS, MARK, None).await.map_err(|error| TransferError::store("write", error))?;
    Ok(report)
}

/// Whether an earlier transfer of the same documents has begun here. One of others is refused.
async fn is_marked(name: &str, to: &dyn Store) -> Result<bool> {
    let mark = to.get(tables::TRANSFERS, MARK).await.map_err(|error| TransferError::store("read", error))?;
    match mark.as_ref().map(|mark| mark.body["source"].as_str().unwrap_or_default()) {
        None => Ok(false),
        Some(source) if source == name => Ok(true),
        Some(source) => {
            Err(TransferError::NotEmpty { found: format!("the store has a part of something else, {source}") })
        }
    }
}

/// Any document that is there.
async fn first_of(store: &dyn Store) -> Result<Option<(Table, String)>> {
    for table in tables::ALL {
        let range = KeyRange { limit: 1, ..KeyRange::all() };
        let found = store.list(table, &range).await.map_err(|error| TransferError::store("read", error))?;
        if let Some(document) = found.into_iter().next() {
            return Ok(Some((table, document.key)));
        }
    }
    Ok(None)
}

/// Goes through a table of both, page by page, and writes what differs.
async fn fill_table(
    source: &mut Source<'_>,
    table: Table,
    to: &dyn Store,
    progress: &mut (dyn FnMut(Table, usize) + Send),
) -> Result<usize> {
    let (mut changes, mut done, mut from) = (0, 0, None);
    loop {
        let page = source.page(table).await?;
        let end = page.last().map(|(last, _)| format!("{last}\0"));
        done += page.len();
        let wanted: BTreeMap<String, Value> = page.into_iter().collect();
        let there = all_within(to, table, from, end.clone()).await?;
        let writes = differences(table, wanted, there);
        changes += writes.len();
        let commits = stream::iter(in_commits(writes)).map(Ok);
        commits.try_for_each_concurrent(AT_ONCE, |writes| commit(to, table, writes)).await?;
        progress(table, done);
        // The page without an end was empty, and everything after the last key is looked at.
        let Some(end) = end else { return Ok(changes) };
        from = Some(end);
    }
}

/// Every document of a store within bounds.
async fn all_within(
    store: &dyn Store,
    table: Table,
    mut from: Option<String>,
    to: Option<String>,
) -> Result<BTreeMap<String, Document>> {
    let mut all = BTreeMap::new();
    loop {
        let range = KeyRange { from: from.clone(), to: to.clone(), direction: Direction::Forwards, limit: PAGE };
        let page = store.list(table, &range).await.map_err(|error| TransferError::store("read", error))?;
        let is_last = page.len() < PAGE;
        from = page.last().map(|last| format!("{}\0", last.key));
        all.extend(page.into_iter().map(|document| (document.key.clone(), document)));
        if is_last {
            return Ok(all);
        }
    }
}

/// The writes that make a page what it should be.
fn differences(table: Table, wanted: BTreeMap<String, Value>, mut there: BTreeMap<String, Document>) -> Vec<Write> {
    let mut writes = Vec::new();
    for (key, body) in wanted {
        match there.remove(&key) {
            None => writes.push(Write::new(table, key, Action::Insert(body))),
            Some(found) if found.body == body => {}
            Some(found) => writes.push(Write::new(table, key, Action::Replace(found.version, body))),
        }
    }
    let deleted = |found: Document| Write::new(table, found.key, Action::Delete(Some(found.version)));
    writes.extend(there.into_values().map(deleted));
    writes
}

/// As few commits as a store takes them in.
fn in_commits(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let mut commits: Vec<Vec<Write>> = Vec::new();
    let mut room = 0;
    for write in writes {
        let size = match &write.action {
            Action::Insert(body) | Action::Replace(_, body) => write.key.len() + body.to_string().len(),
            Action::Delete(_) | Action::Clear => 0,
        };
        match commits.last_mut().filter(|commit| commit.len() < MAX_WRITES && size <= room) {
            Some(commit) => {
                commit.push(write);
                room -= size;
            }
            None => {
                commits.push(vec![write]);
                room = COMMIT.saturating_sub(size);
            }
        }
    }
    commits
}

async fn commit(to: &dyn Store, table: Table, writes: Vec<Write>) -> Result<()> {
    match to.commit(writes).await {
        // Somebody else was there since it was read.
        Err(error) if error.is_conflict_in(table) => Err(TransferError::Differs { table, key: error.key().to_owned() }),
        outcome => outcome.map(drop).map_err(|error| TransferError::store("write", error)),
    }
}

/// Reads both to the end. Says how many documents each table has, when they have the same.
async fn compare(source: &mut Source<'_>, to: &dyn Store) -> Result<Vec<(Table, usize)>> {
    let mut documents = Vec::new();
    for table in tables::ALL {
        let (mut left, mut right) = (Rows::new(), Rows::new());
        let mut there = Source::Store(StoreSource::new(to));
        let mut count = 0;
        loop {
            match (left.next(source, table).await?, right.next(&mut there, table).await?) {
                (None, None) => break,
                (Some(one), Some(other)) if one == other => count += 1,
                (Some((key, _)), Some((other, _))) => {
                    return Err(TransferError::Differs { table, key: key.min(other) });
                }
                (Some((key, _)), None) | (None, Some((key, _))) => return Err(TransferError::Differs { table, key }),
            }
        }
        documents.push((table, count));
    }
    Ok(documents)
}

/// The documents of a table, one by one.
struct Rows(std::vec::IntoIter<Row>);

impl Rows {
    fn new() -> Self {
        Self(Vec::new().into_iter())
    }

    async fn next(&mut self, source: &mut Source<'_>, table: Table) -> Result<Option<Row>> {
        if self.0.as_slice().is_empty() {
            self.0 = source.page(table).await?.into_iter();
        }
        Ok(self.0.next())
    }
}
