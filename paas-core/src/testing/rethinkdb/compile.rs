//! What is looked at before a query runs: whether its terms are known, and given what they need.
//!
//! Only what a store asks for is known. A real server knows more, and refuses what it does not know in the same way.

use serde_json::Value;

use super::datum::type_name;
use super::failure::Failure;
use crate::store::rethinkdb::protocol::term;

/// A term as it is written: what it does, its arguments, its options.
pub(super) struct Term<'a> {
    pub(super) kind: u64,
    pub(super) arguments: &'a [Value],
    options: Option<&'a serde_json::Map<String, Value>>,
}

impl<'a> Term<'a> {
    /// Reads a term; nothing for what is a plain value.
    pub(super) fn read(value: &'a Value) -> Result<Option<Self>, Failure> {
        let Value::Array(parts) = value else { return Ok(None) };
        let kind = parts.first().unwrap_or(&Value::Null);
        let kind = kind.as_u64().ok_or_else(|| {
            Failure::compile(format!("Expected a TermType as a NUMBER but found {}.", type_name(kind)))
        })?;
        let arguments = match parts.get(1) {
            None => &[][..],
            Some(Value::Array(arguments)) => arguments,
            Some(other) => {
                return Err(Failure::compile(format!(
                    "Expected arguments as an ARRAY but found {}.",
                    type_name(other)
                )));
            }
        };
        let options = match parts.get(2) {
            None => None,
            Some(Value::Object(options)) => Some(options),
            Some(other) => {
                return Err(Failure::compile(format!("Expected options as an OBJECT but found {}.", type_name(other))));
            }
        };
        if parts.len() > 3 {
            return Err(Failure::compile(format!("Expected at most 3 parts of a term but found {}.", parts.len())));
        }
        Ok(Some(Self { kind, arguments, options }))
    }

    /// An option that is given.
    pub(super) fn option(&self, name: &str) -> Option<&'a Value> {
        self.options.and_then(|options| options.get(name))
    }
}

/// Fewest and most arguments of a term, and its options; nothing for a term that is not known.
fn shape(kind: u64) -> Option<(usize, usize, &'static [&'static str])> {
    const ANY: usize = usize::MAX;
    Some(match kind {
        term::MAKE_ARRAY => (0, ANY, &[]),
        term::DB_LIST | term::MINVAL | term::MAXVAL => (0, 0, &[]),
        term::ERROR => (0, 1, &[]),
        term::VAR | term::DB | term::DB_CREATE | term::DB_DROP | term::DESC | term::COUNT => (1, 1, &[]),
        term::TABLE | term::TABLE_CREATE => (1, 2, &[]),
        term::GET | term::BRACKET | term::LIMIT | term::FUNC => (2, 2, &[]),
        term::EQ | term::NE => (2, ANY, &[]),
        term::ORDER_BY => (1, 1, &["index"]),
        term::DELETE => (1, 1, &["durability", "return_changes"]),
        term::REPLACE => (2, 2, &["durability", "return_changes"]),
        term::INSERT => (2, 2, &["conflict", "durability", "return_changes"]),
        term::BRANCH => (3, ANY, &[]),
        term::FUNCALL => (2, 2, &[]),
        term::WAIT => (1, 1, &["timeout", "wait_for"]),
        term::BETWEEN => (3, 3, &["left_bound", "right_bound"]),
        _ => return None,
    })
}

/// Refuses a query that cannot run.
pub(super) fn check(value: &Value) -> Result<(), Failure> {
    let Some(term) = Term::read(value)? else {
        if let Value::Object(fields) = value {
            for (name, value) in fields {
                check(value).map_err(|failure| failure.within(name.as_str()))?;
            }
        }
        return Ok(());
    };
    let shape = shape(term.kind).ok_or_else(|| Failure::compile(format!("Unrecognized TermType: {}.", term.kind)))?;
    let (fewest, most, options) = shape;
    let count = term.arguments.len();
    if count < fewest || count > most {
        let wanted = match (fewest, most) {
            (fewest, most) if fewest == most => format!("{fewest} argument{}", if fewest == 1 { "" } else { "s" }),
            (fewest, usize::MAX) => format!("{fewest} or more arguments"),
            (fewest, most) => format!("between {fewest} and {most} arguments"),
        };
        return Err(Failure::compile(format!("Expected {wanted} but found {count}.")));
    }
    for (place, argument) in term.arguments.iter().enumerate() {
        check(argument).map_err(|failure| failure.within(place))?;
    }
    for (name, value) in term.options.into_iter().flatten() {
        if !options.contains(&name.as_str()) {
            return Err(Failure::compile(format!("Unrecognized optional argument `{name}`.")));
        }
        check(value).map_err(|failure| failure.within(name.as_str()))?;
    }
    Ok(())
}
