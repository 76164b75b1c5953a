//! How long a request as a whole may take.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::Uri;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::extract::{DEFAULT_GRACE, Params};
use crate::problem::{Code, Problem};
use crate::route_table::Route;

/// Answers in time, also where something behind it hangs. What was begun goes on; streams have the time that they need.
pub(crate) async fn deadline(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = Route::of(&request);
    let (mut parts, body) = request.into_parts();
    let own = match route {
        Some(Route { waits_for_stop: true, .. }) => {
            let id = Path::<String>::from_request_parts(&mut parts, &app).await;
            id.ok().and_then(|Path(id)| app.controller.own_grace(&id))
        }
        _ => None,
    };
    let extra = extra(route, &parts.uri, own);
    let request = Request::from_parts(parts, body);
    let Some(extra) = extra else { return next.run(request).await };
    let deadline = app.request_timeout.saturating_add(extra);
    let answer = tokio::time::timeout(deadline, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let detail = format!(
            "there was no answer within {} seconds; it may be done all the same: look, or ask again with the same \
             Idempotency-Key",
            deadline.as_secs()
        );
        Problem::new(Code::TimedOut, detail).into_response()
    })
}

/// How much longer than others a request may take, where the container itself says how long it has to end, or not; none where that is
/// for the hosts to say.
fn extra(route: Option<&Route>, uri: &Uri, own: Option<Duration>) -> Option<Duration> {
    match route {
        // As long as all of it takes: each call to a host has a deadline of its own.
        Some(Route { operation: Some(_), .. }) => None,
        Some(Route { waits_for_stop: true, .. }) => {
            let grace = Params::of(uri, &["timeout"]).and_then(|params| params.number("timeout", 0, u64::MAX));
            // What is wrong about it is for the handler to say.
            let given = grace.ok().flatten().map(Duration::from_secs);
            Some(given.or(own).unwrap_or(Duration::from_secs(DEFAULT_GRACE)))
        }
        _ => Some(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;
    use crate::route_table::routes_of;

    #[test]
    fn a_stop_may_take_as_much_longer_as_its_grace_is_and_an_operation_as_long_as_it_takes() {
        let extra = |method: Method, path, uri: &str| {
            extra(routes_of(path).find(|route| route.method == method), &uri.parse().unwrap(), None)
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let stop = routes_of("/api/containers/{id}/stop").next();
        let own = |uri: &str| super::extra(stop, &uri.parse().unwrap(), seconds(300));
        assert_eq!((own("/x"), own("/x?timeout=5")), (seconds(300), seconds(5)));
        assert_eq!(extra(Method::POST, "/api/containers/{id}/stop", "/x?timeout=130"), seconds(130));
        assert_eq!(extra(Method::GET, "/api/containers/{id}/restart", "/x"), seconds(DEFAULT_GRACE));
        assert_eq!(extra(Method::POST, "/api/containers/{id}/stop", "/x?timeout=soon"), seconds(DEFAULT_GRACE));
        assert_eq!(extra(Method::GET, "/api/containers", "/x"), seconds(0));
        assert_eq!(extra(Method::POST, "/api/containers", "/x"), None);
        assert_eq!(extra(Method::GET, "/api/containers/{id}/scale", "/x"), None);
        assert_eq!(extra(Method::HEAD, "/api/containers", "/x"), seconds(0));
    }
}
