//! Events as they happen, also for those who come back after a break.

use std::collections::HashSet;

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::{Controller, Result};
use crate::events::{Notice, SharedEvent};
use crate::model::{Event, EventId};

/// How many events a reader who comes back is given of those that it missed, at most.
pub(super) const MOST_REPLAYED: usize = 10_000;
/// How many are looked at first: most breaks are short.
const FEW: usize = 256;

impl Controller {
    /// Every event from now on. A reader that is too slow is told how many it missed.
    pub fn live_events(&self) -> BoxStream<'static, Notice> {
        self.shared.live.subscribe()
    }

    /// Every event after one that a reader had before its connection broke: first what it missed meanwhile, then what comes. Where
    /// that is more than ten thousand events, or is not in the log any more, it is told that it missed at least one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn live_events_after(&self, last: EventId) -> Result<BoxStream<'static, Notice>> {
        if let Some(live) = self.shared.live.subscribe_after(last) {
            return Ok(live);
        }
        // What comes while the log is read is heard of twice, and told once.
        let live = self.shared.live.subscribe();
        let (missed, is_whole) = self.events_after(last).await?;
        let mut told: HashSet<EventId> = missed.iter().map(|event| event.id).collect();
        let newest = missed.last().map_or(last, |event| event.id);
        let gap = if is_whole { None } else { Some(Notice::Lagged(1)) };
        let replayed = missed.into_iter().map(|event| Notice::Event(SharedEvent::from(event)));
        let live = live.filter(move |notice| {
            let is_new = match notice {
                Notice::Event(event) if told.remove(&event.id) => false,
                Notice::Event(event) => {
                    if event.id > newest {
                        told = HashSet::new();
                    }
                    true
                }
                Notice::Lagged(_) => true,
            };
            std::future::ready(is_new)
        });
        Ok(stream::iter(gap.into_iter().chain(replayed)).chain(live).boxed())
    }

    /// The events of the log after one, the oldest first, and whether nothing can be missing before them.
    async fn events_after(&self, last: EventId) -> Result<(Vec<Event>, bool)> {
        let mut found = self.events(FEW).await?;
        if found.len() == FEW && found.iter().all(|event| event.id > last) {
            found = self.events(MOST_REPLAYED + 1).await?;
        }
        let is_whole = found.iter().any(|event| event.id == last);
        found.retain(|event| event.id > last);
        found.truncate(MOST_REPLAYED);
        found.reverse();
        Ok((found, is_whole))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::events::{EventLog, EventSink};
    use crate::model::EventKind;
    use crate::store::MemoryStore;

    fn events(numbers: std::ops::Range<usize>) -> Vec<Event> {
        numbers.map(|number| Event::new(EventKind::Login, number.to_string())).collect()
    }

    async fn told(stream: BoxStream<'static, Notice>, count: usize) -> Vec<String> {
        let said = |notice| match notice {
            Notice::Event(event) => event.message.clone(),
            Notice::Lagged(count) => format!("missed {count}"),
        };
        stream.take(count).map(said).collect().await
    }

    #[tokio::test]
    async fn who_comes_back_is_told_what_it_missed_and_then_what_comes_once_each() {
        let store = Arc::new(MemoryStore::new());
        let log = EventLog::new(store.clone());
        let before = events(0..600);
        log.record(&before).await.unwrap();
        let controller = Controller::builder().store(store.clone()).build().await.unwrap();
        let live = controller.live_events_after(before[100].id).await.unwrap();
        for event in events(600..603) {
            controller.record(event).await.unwrap();
        }
        let wanted: Vec<String> = (101..603).map(|number| number.to_string()).collect();
        assert_eq!(told(live, 502).await, wanted);
        // From what is kept in memory, without the log.
        let newest = controller.events(2).await.unwrap();
        let live = controller.live_events_after(newest[1].id).await.unwrap();
        assert_eq!(told(live, 1).await, ["602"]);
        controller.shutdown().await;
    }

    #[tokio::test]
    async fn who_was_away_for_too_long_is_told_that_something_is_missing() {
        let store = Arc::new(MemoryStore::new());
        let log = EventLog::new(store.clone());
        let forgotten = events(0..1).remove(0);
        let kept = events(1..MOST_REPLAYED + 10);
        log.record(&kept).await.unwrap();
        let controller = Controller::builder().store(store.clone()).build().await.unwrap();
        let live = controller.live_events_after(kept[0].id).await.unwrap();
        assert_eq!(told(live, 2).await, ["missed 1", "10"], "more than are told again");
        log.record(&events(0..3)).await.unwrap();
        let live = controller.live_events_after(forgotten.id).await.unwrap();
        assert_eq!(told(live, 1).await, ["missed 1"], "the log does not have it any more");
        controller.shutdown().await;
    }
}
