//! Errors of the engines.

use std::error::Error;
use std::fmt;

/// What a caller can do about a failed operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineErrorKind {
    /// The host did not answer in time or cannot be reached. What it was told may or may not have happened.
    Unreachable,
    /// The host does not have the image, and cannot get it.
    NoSuchImage,
    /// There is no such container on the host.
    NoSuchContainer,
    /// The port is bound on the host already.
    PortTaken,
    /// The name is taken, or the container is not in a state for that.
    Conflict,
    /// Docker does not take what it was given: no host would.
    Refused,
    /// The image does not have the program that is to run, or may not run it: on no host.
    NoSuchProgram,
    /// This host cannot do it as it is: it lacks a network, a plugin, a runtime, a device or CPUs. Another may have them.
    Unable,
    /// The certificate, key or authority does not fit.
    Tls,
    /// Another server leads by now: only that one changes hosts. See [`FencedEngine`](crate::leadership::FencedEngine).
    NotLeading,
    /// Docker failed for a reason of its own.
    Failed,
}

/// A failed operation of an engine.
#[derive(Debug)]
pub struct EngineError {
    kind: EngineErrorKind,
    operation: &'static str,
    detail: String,
    nobody_listens: bool,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl EngineError {
    /// A failure of `operation`, with a sentence for people: what Docker said, or what to do.
    pub fn new(kind: EngineErrorKind, operation: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, operation, detail: detail.into(), nobody_listens: false, source: None }
    }

    /// The same error of a host that said itself that nobody listens at the address.
    #[must_use]
    pub fn with_nobody_listening(mut self) -> Self {
        self.nobody_listens = true;
        self
    }

    /// The same error, whose sentence begins with what it is about.
    #[must_use]
    pub fn about(mut self, what: impl fmt::Display) -> Self {
        self.detail = format!("{what}: {}", self.detail);
        self
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error with another sentence, and without its cause, which may say the same.
    #[must_use]
    pub(crate) fn retold(self, retell: impl FnOnce(&str) -> String) -> Self {
        Self { detail: retell(&self.detail), source: None, ..self }
    }

    /// The same error, about which something else can be done.
    #[must_use]
    pub(crate) fn with_kind(self, kind: EngineErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> EngineErrorKind {
        self.kind
    }

    /// The sentence for people, without the operation.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Whether the host said itself that nobody listens at the address: it lives, and its daemon does not.
    pub fn nobody_listens(&self) -> bool {
        self.nobody_listens
    }

    /// Whether the same may work on this host in a moment, without anybody mending anything. It may have been done all the
    /// same: ask first what is there.
    pub fn is_retryable(&self) -> bool {
        self.kind == EngineErrorKind::Unreachable
    }

    /// Whether the same request could work on another host.
    pub fn is_of_the_engine(&self) -> bool {
        use EngineErrorKind as Kind;
        matches!(
            self.kind,
            Kind::Unreachable | Kind::NoSuchImage | Kind::PortTaken | Kind::Unable | Kind::Tls | Kind::Failed
        )
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.operation, self.detail)
    }
}

impl Error for EngineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
