//! Tokens and the sessions they stand for.
//!
//! A session belongs to one generation of its account: another begins when the account is made and when its password is
//! changed. A session of another generation, or of no account, is worth nothing and is not in memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::accounts::AccountRecord;
use super::secret::{TokenHash, random_token};
use super::{AuthError, Result};
use crate::clock::Clock;
use crate::model::{RoleName, UserName};
use crate::store::tables::TOKENS;
use crate::store::{Collection, MAX_WRITES, Store, StoreErrorKind, Write};

/// A token as it was sent with a request.
#[derive(Clone)]
pub struct Presented {
    /// The name sent with it, which must fit; absent where the header has none.
    pub username: Option<String>,
    /// The token.
    pub token: String,
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A token that was given out. The only time that it is seen in clear.
#[derive(Clone, Serialize, Deserialize)]
pub struct IssuedToken {
    /// The token.
    pub token: String,
    /// Whose it is.
    pub username: UserName,
    /// What it may do.
    pub role: RoleName,
    /// When it ends.
    pub expires: Timestamp,
    /// What the one who logs in should know: that the token could not be stored, and so ends when the server does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Who is logged in. Stored under the hash of its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The account.
    pub username: UserName,
    /// What it may do.
    pub role: RoleName,
    /// When it ends.
    pub expires: Timestamp,
    /// The generation of the account. Accounts of versions before have none, and neither have their sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) generation: Option<Uuid>,
    /// Whether the store has nothing of it for sure, so that it ends with this program.
    #[serde(skip)]
    only_in_memory: bool,
}

/// Whether what was changed in memory is in the store as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Stored {
    /// It is.
    Yes,
    /// The store had no room for it.
    No,
    /// The store did not take it, or did not say so.
    NotYet,
}

/// What became of a token that was to end. In memory it has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Ended {
    pub(crate) stored: Stored,
    /// The session that the store may still have, from which the next server that reads it would take the token again.
    pub(crate) left: Option<Session>,
}

/// All sessions: in memory to look at, in the store to survive.
#[derive(Debug)]
pub(super) struct Sessions {
    store: Arc<dyn Store>,
    stored: Collection<Session>,
    known: RwLock<HashMap<TokenHash, Session>>,
    ttl: Duration,
    clock: Clock,
}

impl Sessions {
    /// The sessions of the accounts that there are.
    pub(super) async fn load(
        store: Arc<dyn Store>,
        ttl: Duration,
        clock: Clock,
        accounts: &[AccountRecord],
    ) -> Result<Self> {
        let stored = Collection::<Session>::new(store.clone(), TOKENS);
        let all = stored.all().await.map_err(AuthError::Store)?;
        let generations: HashMap<_, _> =
            accounts.iter().map(|account| (account.username.clone(), account.generation)).collect();
        let now = clock.now();
        let is_good = |session: &Session| {
            session.expires > now && generations.get(&session.username) == Some(&session.generation)
        };
        let (mut known, mut worthless) = (HashMap::new(), Vec::new());
        for session in all {
            let hash = TokenHash(session.key);
            if is_good(&session.value) {
                known.insert(hash, session.value);
            } else {
                worthless.push(hash);
            }
        }
        let sessions = Self { store, stored, known: RwLock::new(known), ttl, clock };
        sessions.forget_stored(worthless).await;
        Ok(sessions)
    }

    /// A new session of an account. One that the store does not take lasts as long as this program.
    pub(super) async fn issue(&self, account: &AccountRecord, also: Vec<Write>) -> Result<(IssuedToken, Stored)> {
        self.purge().await;
        let token = random_token()?;
        let expires = self.clock.now().checked_add(self.ttl).unwrap_or(Timestamp::MAX);
        let AccountRecord { username, role, generation, .. } = account.clone();
        let mut session =
            Session { username: username.clone(), role: role.clone(), expires, generation, only_in_memory: false };
        let hash = TokenHash::of(&token);
        let mut writes = vec![self.stored.insertion(&hash.0, &session).map_err(AuthError::Store)?];
        writes.extend(also);
        let stored = self.commit_or_not_yet(writes).await?;
        session.only_in_memory = stored == Stored::No;
        self.known.write().insert(hash, session);
        let warning = (stored != Stored::Yes).then(|| {
            tracing::warn!(%username, "a token could not be stored; it is good until this server ends");
            "the token could not be stored; it is good until the server is started again".to_owned()
        });
        Ok((IssuedToken { token, username, role, expires, warning }, stored))
    }

