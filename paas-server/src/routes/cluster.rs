//! The cluster as a whole.

use axum::Json;
use axum::extract::State;
use paas_core::model::ClusterInfo;

use crate::app::App;
use crate::extract::NoParams;
use crate::problem::Answer;

pub(crate) async fn info(State(app): State<App>, _: NoParams) -> Answer<Json<ClusterInfo>> {
    Ok(Json(app.controller.cluster_info()))
}
