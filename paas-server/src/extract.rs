//! What handlers take from a request; whatever is wrong with it is a problem document.

use std::borrow::Cow;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Uri, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::app::{App, Caller};
use crate::problem::{Code, Problem};

/// The media type of a stream of progress: one JSON object per line.
pub(crate) const PROGRESS: &str = "application/x-ndjson";

/// How long a container may take to end before it is killed, seconds.
pub(crate) const DEFAULT_GRACE: u64 = 10;

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::internal(&"a handler that needs a caller was reached without one"))
    }
}

/// Where a request comes from, as far as that is known: the other end of the connection, or where another server of the
/// platform says that it has the request from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source(pub(crate) Option<IpAddr>);

impl Source {
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let said = extensions.get::<Self>().and_then(|source| source.0);
        let connected = || extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
        Self(said.or_else(connected))
    }
}

impl<S: Sync> FromRequestParts<S> for Source {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// The last parameter of the path, percent-decoded: an id or a name.
#[derive(Debug)]
pub(crate) struct Id(pub(crate) String);

impl FromRequestParts<App> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| Problem::invalid("id", "is not UTF-8 text; percent-encode what is not plain"))?;
        if id.trim().is_empty() {
            return Err(Problem::invalid("id", "is empty; give an id"));
        }
        Ok(Self(id))
    }
}

/// A body of JSON. Without a content type it is taken to be JSON: the clients of the source system send none.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let read = OptionalBody::from_request(request, app).await?;
        read.0.map(Self).ok_or_else(|| Problem::new(Code::InvalidRequest, "the body is empty; send JSON"))
    }
}

/// A body of JSON, or none.
#[derive(Debug)]
pub(crate) struct OptionalBody<T>(pub(crate) Option<T>);

impl<T: DeserializeOwned> FromRequest<App> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let media_type =
            request.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?").to_owned());
        let bytes = app.read(request.into_body()).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        if let Some(media_type) = media_type.filter(|media_type| !is_json(media_type)) {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                format!("the body is {media_type:?}; send JSON, with Content-Type: application/json"),
            ));
        }
        parse(&bytes).map(|value| Self(Some(value)))
    }
}

/// The body of a route that needs none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.is_empty()
        || essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // It would be taken for an object whose fields come in the order in which they are declared.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::invalid("body", "must be an object, and is an array"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        if error.classify() != Category::Data {
            return Problem::new(Code::InvalidRequest, format!("the body is malformed JSON: {error}"));
        }
        let field = if path == "." { "body" } else { &path };
        let name = field.rsplit('.').next().unwrap_or(field);
        let message = error.to_string();
        // What the model's types say of themselves begins with their own name.
        Problem::invalid(field, plain(message.strip_prefix(&format!("{name}: ")).unwrap_or(&message)))
    })?;
    let malformed = |error| Problem::new(Code::InvalidRequest, format!("the body is malformed JSON: {error}"));
    json.end().map_err(malformed)?;
    Ok(value)
}

/// What the reader of JSON says of a value of the wrong kind, in the words of those who write JSON and not Rust. Anything else
/// is left as it is.
fn plain(message: &str) -> Cow<'_, str> {
    let rest = ["invalid type: ", "invalid value: "].iter().find_map(|start| message.strip_prefix(start));
    let Some((found, rest)) = rest.and_then(|rest| rest.rsplit_once(", expected ")) else { return message.into() };
    let (expected, place) = match rest.split_once(" at line ") {
        Some((expected, place)) => (expected, format!(" at line {place}")),
        None => (rest, String::new()),
    };
    let expected = match expected {
        "f64" | "f32" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "a string" | "a borrowed string" | "string or map" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") || other.contains("tagged enum ") => "an object",
        other => other,
    };
    let value = found.split_once('`').and_then(|(_, rest)| rest.strip_suffix('`'));
    let found = match (found.split(' ').next().unwrap_or_default(), value) {
        ("integer" | "floating" | "boolean" | "character", Some(value)) => value.to_owned(),
        ("string", _) => found.replacen("string", "the text", 1),
        ("sequence", _) => "a list".to_owned(),
        ("map", _) => "an object".to_owned(),
        _ => found.to_owned(),
    };
    format!("must be {expected}, not {found}{place}").into()
}

/// The parameters of a query. Each is known to the route and is given once; one without a value counts as not given.
#[derive(Debug)]
pub(crate) struct Params(HashMap<String, String>);

