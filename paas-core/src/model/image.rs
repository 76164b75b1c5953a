//! Image references.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{EngineId, Invalid, port_number};

/// The registry of images whose reference names none.
pub(super) const DOCKER_HUB: &str = "docker.io";
/// Longest repository, with its registry, as Docker counts it.
const MAX_REPOSITORY: usize = 255;

/// The one name of a registry. Docker's own has a second one, which it keeps for old references.
pub(super) fn canonical_registry(registry: &str) -> &str {
    if registry == "index.docker.io" { DOCKER_HUB } else { registry }
}

/// Reference to a container image: `[registry[:port]/]path[:tag][@sha256:digest]`, as the distribution project's
/// reference grammar has it. Keeps what was typed; compare by [`ImageRef::canonical`].
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ImageRef(Arc<str>);

/// What an image is made of: `sha256:` and 64 hexadecimal digits. Whatever its tag points to later, this is one and the same. A registry
/// has one name of that form for an image (its digest), and each host has another (its id).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ImageDigest(Arc<str>);

impl ImageDigest {
    /// The digest as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageDigest {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if is_digest(text) {
            return Ok(Self(text.into()));
        }
        Err(Invalid::new("digest", format!("must be 'sha256:' and 64 hexadecimal digits, not {text:?}")))
    }
}

impl TryFrom<String> for ImageDigest {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Exactly one image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExactImage {
    /// What it is called, with its digest where a registry has it.
    pub name: ImageRef,
    /// Where no registry has it: the id of what hosts are to have under that name, if that is known.
    pub id: Option<ImageDigest>,
}

/// Where an image is that no registry has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scarce {
    /// The hosts that have it.
    pub hosts: BTreeSet<EngineId>,
    /// Those that have another one under its name.
    pub others: BTreeSet<EngineId>,
}

impl Scarce {
    /// By the ids of what hosts have under its name.
    pub fn of<'a>(image: &ExactImage, there: impl Iterator<Item = (&'a EngineId, &'a ImageDigest)>) -> Self {
        let is_it = |found: &ImageDigest| image.id.as_ref().is_none_or(|id| id == found);
        let (hosts, others): (Vec<_>, Vec<_>) = there.partition(|(_, found)| is_it(found));
        let names = |of: Vec<(&EngineId, _)>| of.into_iter().map(|(engine, _)| engine.clone()).collect();
        Self { hosts: names(hosts), others: names(others) }
    }

    /// Where it is and what is to be done about it, in a sentence.
    pub fn say(&self, image: &ExactImage) -> String {
        let Self { hosts, others } = self;
        let has = |hosts: &BTreeSet<EngineId>| {
            let names: Vec<&str> = hosts.iter().map(EngineId::as_str).collect();
            format!("{} {}", names.join(", "), if names.len() == 1 { "has" } else { "have" })
        };
        let (where_it_is, load) = match hosts.is_empty() {
            true => (format!("neither a registry nor a host has {}", image.name), "on one"),
            false => (format!("no registry gives {}, and only {} it", image.name, has(hosts)), "on the other hosts"),
        };
        let others = match others.is_empty() {
            true => String::new(),
            false => format!(" as it was declared; {} another image under that name", has(others)),
        };
        format!("{where_it_is}{others}: push it to a registry, or load it {load}")
    }
}

impl ImageDigest {
    /// The beginning of it that is enough for people, as Docker shows it.
    pub fn short(&self) -> &str {
        let digits = self.0.rsplit(':').next().unwrap_or_default();
        digits.get(..12).unwrap_or(digits)
    }
}

impl ImageRef {
    /// The same image in exactly that state, whatever its tag points to. One that names a digest already is that one.
    pub fn at(&self, digest: &ImageDigest) -> Self {
        if self.digest().is_some() { self.clone() } else { Self(format!("{self}@{digest}").into()) }
    }

    /// The digest that the reference names.
    pub fn digest(&self) -> Option<ImageDigest> {
        Parts::of(&self.0).digest.map(|digest| ImageDigest(digest.into()))
    }

    /// Registry and path in full, without tag and digest: `docker.io/library/httpd`.
    pub fn repository(&self) -> String {
        Parts::of(&self.0).repository()
    }

