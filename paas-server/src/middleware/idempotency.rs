//! Changes with an `Idempotency-Key`: done once, however often they are sent.

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use paas_core::controller::{Begin, IdempotentRequest, KeptAnswer};
use paas_core::model::RequestId;

use crate::app::{App, Caller};
use crate::extract::PROGRESS;
use crate::problem::{Answer, Problem};
use crate::progress::is_summary;
use crate::route_table::{Access, Effect, routes_of};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The longest key, characters.
const LONGEST_KEY: usize = 255;

/// Marks an answer that is not to be kept, because it holds a secret that is kept nowhere. The request is done again instead,
/// and its change sees to it that only the last secret is worth anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotKept;

/// The name of a request that may be made again. Only changes that were sent with a key have one.
pub(crate) type Named = Option<Extension<RequestId>>;

/// Lets a change with a key through once, and gives its answer to whoever sends it again.
pub(crate) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().cloned();
    match (key(request.headers()), caller) {
        (Ok(Some(key)), Some(caller)) if changes(&request) => {
            done_once(&app, &caller, &key, request, next).await.unwrap_or_else(IntoResponse::into_response)
        }
        (Err(problem), _) => problem.into_response(),
        _ => next.run(request).await,
    }
}

/// Whether a request was sent with a key, so that it may be sent again.
pub(crate) fn has_key(headers: &HeaderMap) -> bool {
    headers.contains_key(KEY)
}

fn key(headers: &HeaderMap) -> Answer<Option<String>> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if !(1..=LONGEST_KEY).contains(&text.len()) || text.contains(' ') {
        let message = format!("must be 1 to {LONGEST_KEY} visible ASCII characters; a UUID is good");
        return Err(Problem::invalid("Idempotency-Key", message));
    }
    Ok(Some(text.to_owned()))
}

/// One's own password and token are not changed twice by mistake, and their answers are nothing to keep.
fn changes(request: &Request) -> bool {
    let matched = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let route = routes_of(matched).find(|route| route.method == *request.method());
    route.is_some_and(|route| route.effect == Effect::Changes && route.access == Access::ByRole)
}

async fn done_once(app: &App, caller: &Caller, key: &str, request: Request, next: Next) -> Answer {
    let (parts, body) = request.into_parts();
    let body = app.read(body).await?;
    let (method, uri) = (parts.method.clone(), parts.uri.clone());
    let fingerprint = [method.as_str().as_bytes(), uri.to_string().as_bytes(), &body].map(<[u8]>::to_vec);
    let fingerprint: Vec<&[u8]> = fingerprint.iter().map(Vec::as_slice).collect();
    let idempotent = match app.controller.begin_request(&caller.actor(), key, &fingerprint).await? {
        Begin::Replay(answer) => return Ok(replay(answer)),
        Begin::Execute(idempotent) => idempotent,
    };
    let mut request = Request::from_parts(parts, Body::from(body));
    request.extensions_mut().insert(idempotent.id());
    request.extensions_mut().insert(Caller { request: Some(idempotent.context()), ..caller.clone() });
    let response = next.run(request).await;
    if is_progress(&response) {
        return Ok(keep_progress(idempotent, response));
    }
    keep(idempotent, &method, response).await
}

/// Keeps an answer and gives it.
async fn keep(idempotent: IdempotentRequest, method: &Method, response: Response) -> Answer {
    let (mut parts, body) = response.into_parts();
    // Whoever deletes twice, because the answer to the first time was lost, has what was wanted.
    if idempotent.is_again() && *method == Method::DELETE && parts.status == StatusCode::NOT_FOUND {
        idempotent.finish(answer(StatusCode::NO_CONTENT, None, &[])).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let body = to_bytes(body, usize::MAX).await.map_err(|error| Problem::internal(&error))?;
    if parts.extensions.get::<NotKept>().is_some() {
        // That it was done is noted, and nothing more.
    } else if is_outcome(parts.status) {
        idempotent.finish(answer(parts.status, parts.headers.get(header::CONTENT_TYPE), &body)).await?;
    } else {
        idempotent.forget().await?;
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Keeps what a stream of progress says, before its last line goes out.
fn keep_progress(idempotent: IdempotentRequest, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let status = parts.status;
    let kept = (Some(idempotent), Vec::new());
    let lines = body.into_data_stream().map_err(axum::Error::into_inner);
    let lines = lines.scan(kept, move |(idempotent, whole), line| {
        if let Ok(line) = &line {
            whole.extend_from_slice(line);
        }
        let last = matches!(&line, Ok(line) if is_summary(line));
        let finish = last.then(|| idempotent.take()).flatten().map(|idempotent| {
            let answer = answer(status, Some(&HeaderValue::from_static(PROGRESS)), whole);
            async move { idempotent.finish(answer).await }
        });
        async move {
            match finish {
                Some(finish) => Some(finish.await.map_err(Into::into).and(line)),
                None => Some(line),
            }
        }
    });
    Response::from_parts(parts, Body::from_stream(lines))
}

/// Whether a status says what became of the request, or only that it was not tried.
fn is_outcome(status: StatusCode) -> bool {
    !matches!(status.as_u16(), 401 | 403 | 408 | 413 | 429 | 500 | 503)
}

fn is_progress(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == PROGRESS)
}

fn answer(status: StatusCode, content_type: Option<&HeaderValue>, body: &[u8]) -> KeptAnswer {
    KeptAnswer {
        status: status.as_u16(),
        content_type: content_type.and_then(|value| value.to_str().ok()).map(str::to_owned),
        body: String::from_utf8_lossy(body).into_owned(),
    }
}

fn replay(answer: KeptAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, Bytes::from(answer.body)).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    if let Some(value) = answer.content_type.and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_visible_text() {
        let of = |text: &'static str| key(&HeaderMap::from_iter([(KEY, HeaderValue::from_static(text))]));
        assert_eq!(of("0190-abc").unwrap().as_deref(), Some("0190-abc"));
        assert_eq!(key(&HeaderMap::new()).unwrap(), None);
        assert!(of("").is_err() && of("two words").is_err());
    }

    #[test]
    fn what_was_not_tried_is_no_outcome() {
        for (status, is) in [(201, true), (204, true), (207, true), (404, true), (409, true), (502, true)] {
            assert_eq!(is_outcome(StatusCode::from_u16(status).unwrap()), is);
        }
        for status in [401, 403, 408, 413, 429, 500, 503] {
            assert!(!is_outcome(StatusCode::from_u16(status).unwrap()), "{status}");
        }
    }
}
