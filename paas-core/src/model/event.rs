//! What happened, when, to what, and by whom.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ContainerId, EngineId, EngineStatus, EventId, UserName};

/// The tag of events that a Docker host reported by itself.
pub const TAG_DOCKER: &str = "docker";

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Id; sorts by time.
    pub id: EventId,
    /// What kind of thing happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When.
    pub time: Timestamp,
    /// One sentence for people.
    pub message: String,
    /// Words to find it by: `docker` for what a host reported, `cluster` for what the platform found by itself.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The container it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerId>,
    /// The engine it happened on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineId>,
    /// Who did it; absent for what nobody asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The name of what it happened to, on its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The image of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The status that a program ended with; of `die`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// The signal that a container was sent, as its host says it: a number as a rule; of `kill`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// What a health check found: `healthy`, `unhealthy`, `starting`; of `health_status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// How an engine is from then on; of `engine-status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<EngineStatus>,
    /// Why, where there is more to say than the kind does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Event {
    /// An event of now.
    pub fn new(kind: EventKind, message: impl Into<String>) -> Self {
        Self {
            id: EventId::new(),
            kind,
            time: Timestamp::now(),
            message: message.into(),
            tags: Vec::new(),
            container: None,
            engine: None,
            user: None,
            name: None,
            image: None,
            exit_code: None,
            signal: None,
            health: None,
            status: None,
            reason: None,
        }
    }

    /// The same event, done by `user`.
    #[must_use]
    pub fn by(mut self, user: &UserName) -> Self {
        self.user = Some(user.clone());
        self
    }

    /// The same event, on `engine`.
    #[must_use]
    pub fn on(mut self, engine: &EngineId) -> Self {
        self.engine = Some(engine.clone());
        self
    }

    /// The same event, of `container`.
    #[must_use]
    pub fn of(mut self, container: &ContainerId) -> Self {
        self.container = Some(container.clone());
        self
    }

    /// The same event, with one more tag.
    #[must_use]
    pub fn tagged(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self
    }
}

/// Kind of an event. Text on the wire: `run-container`, or for what a Docker host reports its own word, `die`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum EventKind {
    /// An account was added.
    AddAccount,
    /// An account was deleted.
    DeleteAccount,
    /// A password was changed.
    ChangePassword,
    /// Somebody logged in.
    Login,
    /// Somebody logged out.
    Logout,
    /// A join token was made.
    AddJoinToken,
    /// A join token was deleted.
    DeleteJoinToken,
    /// A login to an image registry was set.
    SetRegistryLogin,
    /// A login to an image registry was deleted.
    DeleteRegistryLogin,
    /// An engine was added.
    AddEngine,
    /// An engine was deleted.
    DeleteEngine,
    /// An engine that registered itself was not taken in.
    RefuseEngine,
    /// An engine gets no new containers from now on.
    DrainEngine,
    /// An engine gets new containers again.
    UndrainEngine,
    /// An engine answers, or does not any more.
    EngineStatus,
    /// A container was started for a run request.
    RunContainer,
    /// A container of a run request could not be started.
    RunFailed,
    /// A container was started, and its host said what it could not do as it was asked.
    RunWarning,
    /// A group of containers was brought to a new size.
    ScaleContainer,
    /// A stopped container was started.
    StartContainer,
    /// A container was stopped.
    StopContainer,
    /// A container was restarted.
    RestartContainer,
    /// A container was destroyed.
    DestroyContainer,
    /// What an interrupted launch had left on a host was removed.
    CleanUp,
    /// An application was declared, or declared in another way.
    ApplyApp,
    /// A component got another number of replicas.
    ScaleApp,
    /// An application goes back to an earlier revision.
    RollbackApp,
    /// All replicas of an application are made again.
    RestartApp,
    /// An application was stopped.
    StopApp,
    /// A stopped application runs again.
    StartApp,
    /// An application is removed, or was.
    DestroyApp,
    /// A secret of an application has another value.
    SetSecret,
    /// A secret of an application was deleted.
    DeleteSecret,
    /// A rollout ended, or goes back.
    Rollout,
    /// A command was started in the container of a replica.
    ExecApp,
    /// A command was started in a container of its own.
    RunApp,
    /// Something is done about a replica of an application.
    Replica,
    /// Replicas move to emptier hosts.
    Rebalance,
    /// Healing goes on although more than half of the hosts are silent.
    HealNow,
    /// Applications are acted on again after a store was restored.
    ResumeReconciling,
    /// A host is gone for good.
    HostLost,
    /// Anything else, by its own name.
    Other(String),
}

