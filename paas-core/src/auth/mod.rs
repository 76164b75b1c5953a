//! Who may do what: accounts with passwords, tokens, and roles that open paths.
//!
//! Passwords are kept as argon2id hashes, tokens as SHA-256 hashes of 256 random bits. A request with a known token costs
//! no access to the store: the tokens are in memory as well.
//!
//! Whoever makes a change says what is to be written together with it: the event that tells of it.

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
use std::sync::Arc;
use std::time::Duration;

pub use error::AuthError;
pub use join::{JoinToken, NewJoinToken};
pub use password::HashCost;
pub use sessions::{IssuedToken, Presented, Session};

use crate::model::{Account, Role, RoleName, UserName};
use crate::store::tables::{ACCOUNTS, JOIN_TOKENS};
use crate::store::{Collection, Store, Write};

use accounts::AccountRecord;
use password::Passwords;
use sessions::Sessions;
use throttle::Throttle;

/// Result of what can be asked of the authenticator.
pub type Result<T, E = AuthError> = std::result::Result<T, E>;

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
    /// One change of the set of accounts at a time, so that of the last two admins one stays.
    changing: tokio::sync::Mutex<()>,
}

impl Authenticator {
    /// Reads the accounts' tokens from the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn new(store: Arc<dyn Store>, roles: Vec<Role>, settings: AuthSettings) -> Result<Self> {
        Ok(Self {
            store: store.clone(),
            accounts: Collection::new(store.clone(), ACCOUNTS),
            join_tokens: Collection::new(store.clone(), JOIN_TOKENS),
            roles: roles.into_iter().map(|role| (role.name.clone(), role)).collect(),
            passwords: Passwords::new(settings.hash_cost),
            sessions: Sessions::load(store, settings.token_ttl).await?,
            throttle: Throttle::default(),
            changing: tokio::sync::Mutex::new(()),
        })
    }

    /// Checks name and password. Says whose they are.
    ///
    /// A name that does not exist takes as long as one that does. After several failures the name has to wait, longer
    /// each time.
    ///
    /// # Errors
    /// [`AuthError::WrongPassword`], [`AuthError::Throttled`].
    pub async fn check(&self, username: &str, password: &str) -> Result<Account> {
        self.throttle.check(username)?;
        let found = self.accounts.get(username).await.map_err(AuthError::Store)?;
        let hash = found.as_ref().map(|account| account.value.password_hash.as_str());
        if !self.passwords.matches(hash, password).await? {
            self.throttle.note_failure(username);
            return Err(AuthError::WrongPassword);
        }
        let Some(account) = found else { return Err(AuthError::WrongPassword) };
        self.throttle.forget(username);
        Ok(account.value.shown())
    }

    /// Gives out a new token for an account whose password was checked. `also` is written together with it.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn issue(&self, account: &Account, also: Vec<Write>) -> Result<IssuedToken> {
        self.sessions.issue(account.username.clone(), account.role.clone(), also).await
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

    /// Ends a token. One that is not known is no error. `also` is written together with it.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn logout(&self, token: &str, also: Vec<Write>) -> Result<()> {
        self.sessions.end(token, also).await
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
