//! Login, logout and passwords.

use std::io::{IsTerminal, Write};

use super::Result;
use crate::client::{Login, ServerUrls};
use crate::context::Context;
use crate::credentials::{self, Credentials};
use crate::failure::Failure;
use crate::output;
use crate::secret::{self, Secret};

pub(super) async fn login(context: &Context, name: Option<String>, password_stdin: bool) -> Result {
    let urls = if context.url_given { context.urls.clone() } else { asked_urls(&context.urls)? };
    let name = match name {
        Some(name) => name,
        None => asked("User name", context.login().map(|login| login.username.as_str()))?
            .ok_or_else(|| Failure::Usage("no user name was given: use --name".to_owned()))?,
    };
    let password = secret::read(&Secret {
        prompt: "Password: ",
        variable: "PAAS_PASSWORD",
        option: "--password-stdin",
        from_stdin: password_stdin,
        is_new: false,
    })?;
    let login = context.stranger(urls.clone())?.login(&name, &password).await?;
    let Login { token, username, role, expires, .. } = &*login;
    credentials::save(&Credentials {
        urls: urls.iter().map(ToString::to_string).collect(),
        username: username.to_string(),
        token: token.clone(),
        expires: *expires,
    })?;
    context.output.say(&format!("logged in to {urls} as {username} with role {role}, until {expires:.0}"));
    match context.output.format {
        crate::args::Format::Json => context.output.show(login.json(), [], String::new),
        crate::args::Format::Table => Ok(()),
    }
}

pub(super) async fn logout(context: &Context) -> Result {
    let login = context.login();
    if context.given_token.is_none() && login.is_none() {
        context.output.say(&format!("there is no login at {}", context.urls));
        return Ok(());
    }
    let ended = context.client()?.logout().await;
    if login.is_some_and(|login| context.given_token.as_ref().is_none_or(|token| *token == login.token)) {
        credentials::forget()?;
    }
    match ended {
        Ok(()) => context.output.say(&format!("logged out of {}", context.urls)),
        Err(error) if error.status() == Some(401) => context.output.say("the login had ended already"),
        Err(error) => {
            context
                .output
                .say("the token is forgotten here, but the server was not told and takes it until it expires");
            return Err(error.into());
        }
    }
    Ok(())
}

pub(super) async fn change_password(context: &Context, name: Option<String>, password_stdin: bool) -> Result {
    let secret = |prompt, variable, from_stdin, is_new| Secret {
        prompt,
        variable,
        option: "--password-stdin",
        from_stdin,
        is_new,
    };
    let old = match name {
        // An administrator does not know it.
        Some(_) => None,
        None => Some(secret::read(&secret("Present password: ", "PAAS_PASSWORD", false, false))?),
    };
    let new = secret::read(&secret("New password: ", "PAAS_NEW_PASSWORD", password_stdin, true))?;
    context.client()?.change_password(name.as_deref(), old.as_deref(), &new).await?;
    let whose = name.map(|name| format!(" of {name}")).unwrap_or_default();
    context.output.say(&format!("the password{whose} is changed"));
    Ok(())
}

fn asked_urls(default: &ServerUrls) -> std::result::Result<ServerUrls, Failure> {
    match asked("Server", Some(&default.to_string()))? {
        Some(text) => Ok(text.parse()?),
        None => Ok(default.clone()),
    }
}

/// Asks a person; where there is none, the default has to do.
fn asked(what: &str, default: Option<&str>) -> std::result::Result<Option<String>, Failure> {
    let default_answer = default.map(str::to_owned);
    if !std::io::stdin().is_terminal() {
        return Ok(default_answer);
    }
    let hint = default.map(|default| format!(" [{default}]")).unwrap_or_default();
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{}{hint}: ", output::one_line(what)).and_then(|()| stderr.flush());
    Ok(secret::line()?.or(default_answer))
}
