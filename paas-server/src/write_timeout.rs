//! Closing the connection of a reader that does not read.
//!
//! Most answers wait for their reader as long as it likes: who pages through a log with `less` reads little for a long time. A
//! stream of events is for those who read it at once, and one that nobody reads would hold its connection for ever.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready as when_ready};
use std::time::Duration;

use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::Response;
use axum_server::accept::Accept;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower_http::add_extension::AddExtension;

/// What the content type of a stream of events begins with.
const EVENT_STREAM: &str = "text/event-stream";

/// Whether the answer that is being written has to be read in time. One for each connection, and known to its requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applies(Arc<AtomicBool>);

/// Marks an answer as one that has to be read in time, if it is a stream of events.
pub(crate) async fn mark(request: Request, next: Next) -> Response {
    let applies = request.extensions().get::<Applies>().cloned();
    let response = next.run(request).await;
    if let Some(Applies(applies)) = applies {
        let content = response.headers().get(CONTENT_TYPE);
        applies.store(
            content.is_some_and(|content| content.as_bytes().starts_with(EVENT_STREAM.as_bytes())),
            Ordering::Relaxed,
        );
    }
    response
}

/// How long a server that ends waits for such a reader.
const AFTER_THE_END: Duration = Duration::from_secs(1);

/// Accepts connections that are closed when an answer that [`mark`] marked was not read for `after`, or shortly after `stop`
/// rang. Small writes are sent at once.
#[derive(Clone, Debug)]
pub(crate) struct WriteTimeout {
    pub(crate) after: Duration,
    pub(crate) stop: CancellationToken,
}

impl WriteTimeout {
    /// Waits until it is over.
    async fn pass(self) {
        let ended = async {
            self.stop.cancelled().await;
            sleep(AFTER_THE_END).await;
        };
        // Either ends it.
        let _ = timeout(self.after, ended).await;
    }
}

impl<S> Accept<TcpStream, S> for WriteTimeout {
    type Stream = Timed<TcpStream>;
    type Service = AddExtension<S, Applies>;
    type Future = Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let applies = Applies::default();
        let accepted = stream.set_nodelay(true).map(|()| {
            let timed = Timed { stream, timeout: self.clone(), applies: applies.clone(), waiting: None };
            (timed, AddExtension::new(service, applies))
        });
        ready(accepted)
    }
}

/// A connection that may be waited for only for so long.
pub(crate) struct Timed<S> {
    stream: S,
    timeout: WriteTimeout,
    applies: Applies,
    /// Since the first write that the other side did not take.
    waiting: Option<BoxFuture<'static, ()>>,
}

impl<S> Timed<S> {
    /// What became of a write, unless that has been nothing for too long.
    fn in_time(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() || !self.applies.0.load(Ordering::Relaxed) {
            self.waiting = None;
            return written;
        }
        when_ready!(self.waiting.get_or_insert_with(|| self.timeout.clone().pass().boxed()).as_mut().poll(context));
        tracing::info!("a reader of events that takes nothing is disconnected");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.in_time(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    const AFTER: Duration = Duration::from_secs(30);

    fn connection(applies: bool) -> (Timed<DuplexStream>, DuplexStream) {
        let (stream, other) = duplex(10);
        let applies = Applies(Arc::new(AtomicBool::new(applies)));
        let timeout = WriteTimeout { after: AFTER, stop: CancellationToken::new() };
        (Timed { stream, timeout, applies, waiting: None }, other)
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_after_that_time() {
        let (mut timed, _other) = connection(true);
        let begun = Instant::now();
        let error = timed.write_all(&[0; 11]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), AFTER.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_ends_does_not_wait_as_long() {
        let (mut timed, _other) = connection(true);
        let (begun, stop) = (Instant::now(), timed.timeout.stop.clone());
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
                sleep(AFTER - Duration::from_secs(1)).await;
                other.read_exact(&mut [0; 10]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(timed.write_all(&[0; 100]), reading);
        written.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn other_answers_wait_as_long_as_it_takes() {
        let (mut timed, mut other) = connection(false);
        assert!(timeout(AFTER * 1000, timed.write_all(&[0; 11])).await.is_err());
        other.read_exact(&mut [0; 10]).await.unwrap();
    }
}
