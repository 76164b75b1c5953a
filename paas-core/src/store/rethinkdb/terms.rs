//! The queries of the store, as the server reads them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::bounds::{Bound, bound};
use super::protocol::{query, term};
use crate::store::{Action, Direction, KeyRange, StoreErrorKind, Table, Version, Write};

/// What the server calls a replacement of what is not there; chosen by us.
const NOT_FOUND: &str = "not-found";
/// What the server calls a replacement of another version; chosen by us.
const CONFLICT: &str = "conflict";

/// What the server calls an insert of what is there in a commit; chosen by us.
const EXISTS: &str = "exists";
/// The field with what speaks against a commit.
pub(super) const REFUSED: &str = "refused";

/// A query, ready to be sent, and sent again.
#[derive(Clone, Debug)]
pub(super) struct Query(pub(super) Bytes);

/// Makes the queries for one database.
#[derive(Debug)]
pub(super) struct Queries {
    options: Value,
}

impl Queries {
    pub(super) fn new(database: &str) -> Self {
        Self { options: json!({ "db": [term::DB, [database]] }) }
    }

    fn start(&self, term: Value) -> Query {
        Query(json!([query::START, term, self.options]).to_string().into())
    }

    pub(super) fn list_databases(&self) -> Query {
        // Without the database, which may not be there yet.
        Query(json!([query::START, [term::DB_LIST, []], {}]).to_string().into())
    }

    pub(super) fn make_database(&self, name: &str) -> Query {
        Query(json!([query::START, [term::DB_CREATE, [name]], {}]).to_string().into())
    }

    pub(super) fn drop_database(&self, name: &str) -> Query {
        Query(json!([query::START, [term::DB_DROP, [name]], {}]).to_string().into())
    }

    /// Makes a table; with a lock, only if that still has the version.
    pub(super) fn make_table(&self, table: Table, lock: Option<(Table, &str, Version)>) -> Query {
        let make = json!([term::TABLE_CREATE, [table.name()]]);
        let Some((place, key, version)) = lock else { return self.start(make) };
        let is_ours = json!([term::EQ, [version_of(&row(place, key)), version.0.to_string()]]);
        self.start(json!([term::BRANCH, [is_ours, make, [term::ERROR, [CONFLICT]]]]))
    }

    /// Waits until the table can be written, at most so many seconds.
    pub(super) fn await_table(&self, table: Table, seconds: u64) -> Query {
        let options = json!({ "wait_for": "ready_for_writes", "timeout": seconds });
        self.start(json!([term::WAIT, [of_table(table)], options]))
    }

    pub(super) fn get(&self, table: Table, key: &str) -> Query {
        self.start(row(table, key))
    }

    pub(super) fn insert(&self, table: Table, row: Value) -> Query {
        self.start(insert(table, row))
    }

    /// Puts `new` in the place of the row of that version; nothing for `new` deletes it.
    pub(super) fn replace(&self, table: Table, key: &str, expected: Version, new: Option<Value>) -> Query {
        self.start(replace(table, key, expected, new, 1))
    }

    pub(super) fn delete(&self, table: Table, key: &str) -> Query {
        self.start(delete(table, key))
    }

    /// Several writes, each with its row if it puts one. Answers with what speaks against them, under [`REFUSED`], or with
    /// the reports of the writes, of which the first comes first and alone when it was refused.
    pub(super) fn commit(&self, writes: &[(&Write, Option<Value>)]) -> Query {
        // The numbers of the variables: what speaks against it, the report of the first write, and one for each row.
        let (checks, report, mut row_variable) = (1, 2, 2);
        let mut term = |(write, new): &(&Write, Option<Value>)| {
            row_variable += 1;
            let key = write.key.as_str();
            match (&write.action, new) {
                (Action::Replace(expected, _), new) => replace(write.table, key, *expected, new.clone(), row_variable),
                (Action::Delete(Some(expected)), _) => replace(write.table, key, *expected, None, row_variable),
                (_, Some(new)) => insert(write.table, new.clone()),
                (_, None) => delete(write.table, key),
            }
        };
        let Some((first, others)) = writes.split_first() else { return self.start(json!([term::MAKE_ARRAY, []])) };
        let first_term = term(first);
        let mut terms = vec![json!([term::VAR, [report]])];
        let mut inserts: BTreeMap<Table, Vec<Value>> = BTreeMap::new();
        for other in others {
            match (&other.0.action, &other.1) {
                // All those of one table are one write.
                (Action::Insert(_), Some(new)) => inserts.entry(other.0.table).or_default().push(new.clone()),
                _ => terms.push(term(other)),
            }
        }
        terms.extend(inserts.into_iter().map(|(table, rows)| insert(table, json!([term::MAKE_ARRAY, rows]))));
        let worked = match &first.0.action {
            Action::Delete(None) => json!([term::EQ, [[term::BRACKET, [[term::VAR, [report]], "deleted"]], 1]]),
            _ => json!([term::EQ, [[term::BRACKET, [[term::VAR, [report]], "errors"]], 0]]),
        };
        let alone = json!([term::MAKE_ARRAY, [[term::VAR, [report]]]]);
        let then = json!([term::BRANCH, [worked, [term::MAKE_ARRAY, terms], alone]]);
        let make = json!([term::FUNCALL, [function(report, then), first_term]]);
        let nothing = json!([term::MAKE_ARRAY, vec![Value::Null; writes.len()]]);
        let found = json!([term::VAR, [checks]]);
        let judge = json!([term::BRANCH, [[term::EQ, [found, nothing]], make, { REFUSED: found }]]);
        let against: Vec<Value> = writes.iter().map(|(write, _)| check(write)).collect();
        self.start(json!([term::FUNCALL, [function(checks, judge), [term::MAKE_ARRAY, against]]]))
    }

