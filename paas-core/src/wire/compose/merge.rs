//! One file over another, as Compose lays `compose.override.yaml` over `compose.yaml`.

use super::node::{Entry, Node, Value};

/// What may be written as a list or as a map, and is merged as a map.
const MAPS: [&str; 6] = ["annotations", "depends_on", "environment", "labels", "networks", "sysctls"];

/// Lists that take the place of what is below, instead of being added to it.
const REPLACED: [&str; 3] = ["command", "entrypoint", "test"];

/// Lays `above` over `below`, the value of `key`: maps are merged, lists are added to, anything else is replaced.
pub(super) fn merge(key: &str, below: &mut Node, mut above: Node) {
    if MAPS.contains(&key) {
        as_map(below);
        as_map(&mut above);
    }
    match (&mut below.value, above.value) {
        (_, Value::Null) => {}
        (Value::Map(entries), Value::Map(others)) => {
            for other in others {
                match entries.iter_mut().find(|entry| entry.key == other.key) {
                    Some(entry) => merge(&other.key, &mut entry.node, other.node),
                    None => entries.push(other),
                }
            }
        }
        (Value::List(list), Value::List(others)) if !REPLACED.contains(&key) => list.extend(others),
        (_, value) => *below = Node { place: above.place, value },
    }
}

/// A list of `KEY=VALUE` as the map that means the same.
fn as_map(node: &mut Node) {
    let Value::List(list) = &node.value else { return };
    let entry = |node: &Node| {
        let Value::Text(text) = &node.value else { return None };
        let (key, value) = text.split_once('=').map_or((&**text, None), |(key, value)| (key, Some(value)));
        let value = value.map_or(Value::Null, |value| Value::Text(value.to_owned()));
        Some(Entry { key: key.to_owned(), place: node.place, node: Node { place: node.place, value } })
    };
    // What is no such list is refused where it is read.
    if let Some(entries) = list.iter().map(entry).collect() {
        node.value = Value::Map(entries);
    }
}
