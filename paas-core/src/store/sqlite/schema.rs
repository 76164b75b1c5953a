//! What is in the database, version by version, and whether it is what it should be.

use rusqlite::Connection;

/// What each version adds to the one before. The database remembers how many it has. What was released stays as it is:
/// a change is one more version.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE documents (
        tbl TEXT NOT NULL,
        key TEXT NOT NULL,
        version INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (tbl, key)
    ) WITHOUT ROWID;
    CREATE TABLE counter (last_version INTEGER NOT NULL);
    INSERT INTO counter VALUES (0);
    ",
    // So that the database of another program is told apart: "PaaS" in ASCII.
    "PRAGMA application_id = 1348559187;",
];

/// The number that migration 2 writes.
const APPLICATION: i32 = 1_348_559_187;

/// Why a database cannot be used.
#[derive(Debug)]
pub(super) enum Unfit {
    /// A newer program wrote it.
    Newer(usize),
    /// Another program wrote it.
    Foreign,
    /// It is not what it was when it was written.
    Damaged(String),
    /// It cannot be written.
    ReadOnly,
    /// SQLite says why.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Unfit {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// The newest version that this program knows.
pub(super) const fn newest() -> usize {
    MIGRATIONS.len()
}

/// Makes everything in a database that has nothing yet.
pub(super) fn make(connection: &mut Connection) -> Result<(), Unfit> {
    set_modes(connection)?;
    migrate(connection, 0)
}

/// Looks whether a database is one of ours and whole, brings it up to date, and sees that it can be written.
pub(super) fn check(connection: &mut Connection) -> Result<(), Unfit> {
    let found = usize::try_from(connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))?);
    let found = found.unwrap_or(usize::MAX);
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    // Before version 2 nobody wrote a number.
    let expected = if found < 2 { 0 } else { APPLICATION };
    let tables = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('documents', 'counter')";
    let tables: i64 = connection.query_row(tables, [], |row| row.get(0))?;
    if found == 0 || application != expected {
        return Err(Unfit::Foreign);
    }
    if found > MIGRATIONS.len() {
        return Err(Unfit::Newer(found));
    }
    if tables != 2 {
        return Err(Unfit::Damaged("its tables are gone".to_owned()));
    }
    let verdict: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if verdict != "ok" {
        return Err(Unfit::Damaged(verdict));
    }
    // SQLite opens what it cannot write for reading, without a word.
    if connection.is_readonly("main")? {
        return Err(Unfit::ReadOnly);
    }
    set_modes(connection)?;
    migrate(connection, found)?;
    // Better now than at the first change: a disk that is full, a file that somebody has locked.
    let probe = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let counters = probe.execute("UPDATE counter SET last_version = last_version", [])?;
    probe.commit()?;
    match counters {
        1 => Ok(()),
        _ => Err(Unfit::Damaged("its counter of versions is gone".to_owned())),
    }
}

/// Readers never wait for the writer, and a commit is on the disk before it is answered.
fn set_modes(connection: &Connection) -> Result<(), Unfit> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Unfit::Damaged(format!("it cannot keep a write-ahead log, only {mode:?}")));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(())
}

/// Each step is there as a whole or not at all.
fn migrate(connection: &mut Connection, found: usize) -> Result<(), Unfit> {
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found) {
        let step = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        step.execute_batch(migration)?;
        step.pragma_update(None, "user_version", index as u32 + 1)?;
        step.commit()?;
    }
    Ok(())
}