const NAMES: [(&str, EventKind); 41] = [
    ("add-account", EventKind::AddAccount),
    ("delete-account", EventKind::DeleteAccount),
    ("change-password", EventKind::ChangePassword),
    ("login", EventKind::Login),
    ("logout", EventKind::Logout),
    ("add-join-token", EventKind::AddJoinToken),
    ("delete-join-token", EventKind::DeleteJoinToken),
    ("set-registry-login", EventKind::SetRegistryLogin),
    ("delete-registry-login", EventKind::DeleteRegistryLogin),
    ("add-engine", EventKind::AddEngine),
    ("delete-engine", EventKind::DeleteEngine),
    ("refuse-engine", EventKind::RefuseEngine),
    ("drain-engine", EventKind::DrainEngine),
    ("undrain-engine", EventKind::UndrainEngine),
    ("engine-status", EventKind::EngineStatus),
    ("run-container", EventKind::RunContainer),
    ("run-failed", EventKind::RunFailed),
    ("run-warning", EventKind::RunWarning),
    ("scale-container", EventKind::ScaleContainer),
    ("start-container", EventKind::StartContainer),
    ("stop-container", EventKind::StopContainer),
    ("restart-container", EventKind::RestartContainer),
    ("destroy-container", EventKind::DestroyContainer),
    ("clean-up", EventKind::CleanUp),
    ("apply-app", EventKind::ApplyApp),
    ("scale-app", EventKind::ScaleApp),
    ("rollback-app", EventKind::RollbackApp),
    ("restart-app", EventKind::RestartApp),
    ("stop-app", EventKind::StopApp),
    ("start-app", EventKind::StartApp),
    ("destroy-app", EventKind::DestroyApp),
    ("exec-app", EventKind::ExecApp),
    ("run-app", EventKind::RunApp),
    ("set-secret", EventKind::SetSecret),
    ("delete-secret", EventKind::DeleteSecret),
    ("rollout", EventKind::Rollout),
    ("replica", EventKind::Replica),
    ("rebalance", EventKind::Rebalance),
    ("heal-now", EventKind::HealNow),
    ("resume-reconciling", EventKind::ResumeReconciling),
    ("host-lost", EventKind::HostLost),
];

impl EventKind {
    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(name) => name,
            known => NAMES.iter().find(|(_, kind)| kind == known).map_or("", |(name, _)| name),
        }
    }
}

impl From<String> for EventKind {
    fn from(text: String) -> Self {
        match NAMES.iter().find(|(name, _)| *name == text) {
            Some((_, kind)) => kind.clone(),
            None => Self::Other(text),
        }
    }
}

impl From<EventKind> for String {
    fn from(kind: EventKind) -> String {
        kind.as_str().to_owned()
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_name_both_ways() {
        for (name, kind) in NAMES {
            assert_eq!(kind.as_str(), name);
            assert_eq!(EventKind::from(name.to_owned()), kind);
        }
        assert_eq!(EventKind::from("oom".to_owned()), EventKind::Other("oom".to_owned()));
    }

    #[test]
    fn an_event_without_facts_is_read_and_written_as_before() {
        let old = r#"{"id":"0197f2a4-5e2b-7c3d-8e4f-5a6b7c8d9e0f","type":"die","time":"2026-01-02T03:04:05Z","message":"die web (httpd:2) on one","tags":["docker"],"engine":"one"}"#;
        let event: Event = serde_json::from_str(old).unwrap();
        assert_eq!((event.exit_code, event.name.as_deref()), (None, None));
        assert_eq!(serde_json::to_string(&event).unwrap(), old);
    }
}
