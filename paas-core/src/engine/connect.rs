//! From an address to an engine of the right kind.

use std::sync::Arc;

use super::{DockerEngine, EngineError, EngineErrorKind, Result};
use crate::model::EngineSpec;

/// How addresses become engines. Replace it to bring engines of one's own, or to wrap the usual ones.
pub type Connector = Arc<dyn Fn(&EngineSpec) -> Result<Arc<dyn DockerEngine>> + Send + Sync>;

/// The engine at an address. Does no I/O: an engine that does not answer yet is an engine all the same.
///
/// # Errors
/// [`EngineErrorKind::Refused`].
pub fn connect(spec: &EngineSpec) -> Result<Arc<dyn DockerEngine>> {
    Err(EngineError::new(EngineErrorKind::Refused, "connect", spec.addr.to_string()))
}
