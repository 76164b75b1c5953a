//! Forgetting old events: in the background, a few at a time.
//!
//! Nothing is remembered that could not be found again, so it may end at any point and begin again, and several servers may
//! do it at once.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{EventError, EventLog};
use crate::background::Report;
use crate::model::EventId;
use crate::store::tables::EVENTS;
use crate::store::{Direction, KeyRange, Result, Store, StoreErrorKind};

/// How many events are read or deleted before others get a turn.
const STEP: usize = 250;
/// How many are deleted at once, so that the store can write them in one go.
const AT_ONCE: usize = 25;
/// The longest rest between two steps.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// Events that are younger are not counted yet: another may come in between.
const UNSETTLED: Duration = Duration::from_secs(10);
/// After how long everything is counted again, for what others deleted or put in.
const RECOUNT: Duration = Duration::from_secs(24 * 3600);

/// How many events are kept, and for how long. An event goes when either says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Older events are forgotten; `None` for no limit.
    pub max_age: Option<Duration>,
    /// Of more events, the oldest are forgotten; `None` for no limit.
    pub max_count: Option<usize>,
    /// How often to look, besides whenever many events came.
    pub interval: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            max_age: Some(Duration::from_secs(90 * 24 * 3600)),
            max_count: Some(200_000),
            interval: Duration::from_secs(600),
        }
    }
}

/// How many events there are, counted from the oldest up to a key.
#[derive(Debug)]
struct Tally {
    count: usize,
    up_to: Option<String>,
    since: Instant,
}

impl Default for Tally {
    fn default() -> Self {
        Self { count: 0, up_to: None, since: Instant::now() }
    }
}

impl EventLog {
    /// Forgets old events for ever. What fails is tried again the next time.
    pub(crate) async fn keep(&self, retention: &Retention, report: &Report) {
        let mut tally = Tally::default();
        loop {
            match self.forget(retention, &mut tally, self.clock.now()).await {
                Ok(forgotten) => {
                    if forgotten > 0 {
                        tracing::info!(forgotten, "forgot old events");
                    }
                    report.ok();
                }
                Err(error) => {
                    tracing::warn!(%error, "old events cannot be forgotten now");
                    report.failed(&error);
                }
            }
            tokio::select! {
                biased;
                () = sleep(retention.interval) => {}
                () = self.grown.notified() => {}
                () = report.woken() => {}
            }
        }
    }

    /// Forgets what is too old at `now`, and what is too much. Says how many events that were.
    ///
    /// # Errors
    /// The store does not answer; what was forgotten until then stays so.
    pub async fn forget_old(&self, retention: &Retention, now: Timestamp) -> Result<usize, EventError> {
        self.forget(retention, &mut Tally::default(), now).await.map_err(EventError::Store)
    }

    async fn forget(&self, retention: &Retention, tally: &mut Tally, now: Timestamp) -> Result<usize> {
        let mut forgotten = 0;
        if let Some(max_age) = retention.max_age {
            forgotten += self.forget_first(usize::MAX, Some(before(now, max_age)), tally).await?;
        }
        if let Some(max_count) = retention.max_count {
            if tally.since.elapsed() > RECOUNT {
                *tally = Tally::default();
            }
            self.count(tally, before(now, UNSETTLED)).await?;
            let excess = tally.count.saturating_sub(max_count);
            let counted = tally.up_to.as_deref().map(after);
            forgotten += self.forget_first(excess, counted, tally).await?;
        }
        Ok(forgotten)
    }

