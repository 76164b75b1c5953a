//! Accounts.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use paas_core::model::{Account, NewAccount};
use paas_core::wire::DeleteAccountRequest;

use crate::app::{App, Caller};
use crate::extract::{Body, Id, NoParams, OptionalBody, Params};
use crate::problem::{Answer, Problem};

pub(crate) async fn list(State(app): State<App>, _: NoParams) -> Answer<Json<Vec<Account>>> {
    Ok(Json(app.controller.accounts().await?))
}

pub(crate) async fn show(State(app): State<App>, Id(name): Id, _: NoParams) -> Answer<Json<Account>> {
    Ok(Json(app.controller.account(&name).await?))
}

pub(crate) async fn add(
    State(app): State<App>,
    caller: Caller,
    _: NoParams,
    Body(new): Body<NewAccount>,
) -> Answer<StatusCode> {
    app.controller.add_account(&caller.actor(), new).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn delete(State(app): State<App>, caller: Caller, Id(name): Id, _: NoParams) -> Answer<StatusCode> {
    app.controller.delete_account(&caller.actor(), &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// As the source system has it: the name is in the body. Some clients send no body with a DELETE, so a parameter does
/// as well.
pub(crate) async fn delete_by_body(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    OptionalBody(body): OptionalBody<DeleteAccountRequest>,
) -> Answer<StatusCode> {
    let params = Params::of(&uri, &["username"])?;
    let in_body = body.map(|body| body.username);
    let name = match (in_body, params.text("username")) {
        (Some(name), None) => name,
        (None, Some(name)) => name.to_owned(),
        (Some(one), Some(other)) if one == other => one,
        (Some(_), Some(_)) => return Err(Problem::invalid("username", "differs in body and query; give it once")),
        (None, None) => return Err(Problem::invalid("username", "is missing; say whose account is to be deleted")),
    };
    app.controller.delete_account(&caller.actor(), &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
