//! Secrets and configurations, which a container finds as files.

use super::Wrong;
use super::fields::Field;
use super::service::Service;
use super::values;
use crate::wire::app::{ConfigRequest, SecretRequest};

/// What one entry says, in either form.
struct Entry {
    field: Field,
    source: String,
    target: Option<String>,
    mode: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Service<'_, '_> {
    pub(super) fn secrets(&mut self) -> Result<(), Wrong> {
        for Entry { field, source, target, mode, uid, gid } in self.file_entries("secrets")? {
            if !self.project.secrets.contains(&source) {
                return Err(field.wrong(format!("there is no secret {source}; declare it under secrets")));
            }
            let absolute =
                |target: String| if target.starts_with('/') { target } else { format!("/run/secrets/{target}") };
            let file = target.map(absolute);
            let is_other = |secret: &SecretRequest| (&secret.name, &secret.file) != (&source, &file);
            self.component.secrets.retain(is_other);
            self.component.secrets.push(SecretRequest { name: source, file, mode, uid, gid });
        }
        Ok(())
    }

    pub(super) fn configs(&mut self) -> Result<(), Wrong> {
        for Entry { field, source, target, mode, uid, gid } in self.file_entries("configs")? {
            let target = target.unwrap_or_else(|| format!("/{source}"));
            match self.project.configs.get(&source) {
                Some(Some(file)) => {
                    if target.rfind('/') == Some(0) {
                        let message = format!(
                            "would be at {target}, and has to be in a folder; write {{source: {source}, target: /PATH/{source}}}"
                        );
                        return Err(field.wrong(message));
                    }
                    self.component.configs.retain(|other| other.target != target);
                    let config = ConfigRequest { source: file.clone(), target, mode, uid, gid, sha256: None };
                    self.component.configs.push(config);
                }
                // What has no file was noted where it is declared.
                Some(None) => {}
                None => {
                    return Err(field.wrong(format!("there is no configuration {source}; declare it under configs")));
                }
            }
        }
        Ok(())
    }

    /// The entries of `secrets` or `configs`: names, or `{source, target, mode}`.
    fn file_entries(&mut self, key: &str) -> Result<Vec<Entry>, Wrong> {
        let mut entries = Vec::new();
        for field in self.fields.take(key).map_or(Ok(Vec::new()), Field::list)? {
            if !field.is_map() {
                entries.push(Entry { source: field.text()?, target: None, mode: None, uid: None, gid: None, field });
                continue;
            }
            let mut fields = field.clone().fields()?;
            let source = fields.take("source").ok_or_else(|| field.wrong("has no source"))?.text()?;
            let target = fields.take("target").map(|target| target.text()).transpose()?;
            let mode = fields.take("mode").map(|mode| mode.parsed(values::mode)).transpose()?;
            let uid = fields.take("uid").map(|uid| uid.number()).transpose()?;
            let gid = fields.take("gid").map(|gid| gid.number()).transpose()?;
            fields.end()?;
            entries.push(Entry { field, source, target, mode, uid, gid });
        }
        Ok(entries)
    }
}
