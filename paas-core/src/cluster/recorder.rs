//! Records what the Docker hosts report, without making anybody wait for the store.
//!
//! What the store refuses is kept and tried again, in its order; meanwhile the hosts' streams wait, and nobody else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::background::{Background, Report};
use crate::backoff::Backoff;
use crate::events::{EventError, EventSink};
use crate::model::Event;
use crate::store::MAX_WRITES;

/// How many events wait for the store before the hosts' event streams have to wait.
const BACKLOG: usize = 10_000;
/// How many events that the cluster itself found wait for the store at most.
const OWN_BACKLOG: usize = 1_000;
/// How many are given to the log at once, so that it can write them together.
const BATCH: usize = 512;
/// How long to wait before the store is asked again after it refused: the first time, and then.
const RETRY: Duration = Duration::from_millis(100);
const PAUSES: Backoff = Backoff::new(RETRY, Duration::from_secs(5));
/// How long a batch may take at the end, from when that came: a store that refuses or hangs holds up no shutdown.
const AT_THE_END: Duration = Duration::from_secs(2);

/// Where the followers of the engines put their events.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    queue: mpsc::Sender<Event>,
    /// What the cluster found by itself: it must not wait for the streams.
    own: mpsc::Sender<Event>,
}

/// What waits to be recorded.
#[derive(Debug)]
struct Waiting {
    queue: mpsc::Receiver<Event>,
    own: mpsc::Receiver<Event>,
    /// What was taken out and is not recorded yet, the oldest first.
    batch: Vec<Event>,
}

impl Recorder {
    pub(super) fn spawn(sink: Arc<dyn EventSink>, background: &Background) -> Self {
        let (queue, events) = mpsc::channel(BACKLOG);
        let (own, own_events) = mpsc::channel(OWN_BACKLOG);
        // Outlives a panic of the loop, so that what waits does, too.
        let waiting = Waiting { queue: events, own: own_events, batch: Vec::with_capacity(BATCH) };
        let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
        let stop = background.stopping().clone();
        background.spawn_to_its_end("events/record", move |report| {
            let (sink, waiting, stop) = (sink.clone(), waiting.clone(), stop.clone());
            async move { waiting.lock().await.record_all(&*sink, &stop, &report).await }
        });
        Self { queue, own }
    }

    /// Puts an event of a host in the queue, or gives it back when the queue is full: see [`Recorder::room`].
    pub(super) fn put(&self, event: Event) -> Option<Event> {
        match self.queue.try_send(event) {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Full(event)) => Some(event),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                tracing::debug!("an event of a Docker host came after the end");
                None
            }
        }
    }

    /// Waits for room for one more event. `None` after the end.
    pub(super) async fn room(&self) -> Option<mpsc::Permit<'_, Event>> {
        self.queue.reserve().await.ok()
    }

    /// Records what the cluster found by itself. Waits for nobody; when far too much waits, it is lost, and that is said.
    pub(super) fn put_own(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(event)) = self.own.try_send(event) {
            tracing::warn!(
                message = event.message,
                "an event could not be recorded: the store has not taken any for long"
            );
        }
    }
}

impl Waiting {
    async fn record_all(&mut self, sink: &dyn EventSink, stop: &CancellationToken, report: &Report) {
        loop {
            if self.batch.is_empty() {
                self.fill_batch(stop).await;
            }
            let too_late = async {
                stop.cancelled().await;
                sleep(AT_THE_END).await;
            };
            let recorded = tokio::select! {
                biased;
                () = self.record_batch(sink, stop, report) => true,
                () = too_late => false,
            };
            if !recorded {
                tracing::warn!(
                    events = self.batch.len() + self.own.len() + self.queue.len(),
                    "events of Docker hosts could not be recorded before the end"
                );
                return;
            }
            if self.own.is_closed() && self.queue.is_closed() && self.own.is_empty() && self.queue.is_empty() {
                return;
            }
        }
    }

    /// Waits for events, and takes out as many as there are, up to a batch. At the end no more are let in.
    async fn fill_batch(&mut self, stop: &CancellationToken) {
        let first = tokio::select! {
            biased;
            Some(event) = self.own.recv() => Some(event),
            Some(event) = self.queue.recv() => Some(event),
            () = stop.cancelled() => None,
        };
        if first.is_none() {
            self.own.close();
            self.queue.close();
        }
        self.batch.extend(first);
        for waiting in [&mut self.own, &mut self.queue] {
            let more = BATCH.saturating_sub(self.batch.len());
            if !waiting.is_empty() && more > 0 {
                waiting.recv_many(&mut self.batch, more).await;
            }
        }
    }

