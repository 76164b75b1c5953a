//! Bodies of requests: read up to a limit and within a time, and thrown away when they are too large.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;

use crate::problem::{Code, Problem};

/// How much of a body that is too large is read and thrown away, and for how long, so that a client that writes
/// before it reads gets its answer.
const DRAIN_BYTES: usize = 16 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Reads a whole body, of at most `limit` bytes, that has to be there within `time`.
pub(crate) async fn read(body: Body, limit: usize, time: Duration) -> Result<Bytes, Problem> {
    let mut chunks = body.into_data_stream();
    let whole = async {
        let mut body = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Problem::new(Code::InvalidRequest, "the body broke off"))?;
            if body.len() + chunk.len() > limit {
                return Err(too_large(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Bytes::from(body))
    };
    let late = || Problem::new(Code::BodyTimeout, format!("the body did not come within {time:?}; send it again"));
    let body = tokio::time::timeout(time, whole).await.unwrap_or_else(|_| Err(late()));
    if matches!(&body, Err(problem) if problem.code() == Code::TooLarge) {
        drain(Body::from_stream(chunks)).await;
    }
    body
}

/// The body is larger than the server takes.
pub(crate) fn too_large(limit: usize) -> Problem {
    Problem::new(Code::TooLarge, format!("the body is larger than the {limit} bytes that this server takes"))
}

/// Reads what is left of a body and forgets it.
pub(crate) async fn drain(body: Body) {
    let whole = async {
        let mut chunks = body.into_data_stream();
        let mut seen = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            seen += chunk.len();
            if seen > DRAIN_BYTES {
                break;
            }
        }
    };
    // Not all of it came in time: the connection is closed, and the client may not see why.
    let _ = tokio::time::timeout(DRAIN_TIME, whole).await;
}
