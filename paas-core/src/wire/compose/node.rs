//! YAML as a tree in which each part knows where it stands.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Error, MessageFormatter, Spanned, UserMessageFormatter};

use super::Wrong;

/// The largest file that is read, bytes.
const MAX_BYTES: usize = 1 << 20;

/// Where something stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Which of the files.
    pub(super) file: usize,
    /// Counted from 1.
    pub(super) line: usize,
    /// Counted from 1, in characters.
    pub(super) column: usize,
}

/// A part of a file. What an alias stands for is where it was written first.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing, as in `key:`.
    Null,
    /// A number or a boolean, as it is written: `0.50` and `0444` mean more than the numbers they are.
    Plain(String),
    /// Any other text.
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Value {
    /// What to call it in a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Plain(_) | Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Reads the text of a file.
///
/// Depth, aliases and size are bounded by the parser; each key stands once; anchors and merge keys are resolved.
pub(super) fn parse(file: usize, text: &str) -> Result<Node, Wrong> {
    if text.len() > MAX_BYTES {
        let message = format!("has {} bytes; at most {MAX_BYTES} are read", text.len());
        return Err(Wrong { place: Place { file, line: 1, column: 1 }, message });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: 50_000, max_anchors: 1000, max_aliases: 1000, max_documents: 1 },
        // 'no' and 'on' are texts, as for Compose.
        strict_booleans: true,
        // !reset and !override would change what is meant.
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Shape>>(text, options) {
        Ok(shape) => Ok(node(file, text, shape)),
        Err(error) => Err(wrong(file, &error)),
    }
}

fn wrong(file: usize, error: &Error) -> Wrong {
    let place = error.location().map(|location| place(file, location)).unwrap_or(Place { file, line: 1, column: 1 });
    let message = match error.without_snippet() {
        Error::Budget { .. } => {
            "is more than is read of a file: nested too deeply, too many aliases, or a second document".to_owned()
        }
        error => UserMessageFormatter.format_message(error).replace(char::is_control, " "),
    };
    Wrong { place, message: format!("is no YAML that can be read: {message}") }
}

fn place(file: usize, location: serde_saphyr::Location) -> Place {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Place { file, line: number(location.line()), column: number(location.column()) }
}

fn node(file: usize, text: &str, shape: Spanned<Shape>) -> Node {
    let value = match shape.value {
        Shape::Null => Value::Null,
        Shape::Plain => Value::Plain(source(text, shape.defined).to_owned()),
        Shape::Text(text) => Value::Text(text),
        Shape::List(list) => Value::List(list.into_iter().map(|shape| node(file, text, shape)).collect()),
        Shape::Map(entries) => {
            let entry = |(key, shape): (Spanned<String>, _)| Entry {
                key: key.value,
                place: place(file, key.defined),
                node: node(file, text, shape),
            };
            Value::Map(entries.into_iter().map(entry).collect())
        }
    };
    Node { place: place(file, shape.defined), value }
}

/// What stands there.
fn source(text: &str, location: serde_saphyr::Location) -> &str {
    let number = |number: Option<u64>| number.and_then(|number| usize::try_from(number).ok());
    let span = location.span();
    let range = number(span.byte_offset()).zip(number(span.byte_len()));
    range.and_then(|(start, length)| text.get(start..start.checked_add(length)?)).unwrap_or_default()
}

/// What the parser says of a part. A number is only known to be one: how it is written is read from the text.
enum Shape {
    Null,
    Plain,
    Text(String),
    List(Vec<Spanned<Shape>>),
    Map(Vec<(Spanned<String>, Spanned<Shape>)>),
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }

            fn visit_unit<E>(self) -> Result<Shape, E> {
                Ok(Shape::Null)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
                Ok(Shape::Plain)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
                Ok(Shape::Plain)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
                Ok(Shape::Plain)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
                Ok(Shape::Plain)
            }

            fn visit_str<E>(self, text: &str) -> Result<Shape, E> {
                Ok(Shape::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Shape, A::Error> {
                let mut list = Vec::new();
                while let Some(part) = parts.next_element()? {
                    list.push(part);
                }
                Ok(Shape::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut parts: A) -> Result<Shape, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = parts.next_entry()? {
                    entries.push(entry);
                }
                Ok(Shape::Map(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
