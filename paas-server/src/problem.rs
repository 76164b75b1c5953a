//! Errors as the remote API sends them: problem documents (RFC 9457) with a stable code.
//!
//! What a caller can act upon goes out; causes inside the platform go to the log and nowhere else.

use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use paas_core::auth::AuthError;
use paas_core::controller::{ControllerError, Failure};
use paas_core::engine::{EngineError, EngineErrorKind};
use paas_core::model::{EngineId, Invalid};
use paas_core::store::{StoreError, StoreErrorKind};
use serde_json::{Map, Value, json};

/// What went wrong, for programs. Each code belongs to one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request cannot be what was meant; `field` names what is wrong.
    InvalidRequest,
    /// A name or the beginning of an id fits several containers; `candidates` lists their ids.
    ContainerAmbiguous,
    /// No token, or one that is worth nothing.
    Unauthenticated,
    /// Name or password is wrong.
    WrongPassword,
    /// The role does not open the path, or the policy does not let the account ask that of a host; then `field` names what.
    Forbidden,
    /// There is no such container.
    ContainerNotFound,
    /// There is no such engine.
    EngineNotFound,
    /// There is no such account.
    AccountNotFound,
    /// There is no such join token.
    JoinTokenNotFound,
    /// There is no login to such an image registry.
    RegistryLoginNotFound,
    /// There is no such application.
    AppNotFound,
    /// The application has no such revision, or it is not kept any more.
    RevisionNotFound,
    /// The application has no secret of that name.
    SecretNotFound,
    /// There is no such path.
    RouteNotFound,
    /// The path does not have that method; the header `Allow` lists those it has.
    MethodNotAllowed,
    /// The user name is taken.
    AccountExists,
    /// The id, the address or the daemon belongs to an engine already.
    EngineExists,
    /// The last account that may do everything cannot be deleted.
    LastAdmin,
    /// Not enough room, or no engine that fits; `refusal` explains.
    NoRoom,
    /// The thing is not in a state for that.
    Conflict,
    /// The application is not what it was when the change was planned.
    AppChanged,
    /// A rollout of the application is under way.
    RolloutUnderWay,
    /// The container belongs to an application, which decides whether it runs.
    ManagedByApplication,
    /// The `Idempotency-Key` was used for another request.
    KeyReused,
    /// The platform did not start that container.
    NotManaged,
    /// The body did not come in time.
    BodyTimeout,
    /// The body is larger than the server takes.
    TooLarge,
    /// The body is not JSON.
    UnsupportedMediaType,
    /// Tried too often; `Retry-After` says when to come back.
    Throttled,
    /// A fault of the server.
    Internal,
    /// The engine did not do it.
    EngineFailed,
    /// Nothing of what was asked for was started; `failures` says why.
    LaunchFailed,
    /// The engine does not answer.
    EngineUnreachable,
    /// The platform's own records cannot be read or written.
    StoreUnavailable,
    /// There was no answer in time. It may be done all the same.
    TimedOut,
    /// The server is about to end.
    ShuttingDown,
    /// No server leads at this moment, or the one that led stopped in the middle of the request.
    NoLeader,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 37] = [
        Self::InvalidRequest,
        Self::ContainerAmbiguous,
        Self::Unauthenticated,
        Self::WrongPassword,
        Self::Forbidden,
        Self::ContainerNotFound,
        Self::EngineNotFound,
        Self::AccountNotFound,
        Self::JoinTokenNotFound,
        Self::RegistryLoginNotFound,
        Self::AppNotFound,
        Self::RevisionNotFound,
        Self::SecretNotFound,
        Self::RouteNotFound,
        Self::MethodNotAllowed,
        Self::AccountExists,
        Self::EngineExists,
        Self::LastAdmin,
        Self::NoRoom,
        Self::Conflict,
        Self::AppChanged,
        Self::RolloutUnderWay,
        Self::ManagedByApplication,
        Self::KeyReused,
        Self::NotManaged,
        Self::BodyTimeout,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Throttled,
        Self::Internal,
        Self::EngineFailed,
        Self::LaunchFailed,
        Self::EngineUnreachable,
        Self::StoreUnavailable,
        Self::TimedOut,
        Self::ShuttingDown,
        Self::NoLeader,
    ];

    /// The code on the wire.
    pub const fn as_str(self) -> &'static str {
        self.parts().0
    }

    /// The status it is sent with.
    pub const fn status(self) -> StatusCode {
        self.parts().1
    }

    const fn parts(self) -> (&'static str, StatusCode) {
        match self {
            Self::InvalidRequest => ("invalid_request", StatusCode::BAD_REQUEST),
            Self::ContainerAmbiguous => ("container_ambiguous", StatusCode::BAD_REQUEST),
            Self::Unauthenticated => ("unauthenticated", StatusCode::UNAUTHORIZED),
            Self::WrongPassword => ("wrong_password", StatusCode::UNAUTHORIZED),
            Self::Forbidden => ("forbidden", StatusCode::FORBIDDEN),
            Self::ContainerNotFound => ("container_not_found", StatusCode::NOT_FOUND),
            Self::EngineNotFound => ("engine_not_found", StatusCode::NOT_FOUND),
            Self::AccountNotFound => ("account_not_found", StatusCode::NOT_FOUND),
            Self::JoinTokenNotFound => ("join_token_not_found", StatusCode::NOT_FOUND),
            Self::RegistryLoginNotFound => ("registry_login_not_found", StatusCode::NOT_FOUND),
            Self::AppNotFound => ("app_not_found", StatusCode::NOT_FOUND),
            Self::RevisionNotFound => ("revision_not_found", StatusCode::NOT_FOUND),
            Self::SecretNotFound => ("secret_not_found", StatusCode::NOT_FOUND),
            Self::RouteNotFound => ("route_not_found", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED),
            Self::AccountExists => ("account_exists", StatusCode::CONFLICT),
            Self::EngineExists => ("engine_exists", StatusCode::CONFLICT),
            Self::LastAdmin => ("last_admin", StatusCode::CONFLICT),
            Self::NoRoom => ("no_room", StatusCode::CONFLICT),
            Self::Conflict => ("conflict", StatusCode::CONFLICT),
            Self::AppChanged => ("app_changed", StatusCode::CONFLICT),
            Self::RolloutUnderWay => ("rollout_under_way", StatusCode::CONFLICT),
            Self::ManagedByApplication => ("managed_by_application", StatusCode::CONFLICT),
            Self::KeyReused => ("key_reused", StatusCode::UNPROCESSABLE_ENTITY),
            Self::NotManaged => ("not_managed", StatusCode::CONFLICT),
            Self::BodyTimeout => ("body_timeout", StatusCode::REQUEST_TIMEOUT),
            Self::TooLarge => ("too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::UnsupportedMediaType => ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::Throttled => ("throttled", StatusCode::TOO_MANY_REQUESTS),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
            Self::EngineFailed => ("engine_failed", StatusCode::BAD_GATEWAY),
            Self::LaunchFailed => ("launch_failed", StatusCode::BAD_GATEWAY),
            Self::EngineUnreachable => ("engine_unreachable", StatusCode::SERVICE_UNAVAILABLE),
            Self::StoreUnavailable => ("store_unavailable", StatusCode::SERVICE_UNAVAILABLE),
            Self::TimedOut => ("timed_out", StatusCode::GATEWAY_TIMEOUT),
            Self::ShuttingDown => ("shutting_down", StatusCode::SERVICE_UNAVAILABLE),
            Self::NoLeader => ("no_leader", StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

/// An answer that says what went wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    code: Code,
    detail: String,
    /// What some codes say beside the detail.
    more: Map<String, Value>,
    retry_after: Option<Duration>,
    /// The methods that a path has.
    allow: Option<String>,
}

/// What a handler answers with.
pub type Answer<T = Response> = Result<T, Problem>;

impl Problem {
    /// A problem with one sentence for people, that says what to do.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), more: Map::new(), retry_after: None, allow: None }
    }

    /// Something is wrong with a field or parameter.
    pub fn invalid(field: &str, message: impl AsRef<str>) -> Self {
        Self::new(Code::InvalidRequest, format!("{field}: {}", message.as_ref())).with("field", json!(field))
    }

    /// Nothing of a request was started.
    pub fn launch_failed(requested: usize, failures: &[Failure]) -> Self {
        let first = failures.first().map_or("", |failure| failure.error.as_str());
        let what = if requested == 1 { "it was not started".to_owned() } else { "none was started".to_owned() };
        Self::new(Code::LaunchFailed, format!("{what}: {first}")).with("failures", json!(failures))
    }

    /// A fault of the server. The cause goes to the log.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(Code::Internal, "the server failed; its log says why, under the id in the header X-Request-Id")
    }

    /// No server leads, or the one that led stopped: `what` says which.
    pub fn no_leader(what: &str) -> Self {
        Self::new(Code::NoLeader, format!("{what}; ask again in a moment, with the same Idempotency-Key"))
            .retry_after(Duration::from_secs(1))
    }

    /// A path that has other methods.
    pub fn method_not_allowed(method: &str, path: &str, allow: String) -> Self {
        let detail = format!("{path} does not have the method {method}; it has {allow}");
        Self { allow: Some(allow), ..Self::new(Code::MethodNotAllowed, detail) }
    }

    /// What went wrong, for programs.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The sentence for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The field or parameter that is wrong, where one is.
    pub fn field(&self) -> Option<&str> {
        self.more.get("field")?.as_str()
    }

    /// The same problem, with the time after which it is worth to ask again.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    #[must_use]
    fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let mut body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "code": self.code.as_str(),
            "detail": self.detail,
        });
        if let Value::Object(body) = &mut body {
            body.extend(self.more);
        }
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            // Rounded up: a client that comes back then is not sent away again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some(allow) = self.allow.and_then(|allow| HeaderValue::from_str(&allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        response
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::invalid(&invalid.field, &invalid.message)
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let detail = error.to_string();
        match error {
            AuthError::Unauthenticated => Self::new(Code::Unauthenticated, detail),
            AuthError::Forbidden { .. } => Self::new(Code::Forbidden, detail),
            AuthError::Throttled { retry_after } | AuthError::Busy { retry_after } => {
                Self::new(Code::Throttled, detail).retry_after(retry_after)
            }
            AuthError::WrongPassword => Self::new(Code::WrongPassword, detail),
            AuthError::Invalid(invalid) => invalid.into(),
            AuthError::AlreadyExists(_) => Self::new(Code::AccountExists, detail),
            AuthError::NotFound(_) => Self::new(Code::AccountNotFound, detail),
            AuthError::NoSuchJoinToken(_) => Self::new(Code::JoinTokenNotFound, detail),
            AuthError::LastAdmin(_) => Self::new(Code::LastAdmin, detail),
            AuthError::Store(error) => store_problem(&error),
            // `Crypto`, and what a later version of the library adds.
            _ => Self::internal(&detail),
        }
    }
}

