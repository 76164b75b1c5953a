//! Accounts, login and logout.

use super::{Actor, Controller, Result};
use crate::auth::IssuedToken;
use crate::model::{Account, Event, EventKind, NewAccount};

/// A change of password.
#[derive(Clone)]
pub struct PasswordChange {
    /// Whose password.
    pub username: String,
    /// The present password. Checked when given.
    pub old_password: Option<String>,
    /// The new password.
    pub password: String,
    /// The token that goes on being valid; every other token of the account ends.
    pub keep_token: Option<String>,
}

impl std::fmt::Debug for PasswordChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordChange").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Controller {
    /// Checks name and password and gives out a new token.
    ///
    /// # Errors
    /// [`crate::auth::AuthError`] says whether it was wrong or tried too often.
    pub async fn login(&self, username: &str, password: &str) -> Result<IssuedToken> {
        let account = self.shared.auth.check(username, password).await?;
        let event = Event::new(EventKind::Login, format!("{} logged in", account.username));
        let publication = self.publication(&Actor::user(account.username.clone()), event)?;
        let issued = self.shared.auth.issue(&account, publication.writes()).await?;
        self.publish(publication).await;
        Ok(issued)
    }

    /// Ends a token.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn logout(&self, actor: &Actor, token: &str) -> Result<()> {
        let publication =
            self.publication(actor, Event::new(EventKind::Logout, format!("{} logged out", actor.name())))?;
        self.shared.auth.logout(token, publication.writes()).await?;
        self.publish(publication).await;
        Ok(())
    }

    /// All accounts, by user name.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn accounts(&self) -> Result<Vec<Account>> {
        Ok(self.shared.auth.accounts().await?)
    }

    /// One account, by user name.
    ///
    /// # Errors
    /// There is none.
    pub async fn account(&self, username: &str) -> Result<Account> {
        Ok(self.shared.auth.account(username).await?)
    }

    /// Adds an account.
    ///
    /// # Errors
    /// The name is taken, the role unknown, or the password too weak.
    pub async fn add_account(&self, actor: &Actor, new: NewAccount) -> Result<Account> {
        if actor.made_before().is_some() {
            return self.account(new.username.as_str()).await;
        }
        let message = format!("added account {} with role {}", new.username, new.role);
        let publication = self.publication(actor, Event::new(EventKind::AddAccount, message))?;
        let account = self.shared.auth.add_account(new, publication.writes()).await?;
        self.publish(publication).await;
        Ok(account)
    }

    /// Deletes an account, and ends its tokens.
    ///
    /// # Errors
    /// There is none, or it is the last that may do everything.
    pub async fn delete_account(&self, actor: &Actor, username: &str) -> Result<()> {
        if actor.made_before().is_some() {
            return Ok(());
        }
        let publication =
            self.publication(actor, Event::new(EventKind::DeleteAccount, format!("deleted account {username}")))?;
        self.shared.auth.delete_account(username, publication.writes()).await?;
        self.publish(publication).await;
        Ok(())
    }

    /// Changes a password, and ends the account's other tokens.
    ///
    /// # Errors
    /// There is no such account, the old password is wrong, or the new one too weak.
    pub async fn change_password(&self, actor: &Actor, change: PasswordChange) -> Result<()> {
        let PasswordChange { username, old_password, password, keep_token } = change;
        let event = Event::new(EventKind::ChangePassword, format!("changed the password of {username}"));
        let publication = self.publication(actor, event)?;
        let (old, kept) = (old_password.as_deref(), keep_token.as_deref());
        self.shared.auth.change_password(&username, old, &password, kept, publication.writes()).await?;
        self.publish(publication).await;
        Ok(())
    }

    /// Makes the account `admin` when there is no account at all, and answers with its password: the one given, or a
    /// random one.
    ///
    /// # Errors
    /// The password given is too weak, or the store does not answer.
    pub async fn ensure_admin(&self, password: Option<String>) -> Result<Option<String>> {
        let event = Event::new(EventKind::AddAccount, "added account admin with role admin").tagged("cluster");
        let publication = self.publication(&Actor::system(), event)?;
        let made = self.shared.auth.ensure_admin(password, publication.writes()).await?;
        if made.is_some() {
            self.publish(publication).await;
        }
        Ok(made)
    }
}
