//! Errors of logins, permissions and accounts.

use std::time::Duration;

use crate::model::Invalid;
use crate::store::StoreError;

/// Why somebody was not let in, or an account was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// No token, or one that is good for nothing.
    #[error("log in first: the token is missing, wrong, expired or logged out")]
    Unauthenticated,
    /// The role does not open the path.
    #[error("your role does not open {path}; ask an admin")]
    Forbidden {
        /// What was asked for.
        path: String,
    },
    /// Too many failed logins of one name.
    #[error("too many failed logins; wait {} seconds", retry_after.as_secs().max(1))]
    Throttled {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Too many passwords wait to be checked.
    #[error("too many logins at once; try again in {} seconds", retry_after.as_secs().max(1))]
    Busy {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Name and password do not fit, or the present password does not.
    #[error("the name or the password is wrong")]
    WrongPassword,
    /// A value cannot be what it was given for.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The user name is taken.
    #[error("there is an account '{0}' already; choose another user name")]
    AlreadyExists(String),
    /// There is no such account.
    #[error("there is no account '{0}'")]
    NotFound(String),
    /// There is no such join token.
    #[error("there is no join token '{0}'; list them to see their ids")]
    NoSuchJoinToken(String),
    /// Without this account nobody could manage accounts any more.
    #[error("'{0}' is the last account that may do everything; add another such account first")]
    LastAdmin(String),
    /// The store did not do it.
    #[error("the accounts cannot be read or written")]
    Store(#[source] StoreError),
    /// The machine has no randomness or no memory for a hash.
    #[error("a password or token could not be made: {0}")]
    Crypto(String),
}

impl AuthError {
    /// Whether the same may work when it is asked for again in a moment.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Throttled { .. } | Self::Busy { .. } => true,
            Self::Store(error) => error.is_retryable(),
            Self::Unauthenticated
            | Self::Forbidden { .. }
            | Self::WrongPassword
            | Self::Invalid(_)
            | Self::AlreadyExists(_)
            | Self::NotFound(_)
            | Self::NoSuchJoinToken(_)
            | Self::LastAdmin(_)
            | Self::Crypto(_) => false,
        }
    }
}
