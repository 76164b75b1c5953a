//! From bollard's errors to ours: what a caller can do about a failure, and one line that says why.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use bollard::errors::Error;

use crate::engine::{EngineError, EngineErrorKind as Kind, Result};

/// What an operation is about, and so what a 404 says is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Host,
    Container,
    /// A container that is to be started.
    Start,
    /// A container that is to be made of an image.
    Creation,
    /// A container whose limits are to be others.
    Update,
    Image,
    /// What the registry of an image says.
    Registry,
    /// A network, or a volume.
    Object,
}

/// One operation on a host, as its errors name it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) operation: &'static str,
    pub(super) address: String,
    pub(super) subject: Subject,
}

impl Call {
    /// Waits for the host's answer, and no longer than `deadline`.
    pub(super) async fn within<T>(
        &self,
        deadline: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T> {
        self.all_within(deadline, async { work.await.map_err(|err| self.failure(err)) }).await
    }

    /// The same for work of several requests, which make their own errors.
    pub(super) async fn all_within<T>(&self, deadline: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        match tokio::time::timeout(deadline, work).await {
            Ok(result) => result,
            Err(_) => Err(self.unreachable(format!("no answer within {deadline:?}"))),
        }
    }

    pub(super) fn unreachable(&self, reason: impl std::fmt::Display) -> EngineError {
        self.error(Kind::Unreachable, format!("{}: {reason}", self.address))
    }

    pub(super) fn error(&self, kind: Kind, detail: impl Into<String>) -> EngineError {
        EngineError::new(kind, self.operation, one_line(&detail.into()))
    }

    /// Whether the host lives, and nobody listens: a port that refuses, or a socket that is not there.
    fn is_refused(&self, err: &Error) -> bool {
        let kind = chain(err).find_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()));
        match kind {
            Some(io::ErrorKind::ConnectionRefused) => true,
            // Of a name it says that there is no such host.
            Some(io::ErrorKind::NotFound) => self.address.starts_with("unix:"),
            _ => false,
        }
    }

    pub(super) fn failure(&self, err: Error) -> EngineError {
        let error = match &err {
            Error::DockerResponseServerError { status_code, message } => {
                let text = if message.trim().is_empty() {
                    format!("{} answers with status {status_code}", self.address)
                } else {
                    message.clone()
                };
                self.error(kind_of_answer(self.subject, *status_code, message), text)
            }
            Error::DockerStreamError { error } => self.error(kind_of_stream_error(self.subject, error), error.clone()),
            Error::RequestTimeoutError => self.unreachable("no answer in time"),
            Error::IOError { .. } | Error::HyperResponseError { .. } | Error::HyperLegacyError { .. } => {
                match tls_reason(&err) {
                    Some(reason) => self.error(Kind::Tls, format!("{}: {reason}", self.address)),
                    None if self.is_refused(&err) => self.unreachable(root_cause(&err)).with_nobody_listening(),
                    None => self.unreachable(root_cause(&err)),
                }
            }
            other => self.error(Kind::Failed, format!("{} gives no sensible answer: {other}", self.address)),
        };
        error.with_source(err)
    }
}

fn kind_of_answer(subject: Subject, status: u16, message: &str) -> Kind {
    match (status, subject) {
        // Its network is gone, for instance.
        (404, Subject::Start) if !message.contains("No such container") && message.contains("network") => Kind::Unable,
        (404, Subject::Container | Subject::Start | Subject::Update) => Kind::NoSuchContainer,
        (404, Subject::Image | Subject::Registry | Subject::Creation) => Kind::NoSuchImage,
        (409, _) => Kind::Conflict,
        // Docker's answer for a network that containers are in.
        (403, Subject::Object) => Kind::Conflict,
        (_, Subject::Start) if is_port_taken(message) => Kind::PortTaken,
        (_, Subject::Start) if is_bad_command(message) => Kind::NoSuchProgram,
        (_, Subject::Start) if is_missing_device(message) => Kind::Unable,
        // What no host takes is refused before any is asked, so what is left is what this one does not have: CPUs, a
        // runtime, a device, a driver.
        (400, Subject::Start | Subject::Creation | Subject::Update) => Kind::Unable,
        (400, _) => Kind::Refused,
        (_, Subject::Image | Subject::Registry) if is_refused_by_registry(message) => Kind::NoSuchImage,
        // There is no registry of that name.
        (_, Subject::Registry) if message.contains("no such host") => Kind::NoSuchImage,
        _ => Kind::Failed,
    }
}

/// Once a stream has begun with status 200, its errors are text and nothing else.
fn kind_of_stream_error(subject: Subject, message: &str) -> Kind {
    if subject == Subject::Image && is_refused_by_registry(message) { Kind::NoSuchImage } else { Kind::Failed }
}

