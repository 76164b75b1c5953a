//! Compose's own `${VARIABLE}`, in everything but keys.

use std::collections::BTreeMap;

use super::Wrong;
use super::node::{Node, Place, Value};

/// How deeply a default may have another within it.
const MAX_DEPTH: usize = 16;

/// What variables have, and which had nothing.
pub(super) struct Variables<'a> {
    value: &'a dyn Fn(&str) -> Option<String>,
    /// Variables that were asked for without a default and have no value, and where first.
    pub(super) missing: BTreeMap<String, Place>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(value: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { value, missing: BTreeMap::new() }
    }

    /// Puts values in the place of variables, in a part of a file.
    pub(super) fn fill(&mut self, node: &mut Node) -> Result<(), Wrong> {
        match &mut node.value {
            Value::Null | Value::Plain(_) => {}
            Value::Text(text) if !text.contains('$') => {}
            Value::Text(text) => {
                let place = node.place;
                let missing = &mut self.missing;
                let filled = interpolate(text, self.value, &mut |name| {
                    missing.entry(name.to_owned()).or_insert(place);
                })
                .map_err(|message| Wrong { place, message })?;
                node.value = if is_plain(&filled) { Value::Plain(filled) } else { Value::Text(filled) };
            }
            Value::List(list) => list.iter_mut().try_for_each(|node| self.fill(node))?,
            Value::Map(entries) => entries.iter_mut().try_for_each(|entry| self.fill(&mut entry.node))?,
        }
        Ok(())
    }
}

/// Whether a text is a number or a boolean where it stands alone.
fn is_plain(text: &str) -> bool {
    matches!(text, "true" | "false") || text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// The text with values in the place of variables. `missing` is told of each that has neither a value nor a default.
pub(super) fn interpolate(
    text: &str,
    value: &dyn Fn(&str) -> Option<String>,
    missing: &mut dyn FnMut(&str),
) -> Result<String, String> {
    fill(text, value, missing, 0)
}

fn fill(
    text: &str,
    value: &dyn Fn(&str) -> Option<String>,
    missing: &mut dyn FnMut(&str),
    depth: usize,
) -> Result<String, String> {
    if depth > MAX_DEPTH {
        return Err(format!("has more than {MAX_DEPTH} variables within each other"));
    }
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        done.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            done.push('$');
            rest = after;
        } else if let Some(body) = rest.strip_prefix('{') {
            let end = closing(body).ok_or_else(|| format!("${{{body:?} has no closing brace; a $ itself is $$"))?;
            done.push_str(&braced(&body[..end], value, missing, depth)?);
            rest = &body[end + 1..];
        } else {
            let (name, after) = name(rest);
            if name.is_empty() {
                return Err(format!("has a $ before {rest:?} that begins no variable; a $ itself is $$"));
            }
            match value(name) {
                Some(value) => done.push_str(&value),
                None => missing(name),
            }
            rest = after;
        }
    }
    done.push_str(rest);
    Ok(done)
}

/// What stands between the braces.
fn braced(
    body: &str,
    value: &dyn Fn(&str) -> Option<String>,
    missing: &mut dyn FnMut(&str),
    depth: usize,
) -> Result<String, String> {
    let (name, rest) = name(body);
    if name.is_empty() {
        return Err(format!("${{{body}}} does not begin with the name of a variable; a $ itself is $$"));
    }
    let found = value(name);
    // With a colon, a value that is empty counts as none.
    let (operator, is_set) = match rest.strip_prefix(':') {
        Some(operator) => (operator, found.as_deref().is_some_and(|value| !value.is_empty())),
        None => (rest, found.is_some()),
    };
    let mut inner = |text: &str| fill(text, value, missing, depth + 1);
    match (operator.chars().next(), is_set) {
        (None, _) if rest.is_empty() => Ok(found.unwrap_or_else(|| {
            missing(name);
            String::new()
        })),
        (Some('-'), false) => inner(&operator[1..]),
        (Some('-' | '?'), true) => Ok(found.unwrap_or_default()),
        (Some('?'), false) => {
            let why = inner(&operator[1..])?;
            let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
            Err(format!("{name} has no value{why}; set it in the environment, in .env or with --var {name}=…"))
        }
        (Some('+'), true) => inner(&operator[1..]),
        (Some('+'), false) => Ok(String::new()),
        _ => Err(format!(
            "${{{body}}} is none of ${{NAME}}, ${{NAME:-default}}, ${{NAME:?message}} and ${{NAME:+other}}"
        )),
    }
}

/// Where the brace is closed that was opened before the text.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(index);
        }
    }
    None
}

/// The name that the text begins with, and what follows.
fn name(text: &str) -> (&str, &str) {
    let is_good = |(index, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || index > 0 && c.is_ascii_digit();
    let end = text.char_indices().find(|&at| !is_good(at)).map_or(text.len(), |(end, _)| end);
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, String> {
        let value = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        interpolate(text, &value, &mut |_| {})
    }

    #[test]
    fn each_form_is_filled_as_compose_does() {
        for (text, expected) in [
            ("$A-${A}", "a-a"),
            ("$Ab", ""),
            ("x${NONE}y", "xy"),
            ("$$A $${A}", "$A ${A}"),
            ("${NONE:-d} ${EMPTY:-d} ${A:-d}", "d d a"),
            ("${NONE-d} ${EMPTY-d} ${A-d}", "d  a"),
            ("${A:?x} ${A?x} [${EMPTY?x}]", "a a []"),
            ("${A:+x} ${EMPTY:+x} ${NONE:+x}", "x  "),
            ("${A+x} ${EMPTY+x} ${NONE+x}", "x x "),
            ("${NONE:-${EMPTY:-${A}}}", "a"),
            ("${NONE:-{\"k\": \"$A\"}}", "{\"k\": \"a\"}"),
            ("${NONE:-a:b-c?d}", "a:b-c?d"),
            ("ü$A", "üa"),
        ] {
            assert_eq!(filled(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_form_is_said() {
        for (text, expected) in [
            (
                "${NONE:?say which}",
                "NONE has no value (say which); set it in the environment, in .env or with --var NONE=…",
            ),
            ("${EMPTY:?}", "EMPTY has no value; "),
            ("${NONE?$A}", "NONE has no value (a)"),
            ("cost: 5$", "has a $ before \"\" that begins no variable"),
            ("$1", "has a $ before \"1\""),
            ("${A", "${\"A\" has no closing brace"),
            ("${}", "${} does not begin with"),
            ("${A!}", "${A!} is none of"),
            ("${A:}", "${A:} is none of"),
        ] {
            let wrong = filled(text).unwrap_err();
            assert!(wrong.starts_with(expected), "{wrong}\nis not {expected}");
        }
        let deep = format!("{}{}", "${N:-".repeat(20), "}".repeat(20));
        assert!(filled(&deep).unwrap_err().starts_with("has more than 16"));
    }
}
