//! What the reconciler is told about the platform as a whole.

use axum::extract::State;
use axum::http::StatusCode;

use crate::app::{App, Caller};
use crate::extract::NoParams;
use crate::problem::Answer;

pub(crate) async fn heal(State(app): State<App>, caller: Caller, _: NoParams) -> Answer<StatusCode> {
    app.controller.heal_now(&caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn resume(State(app): State<App>, caller: Caller, _: NoParams) -> Answer<StatusCode> {
    app.controller.resume_reconciling(&caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
