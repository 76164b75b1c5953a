//! From a URL to where etcd is, who we are there, and how we trust it.

use std::fmt;
use std::path::Path;

use percent_encoding::percent_decode_str;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{EtcdError, EtcdErrorKind, Result};
use crate::files;

/// The port of an etcd that is named without one.
const PORT: u16 = 2379;
/// Where our keys lie in an etcd that is named without a path.
const PREFIX: &str = "/paas";

/// How a URL looks, for errors.
const FORM: &str = "write etcd://host:2379, or in full \
                    etcd://user:password@host1:2379,host2:2379/prefix?ca=FILE&cert=FILE&key=FILE";

/// Where etcd is, who we are there, and how we trust it.
#[derive(Clone)]
pub(crate) struct Address {
    /// The servers, each `http://host:port` or `https://host:port`; at least one.
    pub(super) endpoints: Vec<String>,
    /// Begins with a slash and does not end with one.
    pub(super) prefix: String,
    pub(super) login: Option<Login>,
    pub(super) tls: Option<Tls>,
}

#[derive(Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

/// Each in PEM.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) ca: Vec<u8>,
    pub(super) own: Option<Own>,
}

/// The certificate that says who we are, and its key.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) cert: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl Address {
    /// What a URL says after `etcd:`. Reads the files that it names.
    ///
    /// # Errors
    /// [`EtcdErrorKind::Invalid`] says what is wrong with the URL or with which file, and never repeats a password.
    pub(crate) fn parse(rest: &str) -> Result<Self> {
        let rest = rest.strip_prefix("//").ok_or_else(|| invalid(FORM))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // The last one: somebody may have left an @ in the password as it is.
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(Login::parse(login)?), hosts),
            None => (None, authority),
        };
        let tls = Tls::parse(query)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoints =
            hosts.split(',').map(|host| Ok(format!("{scheme}://{}", host_and_port(host)?))).collect::<Result<_>>()?;
        Ok(Self { endpoints, prefix: prefix(path)?, login, tls })
    }

    /// The servers, each `host:port`.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let host =
            |endpoint: &String| endpoint.split_once("://").map_or(endpoint.as_str(), |(_, host)| host).to_owned();
        self.endpoints.iter().map(host).collect()
    }
}

/// Tells neither the password nor the key.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("endpoints", &self.endpoints)
            .field("prefix", &self.prefix)
            .field("user", &self.login.as_ref().map(|login| &login.user))
            .finish_non_exhaustive()
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self> {
        let wrong = || invalid(format!("a login is user:password, each with %40 for @ and so on; {FORM}"));
        let (user, password) = text.split_once(':').ok_or_else(wrong)?;
        let decoded = |text| percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| wrong());
        let (user, password) = (decoded(user)?, decoded(password)?);
        if user.is_empty() || password.is_empty() {
            return Err(wrong());
        }
        Ok(Self { user, password })
    }
}

impl Tls {
    fn parse(query: &str) -> Result<Option<Self>> {
        let (mut ca, mut cert, mut key) = (None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let file = match name {
                "ca" => &mut ca,
                "cert" => &mut cert,
                "key" => &mut key,
                other => return Err(invalid(format!("{other:?} is none of ca, cert and key; {FORM}"))),
            };
            let path = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| invalid(format!("{name} is no path of a file; {FORM}")))?;
            *file = Some(read(name, &path)?);
        }
        let own = match (cert, key) {
            (Some(cert), Some(key)) => Some(Own { cert, key }),
            (None, None) => None,
            _ => return Err(invalid("a certificate needs its key, and a key its certificate: give both or neither")),
        };
        match (ca, own) {
            (Some(ca), own) => Ok(Some(Self { ca, own })),
            (None, Some(_)) => {
                Err(invalid("ca is missing: the file with the authority that signed etcd's certificate"))
            }
            (None, None) => Ok(None),
        }
    }
}

fn read(name: &str, path: &str) -> Result<Vec<u8>> {
    let pem = files::read(Path::new(path), files::LARGEST_TEXT)
        .map_err(|error| invalid(format!("{path:?}, given as {name}, cannot be read: {error}")))?;
    let usable = match name {
        "key" => PrivateKeyDer::from_pem_slice(&pem).is_ok(),
        _ => CertificateDer::pem_slice_iter(&pem).next().is_some_and(|first| first.is_ok()),
    };
    let what = if name == "key" { "private key" } else { "certificate" };
    if usable { Ok(pem) } else { Err(invalid(format!("{path:?}, given as {name}, holds no {what} in PEM"))) }
}

fn host_and_port(text: &str) -> Result<String> {
    let wrong = || invalid(format!("{text:?} is no host and port; {FORM}"));
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((_, "")) => (text, None),
        Some((address, port)) => (&text[..address.len() + 2], Some(port.strip_prefix(':').ok_or_else(wrong)?)),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(PORT), |port| port.parse().map_err(|_| wrong()))?;
    let of_a_host = |one: char| one.is_ascii_alphanumeric() || matches!(one, '.' | '-' | '_' | '[' | ']' | ':');
    if host.is_empty() || !host.chars().all(of_a_host) {
        return Err(wrong());
    }
    Ok(format!("{host}:{port}"))
}

fn prefix(path: &str) -> Result<String> {
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return Ok(PREFIX.to_owned());
    }
    let plain = |one: char| one.is_ascii_alphanumeric() || matches!(one, '-' | '_' | '.' | '/');
    if path.len() > 64 || !path.chars().all(plain) || path.split('/').any(str::is_empty) {
        return Err(invalid(format!("the prefix {path:?} must be at most 64 letters, digits, '-', '_', '.' and '/'")));
    }
    Ok(format!("/{path}"))
}

fn invalid(detail: impl Into<String>) -> EtcdError {
    EtcdError::new(EtcdErrorKind::Invalid, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_who() {
        let short = Address::parse("//one").unwrap();
        assert_eq!((short.endpoints, short.prefix.as_str()), (vec!["http://one:2379".to_owned()], "/paas"));
        let long = Address::parse("//me:p%40ss:word@10.0.0.1:1,[::1],[fe80::1]:2,b/some/where/").unwrap();
        assert_eq!(long.endpoints, ["http://10.0.0.1:1", "http://[::1]:2379", "http://[fe80::1]:2", "http://b:2379"]);
        assert_eq!(long.prefix, "/some/where");
        let login = long.login.unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("me", "p@ss:word"));
    }

    #[test]
    fn what_cannot_be_is_refused_without_repeating_a_password() {
        let no_file = "//h?ca=/no/such/file";
        for bad in [
            "",
            "host",
            "//",
            "//,",
            "//host:port",
            "//host:99999",
            "//[::1",
            "//[::1]x",
            "//me@host",
            "//:secret@host",
            "//me:@host",
            "//me:secret@",
            "//me:secret@ho st",
            "//me:secret@host?password=secret",
            "//me:secret@host//a",
            "//me:secret@host/a b",
            "//me:%ff@host",
            "//h?cert=/dev/null&key=/dev/null",
            "//h?ca=/dev/null",
            no_file,
        ] {
            let error = Address::parse(bad).expect_err(bad);
            assert_eq!(error.kind(), EtcdErrorKind::Invalid, "{bad}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{bad}: {error}");
        }
        assert!(Address::parse(no_file).unwrap_err().to_string().contains("/no/such/file"));
    }

    #[test]
    fn a_password_is_not_printed() {
        let address = Address::parse("//me:secret@host").unwrap();
        assert!(!format!("{address:?}").contains("secret"));
    }
}