    pub(super) fn find(&self, presented: &Presented) -> Option<Session> {
        let hash = TokenHash::of(&presented.token);
        let known = self.known.read();
        let session = known.get(&hash)?;
        let fits = presented.username.as_deref().is_none_or(|name| name == session.username.as_str());
        (fits && session.expires > self.clock.now()).then(|| session.clone())
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> std::collections::BTreeSet<String> {
        self.known.read().keys().map(|hash| hash.0.clone()).collect()
    }

    /// The write that ends a session in the store.
    pub(super) fn ending(&self, token: &str) -> Write {
        self.stored.clearance(&TokenHash::of(token).0)
    }

    /// Ends a session, also when the store does not take that. `also` is written together with it.
    pub(super) async fn end(&self, token: &str, also: Vec<Write>) -> Result<Ended> {
        let writes = std::iter::once(self.ending(token)).chain(also).collect();
        let stored = self.commit_or_not_yet(writes).await?;
        let ended = self.known.write().remove(&TokenHash::of(token));
        let left = ended.filter(|session| stored != Stored::Yes && !session.only_in_memory);
        Ok(Ended { stored, left })
    }

    /// Makes a change of an account after which its sessions are over, but for that of one token, which goes over to the
    /// `generation` that begins with the change.
    ///
    /// When the store leaves open whether it was made, those sessions are worth nothing until [`Sessions::settle`] knows.
    pub(super) async fn end_all_of(
        &self,
        username: &str,
        kept: Option<(&str, Option<Uuid>)>,
        mut change: Vec<Write>,
    ) -> Result<()> {
        let kept = kept.and_then(|(token, generation)| {
            let hash = TokenHash::of(token);
            let session = self.known.read().get(&hash).filter(|session| session.username.as_str() == username)?.clone();
            Some((hash, Session { generation, ..session }))
        });
        if let Some((hash, session)) = &kept
            && let Some(before) = self.stored.get(&hash.0).await.map_err(AuthError::Store)?
        {
            change.push(self.stored.rewriting(&before, session).map_err(AuthError::Store)?);
        }
        let is_kept = |hash: &TokenHash| kept.as_ref().is_some_and(|(kept, _)| kept == hash);
        let ending = self.those(|hash, session| session.username.as_str() == username && !is_kept(hash));
        let outcome = self.end_with(change, &ending).await;
        let made_or_open = match &outcome {
            Ok(()) => true,
            Err(AuthError::Store(error)) => error.kind() == StoreErrorKind::Unavailable,
            Err(_) => false,
        };
        if made_or_open {
            let mut known = self.known.write();
            for hash in &ending {
                known.remove(hash);
            }
            if let (Ok(()), Some((hash, session))) = (&outcome, kept) {
                known.insert(hash, session);
            }
        }
        outcome
    }

    /// Makes the sessions of an account in memory what the store has, of the generation that the account has, and ends
    /// those in the store that are worth nothing.
    pub(super) async fn settle(&self, username: &str, account: Option<&AccountRecord>) -> Result<()> {
        let stored = self.stored.all().await.map_err(AuthError::Store)?;
        let is_good = |session: &Session| account.is_some_and(|account| account.generation == session.generation);
        let mut worthless = Vec::new();
        {
            let mut known = self.known.write();
            known.retain(|_, session| session.username.as_str() != username || is_good(session));
            for session in stored.into_iter().filter(|session| session.value.username.as_str() == username) {
                let hash = TokenHash(session.key);
                if is_good(&session.value) {
                    known.insert(hash, session.value);
                } else {
                    worthless.push(hash);
                }
            }
        }
        self.end_with(Vec::new(), &worthless).await
    }

    /// Forgets those whose time is over. That the store keeps them a while longer costs nothing.
    async fn purge(&self) {
        let now = self.clock.now();
        let over = self.those(|_, session| session.expires <= now);
        if over.is_empty() {
            return;
        }
        self.known.write().retain(|_, session| session.expires > now);
        self.forget_stored(over).await;
    }

    async fn forget_stored(&self, worthless: Vec<TokenHash>) {
        if let Err(error) = self.end_with(Vec::new(), &worthless).await {
            tracing::warn!(%error, "tokens that are worth nothing stay in the store until the next start");
        }
    }

    fn those(&self, are: impl Fn(&TokenHash, &Session) -> bool) -> Vec<TokenHash> {
        let known = self.known.read();
        known.iter().filter(|(hash, session)| are(hash, session)).map(|(hash, _)| hash.clone()).collect()
    }

    async fn commit_or_not_yet(&self, writes: Vec<Write>) -> Result<Stored> {
        match self.store.commit(writes).await {
            Ok(_) => Ok(Stored::Yes),
            Err(error) if error.kind() == StoreErrorKind::Full => Ok(Stored::No),
            Err(error) if error.is_of_the_backend() => Ok(Stored::NotYet),
            Err(error) => Err(AuthError::Store(error)),
        }
    }

    /// Makes a change and ends sessions together in the store. Those for which one commit has no room end before it.
    async fn end_with(&self, change: Vec<Write>, ending: &[TokenHash]) -> Result<()> {
        let clearances = |hashes: &[TokenHash]| hashes.iter().map(|hash| self.stored.clearance(&hash.0)).collect();
        let (together, before) = ending.split_at(ending.len().min(MAX_WRITES.saturating_sub(change.len())));
        for some in before.chunks(MAX_WRITES) {
            self.commit(clearances(some)).await?;
        }
        let mut writes = change;
        writes.extend::<Vec<Write>>(clearances(together));
        self.commit(writes).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<()> {
        if writes.is_empty() {
            return Ok(());
        }
        self.store.commit(writes).await.map(drop).map_err(AuthError::Store)
    }
}
