//! The log of events in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{EventError, EventSink};
use crate::clock::Clock;
use crate::model::Event;
use crate::store::tables::EVENTS;
use crate::store::{Collection, KeyRange, LowPriorityStore, MAX_WRITES, Store, StoreError, StoreErrorKind, Write};

/// After how many events it is time to look whether there are too many.
pub(super) const MANY: usize = 2000;

/// How long events wait for others who use the store, each time that a hundred are written: where that takes 5 ms as well,
/// 10,000 a second still get through while others ask for something all the time.
const TIMEOUT: Duration = Duration::from_millis(5);

/// How many events are read at once.
const PAGE: usize = 1000;

/// Keeps events in a store. Their ids sort by time, so the newest are the last keys.
#[derive(Debug)]
pub struct EventLog {
    events: Collection<Event>,
    pub(super) store: LowPriorityStore,
    /// Events since somebody was told that many came.
    new: AtomicUsize,
    /// Tells that many came.
    pub(super) grown: Notify,
    pub(super) clock: Clock,
}

impl EventLog {
    /// The log in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self::beside_others(LowPriorityStore::new(store))
    }

    /// The log in a store of which others ask something as well, and they go first where many events come at once.
    pub(crate) fn beside_others(store: LowPriorityStore) -> Self {
        let events = Collection::new(Arc::new(store.clone()), EVENTS);
        Self { events, store, new: AtomicUsize::new(0), grown: Notify::new(), clock: Clock::system() }
    }

    /// The same log, going by another clock than the machine's.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The newest `count` events, the newest first. Asking for more than there are gives what there is.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn newest(&self, count: usize) -> Result<Vec<Event>, EventError> {
        let mut found: Vec<Event> = Vec::new();
        let mut to = None;
        // In pieces, so that a wish for everything keeps nobody else from the store.
        while found.len() < count {
            let limit = PAGE.min(count - found.len());
            let page = self.events.list(&KeyRange { to, ..KeyRange::last(limit) }).await.map_err(EventError::Store)?;
            let is_last = page.len() < limit;
            to = page.last().map(|oldest| oldest.key.clone());
            found.extend(page.into_iter().map(|event| event.value));
            if is_last {
                break;
            }
        }
        Ok(found)
    }
}

impl EventLog {
    /// The write that keeps an event, to be made together with the change that the event tells of.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] when the event has no form in JSON.
    pub(crate) fn insertion(&self, event: &Event) -> crate::store::Result<Write> {
        self.events.insertion(&event.id.to_string(), event)
    }

    /// Notes that so many events were added.
    pub(crate) fn added(&self, count: usize) {
        let before = self.new.fetch_add(count, Ordering::Relaxed);
        if before / MANY != (before + count) / MANY {
            self.grown.notify_one();
        }
    }

    /// Keeps a few events, in one write.
    async fn keep_together(&self, events: &[Event]) -> Result<(), StoreError> {
        let writes = events.iter().map(|event| self.insertion(event)).collect::<Result<Vec<_>, _>>()?;
        let kept = match events {
            [_] => self.store.commit(writes).await,
            _ => self.store.commit_when_quiet(writes, TIMEOUT).await,
        };
        match kept {
            // Together they are more than the store takes at once.
            Err(error) if error.kind() == StoreErrorKind::Invalid && events.len() > 1 => {
                for event in events {
                    self.events.insert(&event.id.to_string(), event).await?;
                }
            }
            outcome => drop(outcome?),
        }
        self.added(events.len());
        Ok(())
    }
}

#[async_trait]
impl EventSink for EventLog {
    async fn record(&self, events: &[Event]) -> Result<(), EventError> {
        // One after the other: other writers wait for one of them at most.
        for few in events.chunks(MAX_WRITES) {
            self.keep_together(few).await.map_err(EventError::Store)?;
        }
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
            log.record(&[Event::new(EventKind::Login, number.to_string())]).await.unwrap();
        }
        let messages = |events: Vec<Event>| events.into_iter().map(|event| event.message).collect::<Vec<_>>();
        assert_eq!(messages(log.newest(2).await.unwrap()), ["4", "3"]);
        assert_eq!(messages(log.newest(1_000_000).await.unwrap()), ["4", "3", "2", "1", "0"]);
    }

    #[tokio::test]
    async fn many_at_once_are_kept_whole_and_in_their_order() {
        let log = EventLog::new(Arc::new(MemoryStore::new()));
        let many: Vec<Event> = (0..250).map(|number| Event::new(EventKind::Login, number.to_string())).collect();
        log.record(&many).await.unwrap();
        let mut kept = log.newest(1000).await.unwrap();
        kept.reverse();
        assert_eq!(kept, many);
        for _ in 0..8 {
            log.record(&(0..250).map(|number| Event::new(EventKind::Login, number.to_string())).collect::<Vec<_>>())
                .await
                .unwrap();
        }
        let ids = |events: Vec<Event>| events.into_iter().map(|event| event.id).collect::<Vec<_>>();
        let all = ids(log.newest(usize::MAX).await.unwrap());
        assert_eq!(all.len(), 2250);
        assert!(all.is_sorted_by(|newer, older| newer > older), "each once, also from one piece to the next");
        assert_eq!(ids(log.newest(1001).await.unwrap()), all[..1001]);
    }

    #[tokio::test(start_paused = true)]
    async fn several_at_once_let_others_go_first_and_one_does_not() {
        let store = LowPriorityStore::new(Arc::new(MemoryStore::new()));
        let log = EventLog::beside_others(store.clone());
        let events: Vec<Event> = (0..3).map(|number| Event::new(EventKind::Login, number.to_string())).collect();
        let _other = store.under_way();
        let begun = tokio::time::Instant::now();
        log.record(&events[..1]).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        log.record(&events[1..]).await.unwrap();
        assert!(begun.elapsed() >= TIMEOUT, "they waited");
    }

    #[cfg(feature = "etcd")]
    #[tokio::test]
    async fn those_that_are_too_large_together_are_kept_one_by_one() {
        let test = "those_that_are_too_large_together_are_kept_one_by_one";
        let Some(etcd) = crate::testing::etcd::Etcd::start(test).await else { return };
        let log = EventLog::new(crate::store::open_store(&etcd.url()).await.unwrap());
        let large: Vec<Event> = (0..5).map(|_| Event::new(EventKind::Login, "x".repeat(400_000))).collect();
        log.record(&large).await.unwrap();
        assert_eq!(log.newest(10).await.unwrap().len(), 5);
    }
}
