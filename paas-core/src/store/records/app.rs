//! The records of applications. One document decides each step, and nothing that must hold spans two.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::EngineId;
use crate::model::app::{AppName, AppSpec, ComponentName, LastLines};

/// The format that is written here.
const FORMAT: u32 = 1;

const fn first_format() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

const fn yes() -> bool {
    true
}

type Unknown = serde_json::Map<String, serde_json::Value>;

/// An application. Its key is its name. Replacing this document is what applies a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplicationRecord {
    /// The format it was written in.
    #[serde(default = "first_format")]
    pub format: u32,
    /// The revision that is to run.
    pub target: u64,
    /// When it was declared, which tells it from an earlier one of its name. It is written on its containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<Timestamp>,
    /// The newest revision that was rolled out entirely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_done: Option<u64>,
    /// The newest before that one that was rolled out entirely and was another specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_before: Option<u64>,
    /// What is to become of it.
    #[serde(default)]
    pub goal: GoalRecord,
    /// The rollout that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutRecord>,
    /// How the last one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndedRecord>,
    /// The highest generation of slots that were forgotten.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forgotten: u64,
    /// Its volumes go with it when it is destroyed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete_volumes: bool,
    /// What a later version added.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// What is to become of an application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GoalRecord {
    /// It runs.
    #[default]
    Run,
    /// Its containers are stopped and kept.
    Stop,
    /// Nothing is left of it but its volumes.
    Destroy,
    /// Something that a later version invented. Left alone.
    #[serde(other)]
    Unknown,
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedRecord {
    /// The revision it led to.
    pub to: u64,
    /// How.
    pub outcome: OutcomeRecord,
    /// Why, in a sentence, where it was not done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What the container wrote last because of which it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<LastLines>,
    /// When.
    pub at: Timestamp,
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeRecord {
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

/// A rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutRecord {
    /// The revision it leads to.
    pub to: u64,
    /// The one that it led to when it began, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// Why there is one.
    pub reason: RolloutReasonRecord,
    /// The reason in words, of one that goes back.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// When it began.
    pub started: Timestamp,
    /// When a replica became ready last.
    pub progressed: Timestamp,
    /// The commands that go before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub before: BTreeMap<ComponentName, BeforeRecord>,
    /// What the container wrote last because of which it goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<LastLines>,
    /// What a later version added.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Why there is a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloutReasonRecord {
    /// Somebody applied a file.
    Apply,
    /// The same, beside containers that no record named.
    Adopt,
    /// Somebody changed the number of replicas.
    Scale,
    /// Every container is to be made again.
    Restart,
    /// It goes back.
    Rollback,
    /// Something that a later version invented. Left alone.
    #[serde(other)]
    Unknown,
}

/// How far a command is that goes before a component is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeforeRecord {
    /// How it ended; nothing as long as it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Nobody knows how it ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// The host that was asked for it last, as long as it may be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineId>,
    /// It could not be started yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<BeforeFailureRecord>,
}

/// A command that could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeforeFailureRecord {
    /// What went wrong.
    pub why: String,
    /// Whether only the hosts are to blame that were asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_host: bool,
    /// How often in a row a host was asked.
    #[serde(default)]
    pub attempts: u32,
    /// The hosts that were.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub avoid: BTreeSet<EngineId>,
}

/// A revision. It is never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevisionRecord {
    /// The format it was written in.
    #[serde(default = "first_format")]
    pub format: u32,
    /// What the application is to be.
    pub spec: AppSpec,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it; empty for the platform.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Why, in the words of that person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What a later version added.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl VolumeRecord {
    /// Its key. Names of volumes may be longer than a key, so they are not in it as they are.
    pub fn key(app: &AppName, component: &ComponentName, slot: u32, name: &str) -> String {
        let digest = Sha256::digest(name.as_bytes());
        format!("{app}/{component}/{slot}/{}", hex::encode(&digest[..8]))
    }

    /// A volume that is going to be made.
    pub fn new(
        app: AppName,
        component: ComponentName,
        slot: u32,
        name: String,
        engine: EngineId,
        created: Timestamp,
    ) -> Self {
        let (made, taken, unknown) = (false, false, Unknown::new());
        Self { format: FORMAT, app, component, slot, name, engine, created, made, taken, unknown }
    }
}

