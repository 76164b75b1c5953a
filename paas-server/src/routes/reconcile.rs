//! What the reconciler is told about the platform as a whole.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use paas_core::wire::app::{AppPlan, Moved};

use crate::app::{App, Caller};
use crate::extract::{NoParams, Params};
use crate::problem::Answer;

pub(crate) async fn heal(State(app): State<App>, caller: Caller, _: NoParams) -> Answer<StatusCode> {
    app.controller.heal_now(&caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn plan(State(app): State<App>, _: Caller, _: NoParams) -> Answer<Json<Vec<AppPlan>>> {
    Ok(Json(app.controller.plan_all()))
}

pub(crate) async fn resume(State(app): State<App>, caller: Caller, _: NoParams) -> Answer<StatusCode> {
    app.controller.resume_reconciling(&caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn rebalance(State(app): State<App>, caller: Caller, uri: Uri) -> Answer<Json<Vec<Moved>>> {
    let dry_run = Params::of(&uri, &["dry_run"])?.flag("dry_run")?.unwrap_or(false);
    Ok(Json(app.controller.rebalance(&caller.actor(), dry_run).await?))
}
