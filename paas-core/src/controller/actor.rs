//! Who asks.

use crate::model::{Event, UserName};

/// Who a change is done by, for the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(Option<UserName>);

impl Actor {
    /// An account.
    pub fn user(name: UserName) -> Self {
        Self(Some(name))
    }

    /// The platform, or the program that embeds it.
    pub fn system() -> Self {
        Self(None)
    }

    /// The name as text; empty for the platform.
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("", UserName::as_str)
    }

    /// The event, done by this one.
    pub(super) fn sign(&self, event: Event) -> Event {
        match &self.0 {
            Some(user) => event.by(user),
            None => event,
        }
    }
}