impl From<ControllerError> for Problem {
    fn from(error: ControllerError) -> Self {
        let detail = error.to_string();
        match error {
            ControllerError::Invalid(invalid) => invalid.into(),
            ControllerError::ContainerNotFound { .. } => Self::new(Code::ContainerNotFound, detail),
            ControllerError::ContainerAmbiguous(ambiguity) => {
                let candidates: Vec<_> = ambiguity.candidates.iter().map(|container| &container.id).collect();
                Self::new(Code::ContainerAmbiguous, detail).with("candidates", json!(candidates))
            }
            ControllerError::NotAllowed { field, .. } => Self::new(Code::Forbidden, detail).with("field", json!(field)),
            ControllerError::EngineNotFound { .. } => Self::new(Code::EngineNotFound, detail),
            ControllerError::RegistryLoginNotFound { .. } => Self::new(Code::RegistryLoginNotFound, detail),
            ControllerError::EngineExists { .. } => Self::new(Code::EngineExists, detail),
            ControllerError::AppNotFound { .. } => Self::new(Code::AppNotFound, detail),
            ControllerError::RevisionNotFound { .. } => Self::new(Code::RevisionNotFound, detail),
            ControllerError::SecretNotFound { .. } => Self::new(Code::SecretNotFound, detail),
            ControllerError::AppChanged { .. } => Self::new(Code::AppChanged, detail),
            ControllerError::RolloutUnderWay { .. } => Self::new(Code::RolloutUnderWay, detail),
            ControllerError::NoRoom(refusal) => Self::new(Code::NoRoom, detail).with("refusal", json!(refusal)),
            ControllerError::Conflict { .. } => Self::new(Code::Conflict, detail),
            ControllerError::ManagedByApplication { .. } => Self::new(Code::ManagedByApplication, detail),
            ControllerError::KeyReused { .. } => Self::new(Code::KeyReused, detail),
            ControllerError::NotManaged { .. } => Self::new(Code::NotManaged, detail),
            ControllerError::Auth(error) => error.into(),
            ControllerError::Engine { engine, source } => engine_problem(&engine, &source, detail),
            ControllerError::Store(error) => store_problem(&error),
            ControllerError::ShuttingDown => Self::new(Code::ShuttingDown, detail),
            // `Panicked`, and what a later version of the library adds.
            _ => Self::internal(&detail),
        }
    }
}

