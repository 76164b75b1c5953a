//! Volumes, directories of hosts and file systems in memory.

use std::collections::BTreeMap;

use super::Wrong;
use super::fields::Field;
use super::service::Service;
use super::values;
use crate::wire::app::VolumeRequest;

/// What one entry of `volumes` says.
#[derive(Debug, Default)]
struct Mount {
    kind: String,
    source: Option<String>,
    target: String,
    /// `ro`, `z` and so on.
    modes: Vec<String>,
    /// Of a file system in memory: `size=…`, `mode=…`.
    memory: Vec<String>,
}

impl Service<'_, '_> {
    /// `mounted` says which service has a volume first.
    pub(super) fn volumes(&mut self, mounted: &mut BTreeMap<String, String>) -> Result<(), Wrong> {
        self.component.tmpfs = self.fields.take("tmpfs").map_or(Ok(Vec::new()), Field::texts)?.into_iter().collect();
        for field in self.fields.take("volumes").map_or(Ok(Vec::new()), Field::list)? {
            let mount = if field.is_map() { self.detailed_mount(&field)? } else { short(&field)? };
            if mount.kind == "tmpfs" {
                let options =
                    if mount.memory.is_empty() { String::new() } else { format!(":{}", mount.memory.join(",")) };
                self.component.tmpfs.insert(format!("{}{options}", mount.target));
                continue;
            }
            let Some(name) = self.source(&field, &mount, mounted)? else { continue };
            // A file that is laid over another one changes what is mounted there.
            self.component.volumes.retain(|other| other.target != mount.target);
            let Mount { target, modes, .. } = mount;
            self.component.volumes.push(VolumeRequest { name, target, mode: modes.join(","), shared: false });
        }
        Ok(())
    }

    /// The volume or directory to mount; nothing for what cannot be.
    fn source(
        &mut self,
        field: &Field,
        mount: &Mount,
        mounted: &mut BTreeMap<String, String>,
    ) -> Result<Option<String>, Wrong> {
        let Some(source) = &mount.source else {
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
            let name: String = mount.target.chars().map(plain).collect();
            let name = format!("volume-{}", name.trim_matches('-'));
            self.importer.note(field, format!("has no name in Compose, and is called {name} here"));
            return Ok(Some(name));
        };
        if source.starts_with('/') {
            return Ok(Some(source.clone()));
        }
        if mount.kind == "bind" || source.starts_with(['.', '~']) {
            let instead = "declare a file under configs, and data as a volume with a name";
            self.importer
                .refuse(field, format!("{source} is a path of this machine, which the hosts do not have; {instead}"));
            return Ok(None);
        }
        if !self.project.volumes.contains(source) {
            return Err(field.wrong(format!("there is no volume {source}; declare it under volumes")));
        }
        let service = self.field.path.clone();
        let first = mounted.entry(source.clone()).or_insert_with(|| service.clone());
        if *first != service {
            let reason = format!("{source} is another volume than that of {first}: each component has its own");
            let instead =
                "run both in one, or write volumes: [{name: NAME, target: /path, shared: true}] under x-paas of both";
            self.importer.refuse(field, format!("{reason}; {instead}"));
        }
        Ok(Some(source.clone()))
    }

    fn detailed_mount(&mut self, field: &Field) -> Result<Mount, Wrong> {
        let mut fields = field.clone().fields()?;
        let mut text = |key: &str| fields.take(key).map(|field| field.text()).transpose();
        let mut mount = Mount {
            kind: text("type")?.unwrap_or_else(|| "volume".to_owned()),
            source: text("source")?,
            target: text("target")?.ok_or_else(|| field.wrong("has no target, which is the path inside"))?,
            ..Mount::default()
        };
        if !["volume", "bind", "tmpfs"].contains(&mount.kind.as_str()) {
            return Err(field.wrong(format!("must be a volume, a bind or a tmpfs, not {:?}", mount.kind)));
        }
        if mount.kind == "bind" && mount.source.is_none() {
            return Err(field.wrong("has no source, which is the path on the host"));
        }
        if fields.take("read_only").map_or(Ok(false), |field| field.flag())? {
            mount.modes.push("ro".to_owned());
        }
        fields.take("consistency");
        self.of_bind(&mut mount, fields.take("bind"))?;
        self.of_volume(&mut mount, fields.take("volume"))?;
        if let Some(tmpfs) = fields.take("tmpfs") {
            let mut fields = tmpfs.fields()?;
            if let Some(size) = fields.take("size") {
                mount.memory.push(format!("size={}m", size.memory()?));
            }
            if let Some(mode) = fields.take("mode") {
                mount.memory.push(format!("mode={}", mode.parsed(values::mode)?));
            }
            fields.end()?;
        }
        fields.end()?;
        Ok(mount)
    }

    fn of_bind(&mut self, mount: &mut Mount, bind: Option<Field>) -> Result<(), Wrong> {
        let Some(bind) = bind else { return Ok(()) };
        let mut fields = bind.fields()?;
        for key in ["propagation", "selinux"] {
            mount.modes.extend(fields.take(key).map(|field| field.text()).transpose()?);
        }
        fields.take("create_host_path");
        for (_, field) in fields.rest() {
            self.importer.refuse(&field, "is not passed on");
        }
        Ok(())
    }

    fn of_volume(&mut self, mount: &mut Mount, volume: Option<Field>) -> Result<(), Wrong> {
        let Some(volume) = volume else { return Ok(()) };
        let mut fields = volume.fields()?;
        if fields.take("nocopy").map_or(Ok(false), |field| field.flag())? {
            mount.modes.push("nocopy".to_owned());
        }
        fields.take("labels");
        for (_, field) in fields.rest() {
            self.importer.refuse(&field, "the whole of a volume is mounted");
        }
        Ok(())
    }
}

/// `/path`, or `SOURCE:/path[:MODES]`.
fn short(field: &Field) -> Result<Mount, Wrong> {
    let text = field.text()?;
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, modes) = match *parts.as_slice() {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, modes] => (Some(source), target, modes),
        _ => return Err(field.wrong(format!("must be /path or SOURCE:/path:MODE, not {text:?}"))),
    };
    // Each container may write where nothing else is said.
    let modes = modes.split(',').filter(|mode| !mode.is_empty() && *mode != "rw").map(str::to_owned).collect();
    Ok(Mount { source: source.map(str::to_owned), target: target.to_owned(), modes, ..Mount::default() })
}
