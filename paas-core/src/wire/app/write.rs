//! An application as the file that declares it.

use toml::{Table, Value};

use super::{AppRequest, EnvRequest};
use crate::model::app::EnvValue;

/// Tables in which an empty value means something: each key is somebody's own.
const OWN_KEYS: [&str; 5] = ["env", "labels", "sysctls", "extra_hosts", "ulimits"];

impl AppRequest {
    /// The text of a `paas.toml` that says the same, in the order in which people write it and without what is its default.
    ///
    /// # Errors
    /// A number has no form as TOML.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let mut app = self.clone();
        for component in app.component.values_mut() {
            component.image.iter_mut().for_each(literal);
            for value in component.env.values_mut() {
                if let EnvRequest(EnvValue::Text(text)) = value {
                    literal(text);
                }
            }
        }
        let mut table = Table::try_from(&app)?;
        let components = table.get_mut("component").and_then(Value::as_table_mut);
        components.into_iter().flat_map(Table::iter_mut).filter_map(|(_, value)| value.as_table_mut()).for_each(tidy);
        toml::to_string_pretty(&table)
    }
}

/// Where the file is read, variables are put in; what looks like one must stay as it is.
fn literal(text: &mut String) {
    *text = text.replace("${", "$${");
}

/// Leaves out what a component has by default, and writes volumes as people do.
fn tidy(component: &mut Table) {
    if let Some(volumes) = component.get_mut("volumes").and_then(Value::as_array_mut) {
        volumes.iter_mut().for_each(short_volume);
    }
    component.retain(|key, value| OWN_KEYS.contains(&key) && !is_empty(value) || !drop_default(value));
}

/// Whether nothing is left of a value without its defaults.
fn drop_default(value: &mut Value) -> bool {
    match value {
        Value::Table(table) => {
            let is_default = |key: &str, value: &Value| key == "spread" && value.as_str() == Some("host");
            table.retain(|key, value| {
                key == "options" && !is_empty(value) || !is_default(key, value) && !drop_default(value)
            });
            table.is_empty()
        }
        Value::Array(list) => {
            for value in list.iter_mut().filter(|value| value.is_table()) {
                drop_default(value);
            }
            list.is_empty()
        }
        Value::Boolean(flag) => !*flag,
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_table().is_some_and(Table::is_empty)
}

/// `{ name = "data", target = "/data", mode = "ro" }` as `data:/data:ro`.
fn short_volume(volume: &mut Value) {
    let Value::Table(table) = &*volume else { return };
    let text = |key: &str| table.get(key).and_then(Value::as_str).unwrap_or_default();
    let (name, target, mode) = (text("name"), text("target"), text("mode"));
    let is_plain = !table.get("shared").and_then(Value::as_bool).unwrap_or_default()
        && !name.contains(':')
        && !target.contains(':');
    if is_plain {
        let mode = if mode.is_empty() { String::new() } else { format!(":{mode}") };
        *volume = Value::String(format!("{name}:{target}{mode}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::app::read_files;

    fn read(text: &str) -> AppRequest {
        read_files(&[("paas.toml", text)], |_| None).unwrap()
    }

    #[test]
    fn what_is_written_means_the_same() {
        let file = "app = 'shop'\n[component.web]\nimage = 'shop:1.9'\nport = 80\nreplicas = 2\ncpus = 0.5\n\
            env = { LOG = 'info', URL = { secret = 'url' }, TEXT = 'a \"b\"', EMPTY = '' }\npublish = ['8443:8443']\n\
            volumes = ['data:/data', { name = 'media', target = '/media', shared = true }]\nhealth = { http = '/up' }\n\
            [component.db]\nimage = 'postgres:17'";
        let app = read(file).normalise(None).unwrap();
        let text = AppRequest::from(&app).to_toml().unwrap();
        assert_eq!(read(&text).normalise(None).unwrap(), app, "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn every_key_is_written_and_read_again() {
        let request = read(include_str!("testdata/whole.toml"));
        assert_eq!(read(&request.to_toml().unwrap()), request);
    }

    #[test]
    fn what_looks_like_a_variable_is_none_when_it_is_read_again() {
        let text = "app = 'a'\n[component.web]\nimage = 'web'\ncommand = ['${C}']\nenv = { A = '$${A} $$${B} $C $' }";
        let request = read(text);
        let written = request.to_toml().unwrap();
        assert_eq!(read(&written), request, "{written}");
        assert!(written.contains("\"$${A} $$${B} $C $\""), "{written}");
    }
}
