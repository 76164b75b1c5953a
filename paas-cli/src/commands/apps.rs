//! Applications, apart from `deploy`.

use paas_core::model::app::{AppName, ComponentName};
use paas_core::wire::app::{AppRequest, AppStatus, Applied, RestartRequest, RollbackRequest, ScaleRequest};
use toml::{Table, Value};

use super::rollout::Wanted;
use super::{Result, apply, logs, rollout};
use crate::args::{AppCommand, Wait};
use crate::client::{Answer, Client};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::apps as output;

pub(super) async fn dispatch(context: &Context, command: AppCommand) -> Result {
    match command {
        AppCommand::Apply(arguments) => apply::apply(context, arguments.declared.read()?, arguments.options).await,
        AppCommand::Plan(arguments) => apply::plan(context, arguments).await,
        AppCommand::List => list(context).await,
        AppCommand::Show { app } => show(context, &app.name).await,
        AppCommand::History { app } => history(context, &app.name).await,
        AppCommand::Diff { app, from, to } => diff(context, &app.name, from, to).await,
        AppCommand::Rollback { app, revision, supersede, wait } => {
            let request = RollbackRequest { to: revision, supersede: supersede.supersede };
            let ask = async |client: &Client| client.rollback_app(app.name.as_str(), request).await;
            change(context, &app.name, Wanted::Back, wait, ask).await
        }
        AppCommand::Scale { target, replicas, wait } => scale(context, target.target, replicas, wait).await,
        AppCommand::Restart { app, supersede, wait } => {
            let request = RestartRequest { supersede: supersede.supersede };
            let ask = async |client: &Client| client.restart_app(app.name.as_str(), request).await;
            change(context, &app.name, Wanted::Forward, wait, ask).await
        }
        AppCommand::Stop { app } => stop(context, &app.name).await,
        AppCommand::Start { app } => start(context, &app.name).await,
        AppCommand::Destroy { app, delete_volumes, yes } => destroy(context, &app.name, delete_volumes, yes).await,
        AppCommand::Export { app, revision } => export(context, &app.name, revision).await,
        AppCommand::Logs(arguments) => logs::app_log(context, arguments).await,
        AppCommand::Rollout { app, follow: false, .. } => show_rollout(context, &app.name).await,
        AppCommand::Rollout { app, follow: true, timeout } => {
            let client = context.client()?;
            rollout::follow(context, &client, app.name.as_str(), None, Wanted::Forward, timeout.timeout).await
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
    wanted: Wanted,
    wait: Wait,
    ask: impl AsyncFnOnce(&Client) -> std::result::Result<Answer<Applied>, crate::client::ClientError>,
) -> Result {
    let client = context.client()?;
    let before = rollout::before(&client, name.as_str()).await?;
    let applied = ask(&client).await?;
    conclude(context, &client, name.as_str(), &applied, before.as_ref(), wanted, wait).await
}

async fn scale(
    context: &Context,
    (name, component): (AppName, Option<ComponentName>),
    replicas: u32,
    wait: Wait,
) -> Result {
    let request = ScaleRequest { component, replicas };
    let ask = async |client: &Client| client.scale_app(name.as_str(), &request).await;
    change(context, &name, Wanted::Forward, wait, ask).await
}

/// Says what came of a change, and waits until its rollout has ended.
pub(super) async fn conclude(
    context: &Context,
    client: &Client,
    name: &str,
    applied: &Answer<Applied>,
    before: Option<&AppStatus>,
    wanted: Wanted,
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
    rollout::follow(context, client, name, before, wanted, wait.timeout.timeout).await
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
    context.output.say(&format!("{name} is being removed"));
    Ok(())
}

async fn export(context: &Context, name: &AppName, revision: Option<u64>) -> Result {
    let client = context.client()?;
    let revision = match revision {
        Some(revision) => revision,
        None => client.app(name.as_str()).await?.summary.revision,
    };
    let revision = client.app_revision(name.as_str(), revision).await?;
    let text = as_toml(&revision.app)?;
    context.output.show(revision.json(), [name.to_string()], || text)
}

/// The file that says the same, without lists and tables that are empty.
fn as_toml(app: &AppRequest) -> std::result::Result<String, Failure> {
    let wrong =
        |error: &dyn std::fmt::Display| Failure::Failed(format!("the application has no form as TOML: {error}"));
    let mut table = Table::try_from(app).map_err(|error| wrong(&error))?;
    drop_empty(&mut table);
    toml::to_string_pretty(&table).map_err(|error| wrong(&error))
}

fn drop_empty(table: &mut Table) {
    table.retain(|_, value| match value {
        Value::Table(inner) => {
            drop_empty(inner);
            !inner.is_empty()
        }
        Value::Array(list) => !list.is_empty(),
        _ => true,
    });
}

#[cfg(test)]
mod tests {
    use paas_core::wire::app::read_files;

    use super::*;

    #[test]
    fn what_is_exported_means_the_same() {
        let file = "app = 'shop'\n[component.web]\nimage = 'shop:1.9'\nport = 80\nreplicas = 2\ncpus = 0.5\n\
            env = { LOG = 'info', URL = { secret = 'url' }, TEXT = 'a \"b\"' }\npublish = ['8443:8443']\n\
            volumes = ['data:/data']\nhealth = { http = '/up' }\n[component.db]\nimage = 'postgres:17'";
        let app = read_files(&[("paas.toml", file)], |_| None).unwrap().normalise(None).unwrap();
        let text = as_toml(&AppRequest::from(&app)).unwrap();
        let again = read_files(&[("exported.toml", &text)], |_| None).unwrap().normalise(None).unwrap();
        assert_eq!(again, app, "{text}");
        insta::assert_snapshot!(text);
    }
}
