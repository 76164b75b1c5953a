//! What no host could do is refused before any is asked: the limits of Linux and of Docker, field by field.
//!
//! What only some hosts lack, such as a network or the sixteenth CPU, is no concern of this; see [`crate::scheduler::judge`].

use super::{ContainerSpec, ContainerType, Cpus, Invalid, MemoryMb, RestartPolicy, volume};

/// Longest `user_data`, in bytes: it travels in one environment variable.
const MAX_USER_DATA: usize = 100 * 1024;
/// Longest argument, and longest variable with its name, in bytes: `MAX_ARG_STRLEN` of Linux, less the zero byte at its end.
const MAX_STRING: usize = 128 * 1024 - 1;
/// What Linux takes of arguments and environment together, bytes: a quarter of the usual stack of 8 MB. Each counts with the
/// zero byte at its end and with the pointer to it.
const MAX_STRINGS: usize = 2 << 20;
/// Longest host name, and longest domain name, in bytes: `__NEW_UTS_LEN` of Linux.
const MAX_HOST_NAME: usize = 64;
/// The highest CPU that Docker takes, by number.
const MAX_CPU: u32 = 8191;

impl ContainerSpec {
    /// Checks everything that the types do not.
    ///
    /// # Errors
    /// Names the first field that no host could satisfy, and what would be right.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.validate_image()?;
        self.validate_sizes()?;
        self.validate_program()?;
        self.validate_entrypoint()?;
        self.validate_names()?;
        volume::validate(&self.volumes)?;
        self.validate_placement()?;
        self.validate_ports()?;
        self.validate_network()?;
        self.validate_runtime()
    }

    /// What is written like an image, and is one for no Docker.
    fn validate_image(&self) -> Result<(), Invalid> {
        let wrong = |message: String| Err(Invalid::new("name", message));
        let (repository, version) = self.name.repository_and_tag();
        if self.name.canonical().starts_with("docker.io/library/scratch:") {
            return wrong("scratch is the image without anything in it, which Docker does not run".to_owned());
        }
        // Docker takes the name of an algorithm for the beginning of an id, of which each host may find another image.
        let is_id = version.len() == 64 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
        if repository == "sha256" && !is_id {
            return wrong(format!(
                "must have the whole id behind sha256:, 64 hexadecimal digits, not {}",
                shortened(version)
            ));
        }
        Ok(())
    }

    fn validate_sizes(&self) -> Result<(), Invalid> {
        if self.cpus.is_some_and(|cpus| cpus < Cpus::from_milli(10)) {
            return Err(Invalid::new("cpus", "must be at least 0.01; leave it out for the default of 0.1"));
        }
        if let Some(memory) = self.memory
            && !(MemoryMb::MIN_CONTAINER..=MemoryMb::MAX).contains(&memory)
        {
            return Err(Invalid::new("memory", format!("must be 6 to {} MB, not {memory}", MemoryMb::MAX)));
        }
        if let Some(set) = &self.cpuset
            && !is_cpu_list(set)
        {
            let message = format!("must be a list of CPUs from 0 to {MAX_CPU} such as '0-2,4', not {set:?}");
            return Err(Invalid::new("cpuset", message));
        }
        if let RestartPolicy::OnFailure { maximum_retry } = self.restart_policy
            && i32::try_from(maximum_retry).is_err()
        {
            let message = format!("must be 0 (for ever) to {}, not {maximum_retry}", i32::MAX);
            return Err(Invalid::new("restart_policy.maximum_retry", message));
        }
        Ok(())
    }

    /// What the program gets: its arguments and its environment.
    fn validate_program(&self) -> Result<(), Invalid> {
        for (field, words) in [("entrypoint", &self.entrypoint), ("args", &self.args)] {
            if words.iter().any(|word| word.contains('\0')) {
                return Err(Invalid::new(field, "must not contain a zero byte"));
            }
            if let Some(word) = words.iter().find(|word| word.len() > MAX_STRING) {
                let message = format!("one of {} bytes is too long; Linux takes {MAX_STRING}", word.len());
                return Err(Invalid::new(field, message));
            }
        }
        for (key, value) in &self.environment {
            if key.trim().is_empty() || key.contains(|c: char| c == '=' || c.is_control()) {
                let message =
                    format!("{:?} is no name of a variable: not empty, no '=', no control character", shortened(key));
                return Err(Invalid::new("environment", message));
            }
            if value.contains('\0') {
                let message = format!("the value of {} must not contain a zero byte", shortened(key));
                return Err(Invalid::new("environment", message));
            }
            if key == Self::USER_DATA_VARIABLE {
                return Err(Invalid::new("environment", "PAAS_USER_DATA is set by user_data; use that field"));
            }
            if key.len() + 1 + value.len() > MAX_STRING {
                let message = format!("{} is too long; with its name it may have {MAX_STRING} bytes", shortened(key));
                return Err(Invalid::new("environment", message));
            }
        }
        if self.user_data.as_ref().is_some_and(|data| data.len() > MAX_USER_DATA || data.contains('\0')) {
            return Err(Invalid::new("user_data", "must be at most 102400 bytes of text without a zero byte"));
        }
        let size = |length: usize| length + 1 + size_of::<u64>();
        let words = self.entrypoint.iter().chain(&self.args).map(|word| size(word.len()));
        let variables = self.environment.iter().map(|(key, value)| size(key.len() + 1 + value.len()));
        let user_data = self.user_data.iter().map(|data| size(Self::USER_DATA_VARIABLE.len() + 1 + data.len()));
        let all: usize = words.chain(variables).chain(user_data).sum();
        if all > MAX_STRINGS {
            let message = format!("arguments and environment have {all} bytes together; Linux takes {MAX_STRINGS}");
            return Err(Invalid::new("environment", message));
        }
        Ok(())
    }

    /// An entry point of one empty word takes that of the image away, and then the arguments are the program.
    fn validate_entrypoint(&self) -> Result<(), Invalid> {
        let (field, program) = match self.entrypoint.as_slice() {
            [] => return Ok(()),
            [only] if only.is_empty() => ("args", self.args.first()),
            [first, ..] => ("entrypoint", Some(first)),
        };
        match program {
            Some(program) if program.trim().is_empty() => {
                Err(Invalid::new(field, "begins with an empty word, which is no program"))
            }
            Some(_) => Ok(()),
            None => {
                let message = "of one empty word takes the image's program away; say in args what runs instead";
                Err(Invalid::new("entrypoint", message))
            }
        }
    }

    fn validate_names(&self) -> Result<(), Invalid> {
        for (field, name) in [("hostname", &self.hostname), ("domainname", &self.domainname)] {
            let Some(name) = name else { continue };
            if name.len() > MAX_HOST_NAME {
                let message = format!("must be at most {MAX_HOST_NAME} bytes, as Linux has it, not {}", name.len());
                return Err(Invalid::new(field, message));
            }
            if !is_host_name(name) {
                let message = "must be letters, digits, '_', '-' and '.', where no part between dots is empty, begins with '-' or has \
                               more than 63 of them";
                return Err(Invalid::new(field, message));
            }
        }
        Ok(())
    }

    fn validate_placement(&self) -> Result<(), Invalid> {
        if self.kind == ContainerType::Host && self.asked_host().is_none() {
            return Err(Invalid::new("labels", "a container of type host needs the label 'host:<engine id>'"));
        }
        if self.kind == ContainerType::Host
            && let [one, other, ..] =
                self.labels.iter().filter(|label| label.starts_with("host:")).collect::<Vec<_>>()[..]
        {
            let message = format!("{one:?} and {other:?} name two engines; a container of type host is on one");
            return Err(Invalid::new("labels", message));
        }
        if let Some(label) = self.labels.iter().find(|label| !is_label(label)) {
            return Err(Invalid::new("labels", format!("{:?} {LABELS}", shortened(label))));
        }
        for (target, alias) in &self.links {
            let name = target.trim_start_matches('/');
            if name.is_empty() || name.contains([':', '\0']) || !is_host_name(alias) {
                return Err(Invalid::new(
                    "links",
                    format!("write {{\"container\": \"alias\"}} with a host name as alias, not {target:?}: {alias:?}"),
                ));
            }
        }
        Ok(())
    }

    fn validate_ports(&self) -> Result<(), Invalid> {
        for port in &self.bind_ports {
            port.validate()?;
        }
        let asked = self.host_ports();
        for (index, port) in asked.iter().enumerate() {
            if asked[..index].iter().any(|other| other.conflicts_with(port)) {
                return Err(Invalid::new("bind_ports", format!("asks for host port {port} twice")));
            }
        }
        Ok(())
    }

    fn validate_network(&self) -> Result<(), Invalid> {
        let mode = self.network_mode.as_str();
        let wrong = |field: &str, message: String| Err(Invalid::new(field, message));
        // Podman takes more, such as the path of any namespace, which nobody here looks through.
        let is_known = match mode.strip_prefix("container:") {
            Some(container) => !container.is_empty() && !container.chars().any(char::is_control),
            None => is_network_name(mode),
        };
        if !is_known {
            return wrong(
                "network_mode",
                "must be bridge, host, none, container:<name> or a network's name".to_owned(),
            );
        }
        let is_shared = mode.starts_with("container:");
        let has_none_of_its_own = is_shared || matches!(mode, "host" | "none");
        if has_none_of_its_own && (self.publish || !self.bind_ports.is_empty()) {
            let message = format!("{mode} cannot publish ports; use bridge or a network of your own");
            return wrong("network_mode", message);
        }
        if has_none_of_its_own && !self.links.is_empty() {
            return wrong("links", "need a network of the container's own; use network_mode bridge".to_owned());
        }
        if is_shared && self.hostname.is_some() {
            return wrong(
                "hostname",
                "is that of the other container, whose network it shares; leave it out".to_owned(),
            );
        }
        Ok(())
    }
}

