//! Making the database and its tables, so that each is made once.
//!
//! RethinkDB makes two tables of one name when two programs ask for it at the same moment, and refuses every use of either
//! from then on. Only databases are made by exactly one. So who makes the database makes the table `platform`; where that
//! one came to nothing, who makes a database for this purpose does. Every other table is made by who holds a lock, which
//! is a document in `platform`.
//!
//! Which tables were made is written down, so that a table that somebody dropped is not taken for an empty one.

use std::collections::HashSet;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::asking::Attempts;
use super::trouble::{ServerError, Trouble};
use super::{RethinkDbStore, body};
use crate::store::tables::{self, PLATFORM, STORE};
use crate::store::{Fence, Table, Version};

/// The document that is the lock.
const LOCK: &str = "making-tables";
/// The document with the tables that were made.
const RECORD: &str = "tables";
/// How often it is looked what others have done.
const LOOK: Duration = Duration::from_millis(100);

/// Which tables are known to be there.
#[derive(Debug, Default)]
pub(super) struct Made {
    tables: Mutex<HashSet<Table>>,
    /// Held while tables are made, so that one program does not wait for itself.
    making: tokio::sync::Mutex<()>,
}

impl Made {
    pub(super) fn has(&self, table: Table) -> bool {
        self.tables.lock().contains(&table)
    }

    fn note(&self, made: impl IntoIterator<Item = Table>) {
        self.tables.lock().extend(made);
    }
}

impl RethinkDbStore {
    pub(super) async fn has_database(&self) -> Result<bool, Trouble> {
        let databases = self.ask(&self.shared.queries.list_databases()).await?;
        let names = databases.first().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Ok(names.iter().any(|name| name == &self.shared.pool.target().database))
    }

    /// Makes what is missing.
    pub(super) async fn prepare(&self) -> Result<(), Trouble> {
        let database = self.shared.pool.target().database.clone();
        let made_it = !self.has_database().await? && self.make_database(&database).await?;
        self.make_platform(&database, made_it).await?;
        self.make_tables(&tables::every()).await
    }

    /// Notes which tables must be there, without making any.
    pub(super) async fn remember(&self) -> Result<(), Trouble> {
        let recorded = self.recorded().await?;
        self.shared
            .made
            .note(tables::every().into_iter().filter(|table| recorded.iter().any(|name| name == table.name())));
        Ok(())
    }

