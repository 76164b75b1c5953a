//! What is stored, between versions of the platform.
//!
//! Servers of two versions may use one store, one after the other and back again. So a record may have fields that this
//! version does not know: it reads past them, and leaves them there when it rewrites the record. That is so whatever the
//! type says of unknown fields, since the same type may also be what a client sends, where they are refused.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde_json::{Error, Map, Value};

/// The value of a record; fields that its type does not know are passed over.
///
/// # Errors
/// It is not of that type, even so.
pub(in crate::store) fn read<T: DeserializeOwned>(body: &Value) -> Result<T, Error> {
    T::deserialize(Record(body))
}

/// The body of a record that was `found` and is to be `after`, where this version writes `before` for what it read. What
/// it did not read, and what it does not change, stays as it was found.
pub(in crate::store) fn rewrite(found: &Value, before: &Value, after: Value) -> Value {
    match (found, before, after) {
        (_, before, after) if *before == after => found.clone(),
        (Value::Object(found), Value::Object(before), Value::Object(mut after)) => {
            for (name, kept) in found {
                match (before.get(name), after.remove(name)) {
                    // Not known here, or a default that is not written.
                    (None, None) => drop(after.insert(name.clone(), kept.clone())),
                    (Some(before), Some(new)) => drop(after.insert(name.clone(), rewrite(kept, before, new))),
                    (None, Some(new)) => drop(after.insert(name.clone(), new)),
                    // It was taken away.
                    (Some(_), None) => {}
                }
            }
            Value::Object(after)
        }
        (_, _, after) => after,
    }
}

/// A value that a type is read from without the fields that the type does not have.
#[derive(Clone, Copy)]
struct Record<'a>(&'a Value);

impl<'a> Record<'a> {
    fn map(
        fields: &'a Map<String, Value>,
        known: Option<&'static [&'static str]>,
    ) -> MapDeserializer<'a, Fields<'a>, Error> {
        MapDeserializer::new(Fields { fields: fields.iter(), known })
    }
}

/// The fields of an object, or those that are known.
struct Fields<'a> {
    fields: serde_json::map::Iter<'a>,
    known: Option<&'static [&'static str]>,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, Record<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let known = self.known;
        let is_known = |(name, _): &(&'a String, &'a Value)| known.is_none_or(|known| known.contains(&name.as_str()));
        self.fields.find(is_known).map(|(name, value)| (name.as_str(), Record(value)))
    }
}

impl<'a> IntoDeserializer<'a, Error> for Record<'a> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Record<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(elements) => visitor.visit_seq(SeqDeserializer::new(elements.iter().map(Record))),
            Value::Object(fields) => visitor.visit_map(Record::map(fields, None)),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(fields) => visitor.visit_map(Record::map(fields, Some(known))),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(fields) if fields.len() == 1 => {
                visitor.visit_enum(Variant(fields.iter().next().map(|(name, value)| (name.as_str(), value))))
            }
            other => other.deserialize_enum(name, variants, visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

/// A variant with something in it: an object of one field.
struct Variant<'a>(Option<(&'a str, &'a Value)>);

impl<'a> serde::de::EnumAccess<'a> for Variant<'a> {
    type Error = Error;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Content<'a>), Error> {
        let (name, value) = self.0.unwrap_or(("", &Value::Null));
        Ok((seed.deserialize(name.into_deserializer())?, Content(value)))
    }
}

/// What is in a variant.
struct Content<'a>(&'a Value);

impl<'a> serde::de::VariantAccess<'a> for Content<'a> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        serde::Deserialize::deserialize(Record(self.0))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(Record(self.0))
    }

    fn tuple_variant<V: Visitor<'a>>(self, _length: usize, visitor: V) -> Result<V::Value, Error> {
        Record(self.0).deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'a>>(self, known: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        Record(self.0).deserialize_struct("", known, visitor)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inner: Option<Inner>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        flag: bool,
        #[serde(default)]
        list: Vec<Inner>,
        #[serde(default)]
        kind: Kind,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(alias = "size")]
        number: u64,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        #[default]
        Plain,
        With(Inner),
        Named {
            number: u64,
        },
    }

    fn newer() -> Value {
        json!({
            "format": 2, "name": "a", "flag": true, "color": { "of": "later" },
            "inner": { "number": 1, "unit": "MB" }, "list": [{ "size": 2, "unit": "GB" }],
            "kind": { "with": { "number": 3, "unit": "kB" } },
        })
    }

    #[test]
    fn fields_of_a_later_version_are_passed_over_at_every_depth() {
        assert!(serde_json::from_value::<Outer>(newer()).is_err(), "though the type refuses them from a client");
        let read: Outer = read(&newer()).unwrap();
        let expected = Outer {
            name: "a".to_owned(),
            inner: Some(Inner { number: 1 }),
            flag: true,
            list: vec![Inner { number: 2 }],
            kind: Kind::With(Inner { number: 3 }),
        };
        assert_eq!(read, expected);
        let named: Outer =
            super::read(&json!({ "name": "b", "kind": { "named": { "number": 1, "later": 2 } } })).unwrap();
        assert_eq!(named.kind, Kind::Named { number: 1 });
        assert_eq!(super::read::<Outer>(&json!({ "name": "b", "kind": "plain" })).unwrap().kind, Kind::Plain);
        for wrong in [json!({ "flag": true }), json!({ "name": 1 }), json!("a"), json!({ "name": "a", "inner": 1 })] {
            assert!(super::read::<Outer>(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_not_read_stays_when_a_record_is_rewritten() {
        let mut value: Outer = read(&newer()).unwrap();
        let before = serde_json::to_value(&value).unwrap();
        (value.flag, value.name) = (false, "b".to_owned());
        let after = rewrite(&newer(), &before, serde_json::to_value(&value).unwrap());
        let expected = json!({
            "format": 2, "name": "b", "color": { "of": "later" },
            "inner": { "number": 1, "unit": "MB" }, "list": [{ "size": 2, "unit": "GB" }],
            "kind": { "with": { "number": 3, "unit": "kB" } },
        });
        assert_eq!(after, expected);
        value.inner = None;
        let gone = rewrite(&newer(), &before, serde_json::to_value(&value).unwrap());
        assert_eq!(gone.get("inner"), None, "what was taken away is not put back");
    }
}