    pub(super) fn list(&self, table: Table, range: &KeyRange) -> Query {
        let (from, left) = match range.from.as_deref().map(bound) {
            None => (json!([term::MINVAL, []]), "closed"),
            Some(Bound::At(key)) => (json!(key), "closed"),
            Some(Bound::After(key)) => (json!(key), "open"),
        };
        let (to, right) = match range.to.as_deref().map(bound) {
            None => (json!([term::MAXVAL, []]), "open"),
            Some(Bound::At(key)) => (json!(key), "open"),
            Some(Bound::After(key)) => (json!(key), "closed"),
        };
        let within = json!([term::BETWEEN, [of_table(table), from, to], { "left_bound": left, "right_bound": right }]);
        let index = match range.direction {
            Direction::Forwards => json!(super::body::KEY),
            Direction::Backwards => json!([term::DESC, [super::body::KEY]]),
        };
        let ordered = json!([term::ORDER_BY, [within], { "index": index }]);
        // The server counts in floats: more documents than that there are nowhere.
        let limited = (range.limit < 1 << 50).then(|| json!([term::LIMIT, [ordered, range.limit]]));
        self.start(limited.unwrap_or(ordered))
    }
}

fn function(variable: u64, body: Value) -> Value {
    json!([term::FUNC, [[term::MAKE_ARRAY, [variable]], body]])
}

fn insert(table: Table, rows: Value) -> Value {
    json!([term::INSERT, [of_table(table), rows], { "conflict": "error", "durability": "hard" }])
}

fn replace(table: Table, key: &str, expected: Version, new: Option<Value>, variable: u64) -> Value {
    let found = json!([term::VAR, [variable]]);
    let is_missing = json!([term::EQ, [found, null]]);
    let is_other = json!([term::NE, [version_of(&found), expected.0.to_string()]]);
    let refuse = |why| json!([term::ERROR, [why]]);
    let choice = json!([term::BRANCH, [is_missing, refuse(NOT_FOUND), is_other, refuse(CONFLICT), new]]);
    json!([term::REPLACE, [row(table, key), function(variable, choice)], { "durability": "hard" }])
}

fn delete(table: Table, key: &str) -> Value {
    json!([term::DELETE, [row(table, key)], { "durability": "hard" }])
}

/// What speaks against a write; null when nothing does.
fn check(write: &Write) -> Value {
    let found = row(write.table, &write.key);
    let is_missing = json!([term::EQ, [found, null]]);
    match &write.action {
        Action::Insert(_) => json!([term::BRANCH, [is_missing, null, EXISTS]]),
        Action::Replace(expected, _) | Action::Delete(Some(expected)) => {
            let is_other = json!([term::NE, [version_of(&found), expected.0.to_string()]]);
            json!([term::BRANCH, [is_missing, NOT_FOUND, is_other, CONFLICT, null]])
        }
        Action::Delete(None) => json!([term::BRANCH, [is_missing, NOT_FOUND, null]]),
        Action::Clear => Value::Null,
    }
}

fn version_of(row: &Value) -> Value {
    json!([term::BRACKET, [row, super::body::VERSION]])
}

fn of_table(table: Table) -> Value {
    json!([term::TABLE, [table.name()]])
}

fn row(table: Table, key: &str) -> Value {
    json!([term::GET, [of_table(table), key]])
}

/// What a refusal inside of a successful answer means.
pub(super) fn refusal(first_error: &str) -> Option<StoreErrorKind> {
    match first_error {
        NOT_FOUND => Some(StoreErrorKind::NotFound),
        CONFLICT => Some(StoreErrorKind::VersionMismatch),
        EXISTS => Some(StoreErrorKind::AlreadyExists),
        _ if super::trouble::is_duplicate(first_error) => Some(StoreErrorKind::AlreadyExists),
        _ => None,
    }
}
