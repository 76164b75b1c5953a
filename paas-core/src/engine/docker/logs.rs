//! The output of containers.
//!
//! Read from the body of the answer itself, piece by piece as it comes, because output need not have lines: bollard looks for
//! the end of one, over everything that came so far, and keeps it all until then.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bollard::body_full;
use bollard::errors::Error;
use bytes::{Buf, Bytes};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_TYPE;
use tokio::time::timeout;

use super::errors::Call;
use super::events::docker_time;
use super::lines::granted;
use super::transport::{Transport, Version};
use super::{deadlines, until_silent};
use crate::engine::{LogChunk, LogOptions, LogStream, Result};
use crate::model::ContainerId;

/// How long the first piece of output that is followed is waited for, so that an error that Docker sends in its place is
/// known before anything is passed on. A container may be silent for much longer.
const FIRST_WORD: Duration = Duration::from_millis(250);
/// The version from which the type of the content tells the two kinds of output apart. Before it, everything is called raw.
const TELLS_THE_KIND: Version = (1, 42);
/// Longest error that is kept of a stream of output, bytes.
const LONGEST_ERROR: usize = 16 * 1024;

/// Begins to read. Answers when Docker has given an answer and, if that comes soon, the first output.
pub(super) async fn open(
    transport: &Transport,
    call: Call,
    id: &ContainerId,
    has_terminal: bool,
    options: &LogOptions,
) -> Result<BoxStream<'static, Result<LogChunk>>> {
    let asked = async {
        let request = Request::get(path(id, options)).body(body_full(Bytes::new()))?;
        let answer = transport.send(request).await?;
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let framed = is_framed(kind, transport.version(), has_terminal);
        Ok(Output::new(granted(answer).await?, framed))
    };
    let mut output = call.within(deadlines::OPEN, asked).await?;
    let first_word = if options.follow { FIRST_WORD } else { deadlines::LOG_SILENCE };
    let first = match timeout(first_word, output.next()).await {
        Ok(None) => return Ok(stream::empty().boxed()),
        Ok(Some(Ok(chunk))) => Some(chunk),
        Ok(Some(Err(err))) => return Err(call.failure(err)),
        Err(_) if options.follow => None,
        Err(_) => return Err(call.unreachable(format!("silent for {first_word:?}"))),
    };
    let rest = stream::unfold(output, |mut output| async move { Some((output.next().await?, output)) });
    let rest = if options.follow {
        until_error(rest.boxed(), call)
    } else {
        until_silent(rest.boxed(), deadlines::LOG_SILENCE, call)
    };
    Ok(stream::iter(first.map(Ok)).chain(rest).boxed())
}

/// Begins to read what a container without a terminal writes from now on. Answers when Docker has answered.
pub(super) async fn attach(
    transport: &Transport,
    call: Call,
    id: &ContainerId,
) -> Result<BoxStream<'static, Result<LogChunk>>> {
    let asked = async {
        let path = format!("/containers/{id}/attach?stream=1&stdout=1&stderr=1");
        let answer = transport.send(Request::post(path).body(body_full(Bytes::new()))?).await?;
        // In frames, whatever the answer says of itself.
        Ok(Output::new(granted(answer).await?, true))
    };
    let output = call.within(deadlines::OPEN, asked).await?;
    let rest = stream::unfold(output, |mut output| async move { Some((output.next().await?, output)) });
    Ok(until_error(rest.boxed(), call))
}

/// The same stream, which a container may keep silent for as long as it likes, up to its first error.
fn until_error(
    source: BoxStream<'static, Result<LogChunk, Error>>,
    call: Call,
) -> BoxStream<'static, Result<LogChunk>> {
    source
        .scan(false, move |over, item| {
            let is_over = std::mem::replace(over, item.is_err());
            let item = item.map_err(|err| call.failure(err));
            async move { (!is_over).then_some(item) }
        })
        .boxed()
}

fn path(id: &ContainerId, options: &LogOptions) -> String {
    let LogOptions { stdout, stderr, follow, timestamps, tail, since } = options;
    let tail = tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let since = since.map(|since| format!("&since={}", docker_time(since))).unwrap_or_default();
    format!(
        "/containers/{id}/logs?follow={follow}&stdout={stdout}&stderr={stderr}&timestamps={timestamps}&tail={tail}{since}"
    )
}

