//! The file that declares an application: `paas.toml`, and the same as JSON.

mod component;
mod export;
mod file;
mod normalise;
mod period;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use component::{
    BeforeRequest, ComponentRequest, ConfigRequest, EnvRequest, HealRequest, HealthRequest, PlaceRequest, RouteRequest,
    SecretRequest, StopRequest, UpdateRequest, VolumeRequest,
};
pub use file::{AppFileError, read_files};
pub use period::Period;

/// An application as somebody wrote it. Of several files each may have a part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AppRequest {
    /// Its name.
    pub app: Option<String>,
    /// Its components, by name.
    pub component: BTreeMap<String, ComponentRequest>,
}
