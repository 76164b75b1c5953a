//! The queries of the store, as the server reads them.

use bytes::Bytes;
use serde_json::{Value, json};

use super::bounds::{Bound, bound};
use super::protocol::{query, term};
use crate::store::{Direction, KeyRange, StoreErrorKind, Table, Version};

/// What the server calls a replacement of what is not there; chosen by us.
const NOT_FOUND: &str = "not-found";
/// What the server calls a replacement of another version; chosen by us.
const CONFLICT: &str = "conflict";

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

    pub(super) fn make_table(&self, table: Table) -> Query {
        self.start(json!([term::TABLE_CREATE, [table.name()]]))
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
        let options = json!({ "conflict": "error", "durability": "hard" });
        self.start(json!([term::INSERT, [of_table(table), row], options]))
    }

    /// Puts `new` in the place of the row of that version; nothing for `new` deletes it.
    pub(super) fn replace(&self, table: Table, key: &str, expected: Version, new: Option<Value>) -> Query {
        let found = || json!([term::VAR, [1]]);
        let is_missing = json!([term::EQ, [found(), null]]);
        let is_other = json!([term::NE, [[term::BRACKET, [found(), super::body::VERSION]], expected.0.to_string()]]);
        let refuse = |why| json!([term::ERROR, [why]]);
        let choice = json!([term::BRANCH, [is_missing, refuse(NOT_FOUND), is_other, refuse(CONFLICT), new]]);
        let function = json!([term::FUNC, [[term::MAKE_ARRAY, [1]], choice]]);
        self.start(json!([term::REPLACE, [row(table, key), function], { "durability": "hard" }]))
    }

    pub(super) fn delete(&self, table: Table, key: &str) -> Query {
        self.start(json!([term::DELETE, [row(table, key)], { "durability": "hard" }]))
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
        _ if super::trouble::is_duplicate(first_error) => Some(StoreErrorKind::AlreadyExists),
        _ => None,
    }
}
