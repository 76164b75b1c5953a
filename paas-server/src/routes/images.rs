//! Images.

use axum::extract::State;
use paas_core::wire::PullRequest;

use crate::app::{App, Caller};
use crate::extract::{Body, NoParams};
use crate::problem::Answer;
use crate::progress;

pub(crate) async fn pull(State(app): State<App>, caller: Caller, _: NoParams, Body(pull): Body<PullRequest>) -> Answer {
    let operation = app.controller.pull(&caller.actor(), pull.name, pull.engines).await?;
    Ok(progress::stream(&app.controller, operation))
}
