//! Roles: which paths of the remote API an account may use.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Name of a role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoleName(String);

impl RoleName {
    /// The role by that name, whether or not it exists.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A role: a name, and the path prefixes it opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// Prefixes of paths, each matched in whole segments; `*` opens everything.
    pub paths: Vec<String>,
}

impl Role {
    /// The role that may do everything.
    pub fn admin() -> Self {
        Self { name: RoleName::new("admin"), paths: vec!["*".to_owned()] }
    }

    /// The role for those who deploy: containers, cluster info, events and engines.
    pub fn user() -> Self {
        let paths = ["/api/containers", "/api/apps", "/api/cluster/info", "/api/events", "/api/engines"];
        Self { name: RoleName::new("user"), paths: paths.map(str::to_owned).to_vec() }
    }

    /// Whether the role opens `path`. A prefix matches whole segments: `/api/engines` opens `/api/engines/a`, and not
    /// `/api/engines-of-others`.
    pub fn allows(&self, path: &str) -> bool {
        self.paths.iter().any(|prefix| {
            prefix == "*"
                || path
                    .strip_prefix(prefix.trim_end_matches('/'))
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Whether the role opens everything.
    pub fn is_admin(&self) -> bool {
        self.paths.iter().any(|prefix| prefix == "*")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_match_whole_segments() {
        let user = Role::user();
        for open in ["/api/containers", "/api/containers/", "/api/containers/abc/logs", "/api/cluster/info"] {
            assert!(user.allows(open), "{open}");
        }
        for closed in ["/api/containersx", "/api/account", "/api/cluster", "/api", "/", "", "/x/api/containers"] {
            assert!(!user.allows(closed), "{closed}");
        }
    }

    #[test]
    fn admin_may_do_everything() {
        assert!(Role::admin().allows("/anything/at/all"));
        assert!(Role::admin().is_admin() && !Role::user().is_admin());
    }
}
