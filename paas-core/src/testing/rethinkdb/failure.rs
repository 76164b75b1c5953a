//! Refusals, with the place in the query that they are about.

use serde_json::{Value, json};

use crate::store::rethinkdb::protocol::{failure, response};

/// A query that the server refuses.
#[derive(Debug)]
pub(super) struct Failure {
    kind: u64,
    error: Option<u64>,
    pub(super) message: String,
    /// Which argument of which argument it is about.
    trace: Vec<Value>,
    /// The server dies of it, and says nothing.
    pub(super) is_death: bool,
}

impl Failure {
    fn new(kind: u64, error: Option<u64>, message: impl Into<String>) -> Self {
        Self { kind, error, message: message.into(), trace: Vec::new(), is_death: false }
    }

    /// What is no question at all.
    pub(super) fn client(message: impl Into<String>) -> Self {
        Self::new(response::CLIENT_ERROR, None, message)
    }

    /// What cannot be a question.
    pub(super) fn compile(message: impl Into<String>) -> Self {
        Self::new(response::COMPILE_ERROR, None, message)
    }

    /// A question that makes no sense.
    pub(super) fn logic(message: impl Into<String>) -> Self {
        Self::new(response::RUNTIME_ERROR, Some(failure::QUERY_LOGIC), message)
    }

    /// What the cluster cannot do as it is.
    pub(super) fn operation(message: impl Into<String>) -> Self {
        Self::new(response::RUNTIME_ERROR, Some(failure::OP_FAILED), message)
    }

    /// What the user may not.
    pub(super) fn permission(message: impl Into<String>) -> Self {
        Self::new(response::RUNTIME_ERROR, Some(failure::PERMISSION), message)
    }

    /// The end of the server in the middle of a question.
    pub(super) fn death() -> Self {
        Self { is_death: true, ..Self::new(response::RUNTIME_ERROR, None, "the server died") }
    }

    /// An error that the question itself asks for.
    pub(super) fn user(message: impl Into<String>) -> Self {
        Self::new(response::RUNTIME_ERROR, Some(failure::USER), message)
    }

    /// The same in a term of which it was an argument.
    pub(super) fn within(mut self, place: impl Into<Value>) -> Self {
        self.trace.insert(0, place.into());
        self
    }

    /// The answer.
    pub(super) fn to_json(&self) -> Value {
        let mut answer = json!({ "t": self.kind, "r": [self.message], "b": self.trace });
        if let Some(error) = self.error {
            answer["e"] = error.into();
        }
        answer
    }
}