/// Docker answers a start whose port is taken with status 500, as it does for every failure of the network: only the
/// words differ. The first are Docker's own list of ports, the second the kernel's, when a program that is no container
/// holds the port.
fn is_port_taken(message: &str) -> bool {
    message.contains("port is already allocated") || message.contains("address already in use")
}

/// A command that the image does not have, or may not run, comes from the container runtime as text. Docker's own
/// translation gives it status 400 in some versions and 500 in others. A device or a directory that the host does not have
/// reads much the same; only of a command it says what it tried to execute.
fn is_bad_command(message: &str) -> bool {
    let (_, failed) = match message.split_once("exec: \"").or_else(|| message.split_once("executable")) {
        Some(parts) if message.contains("runtime") || message.contains("failed to create task") => parts,
        _ => return false,
    };
    let failed = failed.to_ascii_lowercase();
    let reasons = [
        "not found",
        "no such file or directory",
        "permission denied",
        "is a directory",
        "not a directory",
        "argument list too long",
    ];
    reasons.iter().any(|reason| failed.contains(reason))
}

/// Docker looks for the devices that a container asks for when it starts it, and answers with status 500 where its host has not
/// got one. Another host may have.
fn is_missing_device(message: &str) -> bool {
    message.contains("error gathering device information")
}

/// Registries and Docker between them answer a pull of what does not exist, or needs another login, with 404, 500 or an
/// error in the middle of the stream.
fn is_refused_by_registry(message: &str) -> bool {
    [
        "manifest unknown",
        "not found",
        "access denied",
        "access to the resource is denied",
        "unauthorized",
        "no basic auth",
    ]
    .iter()
    .any(|reason| message.contains(reason))
}

