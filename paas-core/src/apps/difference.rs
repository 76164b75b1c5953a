//! What is different between two specifications of an application, field by field.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::ImageDigest;
use crate::model::app::{AppSpec, Change, ComponentName, ComponentSpec, ConfigFile, EnvValue, Replicas, SecretFile};
use crate::wire::app::{ComponentRequest, FieldChange};

/// The fields that differ, by their paths in the file; every component is new where there was nothing before.
pub(crate) fn differences(old: Option<&AppSpec>, new: &AppSpec) -> Vec<FieldChange> {
    let none = BTreeMap::new();
    let old = old.map_or(&none, |old| &old.components);
    let names: BTreeSet<&ComponentName> = old.keys().chain(new.components.keys()).collect();
    names.into_iter().flat_map(|name| of_component(name, old.get(name), new.components.get(name))).collect()
}

fn of_component(name: &ComponentName, old: Option<&ComponentSpec>, new: Option<&ComponentSpec>) -> Vec<FieldChange> {
    let path = format!("component.{name}");
    let whole = |spec: &ComponentSpec| match spec.replicas {
        Replicas::Count(1) => format!("{}, 1 replica", spec.image),
        Replicas::Count(count) => format!("{}, {count} replicas", spec.image),
        Replicas::EachHost => format!("{}, one on each host", spec.image),
    };
    let (Some(old), Some(new)) = (old, new) else {
        let (old, new) = (old.map(whole), new.map(whole));
        return vec![FieldChange { field: path, new_containers: true, old, new }];
    };
    let mut containers = old.fields_for_a_new_container(new);
    if let Change::NewContainer(sizes) = old.sizes().change_to(&new.sizes()) {
        containers.extend(sizes);
    }
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    flatten(String::new(), &written(old), &mut before);
    flatten(String::new(), &written(new), &mut after);
    say_versions(old, &mut before);
    say_versions(new, &mut after);
    let fields: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = fields.into_iter().filter(|field| before.get(*field) != after.get(*field));
    let content = [("digest", &old.digest, &new.digest), ("image_id", &old.image_id, &new.image_id)];
    let text = |digest: &Option<ImageDigest>| digest.as_ref().map(ToString::to_string);
    // Where the image is another one, that says it.
    let is_other = |(_, before, after): &(&str, &_, &_)| old.image == new.image && before != after;
    let content = content.into_iter().filter(is_other).map(|(field, before, after)| FieldChange {
        field: format!("{path}.{field}"),
        old: text(before),
        new: text(after),
        new_containers: true,
    });
    differs
        .map(|field| FieldChange {
            field: format!("{path}.{field}"),
            old: before.get(field).cloned(),
            new: after.get(field).cloned(),
            new_containers: containers.contains(&field.split('.').next().unwrap_or_default()),
        })
        .chain(content)
        .collect()
}

/// A component as somebody could have written it.
fn written(spec: &ComponentSpec) -> Value {
    serde_json::to_value(ComponentRequest::from(spec)).unwrap_or_default()
}

/// Has a variable that is the value of a secret say which value, and a file what is in it.
fn say_versions(spec: &ComponentSpec, all: &mut BTreeMap<String, String>) {
    for (variable, value) in &spec.env {
        if let EnvValue::Secret { secret, version } = value {
            all.remove(&format!("env.{variable}.secret"));
            let version = version.map(|version| format!(" {version}")).unwrap_or_default();
            all.insert(format!("env.{variable}"), format!("secret {secret}{version}"));
        }
    }
    if spec.has_files() {
        all.remove("secrets");
        all.remove("configs");
    }
    let file = |what: String, mode: u32, uid: Option<u32>, gid: Option<u32>| {
        let (uid, gid) = spec.file_owner(uid, gid);
        format!("{what}, mode {mode:04o} of {uid}:{gid}")
    };
    for (path, SecretFile { name, version, mode, uid, gid }) in &spec.secrets {
        let version = version.map(|version| format!(" {version}")).unwrap_or_default();
        all.insert(format!("secrets.{path}"), file(format!("secret {name}{version}"), *mode, *uid, *gid));
    }
    for (path, ConfigFile { source, sha256, mode, uid, gid }) in &spec.configs {
        let content = sha256.as_ref().and_then(|sum| sum.get(..12)).unwrap_or("not sent");
        all.insert(format!("configs.{path}"), file(format!("{source} {content}"), *mode, *uid, *gid));
    }
}

/// Every value by its path. A list is one value: its order may mean something.
fn flatten(path: String, value: &Value, all: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(path, value, all);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::String(text) => drop(all.insert(path, text.clone())),
        other => drop(all.insert(path, other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::app::read_files;

    fn app(text: &str) -> AppSpec {
        let text = format!("app = 'shop'\n{text}");
        read_files(&[("paas.toml", &text)], |_| None).unwrap().normalise(None).unwrap()
    }

    #[test]
    fn fields_are_named_by_their_paths_with_what_needs_new_containers() {
        let old = app("[component.web]\nimage = 'shop:1'\nenv = { LOG = 'info' }\n[component.old]\nimage = 'a'");
        let new = app(
            "[component.web]\nimage = 'shop:2'\nreplicas = 3\nenv = { LOG = 'info', MORE = 'x' }\n[component.db]\nimage = 'b'",
        );
        let shown: Vec<String> = differences(Some(&old), &new)
            .into_iter()
            .map(|change| {
                let FieldChange { field, old, new, new_containers } = change;
                format!("{field}: {} → {} {new_containers}", old.unwrap_or_default(), new.unwrap_or_default())
            })
            .collect();
        assert_eq!(
            shown,
            [
                "component.db:  → b, 1 replica true",
                "component.old: a, 1 replica →  true",
                "component.web.env.MORE:  → x true",
                "component.web.image: shop:1 → shop:2 true",
                "component.web.replicas: 1 → 3 false",
            ]
        );
        assert!(differences(Some(&new), &new).is_empty());
        assert_eq!(differences(None, &new).len(), 2);
    }
}
