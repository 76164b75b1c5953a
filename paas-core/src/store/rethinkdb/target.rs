//! Which servers, as whom, and which database: what a URL says.

use std::fmt;

/// The port of RethinkDB's drivers.
const PORT: u16 = 28015;

/// The servers of a cluster, a database in it, and who asks. Shows neither user nor password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) user: String,
    pub(super) password: String,
    /// Names and ports, in the order in which they are tried.
    pub(super) hosts: Vec<(String, u16)>,
    pub(super) database: String,
}

impl Target {
    /// Reads `rethinkdb://user:password@host1:port,host2:port/database`, or says what to write instead. User, password and port may
    /// be left out: they are `admin`, nothing and 28015.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        if url.starts_with("rethinkdbs:") {
            return Err(
                "TLS to RethinkDB is not there, so rethinkdbs:// would be a false promise; write rethinkdb:// \
                        and lead the connection through a tunnel or a network that you trust"
                    .to_owned(),
            );
        }
        let shape = || "write rethinkdb://user:password@host:port/database".to_owned();
        let rest = url.strip_prefix("rethinkdb://").ok_or_else(shape)?;
        let (server, database) = rest.rsplit_once('/').ok_or_else(shape)?;
        let (login, address) = match server.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, server),
        };
        let (user, password) = match login {
            None => ("admin".to_owned(), String::new()),
            Some(login) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                (decode(user)?, decode(password)?)
            }
        };
        if user.is_empty() || [&user, &password].iter().any(|text| text.contains('\0')) {
            return Err("the user's name must not be empty, and no zero byte may be in name or password".to_owned());
        }
        let hosts = address.split(',').map(split_port).collect::<Option<Vec<_>>>().ok_or_else(shape)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if database.is_empty() || !database.chars().all(plain) {
            return Err("the name of the database has letters, digits, '_' and '-', and is the last part of \
                        rethinkdb://user:password@host:port/database"
                .to_owned());
        }
        Ok(Self { user, password, hosts, database: database.to_owned() })
    }

    /// Where a server is, for people.
    pub(super) fn address(&self, host: usize) -> String {
        let (host, port) = &self.hosts[host];
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = (0..self.hosts.len()).map(|host| self.address(host)).collect();
        write!(f, "rethinkdb://{}/{}", all.join(","), self.database)
    }
}

/// Host and port of `host`, `host:port`, `[address]` or `[address]:port`.
fn split_port(address: &str) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        if after.is_empty() { (host, None) } else { (host, Some(after.strip_prefix(':')?)) }
    } else {
        match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        }
    };
    let port = port.map_or(Some(PORT), |port| port.parse().ok().filter(|&port| port != 0))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    (!host.is_empty() && host.chars().all(plain)).then(|| (host.to_owned(), port))
}

/// Undoes `%40` and the like, so that a password may hold any character.
fn decode(text: &str) -> Result<String, String> {
    let wrong = || "a '%' in the user's name or the password must be written %25".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(wrong()) };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(user: &str, password: &str, host: &str, port: u16, database: &str) -> Target {
        let [user, password, host, database] = [user, password, host, database].map(str::to_owned);
        Target { user, password, hosts: vec![(host, port)], database }
    }

    #[test]
    fn a_url_says_where_and_who() {
        for (url, expected) in [
            ("rethinkdb://u:p@db:1234/paas", target("u", "p", "db", 1234, "paas")),
            ("rethinkdb://db/paas", target("admin", "", "db", 28015, "paas")),
            ("rethinkdb://u@10.0.0.1/my-paas_2", target("u", "", "10.0.0.1", 28015, "my-paas_2")),
            ("rethinkdb://u:p@[::1]:1/paas", target("u", "p", "::1", 1, "paas")),
            ("rethinkdb://u:a%40b%2Fc:d@db/paas", target("u", "a@b/c:d", "db", 28015, "paas")),
            ("rethinkdb://u:p@w/x@db/paas", target("u", "p@w/x", "db", 28015, "paas")),
        ] {
            assert_eq!(Target::parse(url).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn a_url_may_name_several_servers() {
        let target = Target::parse("rethinkdb://u:a,b@one,two:1234,[::1]/paas").unwrap();
        let hosts = [("one", 28015), ("two", 1234), ("::1", 28015)];
        assert_eq!(target.hosts, hosts.map(|(host, port)| (host.to_owned(), port)));
        assert_eq!((target.password.as_str(), target.address(2)), ("a,b", "[::1]:28015".to_owned()));
        assert_eq!(format!("{target:?}"), "rethinkdb://one:28015,two:1234,[::1]:28015/paas");
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_repeating_it() {
        for bad in [
            "rethinkdb:",
            "rethinkdb://",
            "rethinkdb://u:secret@db",
            "rethinkdb://u:secret@db/",
            "rethinkdb://u:secret@/paas",
            "rethinkdb://:secret@db/paas",
            "rethinkdb://u:secret@db:0/paas",
            "rethinkdb://u:secret@db:port/paas",
            "rethinkdb://u:secret@db,/paas",
            "rethinkdb://u:secret@,db/paas",
            "rethinkdb://u:secret@db/pa as",
            "rethinkdb://u:secret%4@db/paas",
            "rethinkdb://u:secret%00@db/paas",
            "rethinkdb://u:secret@[::1/paas",
            "rethinkdbs://u:secret@db/paas",
        ] {
            let refusal = Target::parse(bad).unwrap_err();
            assert!(!refusal.contains("secret"), "{bad}: {refusal}");
        }
        assert!(Target::parse("rethinkdbs://db/paas").unwrap_err().contains("TLS"));
    }

    #[test]
    fn it_shows_neither_user_nor_password() {
        let shown = format!("{:?}", Target::parse("rethinkdb://somebody:secret@db/paas").unwrap());
        assert_eq!(shown, "rethinkdb://db:28015/paas");
    }
}
