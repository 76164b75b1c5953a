//! Which fields of which records are secrets.

use serde_json::Value;

use super::sealer::field;
use super::{Place, SealError, Sealer};
use crate::store::Table;
use crate::store::tables::{ENGINES, REGISTERED_ENGINES, REGISTRY_LOGINS, SECRETS};

const OF_ENGINES: &[&str] = &["/tls/key", "/registry_login/password"];

/// The tables with secrets, and the fields that are. `*` stands for every field of an object.
pub(super) const SEALED: [(Table, &[&str]); 4] = [
    (ENGINES, OF_ENGINES),
    (REGISTERED_ENGINES, OF_ENGINES),
    (REGISTRY_LOGINS, &["/password"]),
    (SECRETS, &["/versions/*/value"]),
];

/// The secrets of a record: where each is kept, and its value.
fn secrets(
    table: Table,
    key: &str,
    body: &mut Value,
    mut each: impl FnMut(Place<'_>, &mut Value) -> Outcome,
) -> Outcome {
    let fields = SEALED.iter().filter(|(sealed, _)| *sealed == table).flat_map(|(_, fields)| fields.iter());
    for field in fields.flat_map(|field| fields_like(field, body)).collect::<Vec<_>>() {
        if let Some(value) = body.pointer_mut(&field).filter(|value| !value.is_null()) {
            each(Place { table, key, field: &field }, value)?;
        }
    }
    Ok(())
}

/// The fields of a record that a pattern names. The names that `*` stands for are numbers, and need no escapes.
fn fields_like(pattern: &str, body: &Value) -> Vec<String> {
    let Some((path, rest)) = pattern.split_once("/*") else { return vec![pattern.to_owned()] };
    let names = body.pointer(path).and_then(Value::as_object).into_iter().flat_map(|object| object.keys());
    names.map(|name| format!("{path}/{name}{rest}")).collect()
}

type Outcome = Result<(), SealError>;

/// Seals the secrets of a record that is to be written.
///
/// # Errors
/// There is one, and nothing to seal it with.
pub(crate) fn seal_body(sealer: Option<&Sealer>, table: Table, key: &str, body: &mut Value) -> Outcome {
    secrets(table, key, body, |place, value| {
        let sealer = sealer.ok_or_else(|| SealError::NoSealer { field: field(place) })?;
        let text = value.as_str().ok_or_else(|| SealError::Failed { field: field(place) })?;
        *value = sealer.seal(place, text)?;
        Ok(())
    })
}

/// Opens the secrets of a record that was read. A text stands as it is: it was written before there were keys.
///
/// # Errors
/// [`SealError`].
pub(crate) fn unseal_body(sealer: Option<&Sealer>, table: Table, key: &str, body: &mut Value) -> Outcome {
    secrets(table, key, body, |place, value| {
        if !value.is_string() {
            let sealer = sealer.ok_or_else(|| SealError::NoSealer { field: field(place) })?;
            *value = Value::String(sealer.open(place, value)?);
        }
        Ok(())
    })
}

/// Seals with the key that seals now whatever is not. Whether anything was not.
///
/// # Errors
/// [`SealError`], when something cannot be opened.
pub(super) fn reseal_body(sealer: &Sealer, table: Table, key: &str, body: &mut Value) -> Result<bool, SealError> {
    let mut is_changed = false;
    secrets(table, key, body, |place, value| {
        if !sealer.is_current(value) {
            let text = match value.as_str() {
                Some(text) => text.to_owned(),
                None => sealer.open(place, value)?,
            };
            *value = sealer.seal(place, &text)?;
            is_changed = true;
        }
        Ok(())
    })?;
    Ok(is_changed)
}
