//! Passwords, which are never asked for where others can read them.

use std::io::{BufRead, IsTerminal, Read};

use crate::failure::Failure;

/// The longest line that is read, bytes.
const LONGEST_LINE: u64 = 64 << 10;

/// How a password is to be had.
pub(crate) struct Secret {
    /// What a person at a terminal is asked.
    pub(crate) prompt: &'static str,
    /// The environment variable that may hold it.
    pub(crate) variable: &'static str,
    /// The option that says that it comes from stdin.
    pub(crate) option: &'static str,
    /// Whether that option was given.
    pub(crate) from_stdin: bool,
    /// Whether it is a new one, which a person types twice.
    pub(crate) is_new: bool,
}

/// From stdin when told so, from the environment, from a person, or from what was piped in: in this order.
pub(crate) fn read(secret: &Secret) -> Result<String, Failure> {
    let missing = || {
        let Secret { option, variable, .. } = secret;
        Failure::Usage(format!("no password was given: use {option} or set {variable}"))
    };
    if secret.from_stdin {
        return line()?.ok_or_else(missing);
    }
    if let Some(text) = variable(secret.variable)? {
        return Ok(text);
    }
    if !std::io::stdin().is_terminal() {
        return line()?.ok_or_else(missing);
    }
    let text = ask(secret.prompt)?;
    if text.is_empty() {
        return Err(missing());
    }
    if secret.is_new && ask("The same again: ")? != text {
        return Err(Failure::Failed("the two passwords differ".to_owned()));
    }
    Ok(text)
}

/// An environment variable that is set and not empty.
pub(crate) fn variable(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => Ok(Some(text)),
        Ok(_) | Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::Usage(format!("{name} is not UTF-8"))),
    }
}

/// The next line of stdin without its end; none when there is no more, or an empty one.
pub(crate) fn line() -> Result<Option<String>, Failure> {
    let mut text = String::new();
    // Byte for byte as the terminal or a pipe gives it, and no more of one that has no lines.
    let read = std::io::stdin().lock().take(LONGEST_LINE).read_line(&mut text);
    read.map_err(|error| Failure::Usage(format!("cannot read stdin: {error}")))?;
    let text = text.trim_end_matches(['\r', '\n']);
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// What a person types, who does not see it.
pub(crate) fn ask(prompt: &str) -> Result<String, Failure> {
    rpassword::prompt_password(prompt).map_err(|error| Failure::Failed(format!("cannot ask at the terminal: {error}")))
}
