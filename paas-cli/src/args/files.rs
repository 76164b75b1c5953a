//! An application as files declare it: TOML, and the format of Docker Compose.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use paas_core::files;
use paas_core::model::ImageRef;
use paas_core::model::app::{AppName, ComponentName};
use paas_core::wire::app::{AppRequest, read_files};
use paas_core::wire::compose::{ComposeInput, Imported, Note, read_compose, read_dotenv};

use super::configs::{self, ConfigContent};
use super::values;
use crate::failure::Failure;

/// What is put into files.
#[derive(Debug, Args)]
pub(crate) struct Changes {
    /// Value of ${NAME} in the files; may be repeated. Others come from the environment, and for a Compose file from .env beside it
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = values::variable)]
    variables: Vec<(String, String)>,
    /// Image of a component, instead of the one in the files; may be repeated
    #[arg(long = "image", value_name = "COMPONENT=IMAGE", value_parser = values::component_image)]
    images: Vec<(ComponentName, ImageRef)>,
    /// Name of the application, where no file says it; that of the folder for a Compose file otherwise
    #[arg(long, value_name = "APP", value_parser = |text: &str| values::plain(text.parse::<AppName>()))]
    name: Option<AppName>,
    /// Take services of this profile in a Compose file, too, or of all with *; may be repeated
    #[arg(long = "profile", value_name = "NAME")]
    profiles: Vec<String>,
}

/// What may be missing of a Compose file.
#[derive(Debug, Args)]
pub(crate) struct Ignored {
    /// Go on without this key of a Compose file: services.web.privileged, or privileged for all services; may be repeated
    #[arg(long = "ignore", value_name = "KEY")]
    keys: Vec<String>,
}

/// An application, and what was not taken of its files.
pub(crate) struct Declared {
    pub(crate) app: AppRequest,
    pub(crate) notes: Vec<Note>,
    /// Its configuration files, which are sent before it.
    pub(crate) configs: Vec<ConfigContent>,
    /// Where they lie, by component.
    folders: BTreeMap<String, PathBuf>,
}

impl Declared {
    /// The same with its configuration files.
    pub(super) fn with_configs(mut self) -> Result<Self, Failure> {
        self.configs = configs::read(&mut self.app, &self.folders)?;
        Ok(self)
    }
}

impl Ignored {
    /// Leaves out the notes that are ignored.
    pub(super) fn apply(&self, mut declared: Declared) -> Declared {
        declared.notes.retain(|note| !self.keys.iter().any(|key| note.is_named_by(key)));
        declared
    }
}

impl Changes {
    /// Reads files, each laid over those before it.
    pub(super) fn read(&self, files: &[PathBuf]) -> Result<Declared, Failure> {
        let texts: Vec<(String, String)> = files.iter().map(|path| text(path)).collect::<Result<_, _>>()?;
        let compose = texts.iter().take_while(|(name, text)| is_compose(name, text)).count();
        if let Some((name, _)) = texts[compose..].iter().find(|(name, text)| is_compose(name, text)) {
            return Err(Failure::Usage(format!("{name} is a Compose file; name it before files of TOML")));
        }
        let mut notes = Vec::new();
        let mut tables: Vec<(&str, &str)> = Vec::new();
        let converted;
        if compose > 0 {
            let imported = self.read_compose(&files[0], &texts[..compose])?;
            converted = imported.app.to_toml().map_err(|error| Failure::Failed(error.to_string()))?;
            tables.push((&texts[0].0, &converted));
            notes = imported.notes;
        }
        tables.extend(texts[compose..].iter().map(|(name, text)| (name.as_str(), text.as_str())));
        let paths = files.iter().take(compose.min(1)).chain(&files[compose..]).map(PathBuf::as_path);
        let folders = configs::folders(paths.zip(tables.iter().copied()));
        let variable = |name: &str| self.variable(name);
        let mut app = read_files(&tables, variable).map_err(|error| Failure::Usage(error.to_string()))?;
        for (name, image) in &self.images {
            let component = app.component.get_mut(name.as_str());
            let missing = || Failure::Usage(format!("--image {name}={image}: the file has no component {name}"));
            component.ok_or_else(missing)?.image = Some(image.to_string());
        }
        if app.app.is_none() {
            app.app = self.name.as_ref().map(ToString::to_string);
        }
        Ok(Declared { app, notes, configs: Vec::new(), folders })
    }

    fn variable(&self, name: &str) -> Option<String> {
        let given = self.variables.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.clone());
        given.or_else(|| std::env::var(name).ok())
    }

    /// `first` is the path of the first file: what the files name lies beside it.
    fn read_compose(&self, first: &Path, texts: &[(String, String)]) -> Result<Imported, Failure> {
        let folder = first.parent().unwrap_or(Path::new(""));
        let beside = |name: &str| files::read_regular(&folder.join(name), files::LARGEST_TEXT).and_then(files::text);
        let dotenv = match beside(".env") {
            Ok(text) => read_dotenv(&text, &|name| self.variable(name))
                .map_err(|wrong| Failure::Usage(format!("{}, {wrong}", folder.join(".env").display())))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                return Err(Failure::Usage(format!("cannot read {}: {error}", folder.join(".env").display())));
            }
        };
        let name = self.name.clone().or_else(|| name_of_folder(folder));
        let profiles: BTreeSet<String> = self.profiles.iter().cloned().collect();
        let images = self.images.iter().map(|(name, image)| (name.to_string(), image.to_string())).collect();
        let files: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let input = ComposeInput {
            files: &files,
            variable: &|name| self.variable(name).or_else(|| dotenv.get(name).cloned()),
            other_file: &beside,
            profiles: &profiles,
            images: &images,
            name: name.as_ref().map(AppName::as_str),
        };
        read_compose(&input).map_err(|wrong| Failure::Usage(wrong.to_string()))
    }
}

/// The name of a folder, where an application can be called so.
fn name_of_folder(folder: &Path) -> Option<AppName> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    folder.canonicalize().ok()?.file_name()?.to_str()?.parse().ok()
}

/// Whether a file is one of Compose, by its name or by what is in it.
fn is_compose(name: &str, text: &str) -> bool {
    name.ends_with(".yaml") || name.ends_with(".yml") || text.lines().any(|line| line.starts_with("services:"))
}

/// All that stdin has.
pub(super) fn stdin() -> Result<String, Failure> {
    let text = files::read_from(std::io::stdin(), files::LARGEST_TEXT).and_then(files::text);
    text.map_err(|error| Failure::Usage(format!("cannot read stdin: {error}")))
}

/// The name of a file for messages, and what is in it.
fn text(path: &Path) -> Result<(String, String), Failure> {
    if path == Path::new("-") {
        return Ok(("stdin".to_owned(), stdin()?));
    }
    let text = files::read_text(path).map_err(|error| {
        let hint = if path == Path::new("paas.toml") { "; name the file with -f" } else { "" };
        Failure::Usage(format!("cannot read {}: {error}{hint}", path.display()))
    })?;
    Ok((path.display().to_string(), text))
}
