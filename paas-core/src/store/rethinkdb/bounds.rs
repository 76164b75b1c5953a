//! Bounds of ranges that the server can take.
//!
//! The server takes only what could be a key as a bound of a range. A bound that could not be one still orders against
//! all keys; this finds the key that orders just so.

use crate::store::MAX_KEY;

/// A bound that could be a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bound<'a> {
    /// A key is within `from..` when it is this one or greater.
    At(&'a str),
    /// A key is within `from..` when it is greater than this one.
    After(std::borrow::Cow<'a, str>),
}

/// The bound of the same range that could be a key.
pub(super) fn bound(text: &str) -> Bound<'_> {
    // No key has a zero byte, so what comes after one makes no difference: only greater keys than what is before are
    // as great as the whole.
    if let Some((before, _)) = text.split_once('\0')
        && before.len() <= MAX_KEY
    {
        return Bound::After(before.into());
    }
    if text.len() <= MAX_KEY {
        return Bound::At(text);
    }
    let before = &text[..text.floor_char_boundary(MAX_KEY)];
    // Of the keys that begin with it, all are smaller than the whole: they end there, or go on with a character that
    // takes fewer bytes than the one that was cut off, and so is smaller. The greatest of them stands for all.
    Bound::After(match MAX_KEY - before.len() {
        0 => before.into(),
        1 => format!("{before}\u{7f}").into(),
        2 => format!("{before}\u{7ff}").into(),
        _ => format!("{before}\u{ffff}").into(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts whose ends matter: about as long as a key can be, with characters of every length.
    fn edge() -> impl Strategy<Value = String> {
        let tail = prop::collection::vec(
            prop::sample::select(vec!['a', '\u{1}', '\u{7f}', 'ä', '\u{7ff}', '日', '\u{ffff}', '🦀', '\u{10ffff}']),
            0..5,
        );
        (118_usize..=127, tail).prop_map(|(length, tail)| {
            let mut text = "k".repeat(length);
            text.extend(tail);
            text
        })
    }

    proptest! {
        #[test]
        fn orders_as_what_it_stands_for(text in edge(), zero in prop::option::of(0_usize..=118), key in edge()) {
            let mut text = text;
            if let Some(zero) = zero {
                text.insert(zero, '\0');
            }
            let end = key.floor_char_boundary(MAX_KEY);
            let key = &key[..end];
            let within = match bound(&text) {
                Bound::At(bound) => {
                    prop_assert!(bound.len() <= MAX_KEY && !bound.contains('\0'));
                    key >= bound
                }
                Bound::After(bound) => {
                    prop_assert!(bound.len() <= MAX_KEY && !bound.contains('\0'));
                    key > &*bound
                }
            };
            prop_assert_eq!(within, key >= text.as_str());
        }
    }

    #[test]
    fn what_could_be_a_key_stays() {
        assert_eq!(bound("abc"), Bound::At("abc"));
        assert_eq!(bound("abc\0"), Bound::After("abc".into()));
        assert_eq!(bound(&"x".repeat(200)), Bound::After("x".repeat(127).into()));
    }
}
