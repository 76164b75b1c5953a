//! The log of events in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{EventError, EventSink};
use crate::model::Event;
use crate::store::tables::EVENTS;
use crate::store::{Collection, KeyRange, Store, Write};

/// After how many events it is time to look whether there are too many.
pub(super) const MANY: usize = 2000;

/// Keeps events in a store. Their ids sort by time, so the newest are the last keys.
#[derive(Debug)]
pub struct EventLog {
    events: Collection<Event>,
    pub(super) store: Arc<dyn Store>,
    /// Events since somebody was told that many came.
    new: AtomicUsize,
    /// Tells that many came.
    pub(super) grown: Notify,
}

impl EventLog {
    /// The log in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { events: Collection::new(store.clone(), EVENTS), store, new: AtomicUsize::new(0), grown: Notify::new() }
    }

    /// The newest `count` events, the newest first. Asking for more than there are gives what there is.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn newest(&self, count: usize) -> Result<Vec<Event>, EventError> {
        let found = self.events.list(&KeyRange::last(count)).await.map_err(EventError::Store)?;
        Ok(found.into_iter().map(|event| event.value).collect())
    }
}

impl EventLog {
    /// The write that keeps an event, to be made together with the change that the event tells of.
    ///
    /// # Errors
    /// [`crate::store::StoreErrorKind::Invalid`] when the event has no form in JSON.
    pub(crate) fn insertion(&self, event: &Event) -> crate::store::Result<Write> {
        self.events.insertion(&event.id.to_string(), event)
    }

    /// Notes that an event was added.
    pub(crate) fn added(&self) {
        if self.new.fetch_add(1, Ordering::Relaxed) % MANY == MANY - 1 {
            self.grown.notify_one();
        }
    }
}

#[async_trait]
impl EventSink for EventLog {
    async fn record(&self, event: &Event) -> Result<(), EventError> {
        self.events.insert(&event.id.to_string(), event).await.map_err(EventError::Store)?;
        self.added();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventKind;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn the_newest_come_first_and_no_more_than_there_are() {
        let log = EventLog::new(Arc::new(MemoryStore::new()));
        assert!(log.newest(10).await.unwrap().is_empty());
        for number in 0..5 {
            log.record(&Event::new(EventKind::Login, number.to_string())).await.unwrap();
        }
        let messages = |events: Vec<Event>| events.into_iter().map(|event| event.message).collect::<Vec<_>>();
        assert_eq!(messages(log.newest(2).await.unwrap()), ["4", "3"]);
        assert_eq!(messages(log.newest(1_000_000).await.unwrap()), ["4", "3", "2", "1", "0"]);
    }
}
