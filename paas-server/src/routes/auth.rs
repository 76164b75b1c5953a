//! Login, logout, and one's own password.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use paas_core::auth::check_password_rules;
use paas_core::controller::PasswordChange;
use paas_core::wire::{LoginRequest, PasswordRequest};

use crate::app::{App, Caller};
use crate::extract::{Body, NoParams, Source};
use crate::problem::{Answer, Code, Problem};
use crate::warning::with_warning;

pub(crate) async fn login(
    State(app): State<App>,
    Source(source): Source,
    _: NoParams,
    Body(login): Body<LoginRequest>,
) -> Answer {
    let issued = app.controller.login_from(source, &login.username, &login.password).await?;
    let warning = issued.warning.clone();
    Ok(with_warning(Json(issued), warning.as_deref()))
}

pub(crate) async fn logout(State(app): State<App>, caller: Caller, _: NoParams) -> Answer {
    let ended = app.controller.logout(&caller.actor(), &caller.presented.token).await?;
    Ok(with_warning(StatusCode::NO_CONTENT, ended.warning.as_deref()))
}

pub(crate) async fn change_password(
    State(app): State<App>,
    caller: Caller,
    Source(source): Source,
    _: NoParams,
    Body(new): Body<PasswordRequest>,
) -> Answer<StatusCode> {
    let own = caller.session.username.as_str();
    let username = new.username.unwrap_or_else(|| own.to_owned());
    let is_own = username == own;
    if !is_own && !app.controller.auth().is_admin(&caller.session) {
        return Err(Problem::new(
            Code::Forbidden,
            "only admins change the password of another account; leave out username for your own",
        ));
    }
    check_password_rules(&new.password)?;
    if is_own && new.old_password.is_none() {
        // Otherwise a stolen token would be enough to take the account for good.
        return Err(Problem::invalid(
            "old_password",
            "is missing; send the present password of your own account as well",
        ));
    }
    let change = PasswordChange {
        username,
        source,
        old_password: new.old_password,
        password: new.password,
        keep_token: Some(caller.presented.token.clone()),
    };
    app.controller.change_password(&caller.actor(), change).await?;
    Ok(StatusCode::NO_CONTENT)
}
