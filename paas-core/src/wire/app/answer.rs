//! What is asked about applications, and what is answered.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::AppRequest;
use crate::model::app::{AppName, ComponentName, LastLines, Replicas};
use crate::model::{ContainerId, EngineId, ImageDigest, UserName};

/// An application that is to be as the file says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApplyRequest {
    /// The file.
    pub app: AppRequest,
    /// The revision it was planned against, 0 for none. Where another one is the newest by now, nothing is done.
    pub base: Option<u64>,
    /// Why, in one's own words.
    pub message: String,
    /// Containers of the application that no record names become replicas where they are the same.
    pub adopt: bool,
    /// Make containers beside those of the application that run and that no record names. Otherwise nothing is done then.
    pub beside_orphans: bool,
    /// Take the place of a rollout that is under way.
    pub supersede: bool,
    /// Take what the registries have now, also of images that are written as before.
    pub refresh_images: bool,
    /// What the images are, by component, as a plan found them. For those that are in neither this nor `image_ids` the registries and
    /// hosts are asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<BTreeMap<ComponentName, ImageDigest>>,
    /// The ids of those that no registry has, likewise.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub image_ids: BTreeMap<ComponentName, ImageDigest>,
}

/// Which revision to go back to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackRequest {
    /// Its number; when absent, the newest that was rolled out entirely and is not the one that runs.
    pub to: Option<u64>,
    /// Take the place of a rollout that is under way.
    pub supersede: bool,
}

/// How many replicas a component is to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// The component; may be left out where there is only one.
    #[serde(default)]
    pub component: Option<ComponentName>,
    /// How many.
    pub replicas: u32,
}

/// Which containers are to be made again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestartRequest {
    /// Take the place of a rollout that is under way.
    pub supersede: bool,
}

/// What was made of a request to change an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The revision that is to run.
    pub revision: u64,
    /// Whether anything is different from before.
    pub changed: bool,
}

/// A replica that moves to another host, so that hosts are equally full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// Its application.
    pub app: AppName,
    /// Its component and slot: `web.1`.
    pub replica: String,
    /// Its host.
    pub from: EngineId,
    /// The host that takes it, as it looked when that was decided.
    pub to: EngineId,
    /// By how many points the scores of the two hosts come closer.
    pub gain: f64,
}

/// An application in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppSummary {
    /// Its name.
    pub name: AppName,
    /// How it is.
    pub state: AppState,
    /// The revision that is to run.
    pub revision: u64,
    /// How many replicas are ready.
    pub ready: usize,
    /// How many there are to be.
    pub replicas: usize,
    /// Its components.
    pub components: Vec<ComponentName>,
    /// When the newest revision was made.
    pub changed: Timestamp,
}

/// How an application is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppState {
    /// Everything is as declared.
    Running,
    /// A rollout is under way.
    RollingOut,
    /// Something is not as declared, and is being put right, or waits.
    Degraded,
    /// A rollout ended in between: what was there before serves.
    RolloutStopped,
    /// Somebody stopped it.
    Stopped,
    /// It is being removed.
    Removing,
    /// Its containers are there, and no record of it is: the store was lost. `apply` with `adopt` makes it one again.
    Orphaned,
    /// Something that a later version invented.
    #[serde(other)]
    Unknown,
}

impl AppState {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::RollingOut => "rolling-out",
            Self::Degraded => "degraded",
            Self::RolloutStopped => "rollout-stopped",
            Self::Stopped => "stopped",
            Self::Removing => "removing",
            Self::Orphaned => "orphaned",
            Self::Unknown => "unknown",
        }
    }
}

/// An application in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppStatus {
    /// What a list shows of it.
    #[serde(flatten)]
    pub summary: AppSummary,
    /// The rollout that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// How the last one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rollout: Option<RolloutResult>,
    /// Its components, in the order of their names.
    pub component: BTreeMap<ComponentName, ComponentStatus>,
    /// What is done next or waited for, and why, for what concerns no one replica.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl AppStatus {
    /// Whether a rollout is under way, and goes on: that of an application that is stopped does not.
    pub fn is_rolling_out(&self) -> bool {
        self.rollout.is_some() && self.summary.state != AppState::Stopped
    }
}

