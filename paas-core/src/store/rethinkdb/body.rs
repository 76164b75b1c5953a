//! Documents as rows of a table.
//!
//! A row is `{"id": key, "rev": version, "doc": document}`, so that people who look into the database see documents and
//! not text. RethinkDB keeps every number as a float and takes some objects for something else, so a document that it
//! would not give back exactly is kept as JSON text under `"json"` instead.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::protocol::term;
use crate::store::{Document, Version};

/// The field of the key.
pub(super) const KEY: &str = "id";
/// The field of the version: decimal digits, because a number would lose some.
pub(super) const VERSION: &str = "rev";
/// The field of a document that the server keeps as it is.
const NATIVE: &str = "doc";
/// The field of a document that the server would change: its JSON.
const TEXT: &str = "json";

/// The greatest integer of which a float knows all smaller ones.
const EXACT: u64 = 1 << 53;
/// How deep a document may be nested to be kept as it is.
const DEPTH: usize = 16;
/// How many elements an array may have to be kept as it is. The server's own limit is 100,000.
const ELEMENTS: usize = 50_000;

/// A version that never was before: 64 random bits, of which the same never come twice (one in 18 quintillions).
pub(super) fn fresh_version() -> Version {
    Version(rand::rng().random())
}

/// A row for a document, as a term.
pub(super) fn encode(key: &str, version: Version, body: &Value) -> Value {
    match native(body, DEPTH) {
        Some(native) => json!({ KEY: key, VERSION: version.0.to_string(), NATIVE: native }),
        None => json!({ KEY: key, VERSION: version.0.to_string(), TEXT: body.to_string() }),
    }
}

/// The version of a row.
pub(super) fn version(row: &Value) -> Option<Version> {
    row.get(VERSION).and_then(Value::as_str).and_then(|digits| digits.parse().ok()).map(Version)
}

/// The document of a row, or what is wrong with the row.
pub(super) fn decode(row: Value) -> Result<Document, &'static str> {
    let version = version(&row).ok_or("a row has no version")?;
    let Value::Object(mut row) = row else { return Err("a row is no object") };
    let body = match (row.remove(NATIVE), row.remove(TEXT)) {
        (Some(body), None) => body,
        (None, Some(Value::String(text))) => serde_json::from_str(&text).map_err(|_| "a row's text is no JSON")?,
        _ => return Err("a row has no document"),
    };
    match row.remove(KEY) {
        Some(Value::String(key)) => Ok(Document { key, version, body }),
        _ => Err("a row has no key"),
    }
}

/// The term for a document that comes back exactly, if it does.
///
/// Floats do not: the server gives those that have no fraction as integers, and how it writes the others is its own
/// business.
fn native(body: &Value, depth: usize) -> Option<Value> {
    let deeper = depth.checked_sub(1)?;
    Some(match body {
        Value::Null | Value::Bool(_) => body.clone(),
        Value::Number(number) => {
            let size = number.as_i64().map(i64::unsigned_abs).or(number.as_u64())?;
            if size > EXACT {
                return None;
            }
            body.clone()
        }
        Value::String(text) if text.contains('\0') => return None,
        Value::String(_) => body.clone(),
        // A bare array would be a term.
        Value::Array(elements) if elements.len() <= ELEMENTS => {
            let elements: Option<Vec<Value>> = elements.iter().map(|element| native(element, deeper)).collect();
            json!([term::MAKE_ARRAY, elements?])
        }
        Value::Array(_) => return None,
        Value::Object(fields) => {
            // `$reql_type$` and what else may begin so is the server's own.
            let plain = |name: &String| !name.is_empty() && !name.starts_with('$') && !name.contains('\0');
            let field = |(name, value): (&String, &Value)| {
                plain(name).then(|| native(value, deeper)).flatten().map(|value| (name.clone(), value))
            };
            Value::Object(fields.iter().map(field).collect::<Option<Map<_, _>>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept_as(body: &Value) -> &'static str {
        let row = encode("key", Version(7), body);
        if row.get(NATIVE).is_some() { NATIVE } else { TEXT }
    }

    #[test]
    fn what_the_server_would_change_is_kept_as_text() {
        let mut deep = json!(1);
        for _ in 0..20 {
            deep = json!([deep]);
        }
        for exact in [
            json!({"a": [1, -2, null, true, "text"], "b": {}}),
            json!(EXACT),
            json!(-(EXACT as i64)),
            json!("Ω🦀\u{1}"),
        ] {
            assert_eq!(kept_as(&exact), NATIVE, "{exact}");
        }
        for inexact in [
            json!(EXACT + 1),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(2.0),
            json!({"cpus": [0.1]}),
            json!("a\0b"),
            json!({"a\0b": 1}),
            json!({"": 1}),
            json!({"$reql_type$": "TIME"}),
            json!(vec![0; 60_000]),
            deep,
        ] {
            assert_eq!(kept_as(&inexact), TEXT);
            let row = encode("key", Version(u64::MAX), &inexact);
            assert_eq!(decode(row), Ok(Document { key: "key".to_owned(), version: Version(u64::MAX), body: inexact }));
        }
    }

    #[test]
    fn rows_of_others_are_told_apart() {
        for foreign in [
            json!(null),
            json!({"id": "a"}),
            json!({"id": "a", "rev": 1, "doc": 1}),
            json!({"id": 1, "rev": "1", "doc": 1}),
            json!({"id": "a", "rev": "1"}),
            json!({"id": "a", "rev": "1", "json": "{"}),
        ] {
            assert!(decode(foreign).is_err());
        }
    }
}
