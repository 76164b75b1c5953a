//! One function per command, one file per resource.

mod accounts;
mod apply;
mod apps;
mod cluster;
mod completion;
mod containers;
mod events;
mod exec;
mod launch;
mod logs;
mod reconcile;
mod rollout;
mod secrets;
mod session;

use std::future::Future;
use std::process::ExitCode;

use crate::args::{Cli, Command, HostCommand, ReconcileCommand};
use crate::client::ListQuery;
use crate::context::Context;
use crate::credentials;
use crate::failure::Failure;
use crate::output;

type Result = std::result::Result<(), Failure>;

/// Runs a command, says what went wrong, and gives the exit status.
pub(crate) async fn execute(cli: Cli) -> ExitCode {
    let Cli { global, command } = cli;
    if let Command::Completion { shell } = command {
        return finish(completion::completion(shell), |failure| failure.line());
    }
    let stored = match (credentials::load(), &command) {
        (Ok(stored), _) => stored,
        // A damaged file is no hindrance to writing it again.
        (Err(_), Command::Login { .. }) => None,
        (Err(failure), _) => return finish(Err(failure), |failure| failure.line()),
    };
    match Context::new(global, stored) {
        Ok(context) => finish(dispatch(&context, command).await, |failure| context.line(failure)),
        Err(failure) => finish(Err(failure), |failure| failure.line()),
    }
}

fn finish(result: Result, line: impl FnOnce(&Failure) -> Option<String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            line(&failure).iter().for_each(|line| output::complain(line));
            ExitCode::from(failure.exit_status())
        }
    }
}

async fn dispatch(context: &Context, command: Command) -> Result {
    match command {
        Command::Containers { all, managed, limit, after } => {
            containers::list(context, &ListQuery { all, limit, after, managed }).await
        }
        Command::Container { target } => containers::inspect(context, &target.id).await,
        Command::Run(arguments) => launch::run(context, *arguments).await,
        Command::Deploy(arguments) => apply::apply(context, arguments.files.read()?, arguments.options).await,
        Command::App { command } => apps::dispatch(context, *command).await,
        Command::Exec(arguments) => exec::exec(context, arguments).await,
        Command::Secret { command } => secrets::dispatch(context, command).await,
        Command::Host { command: HostCommand::Lost { id, lose_volumes, yes } } => {
            reconcile::host_lost(context, &id, lose_volumes, yes).await
        }
        Command::Heal { now: _ } => reconcile::heal_now(context).await,
        Command::Rebalance { dry_run } => reconcile::rebalance(context, dry_run).await,
        Command::Reconcile { command: ReconcileCommand::Resume } => reconcile::resume(context).await,
        Command::Scale { target, count, once } => launch::scale(context, &target.id, count, once.key).await,
        Command::Pull { image, engines } => launch::pull(context, &image, &engines).await,
        Command::Destroy { targets, platform } => containers::destroy(context, targets, platform.as_deref()).await,
        Command::Stop { targets, grace } => containers::stop(context, targets, grace.timeout).await,
        Command::Start { targets } => containers::start(context, targets).await,
        Command::Restart { targets, grace } => containers::restart(context, targets, grace.timeout).await,
        Command::Log(arguments) => logs::log(context, arguments).await,
        Command::Engines => cluster::engines(context).await,
        Command::Engine { id } => cluster::engine(context, &id).await,
        Command::Eadd(arguments) => cluster::add_engine(context, *arguments).await,
        Command::Edelete { id, force } => cluster::delete_engine(context, &id, force).await,
        Command::Jointokens => cluster::join_tokens(context).await,
        Command::Jtadd => cluster::add_join_token(context).await,
        Command::Jtdelete { id } => cluster::delete_join_token(context, &id).await,
        Command::Registrylogins => cluster::registry_logins(context).await,
        Command::Rladd(arguments) => cluster::set_registry_login(context, arguments).await,
        Command::Rldelete { server } => cluster::delete_registry_login(context, &server).await,
        Command::Drain { id } => cluster::set_draining(context, &id, true).await,
        Command::Undrain { id } => cluster::set_draining(context, &id, false).await,
        Command::Clusterinfo => cluster::info(context).await,
        Command::Accounts => accounts::list(context).await,
        Command::Account { name } => accounts::inspect(context, &name).await,
        Command::Aadd(arguments) => accounts::add(context, arguments).await,
        Command::Adelete { name } => accounts::delete(context, &name).await,
        Command::Events { count, follow: false } => events::list(context, count).await,
        Command::Events { count, follow: true } => events::follow(context, count).await,
        Command::Login { name, password_stdin } => session::login(context, name, password_stdin).await,
        Command::Logout => session::logout(context).await,
        Command::Passwd { name, password_stdin } => session::change_password(context, name, password_stdin).await,
        Command::Completion { shell } => completion::completion(shell),
    }
}

/// Waits for `work`, or for Ctrl-C. `note` is what a person should know who presses it.
async fn unless_interrupted<T>(
    note: Option<&str>,
    work: impl Future<Output = std::result::Result<T, Failure>>,
) -> std::result::Result<T, Failure> {
    tokio::select! {
        outcome = work => outcome,
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::Interrupted(note.map(str::to_owned))),
    }
}
