//! From an address to an engine of the right kind.

use std::sync::Arc;

use super::{DockerEngine, Result, SimulatedEngine};
use crate::model::{EngineAddress, EngineSpec};

/// How addresses become engines. Replace it to bring engines of one's own, or to wrap the usual ones; see
/// [`ControllerBuilder::connector`](crate::controller::ControllerBuilder::connector).
///
/// It is called whenever an engine is added or read from the store, also when it does not answer, and must not block. An
/// address is of one of the kinds of [`EngineAddress`], whatever the connector makes of it: `tcp://host:port` suits what is
/// reached over the network, and what has a `sim://` address is shown as simulated. One address leads to one engine.
pub type Connector = Arc<dyn Fn(&EngineSpec) -> Result<Arc<dyn DockerEngine>> + Send + Sync>;

/// The engine at an address. Does no I/O: an engine that does not answer yet is an engine all the same.
///
/// # Errors
/// [`EngineErrorKind::Tls`](super::EngineErrorKind::Tls) when certificates cannot be read,
/// [`EngineErrorKind::Refused`](super::EngineErrorKind::Refused) when this build has no part for that kind of address.
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
