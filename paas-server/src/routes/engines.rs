//! Docker hosts.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use paas_core::model::{Engine, EngineSpec};

use crate::app::{App, Caller};
use crate::extract::{Body, Id, NoParams, Params};
use crate::problem::Answer;

pub(crate) async fn list(State(app): State<App>, _: NoParams) -> Answer<Json<Vec<Engine>>> {
    Ok(Json(app.controller.engines()))
}

pub(crate) async fn show(State(app): State<App>, Id(id): Id, _: NoParams) -> Answer<Json<Engine>> {
    Ok(Json(app.controller.engine(&id)?))
}

pub(crate) async fn add(State(app): State<App>, caller: Caller, _: NoParams, Body(spec): Body<EngineSpec>) -> Answer {
    let engine = app.controller.add_engine(&caller.actor(), spec).await?;
    // An id has plain characters only, so it needs no encoding.
    let location = format!("/api/engines/{}", engine.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(engine)).into_response())
}

/// Without `force=false` it deletes as the source system did: whatever runs there.
pub(crate) async fn delete(State(app): State<App>, caller: Caller, Id(id): Id, uri: Uri) -> Answer<StatusCode> {
    let force = Params::of(&uri, &["force"])?.flag("force")?.unwrap_or(true);
    app.controller.delete_engine(&caller.actor(), &id, force).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn drain(State(app): State<App>, caller: Caller, Id(id): Id, _: NoParams) -> Answer<Json<Engine>> {
    Ok(Json(app.controller.set_draining(&caller.actor(), &id, true).await?))
}

pub(crate) async fn undrain(State(app): State<App>, caller: Caller, Id(id): Id, _: NoParams) -> Answer<Json<Engine>> {
    Ok(Json(app.controller.set_draining(&caller.actor(), &id, false).await?))
}

/// The volumes that are lost with it, by name.
pub(crate) async fn lost(State(app): State<App>, caller: Caller, Id(id): Id, uri: Uri) -> Answer<Json<Vec<String>>> {
    let lose_volumes = Params::of(&uri, &["lose_volumes"])?.flag("lose_volumes")?.unwrap_or(false);
    Ok(Json(app.controller.host_lost(&caller.actor(), &id.parse()?, lose_volumes).await?))
}
