//! Whether the server is there, for load balancers and scripts.

use axum::Json;
use axum::extract::State;
use paas_core::controller::StoreState;
use paas_core::store::{Failing, StoreErrorKind};
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
        return Ok(following(None, false));
    }
    let store = store(&app.controller.store_state());
    Ok(match app.controller.cluster_info().leader {
        Some(leader) => {
            Json(json!({"status": "ok", "version": VERSION, "role": "leader", "leader": leader, "store": store}))
        }
        None => Json(json!({"status": "ok", "version": VERSION, "store": store})),
    })
}

/// How the store answers. Everybody may read this, so it has no cause and no place.
fn store(state: &StoreState) -> Value {
    let failing = |failing: &Failing| {
        let kind = match failing.kind {
            StoreErrorKind::Broken => "broken",
            _ => "unavailable",
        };
        json!({"kind": kind, "since": failing.since, "last": failing.last})
    };
    let health = &state.health;
    let mut store = json!({"status": if health.is_ok() { "ok" } else { "failing" }});
    let more = [
        ("last_ok", health.last_ok.map(|time| json!(time))),
        ("reads", health.unreadable.as_ref().map(failing)),
        ("writes", health.unwritable.as_ref().map(failing)),
        ("records_waiting", (state.records_waiting > 0).then(|| json!(state.records_waiting))),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            store[name] = value;
        }
    }
    store
}

/// What a server says that does not lead, and, if so, that it could not. What exactly is missing is for those who read its log.
pub(crate) fn following(leader: Option<String>, is_barred: bool) -> Json<Value> {
    let mut health = json!({"status": "ok", "version": VERSION, "role": "follower", "leader": leader});
    if is_barred {
        health["stands_for_election"] = json!(false);
        health["reason"] =
            json!("the key that opens the secrets in the store is not here; the log of this server says more");
    }
    Json(health)
}
