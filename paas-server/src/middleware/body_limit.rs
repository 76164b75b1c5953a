//! The largest body that the server takes.

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::body::{drain, too_large};

/// Sends away what says that it is too large. What does not say so is counted as it is read.
pub(crate) async fn limit_body(State(app): State<App>, request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_none_or(|length: u64| length <= app.body_limit as u64) {
        return next.run(request).await;
    }
    // Who asks before sending has sent nothing yet, and will not.
    if !request.headers().contains_key(header::EXPECT) {
        drain(request.into_body()).await;
    }
    too_large(app.body_limit).into_response()
}
