//! Who may do what: accounts with passwords, tokens, and roles that open paths.
//!
//! Passwords are kept as argon2id hashes, tokens as SHA-256 hashes of 256 random bits. A request with a known token costs
//! no access to the store: the tokens are in memory as well.
//!
//! The caller of a change says what is to be written together with it: the event that tells of it.

mod accounts;
mod error;
mod join;
mod password;
mod secret;
mod sessions;
#[cfg(test)]
mod tests;
mod throttle;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use error::AuthError;
pub use join::{JoinToken, NewJoinToken};
pub use password::HashCost;
pub(crate) use sessions::{Ended, Stored};
pub use sessions::{IssuedToken, Presented, Session};

use crate::clock::Clock;
use crate::model::{Account, Role, RoleName, UserName};
use crate::store::tables::{ACCOUNTS, JOIN_TOKENS};
use crate::store::{Collection, Store, Write};

use accounts::AccountRecord;
use password::Passwords;
use sessions::Sessions;
use throttle::Throttle;

/// Result of what can be asked of the authenticator.
pub type Result<T, E = AuthError> = std::result::Result<T, E>;

/// Whether a new password is one that is taken.
///
/// # Errors
/// [`AuthError::Invalid`] when it is too short or too long.
pub fn check_password_rules(password: &str) -> Result<()> {
    Passwords::check_rules(password)
}

/// Settings of passwords and tokens.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// How long a token is good for.
    pub token_ttl: Duration,
    /// How much work one hash of a password is.
    pub hash_cost: HashCost,
}

impl Default for AuthSettings {
    /// Tokens for 12 hours; hashes that take 46 MiB.
    fn default() -> Self {
        Self { token_ttl: Duration::from_secs(12 * 3600), hash_cost: HashCost::default() }
    }
}

/// Accounts, logins and permissions.
#[derive(Debug)]
pub struct Authenticator {
    store: Arc<dyn Store>,
    accounts: Collection<AccountRecord>,
    /// Under the hash of the token.
    join_tokens: Collection<JoinToken>,
    roles: HashMap<RoleName, Role>,
    passwords: Passwords,
    sessions: Sessions,
    throttle: Throttle,
    clock: Clock,
    /// One change of an account at a time, so that of the last two admins one stays, and none while a token is given out, so
    /// that the token is not one of an account that is gone.
    changing: tokio::sync::RwLock<()>,
}

/// An account whose password was checked just now.
#[derive(Clone, Debug)]
pub(crate) struct Checked(AccountRecord);

impl Checked {
    /// The account.
    pub(crate) fn account(&self) -> Account {
        self.0.clone().shown()
    }
}

