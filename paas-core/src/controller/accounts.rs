//! Accounts, login and logout.

use std::net::IpAddr;

use super::change::Publication;
use super::{Actor, Controller, ControllerError, Result};
use crate::auth::{AuthError, Ended, IssuedToken, Session, Stored};
use crate::model::{Account, Event, EventKind, NewAccount};
use crate::store::Write;

/// A change of password.
#[derive(Clone)]
pub struct PasswordChange {
    /// Whose password.
    pub username: String,
    /// The present password. Checked when given: users must know it to change their own.
    pub old_password: Option<String>,
    /// Where it comes from, for slowing down those who guess.
    pub source: Option<IpAddr>,
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

/// A token that was ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoggedOut {
    /// What the one who logs out should know: that the store took no note of it, and how the token may be good again.
    pub warning: Option<String>,
}

impl Controller {
    /// Checks name and password and gives out a new token.
    ///
    /// # Errors
    /// [`AuthError`] says whether it was wrong or tried too often.
    pub async fn login(&self, username: &str, password: &str) -> Result<IssuedToken> {
        self.login_from(None, username, password).await
    }

    /// The same for somebody at the address `source`: who guesses wrong there keeps nobody out elsewhere.
    ///
    /// A token that the store does not take is given out all the same, with a warning: who is to mend the store must be able
    /// to log in.
    ///
    /// # Errors
    /// As [`Controller::login`].
    pub async fn login_from(&self, source: Option<IpAddr>, username: &str, password: &str) -> Result<IssuedToken> {
        let checked = self.shared.auth.check(username, password, source).await?;
        let actor = Actor::user(checked.account().username);
        self.owned(&actor, |controller, actor| async move {
            controller.check_open()?;
            let event = Event::new(EventKind::Login, format!("{} logged in", actor.name()));
            let publication = controller.publication(&actor, event)?;
            let (issued, stored) = controller.shared.auth.issue(&checked, publication.writes()).await?;
            controller.publish_or_follow(publication, stored, None).await;
            Ok(issued)
        })
        .await
    }

    /// Ends a token. It is worth nothing from then on, also when the store does not take that at once; but when this program
    /// ends before the store does, the token is good again, which the answer warns of.
    ///
    /// # Errors
    /// The store refuses it.
    pub async fn logout(&self, actor: &Actor, token: &str) -> Result<LoggedOut> {
        let token = token.to_owned();
        self.owned(actor, |controller, actor| async move {
            let event = Event::new(EventKind::Logout, format!("{} logged out", actor.name()));
            let publication = controller.publication(&actor, event)?;
            let auth = &controller.shared.auth;
            let Ended { stored, left } = auth.logout(&token, publication.writes()).await?;
            let warning = left.as_ref().map(|session| {
                format!(
                    "the token has ended, but the store took no note of that: if the server is started again or another takes \
                     over before it does, the token is good again, until {:.0}",
                    session.expires
                )
            });
            let ending = Some((auth.logout_write(&token), left));
            controller.publish_or_follow(publication, stored, ending).await;
            Ok(LoggedOut { warning })
        })
        .await
    }

    /// Tells of what was done in memory, or has its record follow: with the write that ends a session, and the session that
    /// is left until then.
    async fn publish_or_follow(
        &self,
        publication: Publication,
        stored: Stored,
        ending: Option<(Write, Option<Session>)>,
    ) {
        match stored {
            Stored::Yes => self.publish(publication).await,
            Stored::No | Stored::NotYet => self.shared.records.follow(publication.into_record(ending)),
        }
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
        self.owned(actor, |controller, actor| async move {
            controller.check_open()?;
            if actor.made_before().is_some() {
                return controller.account(new.username.as_str()).await;
            }
            let message = format!("added account {} with role {}", new.username, new.role);
            let publication = controller.publication(&actor, Event::new(EventKind::AddAccount, message))?;
            let account = controller.shared.auth.add_account(new, publication.writes()).await?;
            controller.publish(publication).await;
            Ok(account)
        })
        .await
    }

    /// Deletes an account, and ends its tokens.
    ///
    /// # Errors
    /// There is none, or it is the last that may do everything.
    pub async fn delete_account(&self, actor: &Actor, username: &str) -> Result<()> {
        let username = username.to_owned();
        self.owned(actor, |controller, actor| async move {
            controller.check_open()?;
            let auth = &controller.shared.auth;
            if actor.made_before().is_some() {
                return Ok(auth.settle(&username).await?);
            }
            let event = Event::new(EventKind::DeleteAccount, format!("deleted account {username}"));
            let publication = controller.publication(&actor, event)?;
            let deleted = auth.delete_account(&username, publication.writes()).await;
            deleted.map_err(|error| controller.account_not_stored(&username, error))?;
            controller.publish(publication).await;
            Ok(())
        })
        .await
    }

    /// Changes a password, and ends the account's other tokens.
    ///
    /// # Errors
    /// There is no such account, the old password is wrong, or the new one too weak.
    pub async fn change_password(&self, actor: &Actor, change: PasswordChange) -> Result<()> {
        self.owned(actor, |controller, actor| async move {
            controller.check_open()?;
            let PasswordChange { username, old_password, source, password, keep_token } = change;
            let event = Event::new(EventKind::ChangePassword, format!("changed the password of {username}"));
            let publication = controller.publication(&actor, event)?;
            let (old, kept) = (old_password.as_deref().map(|old| (old, source)), keep_token.as_deref());
            let auth = &controller.shared.auth;
            let changed = auth.change_password(&username, old, &password, kept, publication.writes()).await;
            changed.map_err(|error| controller.account_not_stored(&username, error))?;
            controller.publish(publication).await;
            Ok(())
        })
        .await
    }

    /// A change of an account was not answered by the store. It may have been made all the same.
    fn account_not_stored(&self, username: &str, error: AuthError) -> ControllerError {
        if matches!(&error, AuthError::Store(error) if error.is_retryable()) {
            let username = username.to_owned();
            self.settle(move |controller| {
                let username = username.clone();
                async move { Ok(controller.shared.auth.settle(&username).await?) }
            });
        }
        error.into()
    }

    /// Whether there is any account. Without one nobody can log in, and [`Controller::ensure_admin`] makes the first.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn has_accounts(&self) -> Result<bool> {
        Ok(self.shared.auth.has_accounts().await?)
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
