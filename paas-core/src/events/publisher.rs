//! The log first, and then everybody who subscribes.

use std::sync::Arc;

use async_trait::async_trait;

use super::{EventError, EventLog, EventSink};
use crate::model::Event;
use crate::store::{self, StoreErrorKind, Write};

/// Gives events to the log, and what the log has to the subscribers. Only the log can refuse: what a subscriber has against an
/// event is a warning.
#[derive(Clone, Debug)]
pub struct Publisher {
    log: Arc<EventLog>,
    subscribers: Vec<Arc<dyn EventSink>>,
}

impl Publisher {
    /// A sink in front of `log` and then of `subscribers`, in that order.
    pub fn new(log: Arc<EventLog>, subscribers: Vec<Arc<dyn EventSink>>) -> Self {
        Self { log, subscribers }
    }

    /// The write that keeps an event, to be made together with the change that the event tells of.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] when the event has no form in JSON.
    pub(crate) fn insertion(&self, event: &Event) -> store::Result<Write> {
        self.log.insertion(event)
    }

    /// Gives the subscribers an event that was stored together with the change it tells of.
    pub(crate) async fn publish(&self, event: Event) {
        self.log.added(1);
        self.give_to_subscribers(&[event]).await;
    }

    async fn give_to_subscribers(&self, events: &[Event]) {
        for subscriber in &self.subscribers {
            if let Err(error) = subscriber.record(events).await {
                tracing::warn!(%error, "events were stored, and not every subscriber took them");
            }
        }
    }
}

#[async_trait]
impl EventSink for Publisher {
    async fn record(&self, events: &[Event]) -> Result<(), EventError> {
        match self.log.record(events).await {
            Ok(()) => {}
            // It was kept before, and only the answer was lost: no subscriber has it yet.
            Err(EventError::Store(error)) if events.len() == 1 && error.kind() == StoreErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        self.give_to_subscribers(events).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::RecordingSink;
    use crate::model::EventKind;
    use crate::store::MemoryStore;
    use crate::testing::store::FailingStore;

    #[derive(Debug)]
    struct Refusing;

    #[async_trait]
    impl EventSink for Refusing {
        async fn record(&self, _events: &[Event]) -> Result<(), EventError> {
            Err(EventError::Sink("no".into()))
        }
    }

    #[tokio::test]
    async fn what_the_log_refuses_nobody_gets_and_a_subscriber_refuses_nothing() {
        let store = Arc::new(FailingStore::new(Arc::new(MemoryStore::new())));
        let taken = Arc::new(RecordingSink::default());
        let log = Arc::new(EventLog::new(store.clone()));
        let publisher = Publisher::new(log, vec![Arc::new(Refusing), taken.clone()]);
        let event = [Event::new(EventKind::Login, "a")];
        store.fail_after_writes(Some(0));
        assert!(publisher.record(&event).await.is_err());
        assert!(taken.events().is_empty());
        store.fail_after_writes(None);
        publisher.record(&event).await.unwrap();
        assert_eq!(taken.events().len(), 1, "one that refuses keeps it from no other");
    }

    #[tokio::test]
    async fn what_was_kept_and_not_told_is_told_when_it_is_recorded_again() {
        let (log, told) = (Arc::new(EventLog::new(Arc::new(MemoryStore::new()))), Arc::new(RecordingSink::default()));
        let event = [Event::new(EventKind::Login, "a")];
        log.record(&event).await.unwrap();
        Publisher::new(log.clone(), vec![told.clone()]).record(&event).await.unwrap();
        assert_eq!((log.newest(10).await.unwrap().len(), told.events().len()), (1, 1));
    }
}
