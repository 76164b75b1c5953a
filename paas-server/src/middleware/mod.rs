//! What every request goes through before its handler, and what its answer goes through after it.

pub(crate) mod body_limit;
pub(crate) mod deadline;
pub(crate) mod guard;
pub(crate) mod idempotency;
pub(crate) mod request_id;
pub(crate) mod write_timeout;
