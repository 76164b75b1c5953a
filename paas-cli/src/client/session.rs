//! Login, logout and passwords.

use std::fmt;

use jiff::Timestamp;
use paas_core::model::{RoleName, UserName};
use paas_core::wire::{LoginRequest, PasswordRequest};
use reqwest::Method;
use serde::Deserialize;

use super::request::{ASK, CHANGE};
use super::{Answer, Client, ClientError};

/// What a login gives.
#[derive(Clone, Deserialize)]
pub struct Login {
    /// The token, to be sent with every other request.
    pub token: String,
    /// Whose it is.
    pub username: UserName,
    /// What it may do.
    pub role: RoleName,
    /// When it ends.
    pub expires: Timestamp,
    /// What whoever logs in should know, such as that the token ends with the server.
    pub warning: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Client {
    /// Asks for a token.
    ///
    /// # Errors
    /// Status 401 when name and password do not fit, 429 after too many attempts.
    pub async fn login(&self, username: &str, password: &str) -> Result<Answer<Login>, ClientError> {
        let request = self.request(Method::POST, &["auth", "login"]);
        let body = LoginRequest { username: username.to_owned(), password: password.to_owned() };
        let login: Answer<Login> = self.fetch(request.json(&body)).await?;
        if let Some(warning) = &login.warning {
            self.warn(warning);
        }
        Ok(login)
    }

    /// Ends the token of this client.
    ///
    /// # Errors
    /// Status 401 when it has ended already.
    pub async fn logout(&self) -> Result<(), ClientError> {
        self.order(self.request(Method::POST, &["account", "logout"]), ASK).await
    }

    /// Changes a password: one's own, or with `username` that of another account.
    ///
    /// # Errors
    /// Status 401 when `old_password` is wrong, 403 when another's password is not for this account to change.
    pub async fn change_password(
        &self,
        username: Option<&str>,
        old_password: Option<&str>,
        password: &str,
    ) -> Result<(), ClientError> {
        let request = self.request(Method::POST, &["account", "passwdchange"]);
        let body = PasswordRequest {
            password: password.to_owned(),
            old_password: old_password.map(str::to_owned),
            username: username.map(str::to_owned),
        };
        self.order(request.json(&body), CHANGE).await
    }
}
