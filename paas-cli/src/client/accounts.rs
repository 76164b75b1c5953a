//! Accounts.

use paas_core::model::{Account, NewAccount};
use reqwest::Method;

use super::request::{CHANGE, all, segment};
use super::{Answer, Client, ClientError};

impl Client {
    /// All accounts.
    ///
    /// # Errors
    /// Status 403 unless an administrator asks.
    pub async fn accounts(&self) -> Result<Answer<Vec<Account>>, ClientError> {
        self.fetch_list(self.request(Method::GET, &["api", "accounts"]), all).await
    }

    /// One account, by user name.
    ///
    /// # Errors
    /// Status 404 when there is none.
    pub async fn account(&self, username: &str) -> Result<Answer<Account>, ClientError> {
        self.fetch(self.request(Method::GET, &["api", "accounts", segment("username", username)?])).await
    }

    /// Adds an account.
    ///
    /// # Errors
    /// Status 409 when the user name is taken.
    pub async fn add_account(&self, account: &NewAccount) -> Result<(), ClientError> {
        self.order(self.request(Method::POST, &["api", "accounts"]).json(account), CHANGE).await
    }

    /// Deletes an account.
    ///
    /// # Errors
    /// Status 404 when there is none, 409 when it is the last administrator.
    pub async fn delete_account(&self, username: &str) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &["api", "accounts", segment("username", username)?]);
        self.order(request, CHANGE).await
    }
}
