//! Values as the server keeps and prints them.

use serde_json::{Map, Number, Value};

/// The greatest integer of which a float knows all smaller ones.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A number as it comes back: every one is a float, and those without a fraction are written as integers.
pub(super) fn number(number: &Number) -> Value {
    let float = number.as_f64().unwrap_or_default();
    let is_whole = float.fract() == 0.0 && float.abs() <= EXACT && !(float == 0.0 && float.is_sign_negative());
    if is_whole { Value::from(float as i64) } else { Value::from(float) }
}

/// What kind of value it is, in errors.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NULL",
        Value::Bool(_) => "BOOL",
        Value::Number(_) => "NUMBER",
        Value::String(_) => "STRING",
        Value::Array(_) => "ARRAY",
        Value::Object(_) => "OBJECT",
    }
}

/// A value as it stands in errors.
pub(super) fn print(value: &Value) -> String {
    let mut out = String::new();
    print_at(value, 0, &mut out);
    out
}

fn print_at(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push_str("{\n");
            for (index, (name, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push_str(",\n");
                }
                out.push_str(&"\t".repeat(depth + 1));
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push_str(":\t");
                print_at(value, depth + 1, out);
            }
            out.push('\n');
            out.push_str(&"\t".repeat(depth));
            out.push('}');
        }
        Value::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                print_at(element, depth + 1, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// How much a row counts in a batch: chosen so that a batch ends where a real one was seen to end.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(size).sum::<usize>(),
        Value::Array(elements) => 1 + elements.iter().map(size).sum::<usize>(),
        Value::String(text) => 1 + text.len(),
        _ => 8,
    }
}

/// An object of these fields.
pub(super) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}
