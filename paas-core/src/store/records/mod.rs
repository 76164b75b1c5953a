//! What is stored, one file per table: types of their own, each with its format number.
//!
//! A field that is missing has its default, and one that this version does not know is kept when the record is written
//! again: an older server can lead beside a newer one, and be gone back to.

mod app;
mod blob;
mod launch;
mod output;
mod request;
mod secret;
mod unknown;

pub use app::{
    ApplicationRecord, BackendRecord, BeforeFailureRecord, BeforeRecord, EndedRecord, FailureRecord, GoalRecord,
    OutcomeRecord, ReplicaRecord, RevisionRecord, RolloutReasonRecord, RolloutRecord, VolumeRecord,
};
pub use blob::{BlobOutline, BlobRecord};
pub use launch::{LaunchRecord, LaunchState};
pub use output::OutputRecord;
pub use request::KeptAnswer;
pub(crate) use request::KeptRequest;
pub use secret::{SecretOutline, SecretRecord, SecretVersionOutline, SecretVersionRecord};
pub(in crate::store) use unknown::{read, rewrite};
