//! Whether the server is there, for load balancers and scripts.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::problem::{Answer, Code, Problem};

pub(crate) async fn healthz(State(app): State<App>) -> Answer<Json<Value>> {
    if app.closing.is_cancelled() {
        return Err(Problem::new(Code::ShuttingDown, "the server is shutting down; try again in a moment"));
    }
    Ok(Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})))
}
