//! Who may do what: every request is authenticated and authorized before its handler sees it.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use paas_core::auth::{AuthError, Presented};

use crate::app::{App, Caller};
use crate::connections::Connection;
use crate::problem::Problem;
use crate::route_table::{Access, Effect, Route, access_of_unknown, methods_of, routes_of};

const ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");

/// Authenticates, authorizes, and only then lets the request on to its handler. Paths and methods that do not exist are
/// refused after that, so that nobody learns without a token which there are.
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
        match admit_host(&app, presented).await {
            Ok(()) => authenticated(&request),
            Err(problem) => return problem.into_response(),
        }
    } else if access != Access::Public {
        match admit(&app, &request, access) {
            Ok(caller) => {
                authenticated(&request);
                request.extensions_mut().insert(caller);
            }
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
        changes = Route::of(&request).is_some_and(|route| route.effect == Effect::Changes);
    }
    let response = next.run(request).await;
    if changes && app.controller.is_deposed() {
        // Whatever it says, it may not be so: the term ended somewhere in between.
        return Problem::no_leader("this server led no more before the change was complete").into_response();
    }
    response
}

/// Connections on which good tokens come are the last to be closed when there are too many.
fn authenticated(request: &Request) {
    if let Some(connection) = request.extensions().get::<Connection>() {
        connection.authenticated();
    }
}

async fn admit_host(app: &App, presented: Option<Presented>) -> Result<(), Problem> {
    let presented = presented.ok_or(AuthError::Unauthenticated)?;
    Ok(app.controller.auth().check_join_token(&presented.token).await?)
}

fn admit(app: &App, request: &Request, access: Access) -> Result<Caller, Problem> {
    let presented = presented(request.headers()).ok_or(AuthError::Unauthenticated)?;
    let session = app.controller.auth().authenticate(&presented)?;
    let path = request.uri().path();
    if access == Access::ByRole {
        app.controller.auth().authorize(&session, path)?;
    }
    let is_admin = app.controller.auth().is_admin(&session);
    if !is_admin && Route::of(request).is_some_and(|route| route.admins_only) {
        return Err(AuthError::Forbidden { path: path.to_owned() }.into());
    }
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
    use axum::http::HeaderValue;

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
