//! From a URL to a registry.

use std::sync::Arc;

use super::{EmbeddedRegistry, Registry, RegistryError, RegistryErrorKind, Result};

/// The registry that a URL names: `embedded:`.
///
/// # Errors
/// [`RegistryErrorKind::Invalid`] for a URL of no known kind.
pub fn open_registry(url: &str) -> Result<Arc<dyn Registry>> {
    // What follows the scheme may hold a password, so it is not repeated in errors.
    match url.split_once(':').unwrap_or((url, "")) {
        ("embedded", "") => Ok(Arc::new(EmbeddedRegistry::new())),
        (other, _) => Err(RegistryError::new(
            RegistryErrorKind::Invalid,
            "open",
            format!("there is no registry of the kind {other:?}; write embedded:"),
        )),
    }
}
