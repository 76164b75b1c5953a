//! Engines, and the cluster as a whole.

use super::Result;
use crate::args::{AddEngineArgs, RegistryLoginArgs};
use crate::context::Context;
use crate::output::{details, tables};

pub(super) async fn engines(context: &Context) -> Result {
    let engines = context.client()?.engines().await?;
    context.output.show_list("engine", &engines, |engine| engine.id.to_string(), tables::engines)
}

pub(super) async fn engine(context: &Context, id: &str) -> Result {
    let engine = context.client()?.engine(id).await?;
    context.output.show(engine.json(), [engine.id.to_string()], || details::engine(&engine))
}

pub(super) async fn add_engine(context: &Context, arguments: AddEngineArgs) -> Result {
    let engine = context.client()?.add_engine(&arguments.into_spec()?).await?;
    if engine.added_by.is_some() {
        context.output.say(&format!("added {}: {}", engine.id, details::NO_LOGINS));
    }
    context.output.show(engine.json(), [engine.id.to_string()], || tables::engines(std::slice::from_ref(&*engine)))
}

pub(super) async fn set_draining(context: &Context, id: &str, draining: bool) -> Result {
    let engine = context.client()?.set_draining(id, draining).await?;
    context.output.show(engine.json(), [engine.id.to_string()], || tables::engines(std::slice::from_ref(&*engine)))
}

pub(super) async fn delete_engine(context: &Context, id: &str, force: bool) -> Result {
    context.client()?.delete_engine(id, force).await?;
    context.output.say(&format!("deleted engine {id}"));
    Ok(())
}

pub(super) async fn join_tokens(context: &Context) -> Result {
    let tokens = context.client()?.join_tokens().await?;
    context.output.show_list("join token", &tokens, |token| token.id.clone(), tables::join_tokens)
}

pub(super) async fn add_join_token(context: &Context) -> Result {
    let made = context.client()?.add_join_token().await?;
    context.output.say(&format!(
        "made the join token {}, shown only this once; on the host: PAAS_JOIN_TOKEN=... paas-server agent --server URL",
        made.id
    ));
    context.output.show(made.json(), [made.token.clone()], || format!("{}\n", made.token))
}

pub(super) async fn delete_join_token(context: &Context, id: &str) -> Result {
    context.client()?.delete_join_token(id).await?;
    context.output.say(&format!("deleted the join token {id}"));
    Ok(())
}

pub(super) async fn registry_logins(context: &Context) -> Result {
    let logins = context.client()?.registry_logins().await?;
    context.output.show_list("login to", &logins, |login| login.server.clone(), tables::registry_logins)
}

pub(super) async fn set_registry_login(context: &Context, arguments: RegistryLoginArgs) -> Result {
    let login = arguments.into_login()?;
    context.client()?.set_registry_login(&login).await?;
    context.output.say(&format!("images of {} are pulled as {}", login.registry(), login.username));
    Ok(())
}

pub(super) async fn delete_registry_login(context: &Context, server: &str) -> Result {
    context.client()?.delete_registry_login(server).await?;
    context.output.say(&format!("deleted the login to {server}"));
    Ok(())
}

pub(super) async fn info(context: &Context) -> Result {
    let info = context.client()?.cluster_info().await?;
    context.output.show(info.json(), [info.version.clone()], || details::cluster(&info))
}