/// A rollout that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// The revision it leads to.
    pub to: u64,
    /// What began it: `apply`, `adopt`, `scale`, `restart`, `rollback`.
    pub reason: String,
    /// Why, of one that goes back.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What the container wrote last because of which it goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<LastLines>,
    /// When it began.
    pub started: Timestamp,
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutResult {
    /// The revision it led to.
    pub to: u64,
    /// How.
    pub outcome: RolloutOutcome,
    /// Why, in a sentence, where it was not done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What the container wrote last because of which it was not, where one did not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<LastLines>,
    /// When.
    pub ended: Timestamp,
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutOutcome {
    /// Everything is as the revision says.
    Done,
    /// Everything is as it was before.
    RolledBack,
    /// It ended in between.
    Stopped,
    /// Something that a later version invented.
    #[serde(other)]
    Unknown,
}

/// A component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// Its image.
    pub image: String,
    /// How many replicas it is to have.
    pub declared: Replicas,
    /// How many are ready.
    pub ready: usize,
    /// Its replicas, by slot.
    pub replicas: Vec<ReplicaStatus>,
}

/// A replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// The number of its slot.
    pub slot: u32,
    /// The revision it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineId>,
    /// Its container, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerId>,
    /// Docker's name of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// How it is, in a word: `ready`, `starting`, `unhealthy`, `stopped`, `pending`, `unreachable`.
    pub state: String,
    /// Why it is not ready, or what is being done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Where its published ports are: `8443 → 10.0.0.1:8443`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
}

/// What an apply would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppPlan {
    /// The application.
    pub app: AppName,
    /// The revision it was compared with, 0 for none: what `apply` is to carry.
    pub base: u64,
    /// Whether to apply it begins a rollout. Otherwise everything is there that it asks for, and the steps are done anyway. Absent
    /// where nobody asked for an apply, and in answers of servers before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins: Option<bool>,
    /// What is different from that revision, field by field.
    pub changes: Vec<FieldChange>,
    /// What would be done at first, and why; later steps follow from these. Nothing, where all of it is refused.
    pub steps: Vec<PlannedStep>,
    /// What is not as declared now, whatever is applied.
    #[serde(default)]
    pub drift: Vec<String>,
    /// What cannot be done, and why.
    #[serde(default)]
    pub refused: Vec<String>,
    /// What is accepted and has no effect yet, and what is known of images beside, or cannot be known now.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What the images are, by component: for `apply` to carry, so that it takes what was planned.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<ComponentName, ImageDigest>,
    /// The ids of those that no registry has and hosts have, likewise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub image_ids: BTreeMap<ComponentName, ImageDigest>,
}

impl AppPlan {
    /// One that changes nothing of an application of that revision.
    pub fn nothing(app: AppName, base: u64) -> Self {
        Self {
            app,
            base,
            begins: None,
            changes: Vec::new(),
            steps: Vec::new(),
            drift: Vec::new(),
            refused: Vec::new(),
            notes: Vec::new(),
            images: BTreeMap::new(),
            image_ids: BTreeMap::new(),
        }
    }

    /// Whether to apply it would change anything.
    pub fn has_changes(&self) -> bool {
        self.begins.unwrap_or_else(|| !self.changes.is_empty() || self.steps.iter().any(|step| !step.waits))
    }

    /// Whether to apply it would be refused as a whole: then there are no steps.
    pub fn is_refused(&self) -> bool {
        self.steps.is_empty() && !self.refused.is_empty()
    }
}

/// A field that is different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its path in the file: `component.web.image`.
    pub field: String,
    /// What it was; absent where it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What it becomes; absent where it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// Whether containers have to be made again for it.
    pub new_containers: bool,
}

/// One thing that would be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// What: `create web.1.1 on a, revision 1`.
    pub action: String,
    /// Why.
    pub cause: String,
    /// How the host was chosen, where one was: its score, and the runner-up.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub choice: String,
    /// It only waits.
    #[serde(default)]
    pub waits: bool,
    /// It only adds, and replaces or removes nothing.
    #[serde(default)]
    pub adds: bool,
}

/// A revision in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionSummary {
    /// Its number.
    pub revision: u64,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it; absent for the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The images of its components.
    pub images: BTreeMap<ComponentName, String>,
    /// What those images were when it was made, where a registry has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digests: BTreeMap<ComponentName, ImageDigest>,
    /// The ids that those images had on hosts, where no registry has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub image_ids: BTreeMap<ComponentName, ImageDigest>,
    /// Whether it is the one that is to run.
    pub current: bool,
}

/// A revision in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// What a list shows of it.
    #[serde(flatten)]
    pub summary: RevisionSummary,
    /// The application as it is in it, with every default.
    pub app: AppRequest,
}
