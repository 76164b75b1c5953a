//! What happened, kept and told: the trait, and sinks that store, broadcast, publish and record.

mod broadcast;
mod log;
mod publisher;
mod queued;
mod recording;
mod retention;

use std::fmt;

use async_trait::async_trait;

use crate::model::Event;
use crate::store::StoreError;

pub use broadcast::{BroadcastSink, Notice, SharedEvent};
pub use log::EventLog;
pub use publisher::Publisher;
pub(crate) use queued::QueuedSink;
pub use recording::RecordingSink;
pub use retention::Retention;

/// Something that takes events: to print them, or to send them to where a company keeps such things.
///
/// [`ControllerBuilder::sink`](crate::controller::ControllerBuilder::sink) adds one to a controller. It gets every event: what
/// users ask for, and what the platform and the hosts tell. They come in the order in which the platform learned of them, which
/// is not always that of their times: clocks of hosts differ.
///
/// ```
/// use std::io::Write;
/// use std::sync::Arc;
///
/// use async_trait::async_trait;
/// use paas_core::controller::Controller;
/// use paas_core::events::{EventError, EventSink};
/// use paas_core::model::Event;
///
/// /// Prints events.
/// #[derive(Debug)]
/// struct Printer;
///
/// #[async_trait]
/// impl EventSink for Printer {
///     async fn record(&self, events: &[Event]) -> Result<(), EventError> {
///         let mut out = std::io::stdout().lock();
///         for event in events {
///             let who = event.user.as_ref().map_or("-", |user| user.as_str());
///             let printed = writeln!(out, "{} {} {who} {}", event.time, event.kind, event.message);
///             printed.map_err(|error| EventError::Sink(error.into()))?;
///         }
///         Ok(())
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let controller = Controller::builder().sink(Arc::new(Printer)).build().await?;
/// # controller.shutdown().await;
/// # Ok::<(), paas_core::controller::ControllerError>(())
/// # }).unwrap();
/// ```
#[async_trait]
pub trait EventSink: Send + Sync + fmt::Debug {
    /// Takes events, in their order. When this has answered, all of them are where the sink keeps its events.
    ///
    /// # Errors
    /// Not all of them could be kept.
    async fn record(&self, events: &[Event]) -> Result<(), EventError>;
}

/// An event that could not be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The store did not take it.
    #[error("the event could not be stored")]
    Store(#[source] StoreError),
    /// Another sink did not take it.
    #[error("an event sink failed")]
    Sink(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl EventError {
    /// Whether the sink may take the same events in a moment, without anybody mending anything. Some of them may be kept
    /// already. Another sink is taken to be able to.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Sink(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{EngineError, EngineErrorKind};
    use crate::registry::{RegistryError, RegistryErrorKind};
    use crate::store::StoreErrorKind;
    use crate::store::tables::EVENTS;

    #[test]
    fn only_what_passes_by_itself_may_be_tried_again() {
        let of_store = |kind| EventError::Store(StoreError::new(kind, "insert", EVENTS, "1"));
        assert!(of_store(StoreErrorKind::Unavailable).is_retryable());
        assert!(!of_store(StoreErrorKind::Broken).is_retryable() && !of_store(StoreErrorKind::Invalid).is_retryable());
        assert!(EventError::Sink("no".into()).is_retryable());
        let of_engine = |kind| EngineError::new(kind, "start", "").is_retryable();
        assert!(of_engine(EngineErrorKind::Unreachable) && !of_engine(EngineErrorKind::Refused));
        let of_registry = |kind| RegistryError::new(kind, "list", "").is_retryable();
        assert!(of_registry(RegistryErrorKind::Unavailable) && !of_registry(RegistryErrorKind::Broken));
    }
}