impl Params {
    /// The parameters of `uri`, if the route knows them all.
    pub(crate) fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let malformed = |_| Problem::new(Code::InvalidRequest, "the query is malformed; write ?name=value&name=value");
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(malformed)?;
        let mut params = HashMap::new();
        for (name, value) in pairs {
            if !known.contains(&name.as_str()) {
                let has = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Problem::invalid(&name, format!("is not a parameter of this route; it has {has}")));
            }
            if params.contains_key(&name) {
                return Err(Problem::invalid(&name, "is given twice; give it once"));
            }
            params.insert(name, value);
        }
        params.retain(|_, value| !value.is_empty());
        Ok(Self(params))
    }

    /// A parameter as text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        let wrong = || Problem::invalid(name, format!("must be a whole number from {least} to {most}, not {text:?}"));
        number.map(Some).ok_or_else(wrong)
    }

    /// Yes or no.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            _ => Err(Problem::invalid(name, format!("must be true or false, not {text:?}"))),
        }
    }
}

/// The query of a route that has no parameters.
#[derive(Debug)]
pub(crate) struct NoParams;

impl FromRequestParts<App> for NoParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Params::of(&parts.uri, &[]).map(|_| Self)
    }
}

/// Whether the client asks for a stream of progress rather than for the outcome.
pub(crate) fn wants_progress(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_progress = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(PROGRESS));
        let refused = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0));
        is_progress && !parts.any(refused)
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use paas_core::model::ContainerSpec;

    use super::*;

    #[test]
    fn only_json_is_json() {
        for yes in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json", ""] {
            assert!(is_json(yes), "{yes:?}");
        }
        for no in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "?"] {
            assert!(!is_json(no), "{no:?}");
        }
    }

    #[test]
    fn progress_is_sent_to_those_who_ask_for_it() {
        let asks = |accept: &'static str| {
            wants_progress(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]))
        };
        assert!(asks("application/x-ndjson"));
        assert!(asks("application/json;q=0.5, Application/X-NDJSON ; q=1"));
        assert!(!asks("application/x-ndjson;q=0"));
        assert!(!asks("*/*"));
        assert!(!wants_progress(&HeaderMap::new()));
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_told_in_plain_words() {
        for (text, told) in [
            (r#"{"name":"httpd","cpus":"two"}"#, "cpus: must be a number, not the text \"two\" at line 1 column 28"),
            (r#"{"name":"httpd","memory":1.5}"#, "memory: must be a number of megabytes, such as 256, not 1.5 at"),
            (r#"{"name":"httpd","memory":-1}"#, "memory: must be a number of megabytes, such as 256, not -1 at"),
            (r#"{"name":7}"#, "name: must be a text, not 7 at"),
            (r#"{"name":"httpd","args":"x"}"#, "args: must be a list, not the text \"x\" at"),
            (r#"{"name":"httpd","args":{}}"#, "args: must be a list, not an object at"),
            (r#"{"name":"httpd","environment":[]}"#, "environment: must be an object, not a list at"),
            (r#"{"name":"httpd","publish":"yes"}"#, "publish: must be true or false, not the text \"yes\" at"),
            (r#"{"name":"httpd","restart_policy":"no"}"#, "restart_policy: must be an object, not the text \"no\" at"),
            (r#"{"name":"httpd","args":null}"#, "args: must be a list, not null at"),
            (r#"{"name":"httpd","cpus":0.0001}"#, "cpus: must be a number of CPUs from 0.01 to 10000, not 0.0001"),
        ] {
            let problem = parse::<ContainerSpec>(text.as_bytes()).unwrap_err();
            assert!(problem.detail().starts_with(told), "{text}: {}", problem.detail());
        }
    }

    #[test]
    fn the_field_that_is_wrong_is_named_once() {
        let cases = [
            (r#"{"name":"httpd","memroy":1}"#, "memroy"),
            (r#"{"name":"httpd","memory":-1}"#, "memory"),
            (r#"{"name":"NOT VALID"}"#, "name"),
            (r#"{"name":"httpd","bind_ports":[{"container_port":"x"}]}"#, "bind_ports[0].container_port"),
            (r#"{}"#, "body"),
            ("[]", "body"),
        ];
        for (text, field) in cases {
            let problem = parse::<ContainerSpec>(text.as_bytes()).unwrap_err();
            assert_eq!(problem.field(), Some(field), "{text}: {problem:?}");
            assert!(!problem.detail().contains(&format!("{field}: {field}")), "{problem:?}");
        }
    }

    #[test]
    fn malformed_json_is_told_with_its_place() {
        for text in ["{", r#"{"name":"httpd",}"#, r#"{"name":"httpd"} x"#, "\u{1}"] {
            let problem = parse::<ContainerSpec>(text.as_bytes()).unwrap_err();
            assert!(problem.detail().contains("malformed") && problem.detail().contains("line 1"), "{problem:?}");
        }
    }
}
