//! Applications.

use std::convert::Infallible;

use axum::Json;
use axum::body::Body as Content;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use paas_core::engine::LogOptions;
use paas_core::model::app::{AppName, ComponentName};
use paas_core::wire::app::{
    AppPlan, AppStatus, AppSummary, Applied, ApplyRequest, FieldChange, Revision, RevisionSummary, ScaleRequest,
};

use super::containers::since;
use super::replica_logs::{Replicas, previous};
use crate::app::{App, Caller};
use crate::extract::{Body, Id, NoParams, Nothing, OptionalBody, PROGRESS, Params};
use crate::problem::{Answer, Problem};

/// No application has as many revisions.
const MOST_REVISIONS: u64 = u32::MAX as u64;

/// The application that the path names.
pub(crate) struct Name(pub(super) AppName);

impl FromRequestParts<App> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Id(name) = Id::from_request_parts(parts, app).await?;
        Ok(Self(name.parse()?))
    }
}

pub(crate) async fn list(State(app): State<App>, _: NoParams) -> Answer<Json<Vec<AppSummary>>> {
    Ok(Json(app.controller.apps()))
}

pub(crate) async fn show(State(app): State<App>, Name(name): Name, _: NoParams) -> Answer<Json<AppStatus>> {
    Ok(Json(app.controller.app(name.as_str())?))
}

pub(crate) async fn plan(
    State(app): State<App>,
    caller: Caller,
    Name(name): Name,
    _: NoParams,
    Body(request): Body<ApplyRequest>,
) -> Answer<Json<AppPlan>> {
    let request = of_app(&name, request)?;
    Ok(Json(app.controller.plan_app(&caller.actor(), name.as_str(), request).await?))
}

pub(crate) async fn apply(
    State(app): State<App>,
    caller: Caller,
    Name(name): Name,
    _: NoParams,
    Body(request): Body<ApplyRequest>,
) -> Answer<Json<Applied>> {
    let request = of_app(&name, request)?;
    Ok(Json(app.controller.apply_app(&caller.actor(), name.as_str(), request).await?))
}

/// The request, if its file is of that application. A file that names none is.
fn of_app(name: &AppName, mut request: ApplyRequest) -> Answer<ApplyRequest> {
    let written = request.app.app.get_or_insert_with(|| name.to_string());
    if written != name.as_str() {
        let message = format!("is {written:?} where the path says {name}; give the same name in both");
        return Err(Problem::invalid("app.app", message));
    }
    Ok(request)
}

