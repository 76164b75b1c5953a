//! Closing the connection of a reader that does not read.
//!
//! Most answers wait for their reader as long as it likes: who pages through a log with `less` reads little for a long time. A
//! stream of events is for those who read it at once, and one that nobody reads would hold its connection for ever.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready as when_ready};
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::watched::{Watch, Watched};

/// What the content type of a stream of events begins with.
const EVENT_STREAM: &str = "text/event-stream";

/// How the answer is read that is being written. One for each connection, and known to its requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// The answer has to be read in time.
    in_time: AtomicBool,
    /// It was not.
    stalled: AtomicBool,
}

impl Reading {
    /// Whether nothing of it was taken for so long that it should come to its end.
    pub(crate) fn stalled(&self) -> bool {
        self.0.stalled.load(Ordering::Relaxed)
    }

    /// An answer begins: it has to be read in time, if it is a stream of events.
    pub(crate) fn answers(&self, response: &Response) {
        let content = response.headers().get(CONTENT_TYPE);
        self.begins(content.is_some_and(|content| content.as_bytes().starts_with(EVENT_STREAM.as_bytes())));
    }

    fn begins(&self, in_time: bool) {
        self.0.in_time.store(in_time, Ordering::Relaxed);
        self.0.stalled.store(false, Ordering::Relaxed);
    }
}

/// How long a server that ends waits for such a reader.
const AFTER_THE_END: Duration = Duration::from_secs(1);

/// On connections that it wraps, a stream of events is said to be [`Reading::stalled`] when nothing of it was taken for
/// `deadline`, and they are closed after twice that time, or shortly after `stop` rang.
///
/// What is taken is what the operating system says: it speaks of it when there is room for a good part of what it keeps.
#[derive(Clone, Debug)]
pub(crate) struct WriteTimeout {
    pub(crate) deadline: Duration,
    pub(crate) stop: CancellationToken,
}

impl WriteTimeout {
    /// A connection that is watched, and how its answers are read.
    pub(crate) fn wrap<S>(&self, stream: S) -> (Timed<S>, Reading) {
        let reading = Reading::default();
        let watch = Timing { timeout: self.clone(), reading: reading.clone(), waiting: None };
        (Watched { stream, watch }, reading)
    }

    /// Waits until it is over.
    async fn pass(self) {
        let ended = async {
            self.stop.cancelled().await;
            sleep(AFTER_THE_END).await;
        };
        // Either ends it.
        let _ = timeout(self.deadline.saturating_mul(2), ended).await;
    }
}

/// A connection that may be waited for only for so long.
pub(crate) type Timed<S> = Watched<S, Timing>;

/// Measures how long a write is not taken.
pub(crate) struct Timing {
    timeout: WriteTimeout,
    reading: Reading,
    /// Since the first write that the other side did not take, and until when.
    waiting: Option<(Instant, BoxFuture<'static, ()>)>,
}

impl Watch for Timing {
    /// What became of a write, unless that has been nothing for too long.
    fn written(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let State { in_time, stalled } = &*self.reading.0;
        if !in_time.load(Ordering::Relaxed) {
            self.waiting = None;
            return written;
        }
        if written.is_ready() {
            if let Some((since, _)) = self.waiting.take()
                && since.elapsed() > self.timeout.deadline
            {
                stalled.store(true, Ordering::Relaxed);
            }
            return written;
        }
        let begin = || (Instant::now(), self.timeout.clone().pass().boxed());
        when_ready!(self.waiting.get_or_insert_with(begin).1.as_mut().poll(context));
        self.waiting = None;
        tracing::info!("a reader of events that takes nothing is disconnected");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn connection(in_time: bool) -> (Timed<DuplexStream>, DuplexStream) {
        let (stream, other) = duplex(10);
        let reading = Reading::default();
        reading.begins(in_time);
        let timeout = WriteTimeout { deadline: TIMEOUT, stop: CancellationToken::new() };
        (Timed { stream, watch: Timing { timeout, reading, waiting: None } }, other)
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_after_that_time() {
        let (mut timed, _other) = connection(true);
        let begun = Instant::now();
        let error = timed.write_all(&[0; 11]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 2 * TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_ends_does_not_wait_as_long() {
        let (mut timed, _other) = connection(true);
        let (begun, stop) = (Instant::now(), timed.watch.timeout.stop.clone());
        let (written, ()) = tokio::join!(timed.write_all(&[0; 11]), async {
            sleep(Duration::from_secs(5)).await;
            stop.cancel();
        });
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_little_is_waited_for() {
        let (mut timed, mut other) = connection(true);
        let reading = async {
            for _ in 0..10 {
                sleep(TIMEOUT - Duration::from_secs(1)).await;
                other.read_exact(&mut [0; 10]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(timed.write_all(&[0; 100]), reading);
        written.unwrap();
        assert!(!timed.watch.reading.stalled());
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_something_in_the_end_is_told_apart() {
        let (mut timed, mut other) = connection(true);
        let reading = async {
            sleep(TIMEOUT + Duration::from_secs(1)).await;
            other.read_exact(&mut [0; 10]).await.unwrap();
        };
        let (written, ()) = tokio::join!(timed.write_all(&[0; 20]), reading);
        written.unwrap();
        assert!(timed.watch.reading.stalled());
        timed.watch.reading.begins(true);
        assert!(!timed.watch.reading.stalled(), "the next answer is another one");
    }

    #[tokio::test(start_paused = true)]
    async fn other_answers_wait_as_long_as_it_takes() {
        let (mut timed, mut other) = connection(false);
        assert!(timeout(TIMEOUT * 1000, timed.write_all(&[0; 11])).await.is_err());
        other.read_exact(&mut [0; 10]).await.unwrap();
    }
}
