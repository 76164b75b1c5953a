//! Logins to image registries that serve every engine.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use paas_core::model::{RegistryLogin, ShownRegistryLogin};

use crate::app::{App, Caller};
use crate::extract::{Body, Id, NoParams};
use crate::problem::Answer;

pub(crate) async fn list(State(app): State<App>, _: NoParams) -> Answer<Json<Vec<ShownRegistryLogin>>> {
    Ok(Json(app.controller.registry_logins().await?))
}

pub(crate) async fn set(
    State(app): State<App>,
    caller: Caller,
    _: NoParams,
    Body(login): Body<RegistryLogin>,
) -> Answer<StatusCode> {
    app.controller.set_registry_login(&caller.actor(), login).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn delete(State(app): State<App>, caller: Caller, Id(server): Id, _: NoParams) -> Answer<StatusCode> {
    app.controller.delete_registry_login(&caller.actor(), &server).await?;
    Ok(StatusCode::NO_CONTENT)
}
