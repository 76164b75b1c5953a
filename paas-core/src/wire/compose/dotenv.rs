//! Files of variables: `.env`, and what `env_file` names.

use std::collections::BTreeMap;

use super::interpolate::interpolate;

/// What is wrong with a file of variables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct DotenvError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Reads a file of variables as Compose does: `NAME=value`, `NAME='as it is'`, `NAME="with $VARIABLES and \n"`, `NAME` for the
/// value that `variable` has, and comments.
///
/// ```
/// let text = "# of the shop\nHOST=db\nURL=\"postgres://$HOST:${PORT:-5432}\"\n";
/// let variables = paas_core::wire::compose::read_dotenv(text, &|_| None)?;
/// assert_eq!(variables["URL"], "postgres://db:5432");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Names the line that is none of these.
pub fn read_dotenv(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, DotenvError> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut at = 0;
    while at < text.len() {
        let wrong = |message: String| DotenvError { line: text[..at].matches('\n').count() + 1, message };
        let line_end = end_of_line(text, at);
        let line = &text[at..line_end];
        let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)));
        let name = name.trim();
        let name = name.strip_prefix("export ").map_or(name, str::trim_start);
        if name.is_empty() && value.is_none() || name.starts_with('#') {
            at = line_end;
            continue;
        }
        let name = checked_name(name).map_err(wrong)?;
        let Some(value) = value else {
            known.extend(variable(name).map(|value| (name.to_owned(), value)));
            at = line_end;
            continue;
        };
        // A quoted value may go on over lines.
        let start = line_end - value.trim_start_matches([' ', '\t']).len();
        let look_up = |name: &str| variable(name).or_else(|| known.get(name).cloned());
        let (value, end) = read_value(&text[start..], &look_up).map_err(wrong)?;
        known.insert(name.to_owned(), value);
        at = start + end;
    }
    Ok(known)
}

/// Where the line ends that goes on at `from`, with its line break.
fn end_of_line(text: &str, from: usize) -> usize {
    text[from..].find('\n').map_or(text.len(), |end| from + end + 1)
}

fn checked_name(name: &str) -> Result<&str, String> {
    let is_good = |c: char| c == '_' || c == '.' || c == '-' || c.is_ascii_alphanumeric();
    if !name.is_empty() && name.chars().all(is_good) {
        return Ok(name);
    }
    Err(format!("{name:?} is no name of a variable; write NAME=value"))
}

/// The value that the text begins with, and where the line after it begins.
fn read_value(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<(String, usize), String> {
    match text.bytes().next() {
        Some(b'\'') => {
            let end = text[1..].find('\'').ok_or("the value has no closing '")?;
            Ok((text[1..=end].to_owned(), end_of_line(text, end + 2)))
        }
        Some(b'"') => {
            let (value, end) = double_quoted(&text[1..]).ok_or("the value has no closing \"")?;
            Ok((interpolate(&value, variable, &mut |_| {})?, end_of_line(text, end + 1)))
        }
        _ => {
            let end = end_of_line(text, 0);
            let value = text[..end].trim_end();
            let value = if value.starts_with('#') { "" } else { value.split(" #").next().unwrap_or_default() };
            Ok((interpolate(value.trim_end(), variable, &mut |_| {})?, end))
        }
    }
}

/// What stands before the closing quote, with its escapes resolved, and how long it is with the quote.
fn double_quoted(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Some((value, index + 1)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                '$' => value.push_str("$$"),
                same @ ('"' | '\\') => value.push(same),
                other => value.extend(['\\', other]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<String, String>, DotenvError> {
        read_dotenv(text, &|name| (name == "OUTER").then(|| "outer".to_owned()))
    }

    #[test]
    fn each_form_is_read() {
        let text = "# comment\n\nA=1\nexport B = two words # comment\nC='$A # \\n'\nD=\"$A\\n\\$A\" # comment\n\
                    E=\"first\nsecond\"\nF=\nG=${A:-x}$OUTER\nOUTER\nNONE\nH=#\nI=a#b\r\nJ=\"\\\"q\\\"\"\nK='one\ntwo'";
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$A # \\n"),
            ("D", "1\n$A"),
            ("E", "first\nsecond"),
            ("F", ""),
            ("G", "1outer"),
            ("H", ""),
            ("I", "a#b"),
            ("J", "\"q\""),
            ("K", "one\ntwo"),
            ("OUTER", "outer"),
        ];
        let expected: BTreeMap<String, String> =
            expected.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(read(text).unwrap(), expected);
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, expected) in [
            ("A=1\nB=\"x\ny\"\nnot a name", "line 4: \"not a name\" is no name of a variable"),
            ("=x", "line 1: \"\" is no name"),
            ("\nA='x", "line 2: the value has no closing '"),
            ("A=\"x\\", "line 1: the value has no closing \""),
            ("A=5$", "line 1: has a $ before \"\""),
        ] {
            let wrong = read(text).unwrap_err().to_string();
            assert!(wrong.starts_with(expected), "{wrong}\nis not {expected}");
        }
    }
}
