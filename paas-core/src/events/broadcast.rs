//! Gives every event to everybody who listens, and keeps the newest for those who come back.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use parking_lot::RwLock;
use tokio::sync::watch;

use super::{EventError, EventSink};
use crate::model::{Event, EventId};

/// How many events a listener takes at once.
const AT_ONCE: usize = 256;

/// An event that all listeners share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedEvent(Arc<(Event, OnceLock<String>)>);

impl SharedEvent {
    /// Its JSON, on one line. It is made once, for all who share it.
    pub fn json(&self) -> &str {
        let (event, json) = &*self.0;
        // An event is text, numbers and lists, so it always has a JSON form.
        json.get_or_init(|| serde_json::to_string(event).unwrap_or_default())
    }
}

impl From<Event> for SharedEvent {
    fn from(event: Event) -> Self {
        Self(Arc::new((event, OnceLock::new())))
    }
}

impl Deref for SharedEvent {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.0.0
    }
}

impl PartialEq for SharedEvent {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// An event.
    Event(SharedEvent),
    /// The listener was too slow, and so many events were dropped for it.
    Lagged(u64),
}

/// Gives every event to everybody who listens at that moment. Keeps at most a fixed number for those who are behind, so a
/// listener that does not read costs itself events and nobody anything else.
///
/// Events that come together wake each listener once, and not once each: with many listeners that is most of the work.
#[derive(Debug)]
pub struct BroadcastSink {
    shared: Arc<Shared>,
    /// How many events there ever were; wakes those who wait for more.
    count: watch::Sender<u64>,
    /// Whether anybody has ever subscribed. Until then nothing is kept.
    is_used: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    newest: RwLock<Newest>,
    backlog: usize,
}

/// The newest events, and how many there were before them.
#[derive(Debug, Default)]
struct Newest {
    before: u64,
    events: VecDeque<SharedEvent>,
}

impl BroadcastSink {
    /// A sink whose listeners may be `backlog` events behind.
    pub fn new(backlog: usize) -> Self {
        let shared = Shared { newest: RwLock::default(), backlog: backlog.max(1) };
        Self { shared: Arc::new(shared), count: watch::Sender::new(0), is_used: AtomicBool::new(false) }
    }

    /// Every event from now on. Ends with the sink.
    pub fn subscribe(&self) -> BoxStream<'static, Notice> {
        self.is_used.store(true, Ordering::Relaxed);
        let mut count = self.count.subscribe();
        let next = *count.borrow_and_update();
        self.from(next, count)
    }

    /// Every event after one that is among those that are kept, in the order in which they were published. `None`
    /// when that one is not kept.
    pub fn subscribe_after(&self, id: EventId) -> Option<BoxStream<'static, Notice>> {
        let count = self.count.subscribe();
        let next = {
            let newest = self.shared.newest.read();
            let position = newest.events.iter().rposition(|event| event.id == id)?;
            newest.before + position as u64 + 1
        };
        Some(self.from(next, count))
    }

    fn from(&self, next: u64, count: watch::Receiver<u64>) -> BoxStream<'static, Notice> {
        let listener = Listener { shared: self.shared.clone(), count, next };
        stream::unfold(listener, Listener::hear).flat_map(stream::iter).boxed()
    }
}

/// Somebody who listens.
struct Listener {
    shared: Arc<Shared>,
    count: watch::Receiver<u64>,
    /// The number of the event that is to be heard next.
    next: u64,
}

impl Listener {
    /// Waits for events; a few of them, and what was missed before them.
    async fn hear(mut self) -> Option<(Vec<Notice>, Self)> {
        // What was told before the end is still heard.
        self.count.wait_for(|count| *count > self.next).await.ok()?;
        let mut heard = Vec::with_capacity(AT_ONCE + 1);
        {
            let newest = self.shared.newest.read();
            let missed = newest.before.saturating_sub(self.next);
            if missed > 0 {
                heard.push(Notice::Lagged(missed));
                self.next = newest.before;
            }
            let skipped = usize::try_from(self.next - newest.before).unwrap_or(usize::MAX);
            heard.extend(newest.events.iter().skip(skipped).take(AT_ONCE).cloned().map(Notice::Event));
        }
        self.next += heard.iter().filter(|notice| matches!(notice, Notice::Event(_))).count() as u64;
        Some((heard, self))
    }
}

