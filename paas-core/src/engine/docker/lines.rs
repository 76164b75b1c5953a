//! An answer that goes on and on, read line by line.
//!
//! bollard has a reader for that, too, but one that keeps 8 KiB for each stream, however quiet it is: with the streams of a
//! thousand hosts that is more than their containers take.

use std::future::poll_fn;
use std::pin::Pin;

use bollard::errors::Error;
use bytes::{Bytes, BytesMut};
use hyper::Response;
use hyper::body::{Body, Incoming};
use serde::Deserialize;

/// Longest line, and longest refusal, bytes. The longest that Docker sends is an event with all labels of a container, in
/// which the description of one has at most a few hundred kilobytes.
const LONGEST: usize = 16 << 20;

/// The lines of an answer. Holds no more than what came of a line whose end did not come yet.
pub(super) struct Lines {
    body: Incoming,
    begun: BytesMut,
}

impl Lines {
    /// Those of an answer that was given; the words of one that was refused are the error.
    pub(super) async fn of(response: Response<Incoming>) -> Result<Self, Error> {
        Ok(Self { body: granted(response).await?, begun: BytesMut::new() })
    }

    /// The next line, without its end. Nothing when there are no more.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let mut searched = 0;
        loop {
            if let Some(found) = self.begun[searched..].iter().position(|&byte| byte == b'\n') {
                let end = searched + found;
                let mut line = self.begun.split_to(end + 1).freeze();
                line.truncate(end);
                if self.begun.is_empty() {
                    // What it has allocated is the line's from now on.
                    self.begun = BytesMut::new();
                }
                return Ok(Some(line));
            }
            searched = self.begun.len();
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// Takes in what came. False at the end.
    async fn read(&mut self) -> Result<bool, Error> {
        let Some(frame) = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await else {
            return Ok(false);
        };
        if let Ok(data) = frame?.into_data() {
            // Copied, because it is a piece of the connection's own and much larger buffer.
            self.begun.extend_from_slice(&data);
            if self.begun.len() > LONGEST {
                let error = format!("a line of more than {LONGEST} bytes");
                return Err(Error::DockerStreamError { error });
            }
        }
        Ok(true)
    }
}

/// The body of an answer that was given; the words of one that was refused are the error.
pub(super) async fn granted(response: Response<Incoming>) -> Result<Incoming, Error> {
    let status = response.status();
    let body = response.into_body();
    if status.is_success() {
        return Ok(body);
    }
    let mut refusal = Lines { body, begun: BytesMut::new() };
    while refusal.read().await? {}
    let message = String::from_utf8_lossy(&refusal.begun).into_owned();
    let message = serde_json::from_str::<Refusal>(&message).map_or(message, |refusal| refusal.message);
    Err(Error::DockerResponseServerError { status_code: status.as_u16(), message })
}

/// What Docker says when it refuses.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}
