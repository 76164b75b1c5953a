//! Hosts that join by themselves, and the tokens that let them.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::{Extension, Json};
use paas_core::auth::{JoinToken, NewJoinToken};
use paas_core::model::EngineId;
use paas_core::wire::Heartbeat;

use crate::app::{App, Caller};
use crate::extract::{Body, Id, NoParams, Params};
use crate::middleware::idempotency::NotKept;
use crate::problem::{Answer, Problem};

pub(crate) async fn list(State(app): State<App>, _: NoParams) -> Answer<Json<Vec<JoinToken>>> {
    Ok(Json(app.controller.join_tokens().await?))
}

/// The token is seen this once: it is kept as a hash, and so is not kept as an answer either.
pub(crate) async fn make(
    State(app): State<App>,
    caller: Caller,
    _: NoParams,
) -> Answer<(StatusCode, Extension<NotKept>, Json<NewJoinToken>)> {
    let made = app.controller.make_join_token(&caller.actor()).await?;
    Ok((StatusCode::CREATED, Extension(NotKept), Json(made)))
}

pub(crate) async fn delete(State(app): State<App>, caller: Caller, Id(id): Id, _: NoParams) -> Answer<StatusCode> {
    app.controller.delete_join_token(&caller.actor(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn heartbeat(
    State(app): State<App>,
    Id(id): Id,
    _: NoParams,
    Body(heartbeat): Body<Heartbeat>,
) -> Answer<StatusCode> {
    let Heartbeat { session, ttl_seconds, member } = heartbeat;
    if member.id.as_str() != id {
        return Err(Problem::invalid("id", "differs in path and body; give the same"));
    }
    app.controller.heartbeat(member, session, Duration::from_secs(ttl_seconds)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn deregister(State(app): State<App>, Id(id): Id, uri: Uri) -> Answer<StatusCode> {
    let params = Params::of(&uri, &["session"])?;
    let session = params.text("session").and_then(|text| text.parse().ok());
    let session = session.ok_or_else(|| Problem::invalid("session", "must be the UUID of the agent's run"))?;
    let id: EngineId = id.parse()?;
    app.controller.deregister(&id, session).await?;
    Ok(StatusCode::NO_CONTENT)
}
