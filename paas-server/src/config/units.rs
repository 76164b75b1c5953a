//! Sizes and times as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// A number of bytes: `1048576`, `512k`, `1M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) usize);

/// A time: `90`, `90s`, `500ms`, `15m`, `12h`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

const SIZES: &str = "a number of bytes, or one with k or M";
const SPANS: &str = "a number of seconds, or one with ms, s, m, h or d";

/// A whole number with a unit behind it, times what the unit stands for.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("", 1), ("k", 1 << 10), ("kib", 1 << 10), ("m", 1 << 20), ("mib", 1 << 20)];
        let bytes = with_unit(text, &units).and_then(|bytes| usize::try_from(bytes).ok());
        // More than a gigabyte is a slip of the pen: every request may hold that much memory.
        bytes.filter(|&bytes| bytes <= 1 << 30).map(Self).ok_or_else(|| format!("write {SIZES}, at most 1024M"))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const SECOND: u64 = 1000;
        const DAY: u64 = 86_400 * SECOND;
        let units = [("", SECOND), ("ms", 1), ("s", SECOND), ("m", 60 * SECOND), ("h", 3600 * SECOND), ("d", DAY)];
        // Ten years: what is added to the time of day must not run past its end.
        let milliseconds = with_unit(text, &units).filter(|&milliseconds| milliseconds <= 3650 * DAY);
        let span = milliseconds.map(|milliseconds| Self(Duration::from_millis(milliseconds)));
        span.ok_or_else(|| format!("write {SPANS}, at most 3650d"))
    }
}

/// Takes both numbers and text.
struct NumberOrText<T>(&'static str, std::marker::PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for NumberOrText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        number.to_string().parse().map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrText(SIZES, std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrText(SPANS, std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_as_people_write_them() {
        assert_eq!("1M".parse(), Ok(Size(1 << 20)));
        assert_eq!("512 KiB".parse(), Ok(Size(512 << 10)));
        assert_eq!("1000".parse(), Ok(Size(1000)));
        assert_eq!("12h".parse(), Ok(Span(Duration::from_secs(12 * 3600))));
        assert_eq!("30d".parse(), Ok(Span(Duration::from_secs(30 * 86_400))));
        assert_eq!("5".parse(), Ok(Span(Duration::from_secs(5))));
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["", "M", "-1", "1.5M", "1T", "99999999999999999999", "2048M"] {
            assert!(bad.parse::<Size>().is_err(), "{bad:?}");
        }
        for bad in ["", "s", "-1", "1.5h", "1y", "99999999999999999999d", "4000d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
    }
}
