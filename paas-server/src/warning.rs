//! `X-Paas-Warning`: what is to be said about an answer that is good all the same.

use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};

const WARNING: HeaderName = HeaderName::from_static("x-paas-warning");

/// An answer with a warning, if there is one. The sentence is ASCII.
pub(crate) fn with_warning(answer: impl IntoResponse, warning: Option<&str>) -> Response {
    let mut response = answer.into_response();
    if let Some(warning) = warning.and_then(|text| HeaderValue::from_str(text).ok()) {
        response.headers_mut().insert(WARNING, warning);
    }
    response
}
