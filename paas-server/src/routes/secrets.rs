//! Secrets of applications. No answer holds a value, nor repeats what was sent as one.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use paas_core::controller::RollSecret;
use paas_core::model::app::{AppName, SecretName};
use paas_core::wire::app::{SecretSet, SecretSummary, SetSecretRequest};
use serde_json::Value;

use crate::app::{App, Caller};
use crate::extract::{Body, Id, NoParams};
use crate::problem::{Answer, Problem};

pub(crate) async fn list(State(app): State<App>, Id(name): Id, _: NoParams) -> Answer<Json<Vec<SecretSummary>>> {
    Ok(Json(app.controller.secrets(&name).await?))
}

pub(crate) async fn set(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    _: NoParams,
    Body(body): Body<Value>,
) -> Answer<Json<SecretSet>> {
    let (of, name) = names(&path)?;
    let request = request(body)?;
    let (actor, value) = (caller.actor(), request.value()?);
    let roll = RollSecret { roll: request.roll, supersede: request.supersede };
    Ok(Json(app.controller.set_secret(&actor, of.as_str(), name.as_str(), value, roll).await?))
}

pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    _: NoParams,
) -> Answer<StatusCode> {
    let (of, name) = names(&path)?;
    app.controller.delete_secret(&caller.actor(), of.as_str(), name.as_str()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The application and the secret that a path names.
fn names((app, name): &(String, String)) -> Answer<(AppName, SecretName)> {
    Ok((app.parse()?, name.parse()?))
}

/// What a body asks for. Where it is none, what was sent is not repeated, as it is elsewhere: it may be the value, and answers
/// are kept.
fn request(body: Value) -> Answer<SetSecretRequest> {
    let wrong = |_| {
        let message =
            "must be {\"value\": TEXT} or {\"base64\": TEXT}, and may have \"roll\" and \"supersede\", true or false";
        Problem::invalid("body", message)
    };
    serde_json::from_value(body).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_said_without_what_was_sent() {
        for sent in [json!({"value": 5318008}), json!({"hunter2": ""}), json!("hunter2"), json!({"value": ["hunter2"]})]
        {
            let said = format!("{:?}", request(sent).unwrap_err());
            assert!(said.contains("base64") && !said.contains("5318008") && !said.contains("hunter2"), "{said}");
        }
    }
}
