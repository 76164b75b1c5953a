//! Devices of the host, as Docker writes them: `/dev/fuse`, `/dev/ttyUSB0:/dev/modem`, `/dev/sda:/dev/xvda:r`.

use std::fmt;

use super::Invalid;
use super::validation::shortened;

/// A device of the host that a container gets, as it stands in [`ContainerSpec::devices`](super::ContainerSpec::devices).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device<'a> {
    /// Its path on the host.
    pub host: &'a str,
    /// Its path inside.
    pub container: &'a str,
    /// What may be done with it: some of `r`, `w` and `m`.
    pub permissions: &'a str,
}

impl<'a> Device<'a> {
    const ALL_PERMISSIONS: &'static str = "rwm";

    /// Reads `HOST[:CONTAINER][:PERMISSIONS]`.
    ///
    /// # Errors
    /// Says what is wrong, and what would be right.
    pub fn parse(text: &'a str) -> Result<Self, Invalid> {
        let wrong = |why: &str| {
            let forms = "write /dev/x, /dev/x:/dev/y or /dev/x:/dev/y:rwm";
            Invalid::new("devices", format!("{:?}: {why}; {forms}", shortened(text)))
        };
        let parts: Vec<&str> = text.split(':').collect();
        let (host, container, permissions) = match *parts.as_slice() {
            [host] => (host, host, Self::ALL_PERMISSIONS),
            [host, permissions] if !permissions.starts_with('/') => (host, host, permissions),
            [host, container] => (host, container, Self::ALL_PERMISSIONS),
            [host, container, permissions] => (host, container, permissions),
            _ => return Err(wrong("there are more parts than a device has")),
        };
        let is_path = |path: &str| {
            path.starts_with('/') && path.len() > 1 && !path.ends_with('/') && !path.contains(char::is_control)
        };
        if !is_path(host) || !is_path(container) {
            return Err(wrong("a device has an absolute path"));
        }
        let is_once = |letter: char| permissions.matches(letter).count() == 1;
        if permissions.is_empty() || !permissions.chars().all(|letter| "rwm".contains(letter) && is_once(letter)) {
            return Err(wrong("what may be done with it is some of r, w and m, each once"));
        }
        Ok(Self { host, container, permissions })
    }
}

impl fmt::Display for Device<'_> {
    /// Writes it as short as that is possible.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, container, permissions } = self;
        f.write_str(host)?;
        if container != host {
            write!(f, ":{container}")?;
        }
        if *permissions != Self::ALL_PERMISSIONS {
            write!(f, ":{permissions}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_in_every_form_and_written_in_the_shortest() {
        for (text, parts, written) in [
            ("/dev/a", ("/dev/a", "/dev/a", "rwm"), "/dev/a"),
            ("/dev/a:r", ("/dev/a", "/dev/a", "r"), "/dev/a:r"),
            ("/dev/a:/dev/b", ("/dev/a", "/dev/b", "rwm"), "/dev/a:/dev/b"),
            ("/dev/a:/dev/b:mr", ("/dev/a", "/dev/b", "mr"), "/dev/a:/dev/b:mr"),
            ("/dev/a:/dev/a:rwm", ("/dev/a", "/dev/a", "rwm"), "/dev/a"),
        ] {
            let device = Device::parse(text).unwrap();
            assert_eq!((device.host, device.container, device.permissions), parts);
            assert_eq!(device.to_string(), written);
        }
    }
}
