//! Which fields of which records are secrets.

use serde_json::Value;

use super::sealer::field;
use super::{Place, SealError, Sealer};
use crate::store::Table;
use crate::store::tables::{ENGINES, REGISTERED_ENGINES, REGISTRY_LOGINS};

const OF_ENGINES: &[&str] = &["/tls/key", "/registry_login/password"];

/// The tables with secrets, and the fields that are.
pub(super) const SECRETS: [(Table, &[&str]); 3] =
    [(ENGINES, OF_ENGINES), (REGISTERED_ENGINES, OF_ENGINES), (REGISTRY_LOGINS, &["/password"])];

/// The secrets of a record: where each is kept, and its value.
fn secrets<'a>(
    table: Table,
    key: &'a str,
    body: &mut Value,
    mut each: impl FnMut(Place<'a>, &mut Value) -> Outcome,
) -> Outcome {
    let fields = SECRETS.iter().filter(|(secret, _)| *secret == table).flat_map(|(_, fields)| fields.iter().copied());
    for field in fields {
        if let Some(value) = body.pointer_mut(field).filter(|value| !value.is_null()) {
            each(Place { table, key, field }, value)?;
        }
    }
    Ok(())
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
