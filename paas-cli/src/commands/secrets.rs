//! Secrets of applications.

use std::io::IsTerminal;

use paas_core::files;
use paas_core::model::app::{AppName, SecretName, SecretValue};
use paas_core::wire::app::{SecretSet, SetSecretRequest};

use super::{Result, rollout};
use crate::args::{SecretCommand, Wait};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::tables;
use crate::secret;

pub(super) async fn dispatch(context: &Context, command: SecretCommand) -> Result {
    match command {
        SecretCommand::Set { app, secret, roll, supersede, wait } => {
            let value = read()?;
            let request = SetSecretRequest { roll, supersede: supersede.supersede, ..SetSecretRequest::of(&value) };
            set(context, &app.name, &secret.name, &request, wait).await
        }
        SecretCommand::List { app } => list(context, &app.name).await,
        SecretCommand::Delete { app, secret } => delete(context, &app.name, &secret.name).await,
    }
}

async fn set(context: &Context, app: &AppName, name: &SecretName, request: &SetSecretRequest, wait: Wait) -> Result {
    let client = context.client()?;
    let before = if request.roll { rollout::before(&client, app.as_str()).await? } else { None };
    let set = client.set_secret(app.as_str(), name.as_str(), request).await?;
    context.output.show(set.json(), [name.to_string()], || said(app, name, request.roll, &set))?;
    if set.revision.is_none() || wait.no_wait {
        return Ok(());
    }
    rollout::follow(context, &client, app.as_str(), before.as_ref(), wait.timeout.timeout).await
}

fn said(app: &AppName, name: &SecretName, roll: bool, set: &SecretSet) -> String {
    let SecretSet { version, changed, revision } = set;
    let what = if *changed {
        format!("{name} is version {version}")
    } else {
        format!("{name} is version {version} as before")
    };
    match revision {
        Some(revision) => format!("{what}; {app}: revision {revision}"),
        None if roll => format!("{what}; nothing of {app} has to change for it"),
        None if *changed => format!("{what}; containers have it from the next deploy of {app} on"),
        None => what,
    }
}

async fn list(context: &Context, app: &AppName) -> Result {
    let secrets = context.client()?.secrets(app.as_str()).await?;
    if secrets.is_empty() {
        context.output.say(&format!("{app} has no secrets"));
    }
    context.output.show_list("secret", &secrets, |secret| secret.name.to_string(), tables::secrets)
}

async fn delete(context: &Context, app: &AppName, name: &SecretName) -> Result {
    context.client()?.delete_secret(app.as_str(), name.as_str()).await?;
    context.output.say(&format!("{name} of {app} is deleted"));
    Ok(())
}

/// What stdin holds, or a person types.
fn read() -> std::result::Result<SecretValue, Failure> {
    let wrong = |error: paas_core::model::Invalid| Failure::Usage(format!("the value {}", error.message));
    if std::io::stdin().is_terminal() {
        return SecretValue::new(secret::ask("Value: ")?).map_err(wrong);
    }
    let bytes = files::read_from(std::io::stdin(), SecretValue::LARGEST);
    let bytes = bytes.map_err(|error| Failure::Usage(format!("cannot read stdin as a secret: {error}")))?;
    SecretValue::new(bytes).map_err(wrong)
}
