//! What a container wrote last.

use serde::{Deserialize, Serialize};

/// The last lines that a container wrote, in its own words: a few, and none of them long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastLines {
    /// The container, as people call it: `web.1.3 on a`.
    pub container: String,
    /// The lines, the oldest first. None where it wrote nothing.
    pub lines: Vec<String>,
}

impl LastLines {
    /// The most lines that are kept.
    pub const MOST: usize = 30;
    /// The longest line, characters; of a longer one its beginning is kept.
    pub const LONGEST: usize = 300;

    /// The last lines of what a container wrote.
    pub fn of(container: String, output: &[u8]) -> Self {
        let text = String::from_utf8_lossy(output);
        let all: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let last = all.iter().skip(all.len().saturating_sub(Self::MOST));
        Self { container, lines: last.map(|line| bounded(line)).collect() }
    }
}

/// A line without what would move the cursor of a terminal, and not too long.
fn bounded(line: &str) -> String {
    line.chars().filter(|character| *character == '\t' || !character.is_control()).take(LastLines::LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_lines_are_kept_and_none_of_them_long() {
        let many: String = (1..=1000).map(|number| format!("line {number}\n")).collect();
        let kept = LastLines::of("web.1.1 on a".to_owned(), many.as_bytes()).lines;
        assert_eq!((kept.len(), kept[0].as_str(), kept[29].as_str()), (30, "line 971", "line 1000"));
        let long = LastLines::of(String::new(), "ü".repeat(5000).as_bytes()).lines;
        assert_eq!((long.len(), long[0].chars().count()), (1, 300));
        let odd = LastLines::of(String::new(), b"\x1b[31mred\x1b[0m\r\n\n\xff end").lines;
        assert_eq!(odd, ["[31mred[0m", "\u{fffd} end"]);
        assert!(LastLines::of(String::new(), b"").lines.is_empty());
    }
}
