//! URLs of a store and of a registry, which may hold a password.

use std::fmt;

use serde::Deserialize;

/// The URL of a store or of a registry. Printed without the password in it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct BackendUrl(String);

impl BackendUrl {
    /// A URL as it was given.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// Which kind it is: what stands before the first colon.
    pub fn scheme(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// With the password.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for BackendUrl {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where the password ends is not certain if somebody left an @ in it as it is; then rather more is hidden.
        let hidden = self.0.split_once("://").and_then(|(scheme, rest)| {
            let (login, hosts) = rest.rsplit_once('@')?;
            let user = login.split_once(':')?.0;
            Some(format!("{scheme}://{user}:***@{hosts}"))
        });
        f.write_str(hidden.as_deref().unwrap_or(&self.0))
    }
}

impl fmt::Debug for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        for (given, printed) in [
            ("embedded:", "embedded:"),
            ("sqlite:/a@b/c:d", "sqlite:/a@b/c:d"),
            ("etcd://a:1,b:2/prefix?ca=/x", "etcd://a:1,b:2/prefix?ca=/x"),
            ("etcd://user:secret@a:1,b/p", "etcd://user:***@a:1,b/p"),
            ("etcd://user:sec@ret@a", "etcd://user:***@a"),
            ("etcd://user:sec/ret@a", "etcd://user:***@a"),
        ] {
            let url = BackendUrl::new(given);
            assert_eq!((url.to_string().as_str(), url.as_str()), (printed, given));
            assert_eq!(format!("{url:?}"), format!("{printed:?}"));
        }
    }
}
