//! Applications over HTTP: the file that declares one (`paas.toml`, and the same as JSON), and what is asked and answered.

mod answer;
mod command;
mod component;
mod export;
mod file;
mod forms;
mod normalise;
mod period;
mod secret;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use answer::{
    AppPlan, AppState, AppStatus, AppSummary, Applied, ApplyRequest, ComponentStatus, FieldChange, Moved, PlannedStep,
    ReplicaStatus, RestartRequest, Revision, RevisionSummary, RollbackRequest, RolloutOutcome, RolloutResult,
    RolloutStatus, ScaleRequest,
};
pub use command::{CommandStep, ExecRequest, RunCommandRequest};
pub use component::{
    BeforeRequest, ComponentRequest, ConfigRequest, EnvRequest, HealRequest, HealthRequest, PlaceRequest, RouteRequest,
    SecretRequest, StopRequest, UpdateRequest, VolumeRequest,
};
pub(crate) use file::merge;
pub use file::{AppFileError, read_files};
pub use period::Period;
pub use secret::{SecretSet, SecretSummary, SecretVersion, SetSecretRequest};

/// An application as somebody wrote it. Of several files each may have a part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AppRequest {
    /// Its name.
    pub app: Option<String>,
    /// Its components, by name.
    pub component: BTreeMap<String, ComponentRequest>,
}