    /// Whether this program made it: of all that try, one.
    async fn make_database(&self, name: &str) -> Result<bool, Trouble> {
        match self.ask(&self.shared.queries.make_database(name)).await {
            Ok(_) => Ok(true),
            Err(Trouble::Server(ServerError::Exists, _)) => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    /// Makes the first table, or waits until somebody did.
    async fn make_platform(&self, database: &str, mut is_ours: bool) -> Result<(), Trouble> {
        let mut turn = 0;
        while !self.is_there(PLATFORM).await? {
            if turn == 0 {
                self.refuse_remains().await?;
            }
            if is_ours {
                self.create(PLATFORM, None).await?;
                break;
            }
            if self.comes_to_be(PLATFORM).await? {
                break;
            }
            // Who should have made it did not: it died, or the database was made by hand.
            turn += 1;
            is_ours = match self.make_database(&helper(database, turn)).await {
                // All that this user may is to make tables, so nothing decides who does.
                Err(Trouble::Server(ServerError::Permission, _)) => true,
                outcome => outcome?,
            };
        }
        self.wait_until_ready(PLATFORM).await?;
        if is_ours && turn > 0 {
            // What it was for is decided. That it stays where it cannot be dropped does no harm.
            drop(self.ask(&self.shared.queries.drop_database(&helper(database, turn))).await);
        }
        self.shared.made.note([PLATFORM]);
        Ok(())
    }

    /// Makes a table with its first document.
    pub(super) async fn ensure_table(&self, table: Table) -> Result<(), Trouble> {
        if self.shared.made.has(table) {
            return Ok(());
        }
        self.make_tables(&[table]).await
    }

    /// Makes those tables that are missing.
    async fn make_tables(&self, wanted: &[Table]) -> Result<(), Trouble> {
        let _making = self.shared.made.making.lock().await;
        if self.missing(wanted).await?.is_empty() {
            self.shared.made.note(wanted.iter().copied());
            return Ok(());
        }
        let mut lock = self.lock().await?;
        let missing = self.missing(wanted).await?;
        self.refuse_dropped(&missing).await?;
        for table in missing {
            // A lock that changes is one whose holder lives.
            lock =
                self.put_lock(Some(lock)).await?.ok_or(Trouble::Server(ServerError::NotReady, NOT_OURS.to_owned()))?;
            self.create(table, Some(lock)).await?;
            self.wait_until_ready(table).await?;
        }
        self.record(wanted).await?;
        self.ask(&self.shared.queries.replace(PLATFORM, LOCK, lock, None)).await?;
        self.shared.made.note(wanted.iter().copied());
        Ok(())
    }

    async fn missing(&self, wanted: &[Table]) -> Result<Vec<Table>, Trouble> {
        let mut missing = Vec::new();
        for table in wanted {
            if !self.is_there(*table).await? {
                missing.push(*table);
            }
        }
        Ok(missing)
    }

    async fn is_there(&self, table: Table) -> Result<bool, Trouble> {
        match self.ask(&self.shared.queries.get(table, "name")).await {
            Ok(_) => Ok(true),
            Err(Trouble::Server(ServerError::NoSuchTable, _)) => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    /// Whether somebody makes a table within a while.
    async fn comes_to_be(&self, table: Table) -> Result<bool, Trouble> {
        let began = Instant::now();
        while began.elapsed() < self.shared.pool.limits().abandoned {
            sleep(LOOK).await;
            if self.is_there(table).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes a table that nobody else makes at the same time. With a lock, the server looks at it once more.
    async fn create(&self, table: Table, lock: Option<Version>) -> Result<(), Trouble> {
        let query = self.shared.queries.make_table(table, lock.map(|version| (PLATFORM, LOCK, version)));
        let mut attempts = Attempts::new(&self.shared.pool);
        loop {
            match self.ask_once(&query, &Fence::default(), &attempts).await {
                Ok(_) | Err(Trouble::Server(ServerError::Exists, _)) => return Ok(()),
                Err(trouble) if trouble.passes() => {
                    let in_doubt = trouble.leaves_doubt();
                    attempts.pause(trouble).await?;
                    // Asked again at once, it could run beside the one whose answer was lost, and make a second table.
                    if in_doubt && self.comes_to_be(table).await? {
                        return Ok(());
                    }
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    async fn wait_until_ready(&self, table: Table) -> Result<(), Trouble> {
        let seconds = (self.shared.pool.deadline().as_secs() / 2).max(1);
        self.ask(&self.shared.queries.await_table(table, seconds)).await.map(drop)
    }

    /// The version of the lock, once it is ours. One that nobody touches for a while is taken over.
    async fn lock(&self) -> Result<Version, Trouble> {
        let mut seen: Option<(Version, Instant)> = None;
        loop {
            let found = self.row(PLATFORM, LOCK).await?.and_then(|row| body::version(&row));
            let abandoned = match (found, seen) {
                (Some(now), Some((before, since))) if now == before => {
                    since.elapsed() > self.shared.pool.limits().abandoned
                }
                (Some(now), _) => {
                    seen = Some((now, Instant::now()));
                    false
                }
                (None, _) => true,
            };
            if abandoned && let Some(ours) = self.put_lock(found).await? {
                return Ok(ours);
            }
            sleep(LOOK).await;
        }
    }

    /// Puts a new lock in the place of one, or of none. Nothing when somebody else did.
    async fn put_lock(&self, before: Option<Version>) -> Result<Option<Version>, Trouble> {
        let ours = body::fresh_version();
        let row = body::encode(LOCK, ours, &json!({ "format": 1 }));
        let query = match before {
            None => self.shared.queries.insert(PLATFORM, row),
            Some(before) => self.shared.queries.replace(PLATFORM, LOCK, before, Some(row)),
        };
        self.ask(&query).await?;
        // Read rather than believed: the answer may be one to a second attempt.
        let found = self.row(PLATFORM, LOCK).await?.and_then(|row| body::version(&row));
        Ok(found.filter(|found| *found == ours))
    }

    async fn row(&self, table: Table, key: &str) -> Result<Option<Value>, Trouble> {
        let answer = self.ask(&self.shared.queries.get(table, key)).await?;
        Ok(answer.into_iter().next().filter(|row| !row.is_null()))
    }

    /// The names of the tables that were made; those of before such a record when there is none.
    async fn recorded(&self) -> Result<Vec<String>, Trouble> {
        let row = match self.row(STORE, RECORD).await {
            Err(Trouble::Server(ServerError::NoSuchTable, _)) => None,
            outcome => outcome?,
        };
        if let Some(document) = row.and_then(|row| body::decode(row).ok()) {
            let names = document.body["made"].as_array().map(Vec::as_slice).unwrap_or_default();
            return Ok(names.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        }
        // Those were made all at once, and then the platform got its name.
        let has_name = match self.row(PLATFORM, "name").await {
            Err(Trouble::Server(ServerError::NoSuchTable, _)) => false,
            outcome => outcome?.is_some(),
        };
        let first = if has_name { &tables::FIRST[..] } else { &[] };
        Ok(first.iter().map(|table| table.name().to_owned()).collect())
    }

    /// Adds to the record. Only who holds the lock does.
    async fn record(&self, made: &[Table]) -> Result<(), Trouble> {
        if !made.contains(&STORE) {
            return Ok(());
        }
        let names: Vec<&str> = made.iter().map(|table| table.name()).collect();
        let row = body::encode(RECORD, body::fresh_version(), &json!({ "format": 1, "made": names }));
        let query = match self.row(STORE, RECORD).await?.and_then(|row| body::version(&row)) {
            None => self.shared.queries.insert(STORE, row),
            Some(before) => self.shared.queries.replace(STORE, RECORD, before, Some(row)),
        };
        self.ask(&query).await.map(drop)
    }

    /// A table that was there and is not is not an empty one.
    async fn refuse_dropped(&self, missing: &[Table]) -> Result<(), Trouble> {
        let recorded = self.recorded().await?;
        match missing.iter().find(|table| recorded.iter().any(|name| name == table.name())) {
            Some(dropped) => Err(Trouble::Dropped(format!("the table {dropped}"))),
            None => Ok(()),
        }
    }

    /// Refuses a database that has lost its first table and not the others. Whether that is lost is looked at once more at the
    /// end: another server may be making all of them at this moment.
    async fn refuse_remains(&self) -> Result<(), Trouble> {
        for table in tables::FIRST {
            let some = crate::store::KeyRange { limit: 1, ..crate::store::KeyRange::all() };
            match self.ask(&self.shared.queries.list(table, &some)).await {
                Ok(found) if !found.is_empty() && !self.is_there(PLATFORM).await? => {
                    return Err(Trouble::Dropped(format!("the table {PLATFORM}")));
                }
                Ok(_) | Err(Trouble::Server(ServerError::NoSuchTable, _)) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(())
    }
}

const NOT_OURS: &str = "another program makes the tables";

/// A database that is made for nothing but that exactly one program makes it.
fn helper(database: &str, turn: usize) -> String {
    format!("{database}_setup_{turn}")
}
