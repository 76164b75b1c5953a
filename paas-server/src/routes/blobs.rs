//! Configuration files of applications, sent before the application itself.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;

use crate::app::{App, Caller};
use crate::extract::NoParams;
use crate::problem::Answer;

pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller,
    Path((name, sha256)): Path<(String, String)>,
    _: NoParams,
    request: Request,
) -> Answer<StatusCode> {
    let content = app.read(request.into_body()).await?;
    app.controller.put_blob(&caller.actor(), &name, &sha256, content.to_vec()).await?;
    Ok(StatusCode::NO_CONTENT)
}
