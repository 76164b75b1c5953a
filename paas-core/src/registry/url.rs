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
