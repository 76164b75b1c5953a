//! Ids as types, so that an engine's id is never passed where a container's is meant.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Invalid;

/// Longest engine id, account id or user name, in bytes.
const MAX_NAME: usize = 64;

/// Names that people choose: they end up in URLs, labels and file names, so they are kept plain.
fn check_name(field: &str, text: &str) -> Result<(), Invalid> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let starts_well = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if starts_well && text.len() <= MAX_NAME && text.chars().all(plain) {
        return Ok(());
    }
    Err(Invalid::new(
        field,
        format!(
            "must be 1 to {MAX_NAME} letters, digits, '.', '_' or '-' and start with a letter or digit, not {text:?}"
        ),
    ))
}

/// Longest name of an application or of one of its components, in bytes.
const MAX_APP_NAME: usize = 32;

/// Names of applications and components end up in names of containers, of networks and in host names.
fn check_app_name(field: &str, text: &str) -> Result<(), Invalid> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let ends_well = !text.is_empty() && !text.starts_with('-') && !text.ends_with('-');
    if ends_well && text.len() <= MAX_APP_NAME && text.bytes().all(plain) {
        return Ok(());
    }
    Err(Invalid::new(
        field,
        format!(
            "must be 1 to {MAX_APP_NAME} of a-z, 0-9 and '-', with no '-' at either end, not {:?}",
            super::validation::shortened(text)
        ),
    ))
}

/// Docker writes container ids as hexadecimal digits.
fn check_hex(field: &str, text: &str) -> Result<(), Invalid> {
    if (12..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(Invalid::new(field, format!("must be 12 to 64 hexadecimal digits, not {text:?}")))
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $field:literal, $check:path) => {
        $(#[$doc])*
        ///
        /// Cheap to clone.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                $check($field, text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text_id! {
    /// Id of a Docker host: chosen by the operator, or by the host itself when it registers. 1 to 64 plain characters.
    EngineId, "id", check_name
}
text_id! {
    /// Id that Docker gave a container: hexadecimal, 64 digits when complete.
    ContainerId, "id", check_hex
}
text_id! {
    /// Id of an account; free for the operator to choose. The unique key of an account is its [`UserName`].
    AccountId, "id", check_name
}
text_id! {
    /// Name a person logs in with. Unique among the accounts; upper and lower case differ.
    UserName, "username", check_name
}

text_id! {
    /// Name of an application. At most 32 of `[a-z0-9-]`, with no hyphen at either end.
    AppName, "app", check_app_name
}
text_id! {
    /// Name of a component of an application. At most 32 of `[a-z0-9-]`, with no hyphen at either end.
    ComponentName, "component", check_app_name
}

text_id! {
    /// Name of a secret of an application. 1 to 64 plain characters; upper and lower case differ.
    SecretName, "secret", check_name
}

impl ContainerId {
    /// The first 12 digits, as Docker prints ids for people.
    pub fn short(&self) -> &str {
        &self.as_str()[..12]
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, later in order than every id this process made before.
            #[allow(clippy::new_without_default, reason = "an id is made on purpose, never by default")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                text.parse().map(Self).map_err(|_| Invalid::new("id", format!("must be a UUID, not {text:?}")))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

uuid_id! {
    /// Id of an event: a UUIDv7, so that ids sort by time and "the newest N" is a backwards range read.
    EventId
}
impl EventId {
    /// An id that is not greater than any of an event at that time or later, and greater than those of before. Times
    /// before 1970 count as 1970.
    pub fn first_at(time: jiff::Timestamp) -> Self {
        let milliseconds = u128::try_from(time.as_millisecond()).unwrap_or(0);
        // The first 48 bits of a UUIDv7; what follows is zero, and more in every other.
        Self(Uuid::from_u128(milliseconds << 80))
    }
}

uuid_id! {
    /// Id of one attempt to bring one container to life. Written on the container, so that a container found on a host
    /// can be matched with the reservation it belongs to.
    LaunchId
}

uuid_id! {
    /// Id of a request that may be made again: the client gives it a key, and the same key of the same user is the
    /// same request.
    RequestId
}

impl RequestId {
    /// The id of the request that `user` calls `key`.
    pub fn of(user: &str, key: &str) -> Self {
        let hash = Sha256::new().chain_update(user).chain_update([0]).chain_update(key).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_ids() {
        for good in ["local", "node-1", "192.168.7.101", "A", "a_b"] {
            assert_eq!(good.parse::<EngineId>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn names_that_would_hurt_in_a_url_are_refused() {
        let long = "x".repeat(65);
        for bad in ["", " ", "a b", "-a", ".hidden", "a/b", "ü", "a:b", long.as_str()] {
            assert!(bad.parse::<EngineId>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn names_of_applications_are_short_and_plain() {
        for good in ["a", "shop", "a-b", "0", "a--b", &"x".repeat(32)] {
            assert_eq!(good.parse::<AppName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "a b", "\u{fc}", &"x".repeat(33)] {
            assert!(bad.parse::<ComponentName>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn container_ids_are_hexadecimal() {
        assert_eq!("0123456789abcdef".parse::<ContainerId>().unwrap().short(), "0123456789ab");
        assert!("0123".parse::<ContainerId>().is_err());
        assert!("zzzzzzzzzzzzzzzz".parse::<ContainerId>().is_err());
    }

    #[test]
    fn a_request_is_known_by_user_and_key() {
        let of = RequestId::of;
        assert_eq!(of("ann", "key"), of("ann", "key"));
        assert!(of("ann", "key") != of("bob", "key") && of("ann", "key") != of("ann", "other"));
        assert_ne!(of("ann", "bkey"), of("annb", "key"));
    }

    #[test]
    fn ids_of_before_are_smaller_than_the_first_at_a_time() {
        let now = jiff::Timestamp::now();
        let id = EventId::new();
        assert!(EventId::first_at(now) <= id);
        assert!(EventId::first_at(now + std::time::Duration::from_secs(1)) > id);
        assert!(EventId::first_at(now).to_string() <= id.to_string(), "as text as well");
        assert_eq!(EventId::first_at(jiff::Timestamp::MIN), EventId::first_at(jiff::Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn event_ids_sort_by_time() {
        let ids: Vec<EventId> = (0..1000).map(|_| EventId::new()).collect();
        assert!(ids.is_sorted());
    }
}