impl RevisionRecord {
    /// Its key: revisions of an application are in order.
    pub fn key(app: &AppName, number: u64) -> String {
        format!("{app}/{number:06}")
    }
}

/// What fills a slot. It is written before Docker is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// The format it was written in.
    #[serde(default = "first_format")]
    pub format: u32,
    /// The revision that it shall have.
    pub revision: u64,
    /// Counts the containers of the slot.
    pub generation: u64,
    /// The host of the newest.
    pub engine: EngineId,
    /// Its containers, by generation: those that were made or adopted for it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub made: BTreeSet<u64>,
    /// Older ones that may be there still, by generation, and the host of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<(u64, EngineId)>,
    /// The newest generation when the last rollout began.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub before_rollout: u64,
    /// Those of its containers that take traffic, or finish what they took.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<BackendRecord>,
    /// Those of its containers that were stopped on purpose, by generation.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub stopped: BTreeSet<u64>,
    /// The container that is kept for inspection, by generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<u64>,
    /// The revision that a container that was found counts as, after its generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<(u64, u64)>,
    /// Hosts that it avoids.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub avoid: BTreeSet<EngineId>,
    /// How often in a row it was restarted because it was unhealthy, and when last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<(u32, Timestamp)>,
    /// The container that has ended well, by generation: its slot needs no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<u64>,
    /// The last container that could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailureRecord>,
    /// The container that is to make room on its host, by generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves: Option<u64>,
    /// What a later version added.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl ReplicaRecord {
    /// Its key.
    pub fn key(app: &AppName, component: &ComponentName, slot: u32) -> String {
        format!("{app}/{component}/{slot}")
    }
}

/// A container that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// Its generation.
    pub generation: u64,
    /// The host that was asked.
    pub engine: EngineId,
    /// What went wrong, in words for people.
    pub why: String,
    /// When.
    pub at: Timestamp,
    /// Whether only that host is to blame.
    #[serde(default)]
    pub of_host: bool,
    /// How many in a row could not be made.
    #[serde(default)]
    pub attempts: u32,
    /// The revision whose image could not be fetched, before anything was stopped for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetching: Option<u64>,
}

/// A container as a target of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRecord {
    /// Its generation.
    pub generation: u64,
    /// Since when it takes no more; nothing where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<Timestamp>,
}

/// A volume that a slot has of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// The format it was written in.
    #[serde(default = "first_format")]
    pub format: u32,
    /// Its application.
    pub app: AppName,
    /// Its component.
    pub component: ComponentName,
    /// The number of its slot.
    pub slot: u32,
    /// Its name in the component.
    pub name: String,
    /// The host it is on.
    pub engine: EngineId,
    /// When it was recorded.
    pub created: Timestamp,
    /// Whether a container was recorded for it, which comes after Docker has made it.
    #[serde(default = "yes")]
    pub made: bool,
    /// Whether somebody else made it, and it was taken over when that was asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken: bool,
    /// What a later version added.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl ApplicationRecord {
    /// An application that is to run as one of its revisions.
    pub fn new(target: u64) -> Self {
        Self {
            format: FORMAT,
            target,
            declared: None,
            last_done: None,
            done_before: None,
            goal: GoalRecord::Run,
            rollout: None,
            ended: None,
            forgotten: 0,
            delete_volumes: false,
            unknown: Unknown::new(),
        }
    }
}

impl RevisionRecord {
    /// A revision that is made now.
    pub fn new(spec: AppSpec, user: String, message: String, created: Timestamp) -> Self {
        Self { format: FORMAT, spec, created, user, message, unknown: Unknown::new() }
    }
}

