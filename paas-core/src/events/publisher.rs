//! The log first, and then everybody who subscribes.

use std::sync::Arc;

use async_trait::async_trait;

use super::{EventError, EventSink};
use crate::model::Event;
use crate::store::StoreErrorKind;

/// Gives events to the log, and what the log has to the subscribers. Only the log can refuse: what a subscriber has against an
/// event is a warning.
#[derive(Debug)]
pub struct Publisher {
    log: Arc<dyn EventSink>,
    subscribers: Arc<dyn EventSink>,
}

impl Publisher {
    /// A sink in front of `log` and `subscribers`.
    pub fn new(log: Arc<dyn EventSink>, subscribers: Arc<dyn EventSink>) -> Self {
        Self { log, subscribers }
    }
}

#[async_trait]
impl EventSink for Publisher {
    async fn record(&self, events: &[Event]) -> Result<(), EventError> {
        match self.log.record(events).await {
            Ok(()) => {}
            // It was kept before, and only the answer was lost: nobody was told of it yet.
            Err(EventError::Store(error)) if events.len() == 1 && error.kind() == StoreErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        if let Err(error) = self.subscribers.record(events).await {
            tracing::warn!(%error, "events were stored, and not everybody was told of them");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{EventLog, RecordingSink};
    use crate::model::EventKind;
    use crate::store::MemoryStore;

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
        let told = Arc::new(RecordingSink::default());
        let event = [Event::new(EventKind::Login, "a")];
        assert!(Publisher::new(Arc::new(Refusing), told.clone()).record(&event).await.is_err());
        assert!(told.events().is_empty());
        Publisher::new(told.clone(), Arc::new(Refusing)).record(&event).await.unwrap();
        assert_eq!(told.events().len(), 1);
    }

    #[tokio::test]
    async fn what_was_kept_and_not_told_is_told_when_it_is_recorded_again() {
        let (log, told) = (Arc::new(EventLog::new(Arc::new(MemoryStore::new()))), Arc::new(RecordingSink::default()));
        let event = [Event::new(EventKind::Login, "a")];
        log.record(&event).await.unwrap();
        Publisher::new(log.clone(), told.clone()).record(&event).await.unwrap();
        assert_eq!((log.newest(10).await.unwrap().len(), told.events().len()), (1, 1));
    }
}