    /// Records what was taken out, for as long as that takes. It may be given up at any await: what is recorded is taken out
    /// of the batch afterwards.
    async fn record_batch(&mut self, sink: &dyn EventSink, stop: &CancellationToken, report: &Report) {
        if self.batch.is_empty() {
            return;
        }
        match sink.record(&self.batch).await {
            Ok(()) => {
                self.batch.clear();
                report.ok();
                return;
            }
            Err(error) => report.failed(&error_with_cause(&error)),
        }
        // A part may be recorded. From here on in pieces that are recorded whole or not at all.
        let mut pauses = PAUSES;
        while !self.batch.is_empty() {
            let count = self.batch.len().min(MAX_WRITES);
            let recorded = match sink.record(&self.batch[..count]).await {
                Err(error) if count > 1 && !may_work_later(&error) => self.record_each(sink, count).await,
                outcome => outcome.map(|()| count).map_err(|error| (0, error)),
            };
            match recorded {
                Ok(count) => {
                    self.batch.drain(..count);
                    pauses.reset();
                    report.ok();
                }
                Err((count, error)) if !may_work_later(&error) => {
                    self.batch.drain(..count);
                    let event = self.batch.remove(0);
                    tracing::warn!(
                        error = error_with_cause(&error),
                        message = event.message,
                        "the store never takes this event"
                    );
                }
                Err((count, error)) => {
                    self.batch.drain(..count);
                    let pause = pauses.next_pause();
                    if pause == RETRY {
                        tracing::warn!(error = error_with_cause(&error), "the store takes no events; they wait");
                    }
                    report.failed(&error_with_cause(&error));
                    if stop.is_cancelled() {
                        sleep(RETRY).await;
                    } else {
                        stop.run_until_cancelled(sleep(pause)).await;
                    }
                }
            }
        }
    }

    /// Records the first `count` one by one: how many, or how many were before the one that failed, and why.
    async fn record_each(&self, sink: &dyn EventSink, count: usize) -> Result<usize, (usize, EventError)> {
        for (index, event) in self.batch[..count].iter().enumerate() {
            sink.record(std::slice::from_ref(event)).await.map_err(|error| (index, error))?;
        }
        Ok(count)
    }
}

/// Whether it is worth to try again: the store is away, or full.
fn may_work_later(error: &EventError) -> bool {
    match error {
        EventError::Store(error) => error.is_of_the_backend(),
        EventError::Sink(_) => true,
    }
}

fn error_with_cause(error: &EventError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio::time::Instant;

    use super::*;
    use crate::events::{EventLog, RecordingSink};
    use crate::model::EventKind;
    use crate::store::MemoryStore;
    use crate::testing::store::FailingStore;

    fn event(number: usize) -> Event {
        Event::new(EventKind::Other("start".to_owned()), number.to_string())
    }

    async fn messages(log: &EventLog) -> Vec<String> {
        let newest = log.newest(100_000).await.unwrap();
        newest.into_iter().rev().map(|event| event.message).collect()
    }

    fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_store_refuses_is_kept_and_recorded_once_in_its_order() {
        let store = Arc::new(FailingStore::new(Arc::new(MemoryStore::new())));
        let log = Arc::new(EventLog::new(store.clone()));
        let subscribers = Arc::new(RecordingSink::default());
        let sink = crate::events::Publisher::new(log.clone(), vec![subscribers.clone()]);
        let background = Background::default();
        let recorder = Recorder::spawn(Arc::new(sink), &background);
        // The first hundred are committed, and then the store is away.
        store.fail_after_writes(Some(100));
        for number in 0..700 {
            assert_eq!(recorder.put(event(number)), None);
        }
        sleep(Duration::from_secs(600)).await;
        assert!(background.tasks()[0].last_error.is_some());
        assert!(messages(&log).await.len() < 700);
        store.fail_after_writes(None);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(messages(&log).await, numbers(0..700));
        let told: Vec<String> = subscribers.events().into_iter().map(|event| event.message).collect();
        assert_eq!(told, numbers(0..700), "each subscriber hears each once");
        background.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn streams_wait_for_a_store_that_is_away_and_nothing_is_unbounded() {
        let store = Arc::new(FailingStore::new(Arc::new(MemoryStore::new())));
        let log = Arc::new(EventLog::new(store.clone()));
        let background = Background::default();
        let recorder = Recorder::spawn(log.clone(), &background);
        store.fail_after_writes(Some(0));
        let mut put = 0;
        while recorder.put(event(put)).is_none() {
            put += 1;
            if put % 100 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        assert!((BACKLOG..=BACKLOG + BATCH).contains(&put), "{put}");
        recorder.put_own(event(1_000_000));
        store.fail_after_writes(None);
        recorder.room().await.unwrap().send(event(put));
        background.shutdown().await;
        let mut all = messages(&log).await;
        all.retain(|message| message != "1000000");
        assert_eq!(all.len(), put + 1, "none is lost");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_a_store_that_is_away_and_not_for_ever() {
        let store = Arc::new(FailingStore::new(Arc::new(MemoryStore::new())));
        let background = Background::default();
        let recorder = Recorder::spawn(Arc::new(EventLog::new(store.clone())), &background);
        store.fail_after_writes(Some(0));
        recorder.put(event(0));
        let begun = Instant::now();
        background.shutdown().await;
        assert!(begun.elapsed() < AT_THE_END * 2, "{:?}", begun.elapsed());
    }

    #[derive(Debug)]
    struct Hanging;

    #[async_trait]
    impl EventSink for Hanging {
        async fn record(&self, _events: &[Event]) -> Result<(), EventError> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_does_not_wait_for_a_store_that_hangs() {
        let background = Background::default();
        let recorder = Recorder::spawn(Arc::new(Hanging), &background);
        recorder.put(event(0));
        sleep(Duration::from_secs(60)).await;
        recorder.put(event(1));
        let begun = Instant::now();
        background.shutdown().await;
        assert!(begun.elapsed() < AT_THE_END * 2, "{:?}", begun.elapsed());
    }
}
