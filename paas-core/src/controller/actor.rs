//! Who asks.

use super::requests::RequestContext;
use crate::model::{Event, UserName};

/// Who a change is done by, for the events, and by which request.
#[derive(Clone, Debug)]
pub struct Actor {
    user: Option<UserName>,
    /// Whether it is held to the policy.
    is_restricted: bool,
    request: Option<RequestContext>,
}

impl Actor {
    /// An account that is held to the [`Policy`](super::Policy).
    pub fn user(name: UserName) -> Self {
        Self { user: Some(name), is_restricted: true, request: None }
    }

    /// An account that may ask everything of a host.
    pub fn admin(name: UserName) -> Self {
        Self { is_restricted: false, ..Self::user(name) }
    }

    /// The platform, or the program that embeds it.
    pub fn system() -> Self {
        Self { user: None, is_restricted: false, request: None }
    }

    /// The same one, asking by a request that has a key: a change that is made for it is made once.
    #[must_use]
    pub fn by_request(self, request: RequestContext) -> Self {
        Self { request: Some(request), ..self }
    }

    /// The name as text; empty for the platform.
    pub fn name(&self) -> &str {
        self.user.as_ref().map_or("", UserName::as_str)
    }

    /// Whether it is held to the policy.
    pub(super) fn is_restricted(&self) -> bool {
        self.is_restricted
    }

    /// Whether it is no account, but the platform or the program that embeds it.
    pub(super) fn is_system(&self) -> bool {
        self.user.is_none()
    }

    pub(super) fn user_name(&self) -> Option<&UserName> {
        self.user.as_ref()
    }

    pub(super) fn request(&self) -> Option<&RequestContext> {
        self.request.as_ref()
    }

    /// What was made by the request, if it was done already and its answer was lost.
    pub(super) fn made_before(&self) -> Option<&str> {
        self.request.as_ref().and_then(RequestContext::made)
    }

    /// The event, done by this one.
    pub(super) fn sign(&self, event: Event) -> Event {
        match &self.user {
            Some(user) => event.by(user),
            None => event,
        }
    }
}
