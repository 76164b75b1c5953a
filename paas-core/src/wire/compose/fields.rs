//! A map of the file, from which what is known is taken key by key.

use super::Wrong;
use super::node::{Entry, Node, Place, Value};
use super::values;
use crate::model::MemoryMb;
use crate::wire::app::Period;

/// A value with the path of its key: `services.web.image`.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) path: String,
    /// Where the key stands; of a part of a list, where the part stands.
    pub(super) place: Place,
    pub(super) node: Node,
}

/// What is left of a map.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    path: String,
    entries: Vec<Entry>,
}

impl Fields {
    /// The value of a key, which is not left then. A key without a value is as none.
    pub(super) fn take(&mut self, key: &str) -> Option<Field> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        let Entry { key, place, node } = self.entries.remove(index);
        let field = Field { path: join(&self.path, &key), place, node };
        (!matches!(field.node.value, Value::Null)).then_some(field)
    }

    /// Everything that is left.
    pub(super) fn all(self) -> impl Iterator<Item = (String, Field)> {
        let path = self.path;
        self.entries.into_iter().map(move |Entry { key, place, node }| {
            let path = join(&path, &key);
            (key, Field { path, place, node })
        })
    }

    /// Everything that is left, apart from extensions.
    pub(super) fn rest(self) -> impl Iterator<Item = (String, Field)> {
        self.all().filter(|(key, _)| !key.starts_with("x-"))
    }

    /// Refuses what is left.
    pub(super) fn end(self) -> Result<(), Wrong> {
        match self.rest().next() {
            Some((_, field)) => Err(field.wrong_key("is no key that Compose has here")),
            None => Ok(()),
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Field {
    /// The whole of a file.
    pub(super) fn root(node: Node) -> Self {
        Self { path: String::new(), place: node.place, node }
    }

    pub(super) fn wrong(&self, message: impl std::fmt::Display) -> Wrong {
        let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        Wrong { place: self.node.place, message: format!("{path}{message}") }
    }

    /// As [`Field::wrong`], at the key.
    pub(super) fn wrong_key(&self, message: impl std::fmt::Display) -> Wrong {
        Wrong { place: self.place, ..self.wrong(message) }
    }

    fn expected(&self, what: &str) -> Wrong {
        self.wrong(format!("must be {what}, not {}", self.node.value.kind()))
    }

    pub(super) fn fields(self) -> Result<Fields, Wrong> {
        match self.node.value {
            Value::Map(entries) => Ok(Fields { path: self.path, entries }),
            Value::Null => Ok(Fields { path: self.path, entries: Vec::new() }),
            _ => Err(self.expected("a map")),
        }
    }

    /// The parts of a list, each with the path of the list.
    pub(super) fn list(self) -> Result<Vec<Self>, Wrong> {
        match self.node.value {
            Value::List(list) => {
                let part = |node: Node| Self { path: self.path.clone(), place: node.place, node };
                Ok(list.into_iter().map(part).collect())
            }
            _ => Err(self.expected("a list")),
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    pub(super) fn text(&self) -> Result<String, Wrong> {
        match &self.node.value {
            Value::Plain(text) | Value::Text(text) => Ok(text.clone()),
            _ => Err(self.expected("a text")),
        }
    }

    /// A list of texts, or one text.
    pub(super) fn texts(self) -> Result<Vec<String>, Wrong> {
        if self.is_list() { self.list()?.iter().map(Self::text).collect() } else { Ok(vec![self.text()?]) }
    }

    /// A map of texts, or a list of `KEY=VALUE`. Nothing for a key without a value.
    pub(super) fn pairs(self) -> Result<Vec<(String, Option<String>, Self)>, Wrong> {
        if self.is_list() {
            let pair = |part: Self| {
                let text = part.text()?;
                let (key, value) = text.split_once('=').map_or((&*text, None), |(key, value)| (key, Some(value)));
                Ok((key.to_owned(), value.map(str::to_owned), part))
            };
            return self.list()?.into_iter().map(pair).collect();
        }
        let pair = |(key, field): (String, Self)| {
            let value = if matches!(field.node.value, Value::Null) { None } else { Some(field.text()?) };
            Ok((key, value, field))
        };
        self.fields()?.all().map(pair).collect()
    }

    pub(super) fn flag(&self) -> Result<bool, Wrong> {
        match self.text()?.as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(self.wrong(format!("must be true or false, not {other:?}"))),
        }
    }

    /// A text that is read as a value of its own kind.
    pub(super) fn parsed<T, E: std::fmt::Display>(&self, read: impl FnOnce(&str) -> Result<T, E>) -> Result<T, Wrong> {
        read(&self.text()?).map_err(|message| self.wrong(message))
    }

    pub(super) fn number<T: std::str::FromStr>(&self) -> Result<T, Wrong> {
        self.parsed(|text| text.parse().map_err(|_| format!("must be a number that fits, not {text:?}")))
    }

    pub(super) fn memory(&self) -> Result<MemoryMb, Wrong> {
        self.parsed(values::memory)
    }

    pub(super) fn period(&self) -> Result<Period, Wrong> {
        self.parsed(str::parse)
    }
}