    /// The reference as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Registry, path and tag or digest in full: `httpd` becomes `docker.io/library/httpd:latest`. Two references to one
    /// image have one canonical form.
    pub fn canonical(&self) -> String {
        let parts = Parts::of(&self.0);
        let version = match (parts.tag, parts.digest) {
            (_, Some(digest)) => format!("@{digest}"),
            (Some(tag), None) => format!(":{tag}"),
            (None, None) => ":latest".to_owned(),
        };
        format!("{}{version}", parts.repository())
    }

    /// The last part of the path, without tag: `web` of `registry.local:5000/shop/web:3`.
    pub fn base_name(&self) -> &str {
        let path = Parts::of(&self.0).path;
        path.rsplit('/').next().unwrap_or(path)
    }

    /// The registry that holds the image: `docker.io` when the reference names none, or names it by its other name.
    pub fn registry(&self) -> &str {
        Parts::of(&self.0).registry()
    }

    /// Whether it names its registry.
    pub fn names_registry(&self) -> bool {
        self.given_registry().is_some()
    }

    /// The registry as it was given, if one was.
    pub(super) fn given_registry(&self) -> Option<&str> {
        Parts::of(&self.0).registry
    }

    /// Repository and tag or digest, as Docker's pull wants them apart. Without either the tag is `latest`.
    pub fn repository_and_tag(&self) -> (&str, &str) {
        let parts = Parts::of(&self.0);
        let repository_length = match (parts.tag, parts.digest) {
            (None, None) => self.0.len(),
            (Some(tag), None) => self.0.len() - tag.len() - 1,
            (None, Some(digest)) => self.0.len() - digest.len() - 1,
            (Some(tag), Some(digest)) => self.0.len() - digest.len() - tag.len() - 2,
        };
        (&self.0[..repository_length], parts.digest.or(parts.tag).unwrap_or("latest"))
    }
}

struct Parts<'a> {
    registry: Option<&'a str>,
    path: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let (registry, rest) = match rest.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), path),
            _ => (None, rest),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        Self { registry, path, tag, digest }
    }

    fn registry(&self) -> &'a str {
        self.registry.map_or(DOCKER_HUB, canonical_registry)
    }

    /// Registry and path in full.
    fn repository(&self) -> String {
        let registry = self.registry();
        let library = if registry == DOCKER_HUB && !self.path.contains('/') { "library/" } else { "" };
        format!("{registry}/{library}{}", self.path)
    }

    fn is_valid(&self) -> bool {
        self.repository().len() <= MAX_REPOSITORY
            && self.registry.is_none_or(is_registry)
            && self.path.split('/').all(is_path_part)
            && self.tag.is_none_or(is_tag)
            && self.digest.is_none_or(is_digest)
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let host_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(host_part) && port.is_none_or(|port| port_number(port).is_some())
}

fn is_path_part(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    // Between letters and digits stands one dot, one or two underscores, or any number of hyphens.
    let is_separator = |text: &[u8]| matches!(text, b"." | b"_" | b"__") || text.iter().all(|&b| b == b'-');
    let bytes = text.as_bytes();
    let ends_well = bytes.first().copied().is_some_and(alphanumeric) && bytes.last().copied().is_some_and(alphanumeric);
    ends_well && bytes.split(|&b| alphanumeric(b)).all(is_separator)
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

impl FromStr for ImageRef {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if (1..=512).contains(&text.len()) && Parts::of(text).is_valid() {
            return Ok(Self(text.into()));
        }
        Err(Invalid::new(
            "name",
            format!(
                "must be an image reference such as 'httpd', 'nginx:1.27' or 'registry.local:5000/web:3', not {text:?}"
            ),
        ))
    }
}

