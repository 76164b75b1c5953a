//! Whether the server is there, for load balancers and scripts.

use axum::Json;
use axum::extract::State;
use paas_core::controller::StoreState;
use paas_core::store::{Failing, StoreErrorKind};
use serde_json::{Value, json};

use crate::app::App;
use crate::problem::{Answer, Code, Problem, about_store};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where this is asked.
pub(crate) const PATH: &str = "/healthz";

pub(crate) async fn healthz(State(app): State<App>) -> Answer<Json<Value>> {
    if app.closing.is_cancelled() {
        return Err(Problem::new(Code::ShuttingDown, "the server is shutting down; try again in a moment"));
    }
    if app.controller.is_deposed() {
        return Ok(following(None, false));
    }
    let mut health = json!({"status": "ok", "version": VERSION});
    if let Some(leader) = app.controller.cluster_info().leader {
        health["role"] = json!("leader");
        health["leader"] = json!(leader);
    }
    tell_store(&mut health, &app.controller.store_state());
    Ok(Json(health))
}

/// Says how the store answers. Everybody may read this, so it has no cause and no place.
fn tell_store(said: &mut Value, state: &StoreState) {
    let health = &state.health;
    let failing: Vec<(&str, &Failing)> = [("reads", &health.unreadable), ("writes", &health.unwritable)]
        .into_iter()
        .filter_map(|(what, failing)| Some((what, failing.as_ref()?)))
        .collect();
    let is = |kind| failing.iter().any(|(_, failing)| failing.kind == kind);
    let (store, kind) = if is(StoreErrorKind::Broken) {
        ("broken", StoreErrorKind::Broken)
    } else if is(StoreErrorKind::Full) {
        ("full", StoreErrorKind::Full)
    } else {
        ("unavailable", StoreErrorKind::Unavailable)
    };
    if failing.is_empty() {
        said["store"] = json!("ok");
    } else {
        said["store"] = json!(store);
        said["store_detail"] = json!(about_store(kind));
    }
    if let Some(time) = health.last_ok {
        said["store_last_ok"] = json!(time);
    }
    if !failing.is_empty() {
        said["store_fails"] = failing.iter().map(|(what, _)| *what).collect();
        said["store_fails_since"] = json!(failing.iter().map(|(_, failing)| failing.since).min());
        said["store_last_failure"] = json!(failing.iter().map(|(_, failing)| failing.last).max());
    }
    if state.records_waiting > 0 {
        said["records_waiting"] = json!(state.records_waiting);
    }
}

/// What a server says that does not lead, and, if so, that it could not. What exactly is missing is for those who read its log.
pub(crate) fn following(leader: Option<String>, is_barred: bool) -> Json<Value> {
    let mut health = json!({"status": "ok", "version": VERSION, "role": "follower", "leader": leader});
    if is_barred {
        health["stands_for_election"] = json!(false);
        health["reason"] =
            json!("this server lacks the key of the store, or is too old for it; the log of this server says more");
    }
    Json(health)
}
