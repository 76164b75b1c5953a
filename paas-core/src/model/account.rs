//! People and programs that may log in.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AccountId, RoleName, UserName};

/// An account as shown to people. Holds neither password nor tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Id that the operator chose, or the user name.
    pub id: AccountId,
    /// The name to log in with.
    pub username: UserName,
    /// What it may do.
    pub role: RoleName,
}

/// What is said to add an account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// Id; the user name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<AccountId>,
    /// The name to log in with.
    pub username: UserName,
    /// The password, in clear.
    pub password: String,
    /// What it may do.
    pub role: RoleName,
}

impl fmt::Debug for NewAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAccount").field("username", &self.username).field("role", &self.role).finish_non_exhaustive()
    }
}
