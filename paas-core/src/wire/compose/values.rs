//! Texts that Compose reads in its own way.

use crate::model::MemoryMb;

/// Bytes as Compose writes them (`512m`, `1.5gb`, `1048576`), as megabytes, rounded up.
pub(super) fn memory(text: &str) -> Result<MemoryMb, String> {
    let wrong = || format!("must be bytes such as 512m or 1gb, not {text:?}");
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let unit = lower[digits.len()..].trim_start();
    let shift = match unit.strip_suffix('b').unwrap_or(unit).trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let megabytes = (number * f64::from(2f32.powi(shift)) / f64::from(1 << 20)).ceil();
    if !(1.0..=1e9).contains(&megabytes) {
        return Err(wrong());
    }
    Ok(MemoryMb::new(megabytes as u64))
}

/// The words of a line, as a shell splits it.
pub(super) fn words(text: &str) -> Result<Vec<String>, String> {
    shlex::split(text).ok_or_else(|| format!("{text:?} has a quote that is not closed"))
}

/// A number of ports: `80`, or `8000-8010`.
pub(super) fn port_range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().ok().filter(|&port| port > 0);
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(format!("must be a port from 1 to 65535 or a range such as 8000-8010, not {text:?}")),
    }
}

/// Permissions: octal as in `0440` and `0o440`, which are written without quotes as a rule.
pub(super) fn mode(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(format!("{mode:04o}")),
        _ => Err(format!("must be permissions such as 0440, not {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_every_spelling() {
        for (text, megabytes) in [
            ("512m", 512),
            ("512M", 512),
            ("1g", 1024),
            ("1GB", 1024),
            ("1gib", 1024),
            ("1.5g", 1536),
            ("64 mb", 64),
            ("1048577", 2),
            ("100k", 1),
            ("1b", 1),
        ] {
            assert_eq!(memory(text).unwrap(), MemoryMb::new(megabytes), "{text}");
        }
        for bad in ["", "m", "-1", "0", "512x", "1e30g", "nan", "inf", "ü"] {
            assert!(memory(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn ports_and_permissions_are_read() {
        assert_eq!((port_range("80"), port_range("80-82")), (Ok((80, 80)), Ok((80, 82))));
        for bad in ["", "0", "70000", "82-80", "a", "-1", "1-"] {
            assert!(port_range(bad).is_err(), "{bad:?} was taken");
        }
        assert_eq!(
            (mode("0440").as_deref(), mode("0o440").as_deref(), mode("4").as_deref()),
            (Ok("0440"), Ok("0440"), Ok("0004"))
        );
        assert!(mode("8").is_err() && mode("10000").is_err() && mode("-1").is_err());
    }
}
