//! Errors of the registries.

use std::error::Error;
use std::fmt;

/// What a caller can do about a failed verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryErrorKind {
    /// The lease ran out or never was: get a new one and register again.
    LeaseExpired,
    /// Somebody else who is alive holds that id.
    Taken,
    /// What was given is not something the registry can hold.
    Invalid,
    /// The registry did not answer: the same call may work later.
    Unavailable,
    /// The registry does not let us in, or cannot go on as it is: a person must look at it.
    Broken,
}

/// A failed verb of a registry.
#[derive(Debug)]
pub struct RegistryError {
    kind: RegistryErrorKind,
    operation: &'static str,
    detail: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl RegistryError {
    /// A failure of `operation`, with a sentence that helps.
    pub fn new(kind: RegistryErrorKind, operation: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, operation, detail: detail.into(), source: None }
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether the same call may work in a moment, without anybody mending anything. It may have been done all the same.
    pub fn is_retryable(&self) -> bool {
        self.kind == RegistryErrorKind::Unavailable
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> RegistryErrorKind {
        self.kind
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "registry: cannot {}: {}", self.operation, self.detail)
    }
}

impl Error for RegistryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
