//! From an address to an engine of the right kind.

use std::sync::Arc;

use super::{DockerEngine, Result, SimulatedEngine};
use crate::model::{EngineAddress, EngineSpec};

/// How addresses become engines. Replace it to bring engines of one's own, or to wrap the usual ones.
pub type Connector = Arc<dyn Fn(&EngineSpec) -> Result<Arc<dyn DockerEngine>> + Send + Sync>;

/// The engine at an address. Does no I/O: an engine that does not answer yet is an engine all the same.
///
/// # Errors
/// [`super::EngineErrorKind::Tls`] when certificates cannot be read, [`super::EngineErrorKind::Refused`] when this build
/// has no part for that kind of address.
pub fn connect(spec: &EngineSpec) -> Result<Arc<dyn DockerEngine>> {
    match &spec.addr {
        EngineAddress::Simulated(host) => Ok(Arc::new(SimulatedEngine::named(host))),
        #[cfg(feature = "docker")]
        address => Ok(Arc::new(super::Docker::new(address, spec.tls.as_ref())?)),
        #[cfg(not(feature = "docker"))]
        address => Err(super::EngineError::new(
            super::EngineErrorKind::Refused,
            "connect",
            format!("{address} is a Docker host, and this program was built without the feature 'docker'"),
        )),
    }
}
