//! Addresses of servers.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

use super::ClientError;

/// Where a server answers: `http://host:port` or `https://host:port`, perhaps with a path before that of the API.
///
/// Two texts that mean one server are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(Url);

impl ServerUrl {
    /// Where a server answers that was not told otherwise, on this machine.
    pub const DEFAULT: &str = "http://127.0.0.1:5002";

    /// The address of one resource. Each segment is escaped, so that none can name another path.
    pub(super) fn join<S: AsRef<str>>(&self, segments: &[S]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments.iter().map(AsRef::as_ref));
        }
        url
    }

    /// Whether what is sent there is encrypted.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether the server is on this machine.
    pub fn is_loopback(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|ip| ip.is_loopback())
    }
}

impl FromStr for ServerUrl {
    type Err = ClientError;

    /// Reads an address. `http://` may be left out, as where people type it: `10.0.0.1:5002`.
    fn from_str(text: &str) -> Result<Self, ClientError> {
        const SCHEME: &str = "it must begin with http://, https:// or the name of the host";
        let wrong = |what: &str| ClientError::Url { text: text.to_owned(), what: what.to_owned() };
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut url = Url::parse(&with_scheme).map_err(|error| wrong(&error.to_string()))?;
        // 'https:host' and 'http//host' are slips of the pen, and no hosts of these names.
        let slip = || text.starts_with(['/', '\\']) || matches!(url.host_str(), Some("http" | "https"));
        if !matches!(url.scheme(), "http" | "https") || slip() {
            return Err(wrong(SCHEME));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it must not carry a password; log in instead"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it must end with the port or a path"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ServerUrl {
        text.parse().unwrap()
    }

    #[test]
    fn one_server_is_one_address() {
        assert_eq!(url("http://Host:80/"), url("http://host"));
        assert_eq!(url("https://host/paas/"), url("https://host/paas"));
        assert_ne!(url("http://host:5002"), url("https://host:5002"));
        for short in ["10.0.0.1:5002", "localhost:5002", "paas.example.org", "[::1]:5002", "host:5002/paas/"] {
            assert_eq!(url(short), url(&format!("http://{short}")));
        }
        assert_eq!(url("10.0.0.1:5002").to_string(), "http://10.0.0.1:5002");
        assert_eq!(url(ServerUrl::DEFAULT).to_string(), "http://127.0.0.1:5002");
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for bad in [
            "",
            "ftp://host",
            "http://",
            "http://a:b@host",
            "a:b@host:5002",
            "http://host/?x=1",
            "host:5002?x=1",
            "host:port",
            "two words",
            "/path",
            "https:host",
            "http:/host",
            "http//host",
            "https",
            "unix:///var/run/docker.sock",
        ] {
            assert!(bad.parse::<ServerUrl>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn segments_stay_segments() {
        let joined = url("https://host/paas").join(&["api", "containers", "a/../b?c"]);
        assert_eq!(joined.as_str(), "https://host/paas/api/containers/a%2F..%2Fb%3Fc");
    }

    #[test]
    fn this_machine_is_known() {
        for here in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
            assert!(url(here).is_loopback(), "{here}");
        }
        assert!(!url("http://10.0.0.1").is_loopback());
    }
}
