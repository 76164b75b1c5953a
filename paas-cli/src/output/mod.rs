//! Results on stdout, talk on stderr.

pub(crate) mod apps;
pub(crate) mod details;
mod json;
pub(crate) mod progress;
pub(crate) mod rollout;
mod table;
pub(crate) mod tables;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io::{ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::args::Format;
use crate::client::Answer;
use crate::failure::{Failure, Status};

/// How results are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    /// Only ids or names, whatever the format, and no talk but errors.
    pub(crate) quiet: bool,
}

impl Output {
    /// Writes a result in the form asked for. `json` is what the server sent.
    pub(crate) fn show(
        self,
        json: &str,
        ids: impl IntoIterator<Item = String>,
        table: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.quiet {
            return print(&lines(ids));
        }
        match self.format {
            Format::Json => print(&json::pretty(json)),
            Format::Table => print(&table()),
        }
    }

    /// Writes a list of things of a kind. Those that cannot be read are told apart, and are no reason to hide the others.
    pub(crate) fn show_list<T>(
        self,
        kind: &str,
        list: &Answer<Vec<T>>,
        id: impl Fn(&T) -> String,
        table: impl FnOnce(&[T]) -> String,
    ) -> Result<(), Failure> {
        self.show(list.json(), list.iter().map(id), || table(list))?;
        for entry in list.unreadable() {
            let id = entry.id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
            complain(&format!("{kind}{id} cannot be shown: {}", entry.what));
        }
        if list.unreadable().is_empty() { Ok(()) } else { Err(Failure::Told(Status::Partly)) }
    }

    /// Writes a result that the server has no JSON for.
    pub(crate) fn show_own(
        self,
        value: &impl Serialize,
        ids: impl IntoIterator<Item = String>,
        table: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let json = serde_json::to_string(value).map_err(|error| Failure::Failed(error.to_string()))?;
        self.show(&json, ids, table)
    }

    /// Tells a person something that is not the result.
    pub(crate) fn say(self, text: &str) {
        if !self.quiet {
            to_stderr(text);
        }
    }

    /// Tells a person something of several lines, which hold no control characters.
    pub(crate) fn say_lines(self, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

fn lines(ids: impl IntoIterator<Item = String>) -> String {
    ids.into_iter().map(|id| id + "\n").collect()
}

/// Writes to stdout, with an end of line where there is none.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    write(&[text.as_bytes(), end.as_bytes()])
}

/// Writes to stdout as it is, at once.
pub(crate) fn write(parts: &[&[u8]]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = parts.iter().try_for_each(|part| stdout.write_all(part)).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Failed(format!("cannot write the result: {error}")),
    })
}

/// Writes to stderr as it is, at once. Where that is closed there is nobody to read it.
pub(crate) fn write_error(bytes: &[u8]) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(bytes).and_then(|()| stderr.flush());
}

/// Tells a person what went wrong.
pub(crate) fn complain(text: &str) {
    to_stderr(&format!("paas-cli: {text}"));
}

/// Tells a person what a server warns of: each warning once, however many answers carry it.
pub(crate) fn warnings() -> impl Fn(&str) + Send + Sync + 'static {
    let told = Mutex::new(HashSet::new());
    move |warning| {
        if told.lock().unwrap_or_else(PoisonError::into_inner).insert(warning.to_owned()) {
            complain(&format!("warning: {warning}"));
        }
    }
}

/// What servers and hosts say is cleaned first: a terminal obeys control characters.
fn to_stderr(text: &str) {
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{}", one_line(text));
}

/// The text on one line and without control characters.
pub(crate) fn one_line(text: &str) -> String {
    plain(text.trim())
}

/// The text without control characters, as far in as it is.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
