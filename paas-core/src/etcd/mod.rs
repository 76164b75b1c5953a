//! What the registry and the store on etcd have in common: where it is, the connection, and watching.
//!
//! Every call has its own deadline and goes to the server that answered last. When that one is lost, a new connection is
//! made, to whichever server answers first in the order of the URL. A watch is taken up again where it broke off.

mod address;
mod connection;
mod error;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use address::Address;
pub(crate) use connection::{Connection, Effect, LARGEST_ANSWER};
pub(crate) use error::{EtcdError, EtcdErrorKind};
pub(crate) use watch::Seen;

/// Result of a call.
pub(crate) type Result<T, E = EtcdError> = std::result::Result<T, E>;
