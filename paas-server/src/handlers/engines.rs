//! Docker hosts.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use paas_core::model::{Engine, EngineSpec};

use crate::app::{App, Caller};
use crate::extract::{Body, Id, NoParams};
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

pub(crate) async fn delete(State(app): State<App>, caller: Caller, Id(id): Id, _: NoParams) -> Answer<StatusCode> {
    app.controller.delete_engine(&caller.actor(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
