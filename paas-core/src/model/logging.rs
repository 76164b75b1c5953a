//! Where the output of a container goes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Invalid;
use super::validation::shortened;

/// Where Docker puts the output of a container. On the wire
/// `{"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}`.
///
/// Where the driver keeps files (`json-file`, `local`) and the options do not say how large, the server's own limits hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// Docker's name of the driver; the host's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// What the driver is told, in its own words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

impl Logging {
    /// Whether the output stays on the host.
    pub(crate) fn stays_on_the_host(&self) -> bool {
        /// What any driver takes, and those that keep files: nothing that could name another host.
        const HARMLESS: [&str; 10] = [
            "max-size",
            "max-file",
            "compress",
            "mode",
            "max-buffer-size",
            "tag",
            "labels",
            "labels-regex",
            "env",
            "env-regex",
        ];
        match self.driver.as_deref() {
            Some(driver) => matches!(driver, "json-file" | "local" | "journald" | "none"),
            None => self.options.keys().all(|option| HARMLESS.contains(&option.as_str())),
        }
    }

    /// Checks what holds for every driver, and what those take that keep files.
    ///
    /// # Errors
    /// Names what no Docker would take.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let wrong = |field: &str, message: String| Err(Invalid::new(field, message));
        let driver = self.driver.as_deref();
        if driver.is_none() && self.options.is_empty() {
            return wrong("logging", "says nothing; give a driver, or leave it out".to_owned());
        }
        // Plugins are named like images.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte);
        if let Some(name) = driver.filter(|name| name.is_empty() || !name.bytes().all(plain)) {
            let message = format!("must be the name of a driver such as local, not {:?}", shortened(name));
            return wrong("logging.driver", message);
        }
        if driver == Some("none") && !self.options.is_empty() {
            return wrong("logging.options", "are not for the driver none, which keeps nothing".to_owned());
        }
        for (name, value) in &self.options {
            let keeps_files = matches!(driver, Some("json-file" | "local"));
            let is_right = match name.as_str() {
                "" => false,
                "mode" => matches!(value.as_str(), "blocking" | "non-blocking"),
                "max-buffer-size" => {
                    self.options.get("mode").is_some_and(|mode| mode == "non-blocking") && is_size(value)
                }
                "max-file" if keeps_files => value.parse::<u32>().is_ok_and(|files| files > 0),
                "max-size" if keeps_files => value == "-1" || is_size(value),
                "compress" if keeps_files => value.parse::<bool>().is_ok(),
                _ => true,
            };
            if !is_right {
                let message = match name.as_str() {
                    "mode" => "mode is blocking or non-blocking",
                    "max-buffer-size" => "max-buffer-size is a size such as 4m, and needs the mode non-blocking",
                    "max-file" => "max-file is a number of files, at least 1",
                    "max-size" => "max-size is a size such as 10m, or -1 for no limit",
                    "compress" => "compress is true or false",
                    _ => "an option has a name",
                };
                return wrong("logging.options", format!("{message}, not {:?}", shortened(value)));
            }
        }
        Ok(())
    }
}

/// A size that is more than nothing, as Docker reads it: `10m`, `64kb`, `1024`.
fn is_size(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches('b').trim_end_matches(['k', 'm', 'g', 't']);
    let unit = &lower[digits.len()..];
    digits.bytes().all(|byte| byte.is_ascii_digit())
        && digits.parse::<u64>().is_ok_and(|number| number > 0)
        && matches!(unit, "" | "b" | "k" | "kb" | "m" | "mb" | "g" | "gb" | "t" | "tb")
}
