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

/// Something that takes events.
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
pub enum EventError {
    /// The store did not take it.
    #[error("the event could not be stored")]
    Store(#[source] StoreError),
    /// Another sink did not take it.
    #[error("an event sink failed")]
    Sink(#[source] Box<dyn std::error::Error + Send + Sync>),
}
