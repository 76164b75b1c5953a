//! What can go wrong with something a user asked for.

use std::fmt;
use std::sync::Arc;

use crate::auth::AuthError;
use crate::engine::EngineError;
use crate::model::{Container, ContainerId, EngineId, Invalid};
use crate::scheduler::Refusal;
use crate::store::StoreError;

/// Result of what a user asked for.
pub type Result<T, E = ControllerError> = std::result::Result<T, E>;

/// Why something a user asked for was not done. Nothing of it was done, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControllerError {
    /// A value cannot be what it was given for.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// No container has such an id, id prefix or name.
    #[error("no container has the name '{reference}' or an id that starts so; list them with the stopped ones")]
    ContainerNotFound {
        /// What was asked for.
        reference: String,
    },
    /// Several containers have that name, or an id that starts so.
    #[error("{0}")]
    ContainerAmbiguous(Box<Ambiguity>),
    /// The policy does not let this account ask that of a host.
    #[error("{field}: {reason}")]
    NotAllowed {
        /// What asks for it.
        field: &'static str,
        /// Why not, and which setting opens it.
        reason: String,
    },
    /// There is no such engine.
    #[error("there is no engine '{id}'; list the engines to see their ids")]
    EngineNotFound {
        /// What was asked for.
        id: String,
    },
    /// There is no login to such a registry.
    #[error("there is no login to the registry '{registry}'; list the logins to see their registries")]
    RegistryLoginNotFound {
        /// What was asked for.
        registry: String,
    },
    /// The id, the address or the daemon belongs to an engine already.
    #[error("{reason}")]
    EngineExists {
        /// Which of them, to which engine, and what to do.
        reason: String,
    },
    /// There is no such application.
    #[error("there is no application '{name}'; list the applications to see their names")]
    AppNotFound {
        /// What was asked for.
        name: String,
    },
    /// The application has no such revision, or it is not kept any more.
    #[error("application {app} has no revision {revision}; its history lists those that are kept")]
    RevisionNotFound {
        /// The application.
        app: String,
        /// What was asked for.
        revision: u64,
    },
    /// The application has no such secret.
    #[error("application {app} has no secret '{name}'; 'secret list {app}' lists those that it has")]
    SecretNotFound {
        /// The application.
        app: String,
        /// What was asked for.
        name: String,
    },
    /// The application is not what it was when the change was planned.
    #[error("{reason}")]
    AppChanged {
        /// What is different, and what to do.
        reason: String,
    },
    /// A rollout has to end first, or its place has to be taken on purpose.
    #[error("{reason}")]
    RolloutUnderWay {
        /// Which, and what to do.
        reason: String,
    },
    /// There is not enough room, or no engine passes the filters.
    #[error(transparent)]
    NoRoom(Refusal),
    /// The thing is not in a state for that.
    #[error("{reason}")]
    Conflict {
        /// Which state, and what to do.
        reason: String,
    },
    /// The container is a replica of an application, which decides whether it runs.
    #[error("{reason}")]
    ManagedByApplication {
        /// Which one, and what to do.
        reason: String,
    },
    /// The key belongs to another request already.
    #[error("the key {key:?} was used for another request; give every request a key of its own")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// The platform did not start that container, so it does not know what an identical one would be.
    #[error("container {} was not started by this platform, so it cannot be scaled; run it here first", id.short())]
    NotManaged {
        /// The container.
        id: ContainerId,
    },
    /// Login, token, role or account.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The engine did not do it. It may have been done all the same when the engine did not answer.
    #[error("engine {engine} {source}")]
    Engine {
        /// The engine.
        engine: EngineId,
        /// What it said.
        source: EngineError,
    },
    /// The store did not do it.
    #[error("the platform's own records cannot be read or written")]
    Store(#[source] StoreError),
    /// The controller is shutting down and takes no more work.
    #[error("the server is shutting down; try again in a moment")]
    ShuttingDown,
    /// A fault of the platform itself. It may have been done all the same.
    #[error("the platform failed in the middle of this; its log says where")]
    Panicked,
}

impl ControllerError {
    /// Whether the same may work when it is asked for again in a moment, without anybody mending anything. What was asked for
    /// may have been done all the same; asked for again with its key, it is not done twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Auth(error) => error.is_retryable(),
            Self::Engine { source, .. } => source.is_retryable(),
            Self::ShuttingDown => true,
            Self::Invalid(_)
            | Self::ContainerNotFound { .. }
            | Self::ContainerAmbiguous(_)
            | Self::EngineNotFound { .. }
            | Self::RegistryLoginNotFound { .. }
            | Self::EngineExists { .. }
            | Self::AppNotFound { .. }
            | Self::RevisionNotFound { .. }
            | Self::SecretNotFound { .. }
            | Self::AppChanged { .. }
            | Self::RolloutUnderWay { .. }
            | Self::NoRoom(_)
            | Self::Conflict { .. }
            | Self::ManagedByApplication { .. }
            | Self::KeyReused { .. }
            | Self::NotAllowed { .. }
            | Self::NotManaged { .. }
            | Self::Panicked => false,
        }
    }
}

/// Several containers that one reference fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Ambiguity {
    /// What was asked for.
    pub reference: String,
    /// Whether it is the name of each. Otherwise the id of each starts so.
    pub is_name: bool,
    /// The containers it fits, by id.
    pub candidates: Vec<Arc<Container>>,
    /// Whether these are all of them.
    pub is_all: bool,
}

impl fmt::Display for Ambiguity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reference, candidates, .. } = self;
        let more = if self.is_all { "" } else { "more than " };
        let count = candidates.len();
        match self.is_name {
            // Names are unique on an engine, and on no more than that.
            true => write!(f, "'{reference}' is the name of {more}{count} containers; give the id of one of them: ")?,
            false => {
                write!(f, "{more}{count} containers have an id that starts with '{reference}'; give more digits: ")?;
            }
        }
        for (index, container) in candidates.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let name = container.name.trim_start_matches('/');
            write!(f, "{comma}{} ({name} on engine {})", container.id.short(), container.engine.id)?;
        }
        Ok(())
    }
}
