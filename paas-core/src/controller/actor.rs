//! Who asks.

use super::requests::RequestContext;
use crate::model::{Event, UserName};

/// Who a change is done by, for the events, and by which request.
#[derive(Clone, Debug)]
pub struct Actor {
    user: Option<UserName>,
    request: Option<RequestContext>,
}

impl Actor {
    /// An account.
    pub fn user(name: UserName) -> Self {
        Self { user: Some(name), request: None }
    }

    /// The platform, or the program that embeds it.
    pub fn system() -> Self {
        Self { user: None, request: None }
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
