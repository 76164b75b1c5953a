//! One event, several sinks.

use std::sync::Arc;

use async_trait::async_trait;

use super::{EventError, EventSink};
use crate::model::Event;

/// Gives events to several sinks, one after the other. Stops at the first that fails: what the log could not keep is
/// told to nobody.
#[derive(Debug)]
pub struct FanOut {
    sinks: Vec<Arc<dyn EventSink>>,
}

impl FanOut {
    /// A sink in front of `sinks`, in that order.
    pub fn new(sinks: Vec<Arc<dyn EventSink>>) -> Self {
        Self { sinks }
    }
}

#[async_trait]
impl EventSink for FanOut {
    async fn record(&self, events: &[Event]) -> Result<(), EventError> {
        for sink in &self.sinks {
            sink.record(events).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::RecordingSink;
    use crate::model::EventKind;

    #[derive(Debug)]
    struct Refusing;

    #[async_trait]
    impl EventSink for Refusing {
        async fn record(&self, _events: &[Event]) -> Result<(), EventError> {
            Err(EventError::Sink("no".into()))
        }
    }

    #[tokio::test]
    async fn what_the_first_refuses_the_second_does_not_get() {
        let (first, last) = (Arc::new(RecordingSink::default()), Arc::new(RecordingSink::default()));
        let sink = FanOut::new(vec![first.clone(), Arc::new(Refusing), last.clone()]);
        assert!(sink.record(&[Event::new(EventKind::Login, "a")]).await.is_err());
        assert_eq!((first.events().len(), last.events().len()), (1, 0));
    }
}
