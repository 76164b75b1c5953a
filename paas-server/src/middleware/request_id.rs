//! The id and the span of a request, and what becomes of a handler that panics.

use std::any::Any;
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;
use uuid::Uuid;

use crate::problem::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request an id and a span, and the answer the headers that all answers have.
pub(crate) async fn identify(request: Request, next: Next) -> Response {
    identified(request, |request| next.run(request)).await
}

/// The same around anything that answers. The request carries its id on, so that a server that sends it to the one that leads
/// and that one log the same id; a client that sends a UUID of its own finds it in the log, too.
pub(crate) async fn identified<F: Future<Output = Response>>(
    mut request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    let given = request.headers().get(REQUEST_ID).and_then(|id| Uuid::try_parse_ascii(id.as_bytes()).ok());
    let id = given.unwrap_or_else(Uuid::now_v7).to_string();
    let value = HeaderValue::from_str(&id).ok();
    if let Some(value) = &value {
        request.headers_mut().insert(REQUEST_ID, value.clone());
    }
    let span = tracing::info_span!("request", %id, method = %request.method(), path = request.uri().path());
    let begun = Instant::now();
    let mut response = answer(request).instrument(span.clone()).await;
    let (status, elapsed_ms) = (response.status().as_u16(), begun.elapsed().as_millis());
    span.in_scope(|| match status {
        500.. => tracing::warn!(status, elapsed_ms, "failed"),
        _ => tracing::debug!(status, elapsed_ms, "answered"),
    });
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(value) = value {
        headers.insert(REQUEST_ID, value);
    }
    response
}

/// A handler that panicked costs its own request and nothing else.
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Problem::internal(&format_args!("a handler panicked: {}", said.unwrap_or("without words"))).into_response()
}
