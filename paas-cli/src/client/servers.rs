//! Which servers are spoken to: one, or several of one platform.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{ClientError, ServerUrl};

/// The servers of one platform, at least one and none twice. A token of one is good at all of them.
///
/// As text they stand one after the other, with commas between them. Their order is that in which they are tried, and
/// makes no difference to what is equal.
#[derive(Clone, Debug, Eq)]
pub struct ServerUrls(Vec<ServerUrl>);

impl ServerUrls {
    /// The servers of a platform.
    ///
    /// # Errors
    /// [`ClientError::Url`]: there is none, or some are `http://` and some `https://` and not all of them on this
    /// machine: what is meant to be encrypted would go over the network in the clear as soon as another one is tried.
    pub fn new(urls: impl IntoIterator<Item = ServerUrl>) -> Result<Self, ClientError> {
        let mut servers = Self(Vec::new());
        for url in urls {
            if !servers.0.contains(&url) {
                servers.0.push(url);
            }
        }
        let wrong = |what: &str| ClientError::Url { text: servers.to_string(), what: what.to_owned() };
        let encrypted = servers.0.iter().filter(|url| url.is_https()).count();
        if servers.0.is_empty() {
            return Err(wrong("name at least one"));
        }
        if !(encrypted == 0 || encrypted == servers.0.len() || servers.0.iter().all(ServerUrl::is_loopback)) {
            return Err(wrong(
                "some are https:// and some http://, over which the token could be read; use https:// for all",
            ));
        }
        Ok(servers)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &ServerUrl> {
        self.0.iter()
    }

    /// Whether every one of them is one of `others`.
    pub fn are_among(&self, others: &Self) -> bool {
        self.0.iter().all(|url| others.0.contains(url))
    }
}

impl From<ServerUrl> for ServerUrls {
    fn from(url: ServerUrl) -> Self {
        Self(vec![url])
    }
}

impl PartialEq for ServerUrls {
    fn eq(&self, other: &Self) -> bool {
        // None is there twice, so those of equal number are equal.
        self.0.len() == other.0.len() && self.are_among(other)
    }
}

impl FromStr for ServerUrls {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        let urls = text.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::parse);
        Self::new(urls.collect::<Result<Vec<_>, _>>()?)
    }
}

impl fmt::Display for ServerUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.pad(&urls.join(","))
    }
}

/// A server, and what speaks to it.
pub(super) struct Server {
    pub(super) url: ServerUrl,
    pub(super) http: reqwest::Client,
}

/// The servers of a client, and what it learned about them.
pub(super) struct Servers {
    /// At least one.
    list: Vec<Server>,
    /// The place of the one that answered last.
    first: AtomicUsize,
    /// Whether the last search for one that takes a request was in vain.
    gave_up: AtomicBool,
}

impl Servers {
    pub(super) fn new(list: Vec<Server>) -> Self {
        Self { list, first: AtomicUsize::new(0), gave_up: AtomicBool::new(false) }
    }

    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    /// The server at a place; places go on from the last to the first.
    pub(super) fn at(&self, place: usize) -> &Server {
        &self.list[place % self.list.len()]
    }

    /// The place to begin at.
    pub(super) fn first(&self) -> usize {
        self.first.load(Ordering::Relaxed)
    }

    /// The server at this place answered.
    pub(super) fn answered(&self, place: usize) {
        self.first.store(place % self.list.len(), Ordering::Relaxed);
        self.gave_up.store(false, Ordering::Relaxed);
    }

    /// None took a request for as long as was waited.
    pub(super) fn give_up(&self) {
        self.gave_up.store(true, Ordering::Relaxed);
    }

    /// Whether that was so the last time.
    pub(super) fn given_up(&self) -> bool {
        self.gave_up.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(text: &str) -> ServerUrls {
        text.parse().unwrap()
    }

    #[test]
    fn several_are_read_and_written() {
        assert_eq!(urls("http://a:1, http://b:2/,").to_string(), "http://a:1,http://b:2");
        assert_eq!(urls("http://a,http://a:80").to_string(), "http://a");
        assert_eq!(urls("http://a,http://b"), urls("http://b,http://a"));
        assert_ne!(urls("http://a,http://b"), urls("http://a"));
        assert!(urls("http://a").are_among(&urls("http://b,http://a")));
        assert!(!urls("http://a,http://b").are_among(&urls("http://a")));
    }

    #[test]
    fn what_are_no_servers_is_refused() {
        for bad in ["", ",", "http://a,b:port", "http://a,ftp://b"] {
            assert!(bad.parse::<ServerUrls>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_token_does_not_go_from_encrypted_to_open() {
        let mixed = "https://a.example,http://b.example".parse::<ServerUrls>().unwrap_err();
        assert!(mixed.to_string().contains("use https:// for all"), "{mixed}");
        assert!("https://127.0.0.1:1,http://a.example".parse::<ServerUrls>().is_err());
        assert!("https://127.0.0.1:1,http://[::1]:2".parse::<ServerUrls>().is_ok(), "nothing leaves this machine");
        assert!("https://a.example,b.example".parse::<ServerUrls>().is_err(), "no scheme means http://");
        assert!("http://a.example,http://b.example".parse::<ServerUrls>().is_ok());
    }
}
