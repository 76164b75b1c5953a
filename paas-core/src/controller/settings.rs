//! What can be set about a controller.

use std::time::Duration;

use super::Policy;
use crate::auth::AuthSettings;
use crate::cluster::ClusterSettings;
use crate::engine::LogRotation;
use crate::events::Retention;
use crate::model::Subnets;

/// Settings of a controller, with working defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How closely the engines are watched, and whether they may be overbooked.
    pub cluster: ClusterSettings,
    /// Passwords and tokens.
    pub auth: AuthSettings,
    /// How many containers one engine starts at once at most. It is asked for as many as its host has CPUs, and for two at least.
    pub starts_per_engine: usize,
    /// On how many engines a container is tried before it counts as failed.
    pub attempts: usize,
    /// The most containers that one request may ask for.
    pub max_count: usize,
    /// For how long a request that was made with a key can be made again.
    pub keep_requests: Duration,
    /// How many events are kept, and for how long.
    pub retention: Retention,
    /// How much of each container's output its host keeps; what Docker does by itself, which is to keep everything, when
    /// absent.
    pub log_rotation: Option<LogRotation>,
    /// Where networks of applications have their addresses from, on hosts whose Docker has none left.
    pub app_subnets: Subnets,
    /// What may be asked of the hosts, beside what a role opens.
    pub policy: Policy,
    /// After how long an engine that registered itself and left is forgotten, with what runs on it.
    pub forget_absent_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster: ClusterSettings::default(),
            auth: AuthSettings::default(),
            starts_per_engine: 16,
            attempts: 3,
            max_count: 10_000,
            keep_requests: Duration::from_secs(24 * 3600),
            retention: Retention::default(),
            log_rotation: Some(LogRotation::default()),
            app_subnets: Subnets::default(),
            policy: Policy::default(),
            forget_absent_after: Duration::from_secs(3600),
        }
    }
}
