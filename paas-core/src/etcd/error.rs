//! What went wrong between us and etcd.

use std::error::Error;
use std::fmt;

use tonic::Code;

/// What etcd says when a new login would help.
const NEEDS_LOGIN: [&str; 3] = ["revision of auth store is old", "revision in header is old", "invalid auth token"];

/// What a backend on etcd can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EtcdErrorKind {
    /// No server answers, or none with a leader. What was asked may or may not have happened.
    Unavailable,
    /// It does not let us in, or do that: user, password, certificate or permission.
    Refused,
    /// It has no room left, and takes no more writes until somebody makes room.
    Full,
    /// There is no such lease.
    NoLease,
    /// The revision that was asked for is not kept any more.
    Compacted,
    /// The answer is larger than we read.
    TooLarge,
    /// Who asks does not lead any more, so it was not asked.
    Fenced,
    /// Nothing that etcd can do.
    Invalid,
}

/// A failed call, in words. Clones, since everybody who waits for a connection gets the error of the one who tried.
#[derive(Clone, Debug)]
pub(crate) struct EtcdError {
    kind: EtcdErrorKind,
    detail: String,
    /// The connection is of no more use: the next call needs another.
    pub(super) lost_the_connection: bool,
    /// It is certain that nothing happened.
    pub(super) nothing_happened: bool,
}

impl EtcdError {
    pub(crate) fn new(kind: EtcdErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), lost_the_connection: false, nothing_happened: true }
    }

    /// No answer in time.
    pub(super) fn late(detail: impl Into<String>) -> Self {
        Self { lost_the_connection: true, nothing_happened: false, ..Self::new(EtcdErrorKind::Unavailable, detail) }
    }

    pub(crate) fn kind(&self) -> EtcdErrorKind {
        self.kind
    }

    /// Whether the server that said it would let us in again.
    pub(super) fn wants_login(&self) -> bool {
        self.kind == EtcdErrorKind::Unavailable && self.lost_the_connection && self.nothing_happened
    }

    /// A watch that etcd does not begin.
    pub(super) fn of_canceled_watch(reason: &str) -> Self {
        let wants_login = NEEDS_LOGIN.iter().any(|text| reason.contains(text));
        let kind = if wants_login { EtcdErrorKind::Unavailable } else { EtcdErrorKind::Refused };
        Self { lost_the_connection: wants_login, ..Self::new(kind, reason) }
    }

    /// The same error of an attempt to connect. Whatever is wrong with a first question is wrong with us.
    pub(super) fn of_connecting(self, endpoint: &str, over_tls: bool) -> Self {
        let kind = match self.kind {
            EtcdErrorKind::Unavailable | EtcdErrorKind::Refused | EtcdErrorKind::Full => self.kind,
            _ => EtcdErrorKind::Refused,
        };
        // A server that does not like our certificate says so and hangs up, and HTTP may see only the second.
        let maybe = match kind {
            EtcdErrorKind::Unavailable if over_tls => " (it may not accept this client's certificate)",
            _ => "",
        };
        let detail = format!("{endpoint}: {}{maybe}", self.detail);
        Self { kind, detail, lost_the_connection: true, nothing_happened: true }
    }

    fn of_status(status: &tonic::Status) -> Self {
        let lost = |nothing_happened| Self {
            lost_the_connection: true,
            nothing_happened,
            ..Self::new(EtcdErrorKind::Unavailable, said(status))
        };
        match status.code() {
            // The token is too old, or of a server that has forgotten it.
            Code::Unauthenticated => lost(true),
            Code::PermissionDenied => Self::new(EtcdErrorKind::Refused, said(status)),
            Code::NotFound => Self::new(EtcdErrorKind::NoLease, said(status)),
            // Our side says the same of an answer that is too large, and in no other words than these.
            Code::OutOfRange if status.message().contains("message length too large") => {
                Self::new(EtcdErrorKind::TooLarge, said(status))
            }
            Code::OutOfRange => Self::new(EtcdErrorKind::Compacted, said(status)),
            // Our token is of a time before users or roles were changed, or one that etcd does not know: it wants a new
            // login, and the same call again. Nothing but the text tells these from a mistake of ours.
            Code::InvalidArgument if NEEDS_LOGIN.iter().any(|text| status.message().contains(text)) => lost(true),
            // Also what etcd says when somebody has switched on the asking for passwords: the next connection shows.
            Code::InvalidArgument | Code::FailedPrecondition => {
                Self { lost_the_connection: true, ..Self::new(EtcdErrorKind::Invalid, said(status)) }
            }
            // Nothing else tells a full disk from too many requests at once.
            Code::ResourceExhausted if status.message().contains("space exceeded") => {
                Self::new(EtcdErrorKind::Full, said(status))
            }
            _ if is_about_certificates(status) => {
                Self { lost_the_connection: true, ..Self::new(EtcdErrorKind::Refused, said(status)) }
            }
            _ => lost(false),
        }
    }
}

impl From<etcd_client::Error> for EtcdError {
    fn from(error: etcd_client::Error) -> Self {
        use etcd_client::Error as Cause;
        match error {
            Cause::GRpcStatus(status) => Self::of_status(&status),
            // The client says this, and with no other meaning, when the time that is left is nothing.
            Cause::LeaseKeepAliveError(detail) => Self::new(EtcdErrorKind::NoLease, detail),
            Cause::InvalidArgs(detail) => Self::new(EtcdErrorKind::Invalid, detail),
            Cause::InvalidUri(error) => Self::new(EtcdErrorKind::Invalid, error.to_string()),
            Cause::TransportError(error) if is_about_certificates(&error) => {
                Self::new(EtcdErrorKind::Refused, chain(&error))
            }
            other => Self::late(other.to_string()),
        }
    }
}

impl fmt::Display for EtcdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Error for EtcdError {}

/// What a status says, without the headers that came with it.
fn said(status: &tonic::Status) -> String {
    match status.source() {
        Some(source) => chain(source),
        None => status.message().trim_start_matches("etcdserver: ").to_owned(),
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    for cause in causes(error) {
        let said = cause.to_string();
        if words.last() != Some(&said) {
            words.push(said);
        }
    }
    words.join(": ")
}

/// An error and what caused it, also where the cause is wrapped up as an I/O error.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(move || error.source())
    })
}

fn is_about_certificates(error: &(dyn Error + 'static)) -> bool {
    // What the server thinks of our certificate comes only when the connection is in use, and of that HTTP keeps the words.
    causes(error).any(|cause| cause.is::<rustls::Error>() || cause.to_string().starts_with("received fatal alert"))
}
