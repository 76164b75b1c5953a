//! `x-paas` of a service: what Compose has no word for, laid over what became of the rest.

use toml::{Table, Value as Toml};

use super::Wrong;
use super::fields::Field;
use super::node::{Node, Value};
use crate::wire::app::{ComponentRequest, merge};

/// What a health check is made with. A check that says so takes the place of that of Compose.
const PROBES: [&str; 3] = ["http", "tcp", "command"];

/// The component with the fields in `ours` laid over it: tables are merged, anything else is replaced.
pub(super) fn lay_over(component: &ComponentRequest, ours: Field) -> Result<ComponentRequest, Wrong> {
    let whole = ours.clone();
    let wrong = |error: &dyn std::fmt::Display| whole.wrong(error.to_string().trim_end());
    let mut table = Table::try_from(component).map_err(|error| wrong(&error))?;
    for (key, field) in ours.fields()?.all() {
        let value = toml(&field.node).ok_or_else(|| field.wrong("has no value"))?;
        let alone = Table::from_iter([(key.clone(), value)]);
        // By itself first, since only then it is known which of them is wrong.
        component_of(alone.clone()).map_err(|message| field.wrong_key(message))?;
        // Their check is made in another way, and says nothing of ours.
        if alone.get("health").is_some_and(|health| PROBES.iter().any(|probe| health.get(probe).is_some())) {
            table.remove("health");
        }
        merge(&mut table, alone);
    }
    component_of(table).map_err(|message| wrong(&message))
}

fn component_of(table: Table) -> Result<ComponentRequest, String> {
    table.try_into().map_err(|error: toml::de::Error| error.message().trim_end().replace('\n', ", "))
}

/// The same as TOML; nothing for nothing.
fn toml(node: &Node) -> Option<Toml> {
    match &node.value {
        Value::Null => None,
        Value::Text(text) => Some(Toml::String(text.clone())),
        Value::Plain(text) => Some(plain(text)),
        Value::List(list) => list.iter().map(toml).collect::<Option<Vec<_>>>().map(Toml::Array),
        Value::Map(entries) => {
            let entry = |entry: &super::node::Entry| Some((entry.key.clone(), toml(&entry.node)?));
            entries.iter().map(entry).collect::<Option<Table>>().map(Toml::Table)
        }
    }
}

fn plain(text: &str) -> Toml {
    let boolean = text.parse().map(Toml::Boolean).ok();
    let integer = || text.parse().map(Toml::Integer).ok();
    let float = || text.parse().map(Toml::Float).ok();
    boolean.or_else(integer).or_else(float).unwrap_or_else(|| Toml::String(text.to_owned()))
}