/// Why TLS failed, if it was TLS that failed.
fn tls_reason(err: &(dyn StdError + 'static)) -> Option<String> {
    chain(err).find_map(|cause| {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = cause.downcast_ref::<rustls::Error>().or_else(|| inner?.downcast_ref::<rustls::Error>());
        found.map(ToString::to_string)
    })
}

fn root_cause(err: &(dyn StdError + 'static)) -> String {
    chain(err).last().map(ToString::to_string).unwrap_or_default()
}

fn chain<'a>(err: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    // bollard shows its inner errors in place of itself, and so skips them as sources.
    let first: &(dyn StdError + 'static) = match err.downcast_ref::<Error>() {
        Some(Error::IOError { err }) => err,
        Some(Error::HyperResponseError { err }) => err,
        _ => err,
    };
    std::iter::successors(Some(first), |&cause: &&'a (dyn StdError + 'static)| cause.source())
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(subject: Subject, status_code: u16, message: &str) -> Kind {
        let call = Call { operation: "test", address: "tcp://host:2375".into(), subject };
        call.failure(Error::DockerResponseServerError { status_code, message: message.into() }).kind()
    }

    #[test]
    fn a_status_says_what_can_be_done() {
        assert_eq!(kind(Subject::Container, 404, "No such container: x"), Kind::NoSuchContainer);
        assert_eq!(kind(Subject::Image, 404, "No such image: x:latest"), Kind::NoSuchImage);
        assert_eq!(kind(Subject::Host, 404, "page not found"), Kind::Failed);
        assert_eq!(kind(Subject::Creation, 409, "Conflict. The container name is already in use"), Kind::Conflict);
        assert_eq!(kind(Subject::Image, 400, "invalid reference format"), Kind::Refused);
        assert_eq!(kind(Subject::Host, 500, "panic"), Kind::Failed);
        assert_eq!(kind(Subject::Update, 404, "No such container: x"), Kind::NoSuchContainer);
        assert_eq!(kind(Subject::Object, 403, "network x has active endpoints"), Kind::Conflict);
        assert_eq!(kind(Subject::Host, 403, "forbidden"), Kind::Failed);
    }

    #[test]
    fn a_taken_port_is_known_by_its_words() {
        for message in [
            "driver failed programming external connectivity on endpoint a (b): Bind for 0.0.0.0:80 failed: port is already allocated",
            "driver failed programming external connectivity on endpoint a (b): Error starting userland proxy: listen tcp4 0.0.0.0:80: bind: address already in use",
        ] {
            assert_eq!(kind(Subject::Start, 500, message), Kind::PortTaken);
        }
        assert_eq!(kind(Subject::Start, 500, "driver failed programming external connectivity"), Kind::Failed);
    }

    #[test]
    fn a_command_that_cannot_run_is_refused_whatever_the_status() {
        let runc = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process";
        for message in [
            format!("{runc}: exec: \"nope\": executable file not found in $PATH: unknown"),
            format!("{runc}: error during container init: exec: \"/nope\": stat /nope: no such file or directory: unknown"),
            format!("{runc}: exec: \"/etc/passwd\": permission denied: unknown"),
            format!("{runc}: exec: \"/bin\": is a directory: unknown"),
            "crun: executable file `nope` not found in $PATH: No such file or directory: OCI runtime attempted to invoke a command that was not found".to_owned(),
        ] {
            assert_eq!(kind(Subject::Start, 400, &message), Kind::NoSuchProgram, "{message}");
            assert_eq!(kind(Subject::Start, 500, &message), Kind::NoSuchProgram, "{message}");
        }
        assert_eq!(kind(Subject::Start, 500, "OCI runtime create failed: out of memory"), Kind::Failed);
    }

    #[test]
    fn what_one_host_lacks_is_its_own_affair() {
        for (subject, message) in [
            (Subject::Update, "Range of CPUs is from 0.01 to 1.00, as there are only 1 CPUs available"),
            (Subject::Creation, "Range of CPUs is from 0.01 to 1.00, as there are only 1 CPUs available"),
            (Subject::Creation, "Requested CPUs are not available - requested 0-63, available: 0-1"),
            (Subject::Creation, "unknown or invalid runtime name: gvisor"),
            (Subject::Creation, "logger: no log driver named 'fluentd' is registered"),
            (Subject::Start, "OCI runtime create failed: cgroup subsystem cpuset: numerical result out of range"),
        ] {
            assert_eq!(kind(subject, 400, message), Kind::Unable, "{message}");
        }
        // A device that is not there is no command that is not there.
        let device =
            "error gathering device information while adding custom device \"/dev/x\": no such file or directory";
        assert_eq!(kind(Subject::Start, 500, device), Kind::Unable);
        let mount = "OCI runtime create failed: error mounting \"/x\" to rootfs: no such file or directory: unknown";
        assert_eq!(kind(Subject::Start, 500, mount), Kind::Failed);
        for kind in [Kind::Unable, Kind::Failed] {
            assert!(EngineError::new(kind, "test", "").is_of_the_engine(), "{kind:?}");
        }
    }

    #[test]
    fn a_registry_that_does_not_give_an_image_is_known_by_its_words() {
        let call = Call { operation: "pull", address: "unix:///x".into(), subject: Subject::Image };
        let kind = |error: &str| call.failure(Error::DockerStreamError { error: error.into() }).kind();
        assert_eq!(kind("manifest for x:1 not found: manifest unknown"), Kind::NoSuchImage);
        assert_eq!(kind("write /var/lib/docker/tmp/x: no space left on device"), Kind::Failed);
    }

    #[test]
    fn a_registry_that_there_is_not_has_no_image_and_one_that_is_away_says_nothing() {
        let kind = |message: &str| kind(Subject::Registry, 500, message);
        let lookup = "Get \"https://nosuch.local:1/v2/\": dial tcp: lookup nosuch.local on 127.0.0.53:53:";
        assert_eq!(kind(&format!("{lookup} no such host")), Kind::NoSuchImage);
        assert_eq!(kind("manifest unknown: manifest unknown"), Kind::NoSuchImage);
        for away in ["server misbehaving", "i/o timeout", "read udp: connection refused"] {
            assert_eq!(kind(&format!("{lookup} {away}")), Kind::Failed, "{away}");
        }
        assert_eq!(kind("Get \"https://127.0.0.1:5999/v2/\": connect: connection refused"), Kind::Failed);
    }

    #[test]
    fn the_detail_is_one_line_and_names_the_host_that_is_away() {
        let call = Call { operation: "ping", address: "tcp://host:2375".into(), subject: Subject::Host };
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let error = call.failure(Error::IOError { err: refused });
        assert_eq!(error.kind(), Kind::Unreachable);
        assert_eq!(error.to_string(), "cannot ping: tcp://host:2375: connection refused");
        assert!(error.nobody_listens());
        let message = "first\n\n  second".to_owned();
        let error = call.failure(Error::DockerResponseServerError { status_code: 500, message });
        assert_eq!(error.detail(), "first; second");
    }

    #[test]
    fn a_host_that_refuses_lives_and_one_that_is_silent_or_unknown_may_not() {
        let refuses = |address: &str, kind: io::ErrorKind| {
            let call = Call { operation: "ping", address: address.into(), subject: Subject::Host };
            call.failure(Error::IOError { err: kind.into() }).nobody_listens()
        };
        assert!(refuses("tcp://host:2375", io::ErrorKind::ConnectionRefused));
        assert!(refuses("unix:///x.sock", io::ErrorKind::ConnectionRefused));
        assert!(refuses("unix:///x.sock", io::ErrorKind::NotFound));
        assert!(!refuses("tcp://host:2375", io::ErrorKind::NotFound), "the name has no address");
        assert!(!refuses("tcp://host:2375", io::ErrorKind::HostUnreachable));
        assert!(!refuses("tcp://host:2375", io::ErrorKind::ConnectionReset));
    }
}
