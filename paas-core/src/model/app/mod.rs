//! What an application is to be: a name space with components, as somebody declared it.

mod change;
mod component;
mod container;
mod docker;
mod files;
mod output;
mod secret;
mod validate;
mod values;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use super::id::{AppName, ComponentName, SecretName};
pub use change::{Change, Sizes};
pub use component::{
    BeforeCommand, ComponentSpec, ComponentUse, ConfigFile, HealPolicy, HealthCheck, OnFailure, PlacePolicy, Probe,
    Route, SecretFile, Spread, StopPolicy, UpdateOrder, UpdatePolicy, VolumeMount,
};
pub use docker::{DockerOptions, Logging};
pub use output::LastLines;
pub use secret::{SecretUse, SecretValue};
pub use values::{EnvValue, Parallel, Replicas};

/// What an application is to be. Normalised: two that mean the same are equal, which is how "nothing to do" is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppSpec {
    /// Its name.
    pub name: AppName,
    /// Its components, by name.
    pub components: BTreeMap<ComponentName, ComponentSpec>,
}