    /// Forgets the oldest events, at most so many, and only those before a key.
    async fn forget_first(&self, most: usize, to: Option<String>, tally: &mut Tally) -> Result<usize> {
        let mut forgotten = 0;
        while forgotten < most {
            let began = Instant::now();
            let limit = STEP.min(most - forgotten);
            let range = KeyRange { from: None, to: to.clone(), direction: Direction::Forwards, limit };
            let keys: Vec<String> =
                self.store.list(EVENTS, &range).await?.into_iter().map(|document| document.key).collect();
            stream::iter(&keys).map(Ok).try_for_each_concurrent(AT_ONCE, |key| self.delete(key)).await?;
            let counted = keys.iter().filter(|key| tally.up_to.as_ref().is_some_and(|up_to| *key <= up_to)).count();
            tally.count = tally.count.saturating_sub(counted);
            forgotten += keys.len();
            if keys.len() < limit {
                break;
            }
            rest(began).await;
        }
        Ok(forgotten)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        match self.store.delete(EVENTS, key, None).await {
            // Another server was faster.
            Err(error) if error.kind() == StoreErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// Counts on from where it ended, up to a key.
    async fn count(&self, tally: &mut Tally, to: String) -> Result<()> {
        loop {
            let began = Instant::now();
            let from = tally.up_to.as_deref().map(after);
            let range = KeyRange { from, to: Some(to.clone()), direction: Direction::Forwards, limit: STEP };
            let page = self.store.list(EVENTS, &range).await?;
            tally.count += page.len();
            let is_last = page.len() < STEP;
            if let Some(last) = page.into_iter().next_back() {
                tally.up_to = Some(last.key);
            }
            if is_last {
                return Ok(());
            }
            rest(began).await;
        }
    }
}

/// As long as the step took, so that others have the store for at least half of the time.
async fn rest(began: Instant) {
    sleep(began.elapsed().min(LONGEST_REST)).await;
}

/// The bound that begins after a key.
fn after(key: &str) -> String {
    format!("{key}\0")
}

/// The smallest key of events that are younger than that.
fn before(now: Timestamp, age: Duration) -> String {
    let time = now.checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH);
    EventId::first_at(time).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::background::Background;
    use crate::events::EventSink;
    use crate::model::{Event, EventKind};
    use crate::store::MemoryStore;
    use crate::testing::store::FailingStore;

    const NO_LIMIT: Retention = Retention { max_age: None, max_count: None, interval: Duration::from_secs(600) };
    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// A log with one event for each of these ages in days, the oldest first.
    async fn log(ages: impl IntoIterator<Item = u32>, now: Timestamp) -> Arc<EventLog> {
        let log = Arc::new(EventLog::new(Arc::new(MemoryStore::new())));
        for age in ages {
            let mut event = Event::new(EventKind::Login, age.to_string());
            event.time = now.checked_sub(DAY * age).unwrap();
            event.id = EventId::first_at(event.time);
            log.record(std::slice::from_ref(&event)).await.unwrap();
        }
        log
    }

    async fn ages(log: &EventLog) -> Vec<String> {
        log.newest(10_000).await.unwrap().into_iter().map(|event| event.message).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_old_goes() {
        let now = Timestamp::now();
        let log = log([30, 20, 10, 1], now).await;
        let retention = Retention { max_age: Some(DAY * 15), ..NO_LIMIT };
        assert_eq!(log.forget_old(&retention, now).await.unwrap(), 2);
        assert_eq!(ages(&log).await, ["1", "10"]);
        assert_eq!(log.forget_old(&retention, now).await.unwrap(), 0, "and only that, however often");
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_many_the_oldest_go() {
        let now = Timestamp::now();
        let log = log((1..=1200).rev(), now).await;
        let retention = Retention { max_count: Some(3), ..NO_LIMIT };
        assert_eq!(log.forget_old(&retention, now).await.unwrap(), 1197);
        assert_eq!(ages(&log).await, ["1", "2", "3"]);
        let none = Retention { max_count: Some(0), ..NO_LIMIT };
        assert_eq!(log.forget_old(&none, now).await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_everything_stays() {
        let now = Timestamp::now();
        let log = log([3000, 2000], now).await;
        assert_eq!(log.forget_old(&NO_LIMIT, now).await.unwrap(), 0);
        assert_eq!(ages(&log).await.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn counting_goes_on_where_it_ended() {
        let now = Timestamp::now();
        let log = log((10..=1009).rev(), now).await;
        let retention = Retention { max_age: Some(DAY * 900), max_count: Some(500), ..NO_LIMIT };
        let mut tally = Tally::default();
        assert_eq!(log.forget(&retention, &mut tally, now).await.unwrap(), 500);
        assert_eq!(tally.count, 500);
        let mut event = Event::new(EventKind::Login, "2");
        event.id = EventId::first_at(now.checked_sub(DAY * 2).unwrap());
        log.record(std::slice::from_ref(&event)).await.unwrap();
        assert_eq!(log.forget(&retention, &mut tally, now).await.unwrap(), 1, "one came, one goes");
        assert_eq!((tally.count, ages(&log).await.len()), (500, 500));
        // Time makes the tally smaller as well.
        let later = now.checked_add(DAY * 500).unwrap();
        assert_eq!(log.forget(&retention, &mut tally, later).await.unwrap(), 108);
        assert_eq!((tally.count, ages(&log).await.len()), (392, 392));
    }

    #[tokio::test(start_paused = true)]
    async fn it_runs_when_it_is_time_or_many_came_and_ends_when_told() {
        let now = Timestamp::now();
        let log = log([30, 10], now).await;
        let retention = Retention { max_age: Some(DAY * 15), ..NO_LIMIT };
        let background = Background::default();
        background.spawn("events/forget", Some(retention.interval), background.stopping().clone(), {
            let log = log.clone();
            move |report| {
                let (log, retention) = (log.clone(), retention.clone());
                async move { log.keep(&retention, &report).await }
            }
        });
        let until = async |count: usize| {
            let began = Instant::now();
            while ages(&log).await.len() != count {
                assert!(began.elapsed() < Duration::from_secs(3600), "{count} are never left");
                sleep(Duration::from_millis(10)).await;
            }
            began.elapsed()
        };
        until(1).await;
        let mut old = Event::new(EventKind::Login, "40");
        old.id = EventId::first_at(now.checked_sub(DAY * 40).unwrap());
        log.record(std::slice::from_ref(&old)).await.unwrap();
        assert!(until(1).await > Duration::from_secs(500), "nobody looked before it was time");
        for number in 0..crate::events::log::MANY as u64 {
            old.id = EventId::first_at(now.checked_sub(DAY * 40 - Duration::from_millis(number)).unwrap());
            log.record(std::slice::from_ref(&old)).await.unwrap();
        }
        assert!(until(1).await < Duration::from_secs(60), "many wake it");
        assert!(background.tasks()[0].runs >= 3, "and the table says so");
        background.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_is_tried_again() {
        let store = Arc::new(FailingStore::new(Arc::new(MemoryStore::new())));
        let log = EventLog::new(store.clone());
        let mut old = Event::new(EventKind::Login, "old");
        old.id = EventId::first_at(Timestamp::UNIX_EPOCH);
        log.record(std::slice::from_ref(&old)).await.unwrap();
        let retention = Retention { max_age: Some(DAY), ..NO_LIMIT };
        store.fail_after_writes(Some(0));
        assert!(log.forget_old(&retention, Timestamp::now()).await.is_err());
        store.fail_after_writes(None);
        assert_eq!(log.forget_old(&retention, Timestamp::now()).await.unwrap(), 1);
    }
}
