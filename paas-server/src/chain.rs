//! What every request goes through before its handler.

use std::any::Any;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use paas_core::auth::{AuthError, Presented};
use tracing::Instrument;
use uuid::Uuid;

use crate::app::{App, Caller};
use crate::ha::no_leader;
use crate::problem::{Code, Problem};
use crate::router::{Access, Effect, access_of_unknown, methods_of, routes_of};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");

/// How much of a body that is too large is read and thrown away, and for how long, so that a client that writes
/// before it reads gets its answer.
const DRAIN_BYTES: usize = 16 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Gives the request an id and a span, and the answer the headers that all answers have.
pub(crate) async fn identify(request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().to_string();
    let span = tracing::info_span!("request", %id, method = %request.method(), path = request.uri().path());
    let begun = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let (status, elapsed_ms) = (response.status().as_u16(), begun.elapsed().as_millis());
    span.in_scope(|| match status {
        500.. => tracing::warn!(status, elapsed_ms, "failed"),
        _ => tracing::debug!(status, elapsed_ms, "answered"),
    });
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// A handler that panicked costs its own request and nothing else.
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Problem::internal(&format_args!("a handler panicked: {}", said.unwrap_or("without words"))).into_response()
}

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

/// Authenticates, authorizes, and only then lets the request on to its handler. Paths and methods that do not exist are
/// told of after that, so that nobody learns without a token which there are.
pub(crate) async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let access = match &matched {
        // A path that the router knows and the table does not would be closed to everybody but admins.
        Some(matched) => routes_of(matched.as_str()).next().map_or(Access::ByRole, |route| route.access),
        None => access_of_unknown(request.uri().path()),
    };
    if access == Access::ByJoinToken {
        let presented = presented(request.headers());
        if let Err(problem) = admit_host(&app, presented).await {
            return problem.into_response();
        }
    } else if access != Access::Public {
        match admit(&app, &request, access) {
            Ok(caller) => drop(request.extensions_mut().insert(caller)),
            Err(problem) => return problem.into_response(),
        }
    }
    let mut changes = false;
    if let Some(matched) = matched {
        let methods = methods_of(matched.as_str());
        if !methods.contains(&method) {
            let allow = methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
            return Problem::method_not_allowed(method.as_str(), request.uri().path(), allow).into_response();
        }
        changes = routes_of(matched.as_str()).any(|route| route.method == method && route.effect == Effect::Changes);
    }
    let response = next.run(request).await;
    if changes && app.controller.is_deposed() {
        // Whatever it says, it may not be so: the term ended somewhere in between.
        return no_leader("this server led no more before the change was complete").into_response();
    }
    response
}

async fn admit_host(app: &App, presented: Option<Presented>) -> Result<(), Problem> {
    let presented = presented.ok_or(AuthError::Unauthenticated)?;
    Ok(app.controller.auth().check_join_token(&presented.token).await?)
}

fn admit(app: &App, request: &Request, access: Access) -> Result<Caller, Problem> {
    let presented = presented(request.headers()).ok_or(AuthError::Unauthenticated)?;
    let session = app.controller.auth().authenticate(&presented)?;
    if access == Access::ByRole {
        app.controller.auth().authorize(&session, request.uri().path())?;
    }
    let is_admin = app.controller.auth().is_admin(&session);
    Ok(Caller { session, presented, is_admin, request: None })
}

/// The token of a request: `X-Access-Token: user:token`, or `Authorization: Bearer token`.
fn presented(headers: &HeaderMap) -> Option<Presented> {
    if let Some(value) = headers.get(ACCESS_TOKEN) {
        let (username, token) = value.to_str().ok()?.trim().split_once(':')?;
        return Some(Presented { username: Some(username.to_owned()), token: token.to_owned() });
    }
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Presented { username: None, token: token.trim_start().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_of(name: HeaderName, value: &'static str) -> Option<(Option<String>, String)> {
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        presented(&headers).map(|presented| (presented.username, presented.token))
    }

    #[test]
    fn a_token_is_sent_in_one_of_two_ways() {
        let of_admin = Some((Some("admin".to_owned()), "abc".to_owned()));
        assert_eq!(token_of(ACCESS_TOKEN, "admin:abc"), of_admin);
        assert_eq!(token_of(header::AUTHORIZATION, "Bearer abc"), Some((None, "abc".to_owned())));
        assert_eq!(token_of(header::AUTHORIZATION, "bearer  abc"), Some((None, "abc".to_owned())));
        for nothing in ["Basic abc", "abc", "", "Bearer"] {
            assert_eq!(token_of(header::AUTHORIZATION, nothing), None, "{nothing:?}");
        }
        assert_eq!(token_of(ACCESS_TOKEN, "abc"), None);
    }
}
