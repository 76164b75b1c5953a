//! What a container is given of secrets and configuration files: read when it is created, and secrets hidden from everything that
//! is said of it afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;

use super::Apps;
use crate::apps::Desired;
use crate::cluster::ReplicaContainer;
use crate::engine::{ContainerFile, EngineError, EngineErrorKind};
use crate::model::ContainerState;
use crate::model::app::{AppName, ComponentSpec, ConfigFile, EnvValue, SecretFile, SecretName, SecretValue};
use crate::store::{StoreError, StoreErrorKind};

/// Values shorter than this are not looked for, bytes: they would be found everywhere.
const SHORTEST_HIDDEN: usize = 4;

/// Why a step was not carried out.
#[derive(Debug)]
pub(super) enum Fault {
    /// By its host, or by what was asked of it.
    Engine(EngineError),
    /// The records could not be read. That says nothing about a host or a version: the step may work in a moment.
    Store(StoreError),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// The secrets of a container that is to be made, and its configuration files.
#[derive(Debug, Default)]
pub(super) struct Opened {
    values: BTreeMap<(SecretName, Option<u64>), SecretValue>,
    files: Vec<ContainerFile>,
}

impl Apps {
    /// Opens the secrets that a container of a component is given, and reads its configuration files.
    ///
    /// # Errors
    /// The store does not answer; a value or a file is not kept any more, or cannot be opened.
    pub(super) async fn open_secrets(&self, app: &AppName, component: &ComponentSpec) -> Result<Opened, Fault> {
        let mut opened = Opened::default();
        for (name, version) in component.secrets_used().collect::<BTreeSet<_>>() {
            let value = match self.secrets.value(app, name, version).await {
                Ok(value) => value.ok_or_else(|| not_kept(name, version))?,
                Err(error) if error.kind() == StoreErrorKind::Broken => {
                    return Err(refused(format!("secret {name} cannot be read: {error}")));
                }
                Err(error) => return Err(Fault::Store(error)),
            };
            opened.values.insert((name.clone(), version), value);
        }
        for (path, SecretFile { name, version, mode, uid, gid }) in &component.secrets {
            if let Some(value) = opened.values.get(&(name.clone(), *version)) {
                let (uid, gid) = component.file_owner(*uid, *gid);
                let content = Bytes::copy_from_slice(value.expose());
                opened.files.push(ContainerFile { path: path.clone(), content, mode: *mode, uid, gid });
            }
        }
        for (path, ConfigFile { source, sha256, mode, uid, gid }) in &component.configs {
            let content = self.blobs.content(sha256.as_deref().unwrap_or_default()).await.map_err(Fault::Store)?;
            let content = content.ok_or_else(|| refused(format!("configuration file {source} is not kept")))?;
            let (uid, gid) = component.file_owner(*uid, *gid);
            opened.files.push(ContainerFile { path: path.clone(), content, mode: *mode, uid, gid });
        }
        Ok(opened)
    }

    /// The files that a container is to have before it is started. None for one that was started before: it has them.
    ///
    /// # Errors
    /// As [`Apps::open_secrets`].
    pub(super) async fn files_before_start(
        &self,
        app: &AppName,
        desired: &Desired,
        container: &ReplicaContainer,
    ) -> Result<Opened, Fault> {
        let labels = &container.labels;
        match desired.component_of(labels) {
            Some(component) if container.state == ContainerState::Created && component.has_files() => {
                self.open_secrets(app, component).await
            }
            _ => Ok(Opened::default()),
        }
    }
}

impl Apps {
    /// What a container wrote, with `***` in the place of every value of a secret that it was given.
    ///
    /// # Errors
    /// As [`Apps::open_secrets`], and where its revision is not known any more: then nothing of it may be kept.
    pub(super) async fn without_secrets(
        &self,
        app: &AppName,
        desired: &Desired,
        container: &ReplicaContainer,
        raw: &[u8],
    ) -> Result<String, Fault> {
        let labels = &container.labels;
        let component = desired.component_of(labels);
        let component = component.ok_or_else(|| refused("its revision is not known any more".to_owned()))?;
        let opened = self.open_secrets(app, component).await?;
        Ok(opened.hide(&String::from_utf8_lossy(raw)))
    }
}

impl Opened {
    /// The files of a container.
    pub(super) fn files(&self) -> &[ContainerFile] {
        &self.files
    }

    /// The variables of a component whose values are secrets.
    pub(super) fn environment(&self, component: &ComponentSpec) -> BTreeMap<String, SecretValue> {
        let variable = |(variable, value): (&String, &EnvValue)| match value {
            EnvValue::Secret { secret, version } => {
                let value = self.values.get(&(secret.clone(), *version))?;
                Some((variable.clone(), value.clone()))
            }
            EnvValue::Text(_) => None,
        };
        component.env.iter().filter_map(variable).collect()
    }

    /// The same error with `***` in the place of every value: hosts repeat what they were given.
    pub(super) fn hide_in(&self, error: EngineError) -> EngineError {
        if self.values.is_empty() {
            return error;
        }
        error.retold(|detail| self.hide(detail))
    }

    /// A text with `***` in the place of every value: as it is, as Go and JSON write it between quotes, and, of a value of
    /// several lines, each line.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut hidden: Vec<String> = Vec::new();
        for value in self.values.values().filter_map(|value| std::str::from_utf8(value.expose()).ok()) {
            let quoted = serde_json::to_string(value).unwrap_or_default();
            let lines = value.lines().map(str::trim);
            let unquoted = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
            let forms = [value, value.trim(), unquoted].into_iter().chain(lines);
            hidden.extend(forms.filter(|form| form.len() >= SHORTEST_HIDDEN).map(str::to_owned));
        }
        // The longest first: what is left of one that contains another would tell the rest.
        hidden.sort_by_key(|form| std::cmp::Reverse(form.len()));
        hidden.into_iter().fold(text.to_owned(), |text, form| text.replace(&form, "***"))
    }
}

fn not_kept(name: &SecretName, version: Option<u64>) -> Fault {
    let which = version.map(|version| format!("version {version} of ")).unwrap_or_default();
    refused(format!("{which}secret {name} is not kept"))
}

fn refused(detail: String) -> Fault {
    EngineError::new(EngineErrorKind::Refused, "make the container", detail).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_value_is_hidden_and_short_ones_are_not_looked_for() {
        let value = |text: &str| SecretValue::new(text).unwrap();
        let name = |text: &str| (text.parse().unwrap(), Some(1));
        let values =
            [("a", "hunter2\n"), ("b", "hunter22"), ("c", "say \"so\""), ("d", "one line\ntwo lines"), ("e", "abc")];
        let values = values.map(|(secret, text)| (name(secret), value(text))).into_iter().collect();
        let opened = Opened { values, files: Vec::new() };
        let shown = "hunter2 hunter22, \"say \\\"so\\\"\" say \"so\": two lines / one line abc";
        assert_eq!(opened.hide(shown), "*** ***, \"***\" ***: *** / *** abc");
        let error = EngineError::new(EngineErrorKind::Refused, "create", "bad value hunter2").with_source("hunter2");
        let hidden = opened.hide_in(error);
        assert!(!format!("{hidden} {hidden:?}").contains("hunter2"), "{hidden:?}");
        assert_eq!(hidden.to_string(), "cannot create: bad value ***");
    }
}
