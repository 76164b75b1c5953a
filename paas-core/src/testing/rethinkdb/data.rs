//! Databases, tables and rows.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::datum::{object, print};
use super::failure::Failure;

/// A row before a write, and after it.
pub(super) type RowChange = (Option<Value>, Option<Value>);

/// A table.
#[derive(Debug, Default)]
pub(super) struct TableData {
    pub(super) rows: BTreeMap<String, Value>,
    /// There is another of that name.
    is_ambiguous: bool,
}

/// Everything that a server keeps.
#[derive(Debug)]
pub(super) struct Data {
    databases: BTreeMap<String, BTreeMap<String, TableData>>,
    /// Tables that are being made: when each is there, and its names.
    coming: Vec<(Instant, String, String)>,
}

/// How long it takes to make a table. As with the real one, nobody sees it before, so another of that name can be made
/// meanwhile; then there are two.
const MAKING: Duration = Duration::from_millis(30);

/// Why a row was not written. The query that tried goes on.
pub(super) type RowError = String;

impl Data {
    /// What a fresh server has.
    pub(super) fn new() -> Self {
        let databases = ["rethinkdb", "test"].map(|name| (name.to_owned(), BTreeMap::new()));
        Self { databases: databases.into(), coming: Vec::new() }
    }

    pub(super) fn database_names(&self) -> Vec<&str> {
        self.databases.keys().map(String::as_str).collect()
    }

    pub(super) fn has_database(&self, name: &str) -> bool {
        self.databases.contains_key(name)
    }

    pub(super) fn make_database(&mut self, name: &str) -> Result<Value, Failure> {
        check_name("Database", name)?;
        if self.has_database(name) {
            return Err(Failure::operation(format!("Database `{name}` already exists.")));
        }
        self.databases.insert(name.to_owned(), BTreeMap::new());
        let made = json!({ "id": Uuid::new_v4().to_string(), "name": name });
        Ok(json!({ "config_changes": [{ "new_val": made, "old_val": null }], "dbs_created": 1 }))
    }

    pub(super) fn make_table(&mut self, database: &str, name: &str) -> Result<Value, Failure> {
        check_name("Table", name)?;
        self.settle();
        let missing = || Failure::operation(format!("Database `{database}` does not exist."));
        let tables = self.databases.get_mut(database).ok_or_else(missing)?;
        if tables.contains_key(name) {
            return Err(Failure::operation(format!("Table `{database}.{name}` already exists.")));
        }
        self.coming.push((Instant::now() + MAKING, database.to_owned(), name.to_owned()));
        let made = json!({
            "db": database,
            "durability": "hard",
            "id": Uuid::new_v4().to_string(),
            "indexes": [],
            "name": name,
            "primary_key": "id",
            "shards": [{ "nonvoting_replicas": [], "primary_replica": "server_1", "replicas": ["server_1"] }],
            "write_acks": "majority",
            "write_hook": null,
        });
        Ok(json!({ "config_changes": [{ "new_val": made, "old_val": null }], "tables_created": 1 }))
    }

    /// Until when the answer to who made a table waits: until it is there.
    pub(super) fn made_at(&self) -> Option<Instant> {
        self.coming.iter().map(|(at, _, _)| *at).max()
    }

    /// Lets the tables come to be whose time has come.
    fn settle(&mut self) {
        let now = Instant::now();
        for (_, database, name) in self.coming.extract_if(.., |(at, _, _)| *at <= now) {
            let Some(tables) = self.databases.get_mut(&database) else { continue };
            tables.entry(name).and_modify(|twin| twin.is_ambiguous = true).or_default();
        }
    }

    pub(super) fn drop_database(&mut self, name: &str) -> Result<Value, Failure> {
        let missing = || Failure::operation(format!("Database `{name}` does not exist."));
        let tables = self.databases.remove(name).ok_or_else(missing)?;
        Ok(json!({ "config_changes": [], "dbs_dropped": 1, "tables_dropped": tables.len() }))
    }

    pub(super) fn table(&mut self, database: &str, name: &str) -> Result<&mut TableData, Failure> {
        self.settle();
        let found = self.databases.get_mut(database).and_then(|tables| tables.get_mut(name));
        match found {
            Some(table) if table.is_ambiguous => Err(Failure::operation(format!(
                "Table `{database}.{name}` is ambiguous; there are multiple tables with that name."
            ))),
            Some(table) => Ok(table),
            None => Err(Failure::operation(format!("Table `{database}.{name}` does not exist."))),
        }
    }

