//! Tokens and the sessions they stand for.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::secret::{TokenHash, random_token};
use super::{AuthError, Result};
use crate::model::{RoleName, UserName};
use crate::store::tables::TOKENS;
use crate::store::{Collection, MAX_WRITES, Store, Write};

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
}

/// All sessions: in memory to look at, in the store to survive.
#[derive(Debug)]
pub(super) struct Sessions {
    store: Arc<dyn Store>,
    stored: Collection<Session>,
    known: RwLock<HashMap<TokenHash, Session>>,
    ttl: Duration,
}

impl Sessions {
    pub(super) async fn load(store: Arc<dyn Store>, ttl: Duration) -> Result<Self> {
        let stored = Collection::<Session>::new(store.clone(), TOKENS);
        let all = stored.all().await.map_err(AuthError::Store)?;
        let known = all.into_iter().map(|session| (TokenHash(session.key), session.value)).collect();
        let sessions = Self { store, stored, known: RwLock::new(known), ttl };
        sessions.purge().await?;
        Ok(sessions)
    }

    pub(super) async fn issue(&self, username: UserName, role: RoleName, also: Vec<Write>) -> Result<IssuedToken> {
        self.purge().await?;
        let token = random_token()?;
        let expires = Timestamp::now().checked_add(self.ttl).unwrap_or(Timestamp::MAX);
        let session = Session { username: username.clone(), role: role.clone(), expires };
        let hash = TokenHash::of(&token);
        let mut writes = vec![self.stored.insertion(&hash.0, &session).map_err(AuthError::Store)?];
        writes.extend(also);
        self.store.commit(writes).await.map_err(AuthError::Store)?;
        self.known.write().insert(hash, session);
        Ok(IssuedToken { token, username, role, expires })
    }

    pub(super) fn find(&self, presented: &Presented) -> Option<Session> {
        let hash = TokenHash::of(&presented.token);
        let known = self.known.read();
        let session = known.get(&hash)?;
        let fits = presented.username.as_deref().is_none_or(|name| name == session.username.as_str());
        (fits && session.expires > Timestamp::now()).then(|| session.clone())
    }

    /// Ends a session. `also` is written together with that.
    pub(super) async fn end(&self, token: &str, also: Vec<Write>) -> Result<()> {
        self.end_with(also, vec![TokenHash::of(token)]).await
    }

    /// Makes a change after which the sessions of an account are over, but for that of one token.
    pub(super) async fn end_all_of(&self, username: &str, but: Option<&str>, change: Vec<Write>) -> Result<()> {
        let kept = but.map(TokenHash::of);
        let ending = self.those(|hash, session| session.username.as_str() == username && Some(hash) != kept.as_ref());
        self.end_with(change, ending).await
    }

    async fn purge(&self) -> Result<()> {
        let now = Timestamp::now();
        let over = self.those(|_, session| session.expires <= now);
        if over.is_empty() { Ok(()) } else { self.end_with(Vec::new(), over).await }
    }

    fn those(&self, are: impl Fn(&TokenHash, &Session) -> bool) -> Vec<TokenHash> {
        let known = self.known.read();
        known.iter().filter(|(hash, session)| are(hash, session)).map(|(hash, _)| hash.clone()).collect()
    }

    /// Makes a change and ends sessions together. Those for which one commit has no room end before it.
    async fn end_with(&self, change: Vec<Write>, mut ending: Vec<TokenHash>) -> Result<()> {
        while ending.len() > MAX_WRITES - change.len() {
            let before = ending.split_off(ending.len().saturating_sub(MAX_WRITES));
            self.end_together(Vec::new(), before).await?;
        }
        self.end_together(change, ending).await
    }

    async fn end_together(&self, mut writes: Vec<Write>, ending: Vec<TokenHash>) -> Result<()> {
        writes.extend(ending.iter().map(|hash| self.stored.clearance(&hash.0)));
        self.store.commit(writes).await.map_err(AuthError::Store)?;
        let mut known = self.known.write();
        for hash in &ending {
            known.remove(hash);
        }
        Ok(())
    }
}
