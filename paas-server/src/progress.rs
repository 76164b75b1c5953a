//! Operations that take long: their progress as it happens, or only their outcome.

use std::io;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use paas_core::controller::{Controller, Operation, Progress};

use crate::extract::PROGRESS;

/// One JSON object per line, as it happens. When the client goes away the operation goes on.
///
/// When the server stops leading meanwhile, the stream breaks off without its summary: what became of the rest is for the
/// next one to say.
pub(crate) fn stream(controller: &Controller, operation: Operation) -> Response {
    let controller = controller.clone();
    let lines = operation.map(move |step| match controller.is_deposed() {
        true => Err(io::Error::other("this server does not lead any more")),
        false => Ok(line(&step)),
    });
    ([(header::CONTENT_TYPE, PROGRESS)], Body::from_stream(lines)).into_response()
}

/// Whether a line is the last one.
pub(crate) fn is_summary(line: &[u8]) -> bool {
    line.starts_with(br#"{"event":"summary""#)
}

fn line(step: &Progress) -> Bytes {
    // A step is text, numbers and lists, so it always has a JSON form.
    let mut line = serde_json::to_vec(step).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_known() {
        let summary = Progress::Summary { requested: 1, started: 1, destroyed: 0, failed: 0 };
        assert!(is_summary(&line(&summary)));
        let pulled = Progress::Pulled { engine: "a".parse().unwrap(), image: "web:1".parse().unwrap() };
        assert!(!is_summary(&line(&pulled)));
    }
}
