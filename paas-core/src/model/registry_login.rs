//! Logins to image registries.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::image::{DOCKER_HUB, canonical_registry};
use super::{ImageRef, Invalid};

/// Longest user name and longest password, bytes: more than any registry gives out.
const LONGEST: usize = 4096;

/// Login to an image registry. Sent to that registry and to no other.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryLogin {
    /// Host and port of the registry; Docker Hub when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

/// A login as shown to people: without the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownRegistryLogin {
    /// Host and port of the registry.
    pub server: String,
    /// User name.
    pub username: String,
}

impl RegistryLogin {
    /// The registry as image references name it: `docker.io`, `registry.local:5000`.
    pub fn registry(&self) -> &str {
        self.server.as_deref().map_or(DOCKER_HUB, Self::registry_called)
    }

    /// The one name of the registry that people call so: logins are kept and looked for under that.
    pub fn registry_called(server: &str) -> &str {
        match canonical_registry(server) {
            // Where Docker's registry really answers. In references to images it stands for itself.
            "registry-1.docker.io" => DOCKER_HUB,
            server => server,
        }
    }

    /// Whether it is for the registry that holds `image`.
    pub fn is_for(&self, image: &ImageRef) -> bool {
        self.registry() == image.registry()
    }

    /// Without the password.
    pub fn shown(&self) -> ShownRegistryLogin {
        ShownRegistryLogin { server: self.registry().to_owned(), username: self.username.clone() }
    }

    /// Checks everything that the types do not.
    ///
    /// # Errors
    /// Names the first field that cannot be so, and what would be right.
    pub fn validate(&self) -> Result<(), Invalid> {
        // Whatever can stand before the path of an image is a registry, and nothing else is.
        let names_a_registry = |server: &String| {
            format!("{server}/image").parse::<ImageRef>().is_ok_and(|image| image.given_registry() == Some(server))
        };
        if let Some(server) = self.server.as_ref().filter(|&server| !names_a_registry(server)) {
            let message = format!("must be the host of a registry, as in registry.example.org:5000, not {server:?}");
            return Err(Invalid::new("server", message));
        }
        for (field, text) in [("username", &self.username), ("password", &self.password)] {
            if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
                return Err(Invalid::new(field, format!("must be 1 to {LONGEST} printable characters")));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RegistryLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryLogin").field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(server: Option<&str>) -> RegistryLogin {
        RegistryLogin { server: server.map(str::to_owned), username: "ann".into(), password: "secret".into() }
    }

    #[test]
    fn a_login_is_for_the_images_of_its_registry_and_for_no_others() {
        for (server, image, is_for) in [
            (None, "httpd", true),
            (Some("docker.io"), "shop/web:1", true),
            (Some("index.docker.io"), "docker.io/shop/web:1", true),
            (None, "index.docker.io/ann/private:1", true),
            (Some("docker.io"), "index.docker.io/ann/private:1", true),
            (Some("registry-1.docker.io"), "index.docker.io/ann/private:1", true),
            (None, "registry.local:5000/web", false),
            (Some("registry.local:5000"), "registry.local:5000/web", true),
            (Some("registry.local:5000"), "registry.local:5001/web", false),
            (Some("registry.local:5000"), "web", false),
        ] {
            assert_eq!(login(server).is_for(&image.parse().unwrap()), is_for, "{server:?} {image}");
        }
    }

    #[test]
    fn what_is_no_login_is_refused_and_never_shown() {
        for server in ["", "https://registry.local", "registry.local/path", "plain", "a b.c", "host:0"] {
            assert_eq!(login(Some(server)).validate().unwrap_err().field, "server", "{server}");
        }
        for server in [None, Some("localhost"), Some("registry.local"), Some("127.0.0.1:5000")] {
            login(server).validate().unwrap();
        }
        let nobody = RegistryLogin { username: String::new(), ..login(None) };
        assert_eq!(nobody.validate().unwrap_err().field, "username");
        let silent = RegistryLogin { password: "two\nlines".into(), ..login(None) };
        assert_eq!(silent.validate().unwrap_err().field, "password");
        assert!(!format!("{:?} {:?}", login(None), login(None).shown()).contains("secret"));
    }
}
