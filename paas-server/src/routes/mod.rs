//! One file per resource: a handler reads the request, asks the controller, and forms the answer. Here they are mounted, with
//! the middleware in front of them:
//! request id → body limit → authenticate → authorize → idempotency, where it has a key → handler.

mod accounts;
mod apps;
mod auth;
mod blobs;
mod cluster;
mod commands;
mod containers;
mod engines;
mod events;
pub(crate) mod health;
mod images;
mod join;
mod listing;
mod reconcile;
mod registry_logins;
mod replica_logs;
mod secrets;

use axum::Router;
use axum::http::Uri;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, on};
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::middleware::{body_limit, deadline, guard, idempotency, request_id};
use crate::problem::{Code, Problem};
use crate::route_table::{Access, access_of_unknown, each_route};

/// The whole API.
pub(crate) fn router(app: App) -> Router {
    let mut router = Router::new();
    macro_rules! mount {
        ($($method:ident $path:literal $access:ident $effect:ident $handler:path $(, $fact:ident $args:tt)*;)*) => {
            $(router = router.route($path, on(MethodFilter::$method, $handler));)*
        };
    }
    each_route!(mount);
    router
        .fallback(no_such_route)
        // The last layer is the first to see a request.
        .layer(from_fn_with_state(app.clone(), idempotency::once))
        .layer(from_fn_with_state(app.clone(), guard::guard))
        .layer(from_fn_with_state(app.clone(), body_limit::limit_body))
        .layer(from_fn_with_state(app.clone(), deadline::deadline))
        .layer(CatchPanicLayer::custom(request_id::panicked))
        .layer(from_fn(request_id::identify))
        .with_state(app)
}

async fn no_such_route(uri: Uri) -> Problem {
    let path = uri.path();
    let has_empty_part = path.split('/').skip(1).any(str::is_empty);
    if has_empty_part && access_of_unknown(path) != Access::Public {
        return Problem::invalid("path", format!("{path:?} has an empty part where an id belongs; give the id"));
    }
    Problem::new(Code::RouteNotFound, format!("there is nothing at {path}; docs/api.md lists what there is"))
}
