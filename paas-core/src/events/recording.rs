//! Remembering events, for tests.

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{EventError, EventSink};
use crate::model::Event;

/// Keeps every event in memory, without limit: for tests.
#[derive(Debug, Default)]
pub struct RecordingSink {
    events: Mutex<Vec<Event>>,
}

impl RecordingSink {
    /// The events so far, the oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().clone()
    }
}

#[async_trait]
impl EventSink for RecordingSink {
    async fn record(&self, events: &[Event]) -> Result<(), EventError> {
        self.events.lock().extend_from_slice(events);
        Ok(())
    }
}
