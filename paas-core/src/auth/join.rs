//! Join tokens: what a Docker host shows to be let into the platform. They open nothing else.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::secret::{TokenHash, random_token};
use super::{AuthError, Authenticator, Result};
use crate::store::{StoreErrorKind, Write};

/// How many digits of its hash name a token.
const ID_LENGTH: usize = 12;

/// A join token as shown to people: without the token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinToken {
    /// What it is deleted by.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub created_by: String,
}

/// A join token that was just made. The only time that it is seen in clear.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewJoinToken {
    /// What it is deleted by.
    pub id: String,
    /// The token.
    pub token: String,
}

impl std::fmt::Debug for NewJoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewJoinToken").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// A new join token, and the write that makes it one. It is good until it is deleted.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(crate) fn new_join_token(&self, created_by: &str) -> Result<(NewJoinToken, Write)> {
        let token = random_token()?;
        let hash = TokenHash::of(&token);
        let id = hash.0[..ID_LENGTH].to_owned();
        let shown = JoinToken { id: id.clone(), created: self.clock.now(), created_by: created_by.to_owned() };
        let write = self.join_tokens.insertion(&hash.0, &shown).map_err(AuthError::Store)?;
        Ok((NewJoinToken { id, token }, write))
    }

    /// The write that deletes a join token, by the id that it had, if there is such a token.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn join_token_deletion(&self, id: &str) -> Result<Option<Write>> {
        let all = self.join_tokens.all().await.map_err(AuthError::Store)?;
        let found = all.into_iter().find(|token| token.value.id == id);
        Ok(found.map(|token| self.join_tokens.deletion(&token.key, Some(token.version))))
    }

    /// All join tokens, the oldest first.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn join_tokens(&self) -> Result<Vec<JoinToken>> {
        let all = self.join_tokens.all().await.map_err(AuthError::Store)?;
        let mut all: Vec<JoinToken> = all.into_iter().map(|token| token.value).collect();
        all.sort_by_key(|token| token.created);
        Ok(all)
    }

    /// Deletes a join token. Hosts that came in with it are not heard any more. `also` is written together with that.
    ///
    /// # Errors
    /// [`AuthError::NoSuchJoinToken`].
    pub(crate) async fn delete_join_token(&self, id: &str, also: Vec<Write>) -> Result<()> {
        let missing = || AuthError::NoSuchJoinToken(id.to_owned());
        let deletion = self.join_token_deletion(id).await?.ok_or_else(missing)?;
        match self.store.commit(std::iter::once(deletion).chain(also).collect()).await {
            Err(error) if error.kind() == StoreErrorKind::NotFound => Err(missing()),
            outcome => outcome.map(drop).map_err(AuthError::Store),
        }
    }

    /// Whether a join token is good.
    ///
    /// # Errors
    /// [`AuthError::Unauthenticated`] when it is not.
    pub async fn check_join_token(&self, token: &str) -> Result<()> {
        let found = self.join_tokens.get(&TokenHash::of(token).0).await.map_err(AuthError::Store)?;
        found.map(drop).ok_or(AuthError::Unauthenticated)
    }
}
