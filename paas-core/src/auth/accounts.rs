//! Accounts.

use serde::{Deserialize, Serialize};

use super::password::Passwords;
use super::{AuthError, Authenticator, Result};
use crate::model::{Account, AccountId, NewAccount, RoleName, UserName};
use crate::store::{StoreError, StoreErrorKind};

/// An account as it is stored, under its user name.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct AccountRecord {
    pub(super) id: AccountId,
    pub(super) username: UserName,
    pub(super) password_hash: String,
    pub(super) role: RoleName,
}

impl AccountRecord {
    fn shown(self) -> Account {
        Account { id: self.id, username: self.username, role: self.role }
    }
}

impl std::fmt::Debug for AccountRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountRecord").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// All accounts, by user name.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn accounts(&self) -> Result<Vec<Account>> {
        let all = self.accounts.all().await.map_err(AuthError::Store)?;
        Ok(all.into_iter().map(|account| account.value.shown()).collect())
    }

    /// One account, by user name.
    ///
    /// # Errors
    /// [`AuthError::NotFound`].
    pub async fn account(&self, username: &str) -> Result<Account> {
        let found = self.accounts.get(username).await.map_err(AuthError::Store)?;
        found.map(|account| account.value.shown()).ok_or_else(|| AuthError::NotFound(username.to_owned()))
    }

    /// Adds an account.
    ///
    /// # Errors
    /// [`AuthError::AlreadyExists`]; [`AuthError::Invalid`] for an unknown role or a weak password.
    pub async fn add_account(&self, new: NewAccount) -> Result<Account> {
        self.check_role(&new.role)?;
        Passwords::check_rules(&new.password)?;
        let id = match new.id {
            Some(id) => id,
            None => new.username.as_str().parse()?,
        };
        let password_hash = self.passwords.hash(&new.password).await?;
        let record = AccountRecord { id, username: new.username, password_hash, role: new.role };
        let username = record.username.to_string();
        match self.accounts.insert(&username, &record).await {
            Ok(_) => Ok(record.shown()),
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => Err(AuthError::AlreadyExists(username)),
            Err(error) => Err(AuthError::Store(error)),
        }
    }

    /// Deletes an account and ends its sessions.
    ///
    /// # Errors
    /// [`AuthError::NotFound`]; [`AuthError::LastAdmin`] when nobody else may do everything.
    pub async fn delete_account(&self, username: &str) -> Result<()> {
        let _one_at_a_time = self.changing.lock().await;
        let doomed = self.account(username).await?;
        if self.has_admin_role(&doomed.role) {
            let admins = self.accounts().await?.into_iter().filter(|account| self.has_admin_role(&account.role));
            if admins.count() <= 1 {
                return Err(AuthError::LastAdmin(username.to_owned()));
            }
        }
        self.accounts.delete(username).await.map_err(|error| not_found(error, username))?;
        self.sessions.end_all_of(username, None).await
    }

    /// Changes a password, and ends the account's sessions but for that of `keep_token`. The present password is checked
    /// when it is given.
    ///
    /// # Errors
    /// [`AuthError::NotFound`], [`AuthError::WrongPassword`], [`AuthError::Invalid`] for a weak new one.
    pub async fn change_password(
        &self,
        username: &str,
        present: Option<&str>,
        new: &str,
        keep_token: Option<&str>,
    ) -> Result<()> {
        Passwords::check_rules(new)?;
        let found = self.accounts.get(username).await.map_err(AuthError::Store)?;
        let account = found.ok_or_else(|| AuthError::NotFound(username.to_owned()))?.value;
        if let Some(present) = present {
            self.throttle.check(username)?;
            if !self.passwords.matches(Some(&account.password_hash), present).await? {
                self.throttle.note_failure(username);
                return Err(AuthError::WrongPassword);
            }
        }
        let hash = self.passwords.hash(new).await?;
        let set = self.accounts.update(username, |account| account.password_hash.clone_from(&hash)).await;
        set.map_err(|error| not_found(error, username))?;
        self.sessions.end_all_of(username, keep_token).await
    }

    /// Makes the account `admin` when there is no account at all. Gives its password, the given one or a random one, if
    /// the account was made.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] for a weak password.
    pub async fn ensure_admin(&self, password: Option<String>) -> Result<Option<String>> {
        let _one_at_a_time = self.changing.lock().await;
        if !self.accounts().await?.is_empty() {
            return Ok(None);
        }
        let password = password.unwrap_or_else(Passwords::random);
        let (username, role) = Self::first_admin()?;
        self.add_account(NewAccount { id: None, username, password: password.clone(), role }).await?;
        Ok(Some(password))
    }
}

fn not_found(error: StoreError, username: &str) -> AuthError {
    match error.kind() {
        StoreErrorKind::NotFound => AuthError::NotFound(username.to_owned()),
        _ => AuthError::Store(error),
    }
}