/// What is said of a label that cannot be one.
pub(super) const LABELS: &str = "must be 1 to 128 printable characters, with something before '=' where it has one";

/// Whether it can be a label of an engine: `ssd`, or `zone=eu`.
pub(super) fn is_label(text: &str) -> bool {
    let key = text.split('=').next().unwrap_or_default();
    !key.trim().is_empty() && text.len() <= 128 && !text.chars().any(char::is_control)
}

/// Whether Docker would take it for the name of a network.
fn is_network_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// The beginning of a text that may be very long.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn is_cpu_list(text: &str) -> bool {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|&number| digits && number <= MAX_CPU)
    };
    text.split(',').all(|part| match part.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first <= last),
        None => number(part).is_some(),
    })
}

pub(super) fn is_host_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=253).contains(&text.len())
        && text
            .split('.')
            .all(|part| (1..=63).contains(&part.len()) && !part.starts_with('-') && part.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BindPort;

    type Change = fn(&mut ContainerSpec);

    fn changed(change: Change) -> Result<(), Invalid> {
        let mut spec = ContainerSpec::new("httpd".parse().unwrap());
        change(&mut spec);
        spec.validate()
    }

    #[test]
    fn each_wrong_field_is_named() {
        let cases: [(&str, Change); 59] = [
            ("name", |s| s.name = "scratch".parse().unwrap()),
            ("name", |s| s.name = "scratch:1".parse().unwrap()),
            ("name", |s| s.name = "docker.io/library/scratch".parse().unwrap()),
            ("name", |s| s.name = "sha256:abc".parse().unwrap()),
            ("name", |s| s.name = "sha256".parse().unwrap()),
            ("entrypoint", |s| s.entrypoint = vec![String::new()]),
            ("entrypoint", |s| s.entrypoint = vec![String::new(), "x".into()]),
            ("entrypoint", |s| s.entrypoint = vec![" ".into()]),
            ("args", |s| (s.entrypoint, s.args) = (vec![String::new()], vec![String::new()])),
            ("environment", |s| drop(s.environment.insert("A\nB".into(), "x".into()))),
            ("environment", |s| drop(s.environment.insert("A\t".into(), "x".into()))),
            ("environment", |s| drop(s.environment.insert(" ".into(), "x".into()))),
            ("labels", |s| s.labels = [" ".to_owned()].into()),
            ("labels", |s| s.labels = ["=eu".to_owned()].into()),
            ("labels", |s| s.labels = [" =eu".to_owned()].into()),
            ("labels", |s| s.labels = ["x".repeat(129)].into()),
            ("labels", |s| {
                (s.kind, s.labels) = (ContainerType::Host, ["host:a".to_owned(), "host:b".to_owned()].into());
            }),
            ("labels", |s| {
                (s.kind, s.labels) = (ContainerType::Host, ["host:a".to_owned(), "host:b c".to_owned()].into());
            }),
            ("hostname", |s| s.hostname = Some("-a".into())),
            ("cpus", |s| s.cpus = Some(Cpus::from_milli(9))),
            ("memory", |s| s.memory = Some(MemoryMb::new(5))),
            ("memory", |s| s.memory = Some(MemoryMb::new(u64::MAX))),
            ("cpuset", |s| s.cpuset = Some("3-1".into())),
            ("cpuset", |s| s.cpuset = Some(String::new())),
            ("cpuset", |s| s.cpuset = Some("0,".into())),
            ("cpuset", |s| s.cpuset = Some("+0".into())),
            ("cpuset", |s| s.cpuset = Some(" 0".into())),
            ("cpuset", |s| s.cpuset = Some("8192".into())),
            ("cpuset", |s| s.cpuset = Some("0\0".into())),
            ("restart_policy.maximum_retry", |s| {
                s.restart_policy = RestartPolicy::OnFailure { maximum_retry: u32::MAX };
            }),
            ("args", |s| s.args.push("a\0b".into())),
            ("args", |s| s.args.push("x".repeat(MAX_STRING + 1))),
            ("entrypoint", |s| s.entrypoint.push("a\0b".into())),
            ("environment", |s| drop(s.environment.insert("A=B".into(), String::new()))),
            ("environment", |s| drop(s.environment.insert(String::new(), "x".into()))),
            ("environment", |s| drop(s.environment.insert("A".into(), "\0".into()))),
            ("environment", |s| drop(s.environment.insert("A\0".into(), "x".into()))),
            ("environment", |s| drop(s.environment.insert("PAAS_USER_DATA".into(), String::new()))),
            ("environment", |s| drop(s.environment.insert("A".into(), "x".repeat(MAX_STRING - 1)))),
            ("environment", |s| {
                s.environment = (0..22).map(|number| (format!("A{number}"), "x".repeat(100_000))).collect();
            }),
            ("hostname", |s| s.hostname = Some("a b".into())),
            ("hostname", |s| s.hostname = Some(format!("{}.example.org", "a".repeat(60)))),
            ("domainname", |s| s.domainname = Some(format!("{}.org", "a".repeat(61)))),
            ("user_data", |s| s.user_data = Some("x".repeat(MAX_USER_DATA + 1))),
            ("labels", |s| s.kind = ContainerType::Host),
            ("labels", |s| s.labels = ["a\0".to_owned()].into()),
            ("links", |s| drop(s.links.insert("db".into(), "not a name".into()))),
            ("links", |s| drop(s.links.insert("db:x".into(), "db".into()))),
            ("bind_ports.container_port", |s| {
                s.bind_ports.push(BindPort { container_port: 0, ..":1:1".parse().unwrap() });
            }),
            ("bind_ports.port", |s| {
                s.bind_ports.push(BindPort { host_port: Some(0), ..":1:1".parse().unwrap() });
            }),
            ("bind_ports", |s| s.bind_ports = vec![":80:1".parse().unwrap(), "127.0.0.1:80:2".parse().unwrap()]),
            ("bind_ports", |s| s.bind_ports = vec!["8082:80".parse().unwrap(), "[::]:8082:80".parse().unwrap()]),
            ("network_mode", |s| s.network_mode = "a\0b".into()),
            ("network_mode", |s| s.network_mode = "container:".into()),
            ("network_mode", |s| s.network_mode = "ns:/proc/1/ns/net".into()),
            ("network_mode", |s| s.network_mode = "slirp4netns:allow_host_loopback=true".into()),
            ("network_mode", |s| s.network_mode = " host".into()),
            ("network_mode", |s| s.network_mode = "Container:x".into()),
            ("network_mode", |s| s.network_mode = "-x".into()),
        ];
        for (number, (field, spoil)) in cases.into_iter().enumerate() {
            let wrong = changed(spoil).expect_err(&format!("case {number}, {field}"));
            assert_eq!(wrong.field, field, "case {number}: {wrong}");
            assert!(wrong.to_string().len() < 300, "{wrong}");
        }
    }

    #[test]
    fn what_is_just_right_is_taken() {
        let cases: [Change; 16] = [
            |s| s.name = format!("sha256:{}", "a".repeat(64)).parse().unwrap(),
            |s| s.name = "shop/scratch".parse().unwrap(),
            |s| (s.entrypoint, s.args) = (vec![String::new()], vec!["sh".into(), String::new()]),
            |s| s.labels = ["zone=eu".to_owned(), "ssd".to_owned(), "a=".to_owned()].into(),
            // Neither Docker nor Linux minds.
            |s| s.hostname = Some("a_b".into()),
            |s| s.cpus = Some(Cpus::from_milli(10)),
            |s| s.memory = Some(MemoryMb::new(6)),
            |s| s.cpuset = Some("0-1,0,8191".into()),
            |s| s.args.push("x".repeat(MAX_STRING)),
            |s| drop(s.environment.insert("A".into(), "x".repeat(MAX_STRING - 2))),
            |s| drop(s.environment.insert("A B".into(), "-----BEGIN\na=b \"c\" $HOME \\n ü\n-----END".into())),
            |s| s.environment = (0..20).map(|number| (format!("A{number}"), "x".repeat(100_000))).collect(),
            |s| s.hostname = Some(format!("{}.b", "a".repeat(62))),
            |s| (s.hostname, s.network_mode) = (Some("a".into()), "host".into()),
            |s| s.restart_policy = RestartPolicy::OnFailure { maximum_retry: 0 },
            |s| s.bind_ports = vec!["0.0.0.0:80:80".parse().unwrap(), "[::]:80:80".parse().unwrap()],
        ];
        for (number, change) in cases.into_iter().enumerate() {
            changed(change).unwrap_or_else(|wrong| panic!("case {number}: {wrong}"));
        }
    }

    #[test]
    fn a_network_that_is_not_its_own_takes_none_of_what_belongs_to_one() {
        for mode in ["host", "none", "container:db"] {
            let mut spec = ContainerSpec::new("httpd".parse().unwrap());
            spec.network_mode = mode.into();
            spec.validate().unwrap();
            let publishing = ContainerSpec { publish: true, ..spec.clone() };
            assert_eq!(publishing.validate().unwrap_err().field, "network_mode", "{mode}");
            let ports = ContainerSpec { bind_ports: vec!["80".parse().unwrap()], ..spec.clone() };
            assert_eq!(ports.validate().unwrap_err().field, "network_mode", "{mode}");
            let links = ContainerSpec { links: [("db".to_owned(), "db".to_owned())].into(), ..spec.clone() };
            assert_eq!(links.validate().unwrap_err().field, "links", "{mode}");
            let named = ContainerSpec { hostname: Some("web".into()), ..spec };
            assert_eq!(named.validate().is_ok(), !mode.starts_with("container:"), "{mode}");
        }
    }
}