impl TryFrom<String> for ImageRef {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_has_one_canonical_form() {
        for (given, canonical) in [
            ("httpd", "docker.io/library/httpd:latest"),
            ("httpd:latest", "docker.io/library/httpd:latest"),
            ("docker.io/library/httpd", "docker.io/library/httpd:latest"),
            ("docker.io/httpd", "docker.io/library/httpd:latest"),
            ("index.docker.io/httpd", "docker.io/library/httpd:latest"),
            ("index.docker.io/library/httpd:2", "docker.io/library/httpd:2"),
            ("index.docker.io/ann/private:1", "docker.io/ann/private:1"),
            // Docker folds no other name of its registry.
            ("registry-1.docker.io/httpd", "registry-1.docker.io/httpd:latest"),
            ("shop/web:3", "docker.io/shop/web:3"),
            ("registry.local:5000/web", "registry.local:5000/web:latest"),
            ("localhost/web", "localhost/web:latest"),
        ] {
            assert_eq!(given.parse::<ImageRef>().unwrap().canonical(), canonical, "{given}");
        }
    }

    #[test]
    fn parts_are_found() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let image: ImageRef = format!("registry.local:5000/shop/web:3@{digest}").parse().unwrap();
        assert_eq!(image.base_name(), "web");
        assert_eq!(image.registry(), "registry.local:5000");
        assert_eq!(image.repository_and_tag(), ("registry.local:5000/shop/web", digest.as_str()));
        let digest: ImageDigest = digest.parse().unwrap();
        assert_eq!(
            (image.digest().as_ref(), image.repository().as_str()),
            (Some(&digest), "registry.local:5000/shop/web")
        );
        let other: ImageDigest = format!("sha256:{}", "b".repeat(64)).parse().unwrap();
        assert_eq!(image.at(&other), image, "it names one already");
        let httpd: ImageRef = "httpd:2".parse().unwrap();
        assert_eq!(httpd.at(&digest).as_str(), format!("httpd:2@{digest}"));
        assert!("sha256:0".parse::<ImageDigest>().is_err());
        assert_eq!("httpd".parse::<ImageRef>().unwrap().repository_and_tag(), ("httpd", "latest"));
        assert_eq!(
            "localhost:5000/a".parse::<ImageRef>().unwrap().repository_and_tag(),
            ("localhost:5000/a", "latest")
        );
    }

    #[test]
    fn where_an_image_is_that_no_registry_has_is_said_in_a_sentence() {
        let digest = |of: char| format!("sha256:{}", of.to_string().repeat(64)).parse::<ImageDigest>().unwrap();
        let engines = ["a", "b", "c"].map(|name| name.parse::<EngineId>().unwrap());
        let image = |id| ExactImage { name: "web:1".parse().unwrap(), id };
        let say = |id: Option<char>, there: &str| {
            let (image, found): (_, Vec<ImageDigest>) = (image(id.map(digest)), there.chars().map(digest).collect());
            Scarce::of(&image, engines.iter().zip(&found)).say(&image)
        };
        let all = "push it to a registry, or load it on the other hosts";
        assert_eq!(say(None, "ab"), format!("no registry gives web:1, and only a, b have it: {all}"));
        assert_eq!(say(Some('a'), "a"), format!("no registry gives web:1, and only a has it: {all}"));
        let another = "as it was declared; b, c have another image under that name";
        assert_eq!(say(Some('a'), "abb"), format!("no registry gives web:1, and only a has it {another}: {all}"));
        let nowhere = "neither a registry nor a host has web:1 as it was declared; a has another image under that name: \
                       push it to a registry, or load it on one";
        assert_eq!(say(Some('a'), "b"), nowhere);
        assert_eq!(digest('a').short(), "aaaaaaaaaaaa");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let bad = ["", " ", "HTTPD", "a b", "web:", "web:-x", "/web", "web/", "a//b", "web@sha256:12", "a:0/b", "../x"];
        let bad = bad.into_iter().chain(["a.-b", "a._b", "a-_b", "a___b", "a..b", "-a", "a_", "web\0", "a.b:+5/x"]);
        for bad in bad {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad:?} was taken");
        }
        for good in ["a__b", "a---b", "a.b_c-d", "a1"] {
            assert!(good.parse::<ImageRef>().is_ok(), "{good:?} was not taken");
        }
        // Docker counts what stands before the path, too, whether or not it was written.
        assert!("x".repeat(237).parse::<ImageRef>().is_ok() && "x".repeat(238).parse::<ImageRef>().is_err());
        let of_others = |length| format!("reg.io/{}:1", "x".repeat(length)).parse::<ImageRef>();
        assert!(of_others(248).is_ok() && of_others(249).is_err());
    }
}
