//! Descriptions that a later version of the platform wrote.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Map, Value};

use super::ContainerSpec;

impl ContainerSpec {
    /// A description, and what is in it that this version does not know: a field, or a value of one. Nothing where there is not
    /// even an image.
    ///
    /// What somebody asks for is read strictly, as the type itself does; this is for what is there already.
    pub(crate) fn read_known(given: Map<String, Value>) -> Option<(Self, BTreeMap<String, Value>)> {
        let mut known = Map::new();
        known.insert("name".to_owned(), given.get("name")?.clone());
        let mut spec: Self = serde_json::from_value(known.clone().into()).ok()?;
        let mut unknown = BTreeMap::new();
        for (field, value) in given.into_iter().filter(|(field, _)| field != "name") {
            let mut with = known.clone();
            with.insert(field.clone(), value.clone());
            match serde_json::from_value(with.clone().into()) {
                Ok(read) => (known, spec) = (with, read),
                Err(_) => drop(unknown.insert(field, value)),
            }
        }
        Some((spec, unknown))
    }
}

/// As much of a description as this version knows: what a later server shows of a container is no reason not to show the rest.
pub(super) fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<ContainerSpec>, D::Error> {
    let given = Map::deserialize(deserializer)?;
    // Most say nothing new.
    let strict = serde_json::from_value(Value::Object(given.clone()));
    let read = strict.or_else(|error| ContainerSpec::read_known(given).map(|(spec, _)| spec).ok_or(error));
    read.map(Arc::new).map_err(D::Error::custom)
}