#[async_trait]
impl EventSink for BroadcastSink {
    async fn record(&self, events: &[Event]) -> Result<(), EventError> {
        // Those who come back go on from what is kept, so that is kept also while nobody is there.
        if !self.is_used.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut newest = self.shared.newest.write();
        newest.events.extend(events.iter().cloned().map(SharedEvent::from));
        while newest.events.len() > self.shared.backlog {
            newest.events.pop_front();
            newest.before += 1;
        }
        let count = newest.before + newest.events.len() as u64;
        drop(newest);
        // Another may have counted further meanwhile.
        self.count.send_modify(|known| *known = count.max(*known));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventKind;

    fn events(numbers: std::ops::Range<usize>) -> Vec<Event> {
        numbers.map(|number| Event::new(EventKind::Login, number.to_string())).collect()
    }

    async fn heard(listener: &mut BoxStream<'static, Notice>, count: usize) -> Vec<String> {
        let notices: Vec<Notice> = listener.take(count).collect().await;
        let said = |notice| match notice {
            Notice::Event(event) => Event::clone(&event).message,
            Notice::Lagged(missed) => format!("missed {missed}"),
        };
        notices.into_iter().map(said).collect()
    }

    #[tokio::test]
    async fn a_listener_that_does_not_read_is_told_what_it_missed() {
        let sink = BroadcastSink::new(4);
        let mut listener = sink.subscribe();
        for number in 0..10 {
            sink.record(&events(number..number + 1)).await.unwrap();
        }
        assert_eq!(heard(&mut listener, 5).await, ["missed 6", "6", "7", "8", "9"]);
        sink.record(&events(10..20)).await.unwrap();
        assert_eq!(heard(&mut listener, 5).await, ["missed 6", "16", "17", "18", "19"]);
        assert_eq!(sink.shared.newest.read().events.len(), 4, "and it keeps nothing for it");
    }

    #[tokio::test]
    async fn one_that_comes_back_goes_on_after_what_it_heard() {
        let sink = BroadcastSink::new(4);
        let (first, second) = (events(0..3), events(3..5));
        drop(sink.subscribe());
        sink.record(&first).await.unwrap();
        let mut listener = sink.subscribe_after(first[0].id).unwrap();
        sink.record(&second).await.unwrap();
        assert_eq!(heard(&mut listener, 4).await, ["1", "2", "3", "4"]);
        assert!(sink.subscribe_after(first[0].id).is_none(), "that one is not kept any more");
        let mut listener = sink.subscribe_after(second[1].id).unwrap();
        sink.record(&events(5..6)).await.unwrap();
        assert_eq!(heard(&mut listener, 1).await, ["5"]);
    }

    #[tokio::test]
    async fn every_listener_hears_everything_from_its_beginning_on_and_in_order() {
        let sink = BroadcastSink::new(10_000);
        sink.record(&events(0..5)).await.unwrap();
        let mut early = sink.subscribe();
        sink.record(&events(5..1000)).await.unwrap();
        let mut late = sink.subscribe();
        sink.record(&events(1000..2000)).await.unwrap();
        let names = |range: std::ops::Range<usize>| range.map(|number| number.to_string()).collect::<Vec<_>>();
        assert_eq!(heard(&mut early, 1995).await, names(5..2000));
        assert_eq!(heard(&mut late, 1000).await, names(1000..2000));
        drop(sink);
        assert_eq!(early.next().await, None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn those_that_record_at_once_lose_nothing() {
        let sink = Arc::new(BroadcastSink::new(10_000));
        let mut listener = sink.subscribe();
        let recording = (0..50).map(|number| {
            let sink = sink.clone();
            tokio::spawn(async move { sink.record(&events(number * 100..number * 100 + 100)).await.unwrap() })
        });
        futures::future::join_all(recording).await;
        let mut all: Vec<usize> = heard(&mut listener, 5000).await.iter().map(|text| text.parse().unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..5000).collect::<Vec<_>>());
    }
}
