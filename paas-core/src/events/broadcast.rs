//! Telling everybody who listens.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::{EventError, EventSink};
use crate::model::Event;

/// What a listener hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// An event.
    Event(Arc<Event>),
    /// The listener was too slow, and so many events were dropped for it.
    Missed(u64),
}

/// Gives every event to everybody who listens at that moment. Keeps at most a fixed number for those who are behind, so a
/// listener that does not read costs itself events and nobody anything else.
#[derive(Debug)]
pub struct BroadcastSink {
    sender: broadcast::Sender<Arc<Event>>,
}

impl BroadcastSink {
    /// A sink whose listeners may be `backlog` events behind.
    pub fn new(backlog: usize) -> Self {
        Self { sender: broadcast::Sender::new(backlog.max(1)) }
    }

    /// Every event from now on.
    pub fn subscribe(&self) -> BoxStream<'static, Notice> {
        BroadcastStream::new(self.sender.subscribe())
            .map(|received| match received {
                Ok(event) => Notice::Event(event),
                Err(BroadcastStreamRecvError::Lagged(missed)) => Notice::Missed(missed),
            })
            .boxed()
    }
}

#[async_trait]
impl EventSink for BroadcastSink {
    async fn record(&self, event: &Event) -> Result<(), EventError> {
        // Fails only when nobody listens.
        let _ = self.sender.send(Arc::new(event.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventKind;

    #[tokio::test]
    async fn a_listener_that_does_not_read_is_told_what_it_missed() {
        let sink = BroadcastSink::new(4);
        let mut listener = sink.subscribe();
        for number in 0..10 {
            sink.record(&Event::new(EventKind::Login, number.to_string())).await.unwrap();
        }
        assert_eq!(listener.next().await, Some(Notice::Missed(6)));
        let Some(Notice::Event(next)) = listener.next().await else { panic!("no event") };
        assert_eq!(next.message, "6");
    }
}