impl Authenticator {
    /// Reads the accounts' tokens from the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn new(
        store: Arc<dyn Store>,
        roles: Vec<Role>,
        settings: AuthSettings,
        clock: Clock,
    ) -> Result<Self> {
        let accounts = Collection::<AccountRecord>::new(store.clone(), ACCOUNTS);
        let all = accounts.all().await.map_err(AuthError::Store)?;
        let all: Vec<AccountRecord> = all.into_iter().map(|account| account.value).collect();
        Ok(Self {
            store: store.clone(),
            accounts,
            join_tokens: Collection::new(store.clone(), JOIN_TOKENS),
            roles: roles.into_iter().map(|role| (role.name.clone(), role)).collect(),
            passwords: Passwords::new(settings.hash_cost),
            sessions: Sessions::load(store, settings.token_ttl, clock.clone(), &all).await?,
            throttle: Throttle::new(clock.clone()),
            clock,
            changing: tokio::sync::RwLock::new(()),
        })
    }

    /// Checks name and password, which came from the address `source`. Says whose they are.
    ///
    /// A name that does not exist takes as long as one that does. After several failures the name has to wait there, longer
    /// each time; others who use it elsewhere need not, until there were very many.
    ///
    /// # Errors
    /// [`AuthError::WrongPassword`], [`AuthError::Throttled`], [`AuthError::Busy`].
    pub(crate) async fn check(&self, username: &str, password: &str, source: Option<IpAddr>) -> Result<Checked> {
        self.throttle.check(username, source)?;
        let turn = self.passwords.turn(source).await?;
        // Again: those who were before in the queue may have been wrong as well.
        self.throttle.check(username, source)?;
        let found = self.accounts.get(username).await.map_err(AuthError::Store)?;
        let hash = found.as_ref().map(|account| account.value.password_hash.as_str());
        if !self.passwords.matches(turn, hash, password).await? {
            self.throttle.note_failure(username, source);
            return Err(AuthError::WrongPassword);
        }
        let Some(account) = found else { return Err(AuthError::WrongPassword) };
        self.throttle.forget(username, source);
        Ok(Checked(account.value))
    }

    /// Gives out a new token for an account whose password was checked. `also` is written together with it.
    ///
    /// # Errors
    /// [`AuthError::WrongPassword`] when the account was deleted or its password changed since.
    pub(crate) async fn issue(&self, checked: &Checked, also: Vec<Write>) -> Result<(IssuedToken, Stored)> {
        // No account is changed between this look and the commit.
        let _no_change_meanwhile = self.changing.read().await;
        let Checked(account) = checked;
        let present = self.accounts.get(account.username.as_str()).await.map_err(AuthError::Store)?;
        match present.map(|present| present.value) {
            Some(present)
                if present.password_hash == account.password_hash && present.generation == account.generation =>
            {
                self.sessions.issue(&present, also).await
            }
            _ => Err(AuthError::WrongPassword),
        }
    }

    /// Who presents this token. Reads memory only.
    ///
    /// # Errors
    /// [`AuthError::Unauthenticated`] for a token that is unknown, expired, logged out, or of somebody else.
    pub fn authenticate(&self, presented: &Presented) -> Result<Session> {
        self.sessions.find(presented).ok_or(AuthError::Unauthenticated)
    }

    /// Whether the role of a session opens a path.
    ///
    /// # Errors
    /// [`AuthError::Forbidden`].
    pub fn authorize(&self, session: &Session, path: &str) -> Result<()> {
        match self.roles.get(&session.role) {
            Some(role) if role.allows(path) => Ok(()),
            _ => Err(AuthError::Forbidden { path: path.to_owned() }),
        }
    }

    /// Whether a session may do everything.
    pub fn is_admin(&self, session: &Session) -> bool {
        self.has_admin_role(&session.role)
    }

    /// Ends a token, also when the store does not take that. One that is not known is no error. `also` is written together
    /// with it.
    ///
    /// # Errors
    /// The store refuses it.
    pub(crate) async fn logout(&self, token: &str, also: Vec<Write>) -> Result<Ended> {
        self.sessions.end(token, also).await
    }

    /// The write that ends a token in the store.
    pub(crate) fn logout_write(&self, token: &str) -> Write {
        self.sessions.ending(token)
    }

    /// The keys of the sessions that are known.
    #[cfg(test)]
    pub(crate) fn known_sessions(&self) -> std::collections::BTreeSet<String> {
        self.sessions.known()
    }

    fn has_admin_role(&self, role: &RoleName) -> bool {
        self.roles.get(role).is_some_and(Role::is_admin)
    }

    fn check_role(&self, role: &RoleName) -> Result<()> {
        if self.roles.contains_key(role) {
            return Ok(());
        }
        let mut known: Vec<&str> = self.roles.keys().map(RoleName::as_str).collect();
        known.sort_unstable();
        let message = format!("there is no role '{role}'; choose one of: {}", known.join(", "));
        Err(crate::model::Invalid::new("role", message).into())
    }

    fn first_admin() -> Result<(UserName, RoleName)> {
        let name: UserName = "admin".parse()?;
        Ok((name, Role::admin().name))
    }
}
