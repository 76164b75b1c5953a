//! Changes with an `Idempotency-Key`: done once, however often they are sent.

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use paas_core::controller::{Begin, Controller, IdempotentRequest, KeptAnswer};
use paas_core::model::RequestId;
use tokio::sync::mpsc;

use crate::app::{App, Caller};
use crate::extract::{PROGRESS, wants_progress};
use crate::problem::{Answer, Problem};
use crate::progress::{is_summary, outcome_of_run, outcome_of_scale, summary_of};
use crate::route_table::{Access, Effect, LongOperation, Route};
use crate::warning::with_warning;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const FOLLOWS: &str = "the store takes nothing at this moment; the record of what was done follows when it does";
/// The longest key, characters.
const LONGEST_KEY: usize = 255;

/// Marks an answer that is not to be kept, because it holds a secret that is kept nowhere. The request is done again instead,
/// and its change sees to it that only the last secret is worth anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotKept;

/// The name of a request that may be made again. Only changes that were sent with a key have one.
pub(crate) type Named = Option<Extension<RequestId>>;

/// Lets a change with a key through once, and gives its answer when it is sent again.
///
/// The exchange is the server's and not the connection's: a client that hangs up changes nothing about it.
pub(crate) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().cloned();
    let route = Route::of(&request);
    let is_of_platform = route.is_some_and(may_have_key);
    let response = match (key(request.headers()), caller, route) {
        (Ok(Some(_)), _, Some(Route { operation: Some(LongOperation::Command), .. })) => {
            let message = "is of no use here: a command is not done again; leave it out";
            Problem::invalid("Idempotency-Key", message).into_response()
        }
        (Ok(Some(key)), Some(caller), Some(route)) if is_of_platform => {
            exchange(&app, caller, key, route, request, next).await.unwrap_or_else(IntoResponse::into_response)
        }
        (Err(problem), ..) => problem.into_response(),
        _ => next.run(request).await,
    };
    // Of tokens nothing follows that would make them good; their routes say what there is to say.
    if is_of_platform && response.status().is_success() && app.controller.store_state().records_waiting > 0 {
        return with_warning(response, Some(FOLLOWS));
    }
    response
}

/// One's own password and token are not changed twice by mistake, and their answers are nothing to keep.
fn may_have_key(route: &Route) -> bool {
    route.effect == Effect::Changes && route.access == Access::ByRole
}

async fn exchange(
    app: &App,
    caller: Caller,
    key: String,
    route: &'static Route,
    request: Request,
    next: Next,
) -> Answer {
    let (parts, body) = request.into_parts();
    let body = app.read(body).await?;
    let done = {
        let app = app.clone();
        async move { done_once(&app, &caller, &key, route, (parts, body), next).await }
    };
    app.controller.run_to_end(done).await?
}

/// Whether a request was sent with a key, so that it may be sent again.
pub(crate) fn has_key(headers: &HeaderMap) -> bool {
    headers.contains_key(KEY)
}

fn key(headers: &HeaderMap) -> Answer<Option<String>> {
    let mut values = headers.get_all(KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::invalid("Idempotency-Key", "must be given once"));
    }
    let text = value.to_str().unwrap_or_default();
    if !(1..=LONGEST_KEY).contains(&text.len()) || text.contains(' ') {
        let message = format!("must be 1 to {LONGEST_KEY} visible ASCII characters; a UUID is good");
        return Err(Problem::invalid("Idempotency-Key", message));
    }
    Ok(Some(text.to_owned()))
}

async fn done_once(
    app: &App,
    caller: &Caller,
    key: &str,
    route: &Route,
    (parts, body): (Parts, Bytes),
    next: Next,
) -> Answer {
    let (method, uri) = (parts.method.clone(), parts.uri.clone());
    let fingerprint = [method.as_str().as_bytes(), uri.to_string().as_bytes(), &body].map(<[u8]>::to_vec);
    let fingerprint: Vec<&[u8]> = fingerprint.iter().map(Vec::as_slice).collect();
    let begun = match route.is_harmless {
        true => app.controller.begin_harmless_request(&caller.actor(), key, &fingerprint).await?,
        false => app.controller.begin_request(&caller.actor(), key, &fingerprint).await?,
    };
    let idempotent = match begun {
        Begin::Replay(answer) => return Ok(replay_for(answer, route, &parts.headers)),
        Begin::Execute(idempotent) => idempotent,
    };
    let mut request = Request::from_parts(parts, Body::from(body));
    request.extensions_mut().insert(idempotent.id());
    request.extensions_mut().insert(Caller { request: Some(idempotent.context()), ..caller.clone() });
    let response = next.run(request).await;
    if is_progress(&response) {
        return Ok(keep_progress(&app.controller, idempotent, response));
    }
    keep(idempotent, &method, response).await
}

/// Keeps an answer and gives it.
async fn keep(idempotent: IdempotentRequest, method: &Method, response: Response) -> Answer {
    let (mut parts, body) = response.into_parts();
    // A client that deletes twice, because the answer to the first time was lost, has what it wanted.
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

/// Keeps what a stream of progress says, before its last line goes out; also when the client is gone by then.
fn keep_progress(controller: &Controller, idempotent: IdempotentRequest, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let status = parts.status;
    // As many lines as the operation has steps, as where they come from.
    let (lines, mut sent) = mpsc::unbounded_channel();
    let keep = async move {
        let mut steps = body.into_data_stream().map_err(axum::Error::into_inner);
        let (mut idempotent, mut whole) = (Some(idempotent), Vec::new());
        while let Some(mut line) = steps.next().await {
            if let Ok(bytes) = &line {
                // What is larger is not kept, so no more of it is needed.
                if whole.len() <= KeptAnswer::LARGEST {
                    whole.extend_from_slice(bytes);
                }
                if is_summary(bytes)
                    && let Some(idempotent) = idempotent.take()
                {
                    let answer = answer(status, Some(&HeaderValue::from_static(PROGRESS)), &whole);
                    line = idempotent.finish(answer).await.map_err(Into::into).and(line);
                }
            }
            // Nobody reads on when the client is gone. What it began is kept all the same.
            let _ = lines.send(line);
        }
    };
    drop(controller.spawn_to_end(keep));
    Response::from_parts(parts, Body::from_stream(stream::poll_fn(move |cx| sent.poll_recv(cx))))
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

/// An answer that was given before, in the form that is asked for now: what was told as it went is told as a whole to who
/// waits for it.
fn replay_for(kept: KeptAnswer, route: &Route, headers: &HeaderMap) -> Response {
    let is_stream = kept.content_type.as_deref() == Some(PROGRESS);
    let outcome = match route.operation {
        _ if !is_stream || wants_progress(headers) => return replay(kept),
        Some(LongOperation::Run) => outcome_of_run(summary_of(&kept.body)),
        Some(LongOperation::Scale) => outcome_of_scale(summary_of(&kept.body)),
        Some(LongOperation::Pull | LongOperation::Command) | None => return replay(kept),
    };
    let mut response = outcome.unwrap_or_else(IntoResponse::into_response);
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
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