    pub(super) fn make_twin(&mut self, database: &str, name: &str) {
        if let Ok(table) = self.table(database, name) {
            table.is_ambiguous = true;
        }
    }

    pub(super) fn drop_table(&mut self, database: &str, name: &str) {
        if let Some(tables) = self.databases.get_mut(database) {
            tables.remove(name);
        }
    }
}

impl TableData {
    /// Puts a row in the place of another. The key is that of both.
    pub(super) fn set(&mut self, key: &str, new: Option<Value>) {
        match new {
            Some(row) => self.rows.insert(key.to_owned(), row),
            None => self.rows.remove(key),
        };
    }

    /// Adds a row under a key that has none.
    pub(super) fn insert(&mut self, row: Value) -> Result<String, RowError> {
        let key = check_row(&row)?;
        if let Some(there) = self.rows.get(&key) {
            return Err(format!("Duplicate primary key `id`:\n{}\n{}", print(there), print(&row)));
        }
        self.set(&key, Some(row));
        Ok(key)
    }

    /// Rows within bounds, in the order of their keys.
    pub(super) fn ordered(&self, bounds: &(Bound<String>, Bound<String>)) -> Vec<Value> {
        let is_empty = match bounds {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
            _ => false,
        };
        if is_empty {
            return Vec::new();
        }
        let bounds = (bounds.0.as_ref(), bounds.1.as_ref());
        self.rows.range::<String, _>(bounds).map(|(_, row)| row.clone()).collect()
    }
}

/// The order of a table that nobody asked to be ordered: by hashes.
pub(super) fn shuffle(rows: &mut [Value]) {
    rows.sort_by_cached_key(|row| {
        let mut hasher = DefaultHasher::new();
        row["id"].as_str().unwrap_or_default().hash(&mut hasher);
        hasher.finish()
    });
}

/// The key of a row that can be in a table.
pub(super) fn check_row(row: &Value) -> Result<String, RowError> {
    let Value::Object(fields) = row else {
        let found = super::datum::type_name(row);
        return Err(format!("Inserted value must be an OBJECT (got {found}):\n{}", print(row)));
    };
    match fields.get("id") {
        Some(Value::String(key)) => check_key(key).map(|()| key.clone()),
        // The real one takes numbers and more as keys; a store of documents by name never means that.
        Some(other) => Err(format!("Primary keys must be STRINGs here (got {}).", super::datum::type_name(other))),
        None => Err(format!("No primary key `id` in:\n{}", print(row))),
    }
}

/// Refuses what cannot be a key, in the words of the real one.
pub(super) fn check_key(key: &str) -> Result<(), RowError> {
    if key.len() > 127 {
        return Err(format!("Primary key too long (max 127 characters): {}", Value::from(key)));
    }
    match key.find('\0') {
        Some(offset) => {
            let shown = key.replace('\0', "\\x00");
            Err(format!("String \"{shown}\" (truncated) contains NULL byte at offset {offset} in index key."))
        }
        None => Ok(()),
    }
}

fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
        return Ok(());
    }
    Err(Failure::logic(format!("{what} name `{name}` invalid (Use A-Z, a-z, 0-9, _ and - only).")))
}

/// What a write did.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) deleted: u64,
    pub(super) errors: u64,
    pub(super) inserted: u64,
    pub(super) replaced: u64,
    pub(super) skipped: u64,
    pub(super) unchanged: u64,
    pub(super) first_error: Option<String>,
    pub(super) changes: Vec<RowChange>,
}

impl Report {
    pub(super) fn refuse(&mut self, error: RowError) {
        self.errors += 1;
        self.first_error.get_or_insert(error);
    }

    pub(super) fn into_value(self, with_changes: bool) -> Value {
        let mut report = object([
            ("deleted", self.deleted.into()),
            ("errors", self.errors.into()),
            ("inserted", self.inserted.into()),
            ("replaced", self.replaced.into()),
            ("skipped", self.skipped.into()),
            ("unchanged", self.unchanged.into()),
        ]);
        if let Some(error) = self.first_error {
            report["first_error"] = error.into();
        }
        if with_changes {
            let changes = self.changes.into_iter().map(|(old, new)| json!({ "new_val": new, "old_val": old }));
            report["changes"] = changes.collect();
        }
        report
    }
}
