//! Accounts.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::password::Passwords;
use super::{AuthError, Authenticator, Result};
use crate::model::{Account, AccountId, NewAccount, RoleName, UserName};
use crate::store::{KeyRange, StoreErrorKind, Write};

/// An account as it is stored, under its user name.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct AccountRecord {
    pub(super) id: AccountId,
    pub(super) username: UserName,
    pub(super) password_hash: String,
    pub(super) role: RoleName,
    /// Another one when the account is made, and when its password is changed. Versions before knew none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) generation: Option<Uuid>,
}

impl AccountRecord {
    pub(super) fn shown(self) -> Account {
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
    pub(crate) async fn accounts(&self) -> Result<Vec<Account>> {
        let all = self.accounts.all().await.map_err(AuthError::Store)?;
        Ok(all.into_iter().map(|account| account.value.shown()).collect())
    }

    /// One account, by user name.
    ///
    /// # Errors
    /// [`AuthError::NotFound`].
    pub(crate) async fn account(&self, username: &str) -> Result<Account> {
        let found = self.accounts.get(username).await.map_err(AuthError::Store)?;
        found.map(|account| account.value.shown()).ok_or_else(|| AuthError::NotFound(username.to_owned()))
    }

    /// Adds an account. `also` is written together with it.
    ///
    /// # Errors
    /// [`AuthError::AlreadyExists`]; [`AuthError::Invalid`] for an unknown role or a weak password.
    pub(crate) async fn add_account(&self, new: NewAccount, also: Vec<Write>) -> Result<Account> {
        self.check_role(&new.role)?;
        Passwords::check_rules(&new.password)?;
        let id = match new.id {
            Some(id) => id,
            None => new.username.as_str().parse()?,
        };
        let password_hash = self.passwords.hash(&new.password).await?;
        let record = AccountRecord {
            id,
            username: new.username,
            password_hash,
            role: new.role,
            generation: Some(Uuid::new_v4()),
        };
        let username = record.username.to_string();
        let mut writes = vec![self.accounts.insertion(&username, &record).map_err(AuthError::Store)?];
        writes.extend(also);
        match self.store.commit(writes).await {
            Ok(_) => Ok(record.shown()),
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => Err(AuthError::AlreadyExists(username)),
            Err(error) => Err(AuthError::Store(error)),
        }
    }

    /// Deletes an account and ends its sessions. `also` is written together with that.
    ///
    /// # Errors
    /// [`AuthError::NotFound`]; [`AuthError::LastAdmin`] when nobody else may do everything. When the store leaves open
    /// whether it was done, [`Authenticator::settle`] is to be asked until it knows.
    pub(crate) async fn delete_account(&self, username: &str, also: Vec<Write>) -> Result<()> {
        let _one_at_a_time = self.changing.write().await;
        let Some(found) = self.accounts.get(username).await.map_err(AuthError::Store)? else {
            // Its sessions may have outlived it where a store makes changes in pieces.
            self.sessions.settle(username, None).await?;
            return Err(AuthError::NotFound(username.to_owned()));
        };
        if self.has_admin_role(&found.value.role) {
            let admins = self.accounts().await?.into_iter().filter(|account| self.has_admin_role(&account.role));
            if admins.count() <= 1 {
                return Err(AuthError::LastAdmin(username.to_owned()));
            }
        }
        let mut change = vec![self.accounts.deletion(username, None)];
        change.extend(also);
        self.sessions.end_all_of(username, None, change).await.map_err(|error| not_found(error, username))
    }

    /// Changes a password, and ends the account's sessions but for that of `keep_token`. The present password is checked
    /// when it is given, for whom [`Authenticator::check`] says from where. `also` is written together with the new one.
    ///
    /// # Errors
    /// [`AuthError::NotFound`], [`AuthError::WrongPassword`], [`AuthError::Invalid`] for a weak new one. As for
    /// [`Authenticator::delete_account`] when the store leaves it open.
    pub(crate) async fn change_password(
        &self,
        username: &str,
        present: Option<(&str, Option<IpAddr>)>,
        new: &str,
        keep_token: Option<&str>,
        also: Vec<Write>,
    ) -> Result<()> {
        Passwords::check_rules(new)?;
        let checked = match present {
            Some((present, source)) => Some(self.check(username, present, source).await?.0),
            None => None,
        };
        let password_hash = self.passwords.hash(new).await?;
        // One at a time, so that nobody else's change comes in between.
        let _one_at_a_time = self.changing.write().await;
        let found = self.accounts.get(username).await.map_err(AuthError::Store)?;
        let found = found.ok_or_else(|| AuthError::NotFound(username.to_owned()))?;
        if checked.is_some_and(|checked| checked.password_hash != found.value.password_hash) {
            // The password that was checked is not the present one any more.
            return Err(AuthError::WrongPassword);
        }
        let generation = Some(Uuid::new_v4());
        let changed = AccountRecord { password_hash, generation, ..found.value.clone() };
        let change = self.accounts.rewriting(&found, &changed).map_err(AuthError::Store)?;
        let change = std::iter::once(change).chain(also).collect();
        let kept = keep_token.map(|token| (token, generation));
        self.sessions.end_all_of(username, kept, change).await.map_err(|error| not_found(error, username))
    }

    /// Makes what is known of the sessions of an account what the store has: after a change of the account of which the
    /// store left open whether it was made.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn settle(&self, username: &str) -> Result<()> {
        let _one_at_a_time = self.changing.write().await;
        let account = self.accounts.get(username).await.map_err(AuthError::Store)?;
        self.sessions.settle(username, account.map(|account| account.value).as_ref()).await
    }

    /// Whether there is any account.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn has_accounts(&self) -> Result<bool> {
        let first = KeyRange { limit: 1, ..KeyRange::all() };
        Ok(!self.accounts.list(&first).await.map_err(AuthError::Store)?.is_empty())
    }

    /// Makes the account `admin` when there is no account at all. Gives its password, the given one or a random one, if
    /// the account was made. `also` is written together with it.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] for a weak password.
    pub(crate) async fn ensure_admin(&self, password: Option<String>, also: Vec<Write>) -> Result<Option<String>> {
        let _one_at_a_time = self.changing.write().await;
        if self.has_accounts().await? {
            return Ok(None);
        }
        let password = password.unwrap_or_else(Passwords::random);
        let (username, role) = Self::first_admin()?;
        self.add_account(NewAccount { id: None, username, password: password.clone(), role }, also).await?;
        Ok(Some(password))
    }
}

fn not_found(error: AuthError, username: &str) -> AuthError {
    match error {
        AuthError::Store(error) if error.kind() == StoreErrorKind::NotFound => AuthError::NotFound(username.to_owned()),
        error => error,
    }
}
