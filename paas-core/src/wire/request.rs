//! Bodies of requests that are no type of the model.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{EngineId, ImageRef};

/// Asks for a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The account.
    pub username: String,
    /// Its password.
    pub password: String,
}

/// Changes a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    /// The new one.
    pub password: String,
    /// The present one: for one's own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_password: Option<String>,
    /// The account; one's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// Names an account that is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteAccountRequest {
    /// The account.
    pub username: String,
}

/// Has engines pull an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullRequest {
    /// The image.
    pub name: ImageRef,
    /// Which engines; all that are up when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engines: Option<Vec<EngineId>>,
}

impl fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginRequest").field("username", &self.username).finish_non_exhaustive()
    }
}

impl fmt::Debug for PasswordRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordRequest").field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_request_has_and_nobody_knows_is_refused_with_its_name() {
        let refused = [
            serde_json::from_value::<LoginRequest>(json!({"username": "a", "password": "b", "more": 1})).err(),
            serde_json::from_value::<PasswordRequest>(json!({"password": "b", "more": 1})).err(),
            serde_json::from_value::<DeleteAccountRequest>(json!({"username": "a", "more": 1})).err(),
            serde_json::from_value::<PullRequest>(json!({"name": "a", "more": 1})).err(),
        ];
        for error in refused {
            assert!(error.is_some_and(|error| error.to_string().contains("`more`")));
        }
    }

    #[test]
    fn what_is_absent_is_not_sent_and_passwords_are_not_printed() {
        let change = PasswordRequest { password: "secret".into(), old_password: None, username: None };
        assert_eq!(serde_json::to_value(&change).unwrap(), json!({"password": "secret"}));
        let login = LoginRequest { username: "a".into(), password: "secret".into() };
        assert!(!format!("{change:?} {login:?}").contains("secret"));
    }
}