/// Whether the output comes in frames that say where each was written to. That of a terminal is one and comes as it is.
fn is_framed(kind: &str, version: Option<Version>, has_terminal: bool) -> bool {
    match kind {
        "application/vnd.docker.multiplexed-stream" => true,
        "application/vnd.docker.raw-stream" if version >= Some(TELLS_THE_KIND) => false,
        _ => !has_terminal,
    }
}

/// Where a frame was written to.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Output(LogStream),
    /// By Docker, to say that it cannot go on.
    Error,
}

/// Output under way, of a container or of a command in one. Holds one piece as it came, and of a frame no more than its head.
pub(super) struct Output {
    body: Incoming,
    framed: bool,
    received: Bytes,
    /// What came of the head of a frame.
    head: Vec<u8>,
    kind: Kind,
    /// Bytes of the frame that are still to come.
    left: usize,
    error: Vec<u8>,
}

impl Output {
    pub(super) fn new(body: Incoming, framed: bool) -> Self {
        let kind = Kind::Output(LogStream::Stdout);
        Self { body, framed, received: Bytes::new(), head: Vec::new(), kind, left: 0, error: Vec::new() }
    }

    /// The next piece of output. May be given up and asked again without a loss.
    pub(super) async fn next(&mut self) -> Option<Result<LogChunk, Error>> {
        loop {
            if self.received.is_empty() {
                match poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await {
                    Some(Ok(frame)) => self.received = frame.into_data().unwrap_or_default(),
                    Some(Err(err)) => return Some(Err(err.into())),
                    None if self.left > 0 || !self.head.is_empty() => {
                        let err = io::Error::new(io::ErrorKind::UnexpectedEof, "the output ended within a frame");
                        return Some(Err(err.into()));
                    }
                    None => return None,
                }
            } else if !self.framed {
                return Some(Ok(LogChunk { stream: LogStream::Stdout, bytes: std::mem::take(&mut self.received) }));
            } else if self.left == 0 {
                if let Err(err) = self.read_head() {
                    return Some(Err(err));
                }
            } else {
                let length = self.left.min(self.received.len());
                let bytes = self.received.split_to(length);
                self.left -= length;
                match self.kind {
                    Kind::Output(stream) => return Some(Ok(LogChunk { stream, bytes })),
                    Kind::Error => {
                        let room = LONGEST_ERROR - self.error.len().min(LONGEST_ERROR);
                        self.error.extend_from_slice(&bytes[..length.min(room)]);
                        if self.left == 0 {
                            let error = String::from_utf8_lossy(&self.error).trim().to_owned();
                            return Some(Err(Error::DockerStreamError { error }));
                        }
                    }
                }
            }
        }
    }

    /// Takes what came of the head of a frame: one byte for the kind, three that say nothing, four for the length.
    fn read_head(&mut self) -> Result<(), Error> {
        let missing = (8 - self.head.len()).min(self.received.len());
        self.head.extend_from_slice(&self.received[..missing]);
        self.received.advance(missing);
        let Ok(head) = <[u8; 8]>::try_from(&*self.head) else { return Ok(()) };
        self.head.clear();
        self.kind = match head[0] {
            // What goes to a program's standard input is shown as if a terminal had echoed it.
            0 | 1 => Kind::Output(LogStream::Stdout),
            2 => Kind::Output(LogStream::Stderr),
            3 => Kind::Error,
            other => {
                let error = format!("the output has a frame of the unknown kind {other}");
                return Err(Error::DockerStreamError { error });
            }
        };
        self.left = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_goes_to_docker_to_the_nanosecond() {
        let id = "0123456789abcdef".parse().unwrap();
        let options = LogOptions {
            tail: Some(3),
            since: Some("2030-01-01T00:00:00.5Z".parse().unwrap()),
            ..LogOptions::default()
        };
        assert_eq!(
            path(&id, &options),
            "/containers/0123456789abcdef/logs?follow=false&stdout=true&stderr=true&timestamps=false&tail=3&since=1893456000.500000000"
        );
    }

    #[test]
    fn every_version_says_somehow_whether_there_are_frames() {
        let (framed, raw) = ("application/vnd.docker.multiplexed-stream", "application/vnd.docker.raw-stream");
        assert!(is_framed(framed, Some((1, 44)), false));
        assert!(!is_framed(raw, Some((1, 44)), true));
        // Before 1.42 both kinds are called raw, and nothing at all on some; only the container tells.
        assert!(is_framed(raw, Some((1, 41)), false) && !is_framed(raw, Some((1, 41)), true));
        assert!(is_framed("", None, false) && !is_framed("application/octet-stream", None, true));
    }
}
