//! What can go wrong between the store and the server, and what it means for the caller.

use std::fmt;
use std::io;

use serde_json::Value;

use super::protocol::{failure, response};
use crate::store::{Fence, StoreError, StoreErrorKind, Table};

/// What went wrong.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server that this is part of does not lead any more, so nothing was asked.
    Fenced,
    /// Nothing was asked in the time there was.
    NotAsked(&'static str),
    /// A table that was there is not any more.
    Dropped(String),
    /// There is no connection, so nothing was asked.
    Connect { address: String, source: io::Error },
    /// The server does not let us in, or is none. A person must look at it.
    Refused(String),
    /// The connection broke: what was asked may or may not have been done.
    Broke(io::Error),
    /// No answer in time: what was asked may or may not have been done.
    TimedOut(&'static str),
    /// What came is nothing that RethinkDB says.
    Nonsense(String),
    /// The server says no.
    Server(ServerError, String),
}

/// What the server says no for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerError {
    /// It is there already.
    Exists,
    /// The table is not there.
    NoSuchTable,
    /// The database is not there.
    NoSuchDatabase,
    /// There are several tables of one name, and no use of either works.
    Ambiguous,
    /// A replica is not available just now, and nothing was done.
    NotReady,
    /// The cluster lost track of what was asked.
    Indeterminate,
    /// The user may not.
    Permission,
    /// Anything else.
    Other,
}

impl Trouble {
    /// What an answer with an error says.
    pub(super) fn of_response(kind: u64, error_type: Option<u64>, content: &[Value]) -> Self {
        let message = content.first().and_then(Value::as_str).unwrap_or("an error without a text");
        let error = match (kind, error_type) {
            (response::RUNTIME_ERROR, Some(failure::OP_FAILED)) => of_text(message),
            (response::RUNTIME_ERROR, Some(failure::OP_INDETERMINATE)) => ServerError::Indeterminate,
            (response::RUNTIME_ERROR, Some(failure::PERMISSION)) => ServerError::Permission,
            _ => ServerError::Other,
        };
        Self::Server(error, first_line(message))
    }

    /// Whether the same again may work soon.
    pub(super) fn passes(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Broke(_) | Self::Server(ServerError::NotReady | ServerError::Indeterminate, _)
        )
    }

    /// Whether a write may have happened all the same.
    pub(super) fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Broke(_) | Self::TimedOut(_) | Self::Server(ServerError::Indeterminate, _))
    }

    pub(super) fn into_store_error(self, operation: &'static str, table: Table, key: &str) -> StoreError {
        let kind = match &self {
            Self::Fenced => return Fence::refusal(operation, table, key),
            Self::Connect { .. } | Self::Broke(_) | Self::TimedOut(_) | Self::NotAsked(_) => {
                StoreErrorKind::Unavailable
            }
            Self::Server(ServerError::NotReady | ServerError::Indeterminate, _) => StoreErrorKind::Unavailable,
            Self::Refused(_) | Self::Nonsense(_) | Self::Server(..) | Self::Dropped(_) => StoreErrorKind::Broken,
        };
        let error = StoreError::new(kind, operation, table, key).with_detail(self.to_string());
        match self {
            Self::Connect { source, .. } | Self::Broke(source) => error.with_source(source),
            _ => error,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced => f.write_str("this server does not lead any more"),
            Self::NotAsked(why) => write!(f, "RethinkDB was not asked in time: {why}"),
            Self::Dropped(what) => write!(
                f,
                "{what}: it was there before, so it is not taken for an empty one; restore a backup into a new database"
            ),
            Self::Server(ServerError::Ambiguous, message) => write!(
                f,
                "RethinkDB says: {message} Two programs made it at the same moment. Stop every server; in RethinkDB's data \
                 explorer, r.db('rethinkdb').table('table_config') lists both: delete the one without documents there by \
                 its id, or restore a backup into a new database"
            ),
            Self::Connect { address, .. } => write!(f, "no connection to {address}"),
            Self::Refused(why) => f.write_str(why),
            Self::Broke(_) => f.write_str("the connection to RethinkDB broke"),
            Self::TimedOut(what) => write!(f, "RethinkDB took too long to {what}"),
            Self::Nonsense(what) => write!(f, "the server does not speak as RethinkDB does: {what}"),
            Self::Server(_, message) => write!(f, "RethinkDB says: {message}"),
        }
    }
}

/// The one place that reads the server's sentences: the number is one for all of these.
fn of_text(message: &str) -> ServerError {
    let missing = message.ends_with("does not exist.");
    if message.contains(" is ambiguous") {
        ServerError::Ambiguous
    } else if message.ends_with("already exists.") {
        ServerError::Exists
    } else if missing && message.starts_with("Table ") {
        ServerError::NoSuchTable
    } else if missing && message.starts_with("Database ") {
        ServerError::NoSuchDatabase
    } else {
        ServerError::NotReady
    }
}

/// What a write is refused with inside of an answer that is a success. Here, too, there is nothing but the text.
pub(super) fn is_duplicate(first_error: &str) -> bool {
    first_error.starts_with("Duplicate primary key")
}

/// The rest may hold the document, and with it what nobody should read.
pub(super) fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_number_means_several_things() {
        for (text, expected) in [
            ("Database `paas` already exists.", ServerError::Exists),
            ("Table `paas.events` already exists.", ServerError::Exists),
            ("Table `paas.nope` does not exist.", ServerError::NoSuchTable),
            ("Database `nodb` does not exist.", ServerError::NoSuchDatabase),
            ("Table `paas.t` is ambiguous; there are multiple tables with that name.", ServerError::Ambiguous),
            ("Cannot perform read: primary replica for shard [\"\", +inf) not available", ServerError::NotReady),
        ] {
            let trouble = Trouble::of_response(18, Some(4_100_000), &[json!(text)]);
            assert!(matches!(trouble, Trouble::Server(error, _) if error == expected), "{text}");
        }
        let trouble = Trouble::of_response(17, None, &[json!("Table `x.y` does not exist.")]);
        assert!(matches!(trouble, Trouble::Server(ServerError::Other, _)));
    }

    #[test]
    fn what_a_document_holds_is_not_repeated() {
        let trouble = Trouble::of_response(18, Some(3_000_000), &[json!("It is wrong:\n{\"hash\": \"secret\"}")]);
        assert!(!trouble.to_string().contains("secret"));
    }
}
