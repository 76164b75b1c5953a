//! JSON as the server sent it, laid out for reading.

/// Lays out a JSON text. Only the space between its parts changes: fields keep their order and numbers their digits,
/// which a trip through values would not promise.
pub(super) fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    let mut just_opened = false;
    for c in json.chars() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        // An empty list or object stays on its line.
        if just_opened != closes {
            new_line(&mut out, depth);
        }
        just_opened = matches!(c, '{' | '[');
        out.push(c);
        match c {
            '{' | '[' => depth += 1,
            ',' => new_line(&mut out, depth),
            ':' => out.push(' '),
            '"' => in_string = true,
            _ => {}
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_as_serde_lays_it_out() {
        let text = r#"{"b":[1,2.50,{"x":null}],"a":"q\"{[,:]}\\","e":[],"o":{ },"n":[[]],"t":true}"#;
        let value: serde_json::Value = serde_json::from_str(r#"[{"a":[1,{"b":"c\"d"}],"e":[],"o":{}}]"#).unwrap();
        assert_eq!(pretty(&value.to_string()), serde_json::to_string_pretty(&value).unwrap());
        let again: serde_json::Value = serde_json::from_str(&pretty(text)).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(text).unwrap());
    }

    #[test]
    fn order_and_digits_stay() {
        assert_eq!(pretty("{\"z\":1.10,\"a\":1e3}"), "{\n  \"z\": 1.10,\n  \"a\": 1e3\n}");
        assert_eq!(pretty("[ ]"), "[]");
        assert_eq!(pretty("\n7\n"), "7");
    }
}
