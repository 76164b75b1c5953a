//! From a URL to a registry.

use std::sync::Arc;

use super::{EmbeddedRegistry, Registry, RegistryError, RegistryErrorKind, Result};

/// The registry that a URL names: `embedded:`, or
/// `etcd://user:password@host1:2379,host2:2379/prefix?ca=FILE&cert=FILE&key=FILE`, of which only a host is needed. Nothing
/// is connected yet, so that it need not be there yet.
///
/// # Errors
/// [`RegistryErrorKind::Invalid`] for a URL of no known kind, and for files in it that cannot be used.
pub fn open_registry(url: &str) -> Result<Arc<dyn Registry>> {
    // What follows the scheme may hold a password, so it is not repeated in errors.
    match url.split_once(':').unwrap_or((url, "")) {
        ("embedded", "") => Ok(Arc::new(EmbeddedRegistry::new())),
        #[cfg(feature = "etcd")]
        ("etcd", rest) => Ok(Arc::new(super::EtcdRegistry::open(rest)?)),
        (other, _) => Err(RegistryError::new(
            RegistryErrorKind::Invalid,
            "open",
            format!("there is no registry of the kind {other:?}; write embedded: or etcd://host:2379"),
        )),
    }
}

/// The hosts, each with its port, at which the registry that a URL names is reached over the network; none for one that is
/// not.
///
/// # Errors
/// As [`open_registry`].
pub fn registry_hosts(url: &str) -> Result<Vec<String>> {
    match url.split_once(':').unwrap_or((url, "")) {
        #[cfg(feature = "etcd")]
        ("etcd", rest) => super::EtcdRegistry::hosts(rest),
        _ => open_registry(url).map(|_| Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_registry_is_refused_without_repeating_a_password() {
        assert!(open_registry("embedded:").is_ok());
        assert!(registry_hosts("embedded:").unwrap().is_empty());
        for bad in ["", "embedded:here", "etcd:", "etcd://user:secret@", "floppy://user:secret@disk"] {
            let error = open_registry(bad).expect_err(bad);
            assert_eq!(error.kind(), RegistryErrorKind::Invalid, "{bad}");
            assert!(!format!("{error} {error:?}").contains("secret"));
            assert!(registry_hosts(bad).is_err());
        }
    }

    #[cfg(feature = "etcd")]
    #[test]
    fn an_etcd_need_not_be_there_yet() {
        let url = "etcd://user:secret@127.0.0.1:1,[::1]/prefix";
        assert!(!format!("{:?}", open_registry(url).unwrap()).contains("secret"));
        assert_eq!(registry_hosts(url).unwrap(), ["127.0.0.1:1", "[::1]:2379"]);
    }
}
