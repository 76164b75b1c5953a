//! A queue in front of a sink that others wrote, so that it can hold up nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{EventError, EventSink};
use crate::background::{Background, Report};
use crate::model::Event;

/// How many events may wait for a sink.
const BACKLOG: usize = 10_000;
/// How many a sink is given at once.
const BATCH: usize = 512;
/// For how long a sink is given at the end what still waits for it.
const AT_THE_END: Duration = Duration::from_secs(2);

/// Gives events to a sink from a bounded queue of its own. A sink that is too slow, or hangs, loses events, which are counted; one
/// that fails is warned of. Nobody waits for it.
#[derive(Debug)]
pub(crate) struct QueuedSink {
    queue: mpsc::Sender<Event>,
    lost: Arc<AtomicU64>,
}

impl QueuedSink {
    /// A queue in front of `sink`, which is read by a loop of that name.
    pub(crate) fn new(sink: Arc<dyn EventSink>, name: String, background: &Background) -> Self {
        Self::with_backlog(sink, name, background, BACKLOG)
    }

    fn with_backlog(sink: Arc<dyn EventSink>, name: String, background: &Background, backlog: usize) -> Self {
        let (queue, waiting) = mpsc::channel(backlog);
        let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        background.spawn_last(name, move |report, stop| {
            let (sink, waiting, lost) = (sink.clone(), waiting.clone(), counted.clone());
            async move {
                let mut waiting = waiting.lock().await;
                if stop.run_until_cancelled(pass_on(&*sink, &mut waiting, &lost, &report)).await.is_none() {
                    waiting.close();
                    let _ = timeout(AT_THE_END, pass_on(&*sink, &mut waiting, &lost, &report)).await;
                }
            }
        });
        Self { queue, lost }
    }

    /// How many events the sink has lost, ever.
    #[cfg(test)]
    fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

async fn pass_on(sink: &dyn EventSink, waiting: &mut mpsc::Receiver<Event>, lost: &AtomicU64, report: &Report) {
    let (mut batch, mut known) = (Vec::with_capacity(BATCH), lost.load(Ordering::Relaxed));
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        match sink.record(&batch).await {
            Ok(()) => report.ok(),
            Err(error) => {
                tracing::warn!(%error, events = batch.len(), "an event sink did not take events");
                report.failed(&error);
            }
        }
        batch.clear();
        let now = lost.load(Ordering::Relaxed);
        if now > known {
            tracing::warn!(lost = now - known, "an event sink was too slow and has lost events");
            known = now;
        }
    }
}

#[async_trait]
impl EventSink for QueuedSink {
    /// Puts events in the queue, as far as there is room. Never fails and never waits.
    async fn record(&self, events: &[Event]) -> Result<(), EventError> {
        for event in events {
            if self.queue.try_send(event.clone()).is_err() && self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!("an event sink is too slow and loses events");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::events::RecordingSink;
    use crate::model::EventKind;

    /// Hangs until it is let go.
    #[derive(Debug, Default)]
    struct Hanging(tokio::sync::Notify, RecordingSink);

    #[async_trait]
    impl EventSink for Hanging {
        async fn record(&self, events: &[Event]) -> Result<(), EventError> {
            self.0.notified().await;
            self.0.notify_one();
            self.1.record(events).await
        }
    }

    #[derive(Debug)]
    struct Panicking;

    #[async_trait]
    impl EventSink for Panicking {
        async fn record(&self, _events: &[Event]) -> Result<(), EventError> {
            panic!("an embedder's fault")
        }
    }

    fn event(number: usize) -> Event {
        Event::new(EventKind::Login, number.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_hangs_holds_up_nobody_and_loses_what_does_not_fit() {
        let (background, inner) = (Background::default(), Arc::new(Hanging::default()));
        let sink = QueuedSink::with_backlog(inner.clone(), "sink".to_owned(), &background, 10);
        sink.record(&[event(0)]).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        for number in 1..=15 {
            timeout(Duration::ZERO, sink.record(&[event(number)])).await.expect("at once").unwrap();
        }
        assert_eq!(sink.lost(), 5);
        inner.0.notify_one();
        sleep(Duration::from_millis(1)).await;
        let got: Vec<String> = inner.1.events().into_iter().map(|event| event.message).collect();
        assert_eq!(got, (0..=10).map(|number| number.to_string()).collect::<Vec<_>>());
        background.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_does_not_wait_for_a_sink_that_hangs_or_panics() {
        let background = Background::default();
        let sinks: [Arc<dyn EventSink>; 2] = [Arc::new(Hanging::default()), Arc::new(Panicking)];
        for (number, inner) in sinks.into_iter().enumerate() {
            let sink = QueuedSink::new(inner, format!("sink/{number}"), &background);
            sink.record(&[event(0)]).await.unwrap();
            sleep(Duration::from_millis(1)).await;
            sink.record(&[event(1)]).await.unwrap();
        }
        timeout(AT_THE_END * 2, background.shutdown()).await.expect("ends");
    }
}
