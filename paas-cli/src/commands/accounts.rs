//! Accounts.

use paas_core::model::{AccountId, Invalid, NewAccount, RoleName, UserName};

use super::Result;
use crate::args::AddAccountArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{details, tables};
use crate::secret::{self, Secret};

pub(super) async fn list(context: &Context) -> Result {
    let accounts = context.client()?.accounts().await?;
    context.output.show_list("account", &accounts, |account| account.username.to_string(), tables::accounts)
}

pub(super) async fn inspect(context: &Context, name: &str) -> Result {
    let account = context.client()?.account(name).await?;
    context.output.show(account.json(), [account.username.to_string()], || details::account(&account))
}

pub(super) async fn add(context: &Context, arguments: AddAccountArgs) -> Result {
    let wrong = |invalid: Invalid| Failure::Usage(invalid.to_string());
    let username: UserName = arguments.name.parse().map_err(wrong)?;
    let id = arguments.id.map(|id| id.parse::<AccountId>()).transpose().map_err(wrong)?;
    let password = match arguments.password {
        Some(password) => password,
        None => secret::read(&Secret {
            prompt: "Password of the new account: ",
            variable: "PAAS_NEW_PASSWORD",
            option: "--password-stdin",
            from_stdin: arguments.password_stdin,
            is_new: true,
        })?,
    };
    let account = NewAccount { id, username, password, role: RoleName::new(arguments.role) };
    context.client()?.add_account(&account).await?;
    context.output.say(&format!("added account {} with role {}", account.username, account.role));
    Ok(())
}

pub(super) async fn delete(context: &Context, name: &str) -> Result {
    context.client()?.delete_account(name).await?;
    context.output.say(&format!("deleted account {name}"));
    Ok(())
}
