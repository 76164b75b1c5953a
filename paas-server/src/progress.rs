//! Operations that take long: their progress as it happens, or only their outcome.

use std::io;

use axum::Json;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use paas_core::controller::{Controller, ControllerError, LaunchSummary, Operation, Progress};

use crate::extract::PROGRESS;
use crate::problem::{Answer, Problem};

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

/// What a run came to, for those who waited for it.
pub(crate) fn outcome_of_run(summary: LaunchSummary) -> Answer {
    if summary.broke_off {
        return Err(ControllerError::Panicked.into());
    }
    if summary.is_complete() {
        return Ok((StatusCode::CREATED, Json(summary.started)).into_response());
    }
    if summary.started.is_empty() {
        return Err(Problem::launch_failed(summary.requested, &summary.failed));
    }
    Ok((StatusCode::MULTI_STATUS, Json(summary)).into_response())
}

/// What a change of a group's size came to.
pub(crate) fn outcome_of_scale(summary: LaunchSummary) -> Answer {
    if summary.broke_off {
        return Err(ControllerError::Panicked.into());
    }
    if summary.is_complete() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    // What is still going to be done is no failure.
    let is_any_deferred = summary.failed.iter().any(|failure| failure.deferred);
    if summary.started.is_empty() && summary.destroyed.is_empty() && !is_any_deferred {
        return Err(Problem::launch_failed(summary.failed.len(), &summary.failed));
    }
    Ok((StatusCode::MULTI_STATUS, Json(summary)).into_response())
}

/// What an operation came to that told of its progress in these lines.
pub(crate) fn summary_of(lines: &str) -> LaunchSummary {
    let mut summary = LaunchSummary::default();
    for step in lines.lines().filter_map(|line| serde_json::from_str(line).ok()) {
        match step {
            Progress::Started { container, warnings, .. } => summary.add_started(*container, warnings),
            Progress::Destroyed { container, .. } => summary.destroyed.push(container),
            Progress::Failed(failure) => summary.failed.push(failure),
            Progress::Summary { requested, .. } => summary.requested = requested,
            _ => {}
        }
    }
    summary
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
