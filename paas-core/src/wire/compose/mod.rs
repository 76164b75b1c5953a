//! Files in the format of Docker Compose, made into applications.
//!
//! A file is read as a tree in which each part knows its place (`node`), variables get their values (`interpolate`), files are
//! laid over each other (`merge`), and then each service takes the keys that it knows (`project`, `service` and beside it one
//! file for each subject). What is left over is in the notes, with its place and what to do instead.

mod dotenv;
mod fields;
mod files;
mod health;
mod interpolate;
mod merge;
mod node;
mod not_taken;
mod overlay;
mod ports;
mod project;
mod resources;
mod rollout;
mod service;
#[cfg(test)]
mod tests;
mod values;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::app::{AppFileError, AppRequest};
pub use dotenv::{DotenvError, read_dotenv};
use fields::Field;
use interpolate::Variables;
use node::Place;

/// Compose files, and what they are read with.
pub struct ComposeInput<'a> {
    /// The files, each by its name for messages and its text; each is laid over those before it.
    pub files: &'a [(&'a str, &'a str)],
    /// The value of a variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The text of another file that a file names, such as one of variables.
    pub other_file: &'a dyn Fn(&str) -> std::io::Result<String>,
    /// Services of these profiles are taken, too; `*` for all.
    pub profiles: &'a BTreeSet<String>,
    /// Images of services, instead of those in the files.
    pub images: &'a BTreeMap<String, String>,
    /// Name of the application where no file says it.
    pub name: Option<&'a str>,
}

/// What became of Compose files.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The application, which can be as it is.
    pub app: AppRequest,
    /// What was not taken, in the order of the files.
    pub notes: Vec<Note>,
}

/// Something in a Compose file that was not taken. Shown as `compose.yaml:3:7: services.web.tty: why`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The file, by the name it was given.
    pub file: String,
    /// Where in it.
    pub line_and_column: (usize, usize),
    /// The path of the key: `services.web.tty`.
    pub key: String,
    /// Why, and what to do instead.
    pub reason: String,
    /// Something would be missing. What is not marked so is only good to know.
    pub is_refused: bool,
}

impl Note {
    /// Whether `key` names it: its path or the beginning of it, with or without `services.NAME.` before it.
    pub fn is_named_by(&self, key: &str) -> bool {
        let below = |path: &str| path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let within = self.key.strip_prefix("services.").and_then(|path| path.split_once('.'));
        !key.is_empty() && (below(&self.key) || within.is_some_and(|(_, path)| below(path)))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column;
        write!(f, "{}:{line}:{column}: {}: {}", self.file, self.key, self.reason)
    }
}

/// Makes an application of Compose files.
///
/// ```
/// use paas_core::wire::compose::{ComposeInput, read_compose};
///
/// let file = "
/// name: shop
/// services:
///   web:
///     image: shop:${VERSION:-1.8}
///     ports: ['8443:8443']
///     tty: true
/// ";
/// let imported = read_compose(&ComposeInput {
///     files: &[("compose.yaml", file)],
///     variable: &|_| None,
///     other_file: &|_| Err(std::io::ErrorKind::NotFound.into()),
///     profiles: &Default::default(),
///     images: &Default::default(),
///     name: None,
/// })?;
/// assert_eq!(imported.app.component["web"].image.as_deref(), Some("shop:1.8"));
/// assert_eq!(imported.notes[0].to_string(), "compose.yaml:7:5: services.web.tty: nothing is attached to");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A file is no YAML, a value is not what Compose has there, or what comes out could be no application.
pub fn read_compose(input: &ComposeInput<'_>) -> Result<Imported, AppFileError> {
    let mut importer = Importer { input, notes: Vec::new() };
    let app = importer.import().map_err(|wrong| AppFileError {
        file: importer.file(wrong.place).to_owned(),
        line_and_column: Some((wrong.place.line, wrong.place.column)),
        message: wrong.message,
    })?;
    importer.notes.sort_by_key(|(place, _)| *place);
    Ok(Imported { app, notes: importer.notes.into_iter().map(|(_, note)| note).collect() })
}

/// What is wrong, and where.
#[derive(Debug)]
struct Wrong {
    place: Place,
    message: String,
}

/// Files on their way to an application.
struct Importer<'a> {
    input: &'a ComposeInput<'a>,
    notes: Vec<(Place, Note)>,
}

impl Importer<'_> {
    fn import(&mut self) -> Result<AppRequest, Wrong> {
        let mut variables = Variables::new(self.input.variable);
        let mut whole: Option<node::Node> = None;
        for (file, (_, text)) in self.input.files.iter().enumerate() {
            let mut node = node::parse(file, text)?;
            project::fill(&mut node, &mut variables)?;
            match &mut whole {
                Some(whole) => merge::merge("", whole, node),
                None => whole = Some(node),
            }
        }
        let nothing = || Wrong { place: Place::default(), message: "no file was given".to_owned() };
        let app = self.application(Field::root(whole.ok_or_else(nothing)?))?;
        for (name, place) in variables.missing {
            let reason = format!(
                "has no value, and stands for nothing; set it in the environment, in .env or with --var {name}=…"
            );
            self.add(place, format!("${{{name}}}"), reason, false);
        }
        Ok(app)
    }

    fn file(&self, place: Place) -> &str {
        self.input.files.get(place.file).map_or("compose.yaml", |(name, _)| name)
    }

    /// Notes what is good to know.
    fn note(&mut self, field: &Field, reason: impl Into<String>) {
        self.add(field.place, field.path.clone(), reason.into(), false);
    }

    /// Notes what would be missing.
    fn refuse(&mut self, field: &Field, reason: impl Into<String>) {
        self.add(field.place, field.path.clone(), reason.into(), true);
    }

    fn add(&mut self, place: Place, key: String, reason: String, is_refused: bool) {
        let file = self.file(place).to_owned();
        let line_and_column = (place.line, place.column);
        self.notes.push((place, Note { file, line_and_column, key, reason, is_refused }));
    }
}