fn engine_problem(engine: &EngineId, error: &EngineError, detail: String) -> Problem {
    use EngineErrorKind as Kind;
    tracing::warn!(%engine, %error, cause = causes(error), "an engine failed");
    let code = match error.kind() {
        Kind::Unreachable => Code::EngineUnreachable,
        Kind::NoSuchContainer => Code::ContainerNotFound,
        Kind::PortTaken | Kind::Conflict => Code::Conflict,
        Kind::Refused => Code::InvalidRequest,
        Kind::NotLeading => Code::NoLeader,
        // And what a later version of the library adds.
        _ => Code::EngineFailed,
    };
    Problem::new(code, detail).with("engine", json!(engine))
}

fn store_problem(error: &StoreError) -> Problem {
    tracing::error!(%error, cause = causes(error), "the store failed");
    Problem::new(Code::StoreUnavailable, about_store(error.kind()))
}

/// What it comes to that the store fails, and what to do. Everybody may read it: it names no place and no cause.
pub(crate) fn about_store(kind: StoreErrorKind) -> &'static str {
    match kind {
        StoreErrorKind::Unavailable | StoreErrorKind::VersionMismatch => {
            "the platform's own records cannot be reached; try again in a moment, or see the server's log"
        }
        StoreErrorKind::Full => {
            "there is no room for the platform's own records: make room on the disk that the server's log names, and nothing \
             has to be started again; until then containers can only be listed, started, stopped and destroyed"
        }
        _ => {
            "the platform's own records cannot be read or written; trying again does not help, the server's log says what is \
             to be mended"
        }
    }
}

/// The causes of an error in one line, for the log.
fn causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_code_with_its_status() {
        let documentation = include_str!("../../docs/api.md");
        let rows: Vec<&str> = documentation.lines().filter(|line| line.starts_with("| ")).collect();
        for code in Code::ALL {
            let status = format!("| {} |", code.status().as_u16());
            let name = format!("`{}`", code.as_str());
            assert!(rows.iter().any(|row| row.starts_with(&status) && row.contains(&name)), "{status} {name}");
        }
    }

    #[test]
    fn a_throttled_caller_is_told_when_to_come_back() {
        let error = AuthError::Throttled { retry_after: Duration::from_millis(1200) };
        let response = Problem::from(error).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn causes_inside_the_platform_are_not_sent_out() {
        let error = StoreError::new(StoreErrorKind::Broken, "read", paas_core::store::Table::new("accounts"), "admin")
            .with_source("disk /dev/secret is full");
        let problem = Problem::from(ControllerError::Store(error));
        assert_eq!(problem.code(), Code::StoreUnavailable);
        assert!(!problem.detail.contains("secret") && !problem.detail.contains("accounts"));
    }
}
