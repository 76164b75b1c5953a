//! Applications, apart from `deploy`.

use paas_core::model::app::{AppName, ComponentName};
use paas_core::wire::app::{AppStatus, Applied, RestartRequest, RollbackRequest, ScaleRequest};

use super::{Result, apply, exec, logs, rollout};
use crate::args::{AppCommand, Wait};
use crate::client::{Answer, Client};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::apps as output;

pub(super) async fn dispatch(context: &Context, command: AppCommand) -> Result {
    match command {
        AppCommand::Apply(arguments) => apply::apply(context, arguments.files.read()?, arguments.options).await,
        AppCommand::Plan(arguments) => apply::plan(context, arguments).await,
        AppCommand::Import(arguments) => apply::import(context, &arguments),
        AppCommand::List => list(context).await,
        AppCommand::Show { app } => show(context, &app.name).await,
        AppCommand::History { app } => history(context, &app.name).await,
        AppCommand::Diff { app, from, to } => diff(context, &app.name, from, to).await,
        AppCommand::Rollback { app, revision, supersede, wait } => {
            let request = RollbackRequest { to: revision, supersede: supersede.supersede };
            let ask = async |client: &Client| client.rollback_app(app.name.as_str(), request).await;
            change(context, &app.name, wait, ask).await
        }
        AppCommand::Scale { target, replicas, wait } => scale(context, target.target, replicas, wait).await,
        AppCommand::Restart { app, supersede, wait } => {
            let request = RestartRequest { supersede: supersede.supersede };
            let ask = async |client: &Client| client.restart_app(app.name.as_str(), request).await;
            change(context, &app.name, wait, ask).await
        }
        AppCommand::Stop { app } => stop(context, &app.name).await,
        AppCommand::Start { app } => start(context, &app.name).await,
        AppCommand::Destroy { app, delete_volumes, yes } => destroy(context, &app.name, delete_volumes, yes).await,
        AppCommand::Export { app, revision } => export(context, &app.name, revision).await,
        AppCommand::Run(arguments) => exec::run(context, arguments).await,
        AppCommand::Logs(arguments) => logs::app_log(context, arguments).await,
        AppCommand::Rollout { app, follow: false, .. } => show_rollout(context, &app.name).await,
        AppCommand::Rollout { app, follow: true, timeout } => {
            let client = context.client()?;
            rollout::follow(context, &client, app.name.as_str(), None, timeout.timeout).await
        }
    }
}

async fn list(context: &Context) -> Result {
    let apps = context.client()?.apps().await?;
    context.output.show_list("application", &apps, |app| app.name.to_string(), output::list)
}

async fn show(context: &Context, name: &AppName) -> Result {
    let app = context.client()?.app(name.as_str()).await?;
    context.output.show(app.json(), [name.to_string()], || output::status(&app))
}

async fn show_rollout(context: &Context, name: &AppName) -> Result {
    let app = context.client()?.app(name.as_str()).await?;
    context.output.show(app.json(), [name.to_string()], || output::rollout(&app))
}

async fn history(context: &Context, name: &AppName) -> Result {
    let revisions = context.client()?.app_revisions(name.as_str()).await?;
    context.output.show_list("revision", &revisions, |revision| revision.revision.to_string(), output::history)
}

async fn diff(context: &Context, name: &AppName, from: u64, to: u64) -> Result {
    let changes = context.client()?.app_diff(name.as_str(), from, to).await?;
    if changes.is_empty() {
        context.output.say(&format!("revisions {from} and {to} of {name} are the same"));
    }
    context.output.show(changes.json(), changes.iter().map(|change| change.field.clone()), || output::changes(&changes))
}

/// Asks for a change of an application that begins a rollout, and waits until that has ended.
async fn change(
    context: &Context,
    name: &AppName,
    wait: Wait,
    ask: impl AsyncFnOnce(&Client) -> std::result::Result<Answer<Applied>, crate::client::ClientError>,
) -> Result {
    let client = context.client()?;
    let before = rollout::before(&client, name.as_str()).await?;
    let applied = ask(&client).await?;
    conclude(context, &client, name.as_str(), &applied, before.as_ref(), wait).await
}

async fn scale(
    context: &Context,
    (name, component): (AppName, Option<ComponentName>),
    replicas: u32,
    wait: Wait,
) -> Result {
    let request = ScaleRequest { component, replicas };
    let ask = async |client: &Client| client.scale_app(name.as_str(), &request).await;
    change(context, &name, wait, ask).await
}

/// Says what came of a change, and waits until its rollout has ended.
pub(super) async fn conclude(
    context: &Context,
    client: &Client,
    name: &str,
    applied: &Answer<Applied>,
    before: Option<&AppStatus>,
    wait: Wait,
) -> Result {
    let Applied { revision, changed } = **applied;
    context.output.show(applied.json(), [name.to_owned()], || match changed {
        true => format!("{name}: revision {revision}"),
        false => format!("{name} is up to date (revision {revision})"),
    })?;
    let goes_on = changed || before.is_some_and(|before| before.rollout.is_some());
    if wait.no_wait || !goes_on {
        return Ok(());
    }
    rollout::follow(context, client, name, before, wait.timeout.timeout).await
}

async fn stop(context: &Context, name: &AppName) -> Result {
    let applied = context.client()?.stop_app(name.as_str()).await?;
    context.output.show(applied.json(), [name.to_string()], || match applied.changed {
        true => format!("{name} is being stopped"),
        false => format!("{name} is stopped already"),
    })
}

async fn start(context: &Context, name: &AppName) -> Result {
    let applied = context.client()?.start_app(name.as_str()).await?;
    context.output.show(applied.json(), [name.to_string()], || match applied.changed {
        true => format!("{name} is being started (revision {})", applied.revision),
        false => format!("{name} is started already (revision {})", applied.revision),
    })
}

async fn destroy(context: &Context, name: &AppName, delete_volumes: bool, yes: bool) -> Result {
    if !yes {
        let volumes = if delete_volumes { " and its volumes" } else { "" };
        let instead = format!("this removes {name}{volumes}; add --yes to do so");
        apply::confirm(&format!("Remove {name}{volumes}?"), &instead)?;
    }
    context.client()?.destroy_app(name.as_str(), delete_volumes).await?;
    context.output.say(&format!("{name} is being removed; 'paas-cli app list' shows it until it is gone"));
    Ok(())
}

async fn export(context: &Context, name: &AppName, revision: Option<u64>) -> Result {
    let client = context.client()?;
    let revision = match revision {
        Some(revision) => revision,
        None => client.app(name.as_str()).await?.summary.revision,
    };
    let revision = client.app_revision(name.as_str(), revision).await?;
    let no_form = |error| Failure::Failed(format!("the application has no form as TOML: {error}"));
    let text = revision.app.to_toml().map_err(no_form)?;
    context.output.show(revision.json(), [name.to_string()], || text)
}
