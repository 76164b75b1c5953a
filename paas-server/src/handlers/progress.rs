//! Operations that take long: told as they go, or waited for.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use paas_core::controller::{Operation, Progress};

/// One JSON object per line, as it happens. When the client goes away the operation goes on.
pub(super) fn stream(operation: Operation) -> Response {
    let lines = operation.map(|step| Ok::<_, Infallible>(line(&step)));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

fn line(step: &Progress) -> Bytes {
    // A step is text, numbers and lists, so it always has a JSON form.
    let mut line = serde_json::to_vec(step).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