pub(crate) async fn destroy(State(app): State<App>, caller: Caller, Name(name): Name, uri: Uri) -> Answer<StatusCode> {
    let delete_volumes = Params::of(&uri, &["delete_volumes"])?.flag("delete_volumes")?.unwrap_or(false);
    app.controller.destroy_app(&caller.actor(), name.as_str(), delete_volumes).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn revisions(
    State(app): State<App>,
    Name(name): Name,
    _: NoParams,
) -> Answer<Json<Vec<RevisionSummary>>> {
    Ok(Json(app.controller.app_revisions(name.as_str())?))
}

pub(crate) async fn revision(
    State(app): State<App>,
    Path((name, number)): Path<(String, String)>,
    _: NoParams,
) -> Answer<Json<Revision>> {
    let name: AppName = name.parse()?;
    let wrong = || Problem::invalid("revision", format!("must be the number of a revision, not {number:?}"));
    let number = number.parse().map_err(|_| wrong())?;
    Ok(Json(app.controller.app_revision(name.as_str(), number)?))
}

pub(crate) async fn diff(State(app): State<App>, Name(name): Name, uri: Uri) -> Answer<Json<Vec<FieldChange>>> {
    let params = Params::of(&uri, &["from", "to"])?;
    let revision = |parameter: &str| {
        let missing = || Problem::invalid(parameter, "is missing; give the number of a revision");
        params.number(parameter, 1, MOST_REVISIONS)?.ok_or_else(missing)
    };
    let (from, to) = (revision("from")?, revision("to")?);
    Ok(Json(app.controller.app_diff(name.as_str(), from, to)?))
}

pub(crate) async fn rollback(
    State(app): State<App>,
    caller: Caller,
    Name(name): Name,
    _: NoParams,
    OptionalBody(request): OptionalBody<paas_core::wire::app::RollbackRequest>,
) -> Answer<Json<Applied>> {
    Ok(Json(app.controller.rollback_app(&caller.actor(), name.as_str(), request.unwrap_or_default()).await?))
}

pub(crate) async fn scale(
    State(app): State<App>,
    caller: Caller,
    Name(name): Name,
    _: NoParams,
    Body(request): Body<ScaleRequest>,
) -> Answer<Json<Applied>> {
    Ok(Json(app.controller.scale_app(&caller.actor(), name.as_str(), request).await?))
}

pub(crate) async fn restart(
    State(app): State<App>,
    caller: Caller,
    Name(name): Name,
    _: NoParams,
    OptionalBody(request): OptionalBody<paas_core::wire::app::RestartRequest>,
) -> Answer<Json<Applied>> {
    Ok(Json(app.controller.restart_app(&caller.actor(), name.as_str(), request.unwrap_or_default()).await?))
}

pub(crate) async fn stop(
    State(app): State<App>,
    caller: Caller,
    Name(name): Name,
    _: NoParams,
    _: OptionalBody<Nothing>,
) -> Answer<Json<Applied>> {
    Ok(Json(app.controller.stop_app(&caller.actor(), name.as_str()).await?))
}

pub(crate) async fn start(
    State(app): State<App>,
    caller: Caller,
    Name(name): Name,
    _: NoParams,
    _: OptionalBody<Nothing>,
) -> Answer<Json<Applied>> {
    Ok(Json(app.controller.start_app(&caller.actor(), name.as_str()).await?))
}

pub(crate) async fn rollout(State(app): State<App>, caller: Caller, Name(name): Name, _: NoParams) -> Answer {
    let steps = app.controller.follow_rollout(name.as_str())?;
    let lines = steps.take_until(Box::pin(app.until_over(caller))).map(|status| {
        // Text, numbers and maps by names always have a JSON form.
        let mut line = serde_json::to_vec(&status).unwrap_or_default();
        line.push(b'\n');
        Ok::<_, Infallible>(line)
    });
    Ok(([(header::CONTENT_TYPE, PROGRESS)], Content::from_stream(lines)).into_response())
}

pub(crate) async fn logs(State(app): State<App>, caller: Caller, Name(name): Name, uri: Uri) -> Answer {
    let params = Params::of(&uri, &["component", "follow", "tail", "timestamps", "since", "previous"])?;
    let component: Option<ComponentName> = params.text("component").map(str::parse).transpose()?;
    if params.flag("previous")?.unwrap_or(false) {
        if let Some(other) = ["follow", "timestamps", "since"].into_iter().find(|name| params.text(name).is_some()) {
            return Err(Problem::invalid(other, "does not go with previous: what is kept are the last lines, as text"));
        }
        let tail = params.number("tail", 0, u64::from(u32::MAX))?;
        let kept = app.controller.previous_output(name.as_str(), component.as_ref())?;
        return Ok(as_text(previous(kept, tail).take_until(Box::pin(app.until_over(caller)))));
    }
    let options = LogOptions {
        follow: params.flag("follow")?.unwrap_or(false),
        timestamps: params.flag("timestamps")?.unwrap_or(false),
        tail: params.number("tail", 0, u64::from(u32::MAX))?,
        since: params.text("since").map(since).transpose()?,
        ..LogOptions::default()
    };
    let replicas = Replicas::find(app.controller.clone(), name, component, options)?;
    Ok(as_text(replicas.lines().take_until(Box::pin(app.until_over(caller)))))
}

fn as_text(lines: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let media_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (media_type, Content::from_stream(lines.map(Ok::<_, Infallible>))).into_response()
}