impl ReplicaRecord {
    /// A slot that shall have its first container there.
    pub fn new(revision: u64, generation: u64, engine: EngineId) -> Self {
        Self {
            format: FORMAT,
            revision,
            generation,
            engine,
            made: BTreeSet::from([generation]),
            elsewhere: Vec::new(),
            before_rollout: 0,
            backends: Vec::new(),
            stopped: BTreeSet::new(),
            kept: None,
            adopted: None,
            avoid: BTreeSet::new(),
            restarts: None,
            completed: None,
            failed: None,
            leaves: None,
            unknown: Unknown::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::super::{read, rewrite};
    use super::*;

    /// Each document is read, and written as it was.
    fn golden<T: Serialize + DeserializeOwned>(file: &str, field: &str) -> Vec<T> {
        let kept: Value = serde_json::from_str(file).unwrap();
        let documents = kept[field].as_array().unwrap();
        let same = |document: &Value| {
            let record: T = read(document).unwrap();
            assert_eq!(serde_json::to_value(&record).unwrap(), *document);
            record
        };
        documents.iter().map(same).collect()
    }

    const FIRST: &str = include_str!("golden/app-1.json");

    #[test]
    fn the_first_format_is_read_for_ever_and_written_as_it_was() {
        let applications: Vec<ApplicationRecord> = golden(FIRST, "applications");
        assert_eq!((applications[0].target, applications[0].goal), (1, GoalRecord::Run));
        let rollout = applications[1].rollout.as_ref().unwrap();
        assert_eq!((rollout.to, rollout.reason, rollout.before.len()), (12, RolloutReasonRecord::Rollback, 2));
        let revisions: Vec<RevisionRecord> = golden(FIRST, "revisions");
        assert_eq!(revisions[0].spec.components.len(), 2);
        revisions[0].spec.validate().unwrap();
        let replicas: Vec<ReplicaRecord> = golden(FIRST, "replicas");
        assert_eq!((replicas[0].generation, replicas[1].backends.len(), replicas[1].kept), (1, 2, Some(5)));
        let volumes: Vec<VolumeRecord> = golden(FIRST, "volumes");
        assert_eq!(volumes[0].name, "data");
    }

    #[test]
    fn what_a_later_version_added_is_kept_and_what_it_invented_is_left_alone() {
        let mut document = serde_json::to_value(ReplicaRecord::new(1, 2, "a".parse().unwrap())).unwrap();
        document["later"] = serde_json::json!({ "zone": "b" });
        let mut record: ReplicaRecord = read(&document).unwrap();
        let before = serde_json::to_value(&record).unwrap();
        record.generation = 3;
        let after = rewrite(&document, &before, serde_json::to_value(&record).unwrap());
        assert_eq!((&after["later"]["zone"], &after["generation"]), (&"b".into(), &3.into()));

        let later = serde_json::json!({
            "format": 2, "target": 3, "goal": "hibernate",
            "rollout": { "to": 3, "reason": "canary", "started": "2026-01-02T03:04:05Z", "progressed": "2026-01-02T03:04:05Z", "share": 5 },
        });
        let record: ApplicationRecord = read(&later).unwrap();
        assert_eq!(record.goal, GoalRecord::Unknown);
        assert_eq!(record.rollout.unwrap().reason, RolloutReasonRecord::Unknown);
    }

    #[test]
    fn fields_that_a_later_version_added_to_a_specification_are_passed_over() {
        let kept: Value = serde_json::from_str(FIRST).unwrap();
        let mut later = kept["revisions"][0].clone();
        let web = &mut later["spec"]["components"]["web"];
        web["gpu"] = serde_json::json!(1);
        web["env"]["DATABASE_URL"]["encoding"] = serde_json::json!("utf-8");
        web["docker"]["ulimits"]["nofile"]["unit"] = serde_json::json!("files");
        let record: RevisionRecord = read(&later).unwrap();
        assert_eq!(record.spec, read::<RevisionRecord>(&kept["revisions"][0]).unwrap().spec);
    }

    #[test]
    fn keys_are_in_order_and_short() {
        let app: AppName = "a".repeat(32).parse().unwrap();
        assert!(RevisionRecord::key(&app, 9) < RevisionRecord::key(&app, 10));
        let component: ComponentName = "b".repeat(32).parse().unwrap();
        assert!(ReplicaRecord::key(&app, &component, u32::MAX).len() <= 127, "the longest that RethinkDB takes");
    }
}
