//! Whether the server is there, for load balancers and scripts.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::problem::{Answer, Code, Problem};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where this is asked.
pub(crate) const PATH: &str = "/healthz";

pub(crate) async fn healthz(State(app): State<App>) -> Answer<Json<Value>> {
    if app.closing.is_cancelled() {
        return Err(Problem::new(Code::ShuttingDown, "the server is shutting down; try again in a moment"));
    }
    if app.controller.is_deposed() {
        return Ok(following(None));
    }
    Ok(match app.controller.cluster_info().leader {
        Some(leader) => Json(json!({"status": "ok", "version": VERSION, "role": "leader", "leader": leader})),
        None => Json(json!({"status": "ok", "version": VERSION})),
    })
}

/// What a server says that does not lead.
pub(crate) fn following(leader: Option<String>) -> Json<Value> {
    Json(json!({"status": "ok", "version": VERSION, "role": "follower", "leader": leader}))
}
