//! Images.

use axum::extract::State;
use paas_core::model::{EngineId, ImageRef};
use serde::Deserialize;

use crate::app::{App, Caller};
use crate::extract::{Body, NoParams};
use crate::problem::Answer;
use crate::progress;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pull {
    name: ImageRef,
    engines: Option<Vec<EngineId>>,
}

pub(crate) async fn pull(State(app): State<App>, caller: Caller, _: NoParams, Body(pull): Body<Pull>) -> Answer {
    let operation = app.controller.pull(&caller.actor(), pull.name, pull.engines).await?;
    Ok(progress::stream(&app.controller, operation))
}
