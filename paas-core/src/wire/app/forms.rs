//! What is written where, in the words of the file: for who wrote something else.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// The keys of a component, and of tables in it: what each is, and an example. `docs/applications.md` says the same.
pub(super) const FORMS: &[(&str, &str, &str)] = &[
    ("image", "a text", "\"registry.example.org/shop:1.8\""),
    ("replicas", "a whole number, or \"each-host\"", "3"),
    ("command", "a list of texts", "[\"serve\"]"),
    ("entrypoint", "a list of texts", "[\"/bin/shop\"]"),
    ("env", "a table of texts and secrets", "{ LOG = \"info\", DATABASE_URL = { secret = \"database-url\" } }"),
    ("secrets", "a list of tables", "[{ name = \"tls-key\", file = \"/run/secrets/tls.key\" }]"),
    ("secrets.name", "a text", "\"tls-key\""),
    ("secrets.file", "a text", "\"/run/secrets/tls.key\""),
    ("secrets.mode", "a text", "\"0400\""),
    ("secrets.uid", "a whole number", "1000"),
    ("secrets.gid", "a whole number", "1000"),
    ("configs", "a list of tables", "[{ source = \"nginx.conf\", target = \"/etc/nginx/nginx.conf\" }]"),
    ("configs.source", "a text", "\"nginx.conf\""),
    ("configs.target", "a text", "\"/etc/nginx/nginx.conf\""),
    ("configs.mode", "a text", "\"0444\""),
    ("configs.uid", "a whole number", "1000"),
    ("configs.gid", "a whole number", "1000"),
    ("configs.sha256", "a text", "\"9f86d081…\""),
    ("cpus", "a number of CPUs", "0.5"),
    ("memory", "a whole number of MB", "256"),
    ("port", "a port from 1 to 65535", "8080"),
    ("ports", "a table of ports", "{ http = 8080, admin = 9090 }"),
    ("publish", "a list of texts", "[\"8443:8443\"]"),
    ("health", "a table", "{ http = \"/up\", interval = \"2s\" }"),
    ("health.http", "a text", "\"/up\""),
    ("health.tcp", "true or false", "true"),
    ("health.command", "a list of texts", "[\"pg_isready\"]"),
    ("health.port", "a text", "\"admin\""),
    ("health.interval", "a duration", "\"2s\""),
    ("health.timeout", "a duration", "\"1s\""),
    ("health.start", "a duration", "\"60s\""),
    ("health.failures", "a whole number", "3"),
    ("stop", "a table", "{ signal = \"SIGTERM\", grace = \"30s\" }"),
    ("stop.signal", "a text", "\"SIGTERM\""),
    ("stop.grace", "a duration", "\"30s\""),
    ("update", "a table", "{ order = \"auto\", parallel = \"25%\" }"),
    ("update.order", "a text", "\"stop-first\""),
    ("update.parallel", "a whole number, or a percentage", "\"25%\""),
    ("update.monitor", "a duration", "\"5s\""),
    ("update.drain", "a duration", "\"30s\""),
    ("update.progress", "a duration", "\"10m\""),
    ("update.on_failure", "a text", "\"pause\""),
    ("heal", "a table, or \"never\"", "{ after = \"5s\" }"),
    ("heal.after", "a duration, or \"never\"", "\"5s\""),
    ("heal.singleton", "true or false", "true"),
    ("place", "a table", "{ labels = [\"ssd\"], prefer = [\"zone-a\"] }"),
    ("place.labels", "a list of texts", "[\"ssd\"]"),
    ("place.spread", "a text", "\"none\""),
    ("place.prefer", "a list of texts", "[\"zone-a\"]"),
    ("before", "a table", "{ command = [\"migrate\"], timeout = \"5m\" }"),
    ("before.command", "a list of texts", "[\"migrate\"]"),
    ("before.timeout", "a duration", "\"5m\""),
    ("before.retry", "true or false", "true"),
    ("volumes", "a list of texts and tables", "[\"data:/var/lib/shop\", \"/srv/www:/www:ro\"]"),
    ("volumes.name", "a text", "\"media\""),
    ("volumes.target", "a text", "\"/media\""),
    ("volumes.mode", "a text", "\"ro\""),
    ("volumes.shared", "true or false", "true"),
    ("restart", "a text", "\"on-failure:3\""),
    ("route", "a list of tables", "[{ host = \"shop.example.org\", path = \"/\" }]"),
    ("route.host", "a text", "\"shop.example.org\""),
    ("route.path", "a text", "\"/\""),
    ("route.tls", "a text", "\"auto\""),
    ("uses", "a list of texts", "[\"db:5432\"]"),
    ("depends_on", "a list of texts", "[\"db\"]"),
    ("allow", "a list of texts", "[\"blog/web\"]"),
    ("labels", "a table of texts", "{ team = \"shop\" }"),
    ("hostname", "a text", "\"shop\""),
    ("user", "a text", "\"1000:1000\""),
    ("init", "true or false", "true"),
    ("cap_add", "a list of texts", "[\"NET_BIND_SERVICE\"]"),
    ("cap_drop", "a list of texts", "[\"ALL\"]"),
    ("ulimits", "a table of limits", "{ nofile = { soft = 1024, hard = 4096 }, nproc = 512 }"),
    ("sysctls", "a table of texts", "{ \"net.core.somaxconn\" = \"1024\" }"),
    ("read_only", "true or false", "true"),
    ("tmpfs", "a list of texts", "[\"/run\", \"/tmp:size=64m\"]"),
    ("shm_size", "a whole number of MB", "64"),
    ("extra_hosts", "a table of texts", "{ registry = \"10.0.0.1\" }"),
    ("logging", "a table", "{ driver = \"json-file\", options = { max-size = \"10m\" } }"),
    ("logging.driver", "a text", "\"local\""),
    ("logging.options", "a table of texts", "{ max-size = \"10m\" }"),
    ("devices", "a list of texts", "[\"/dev/fuse\", \"/dev/sda:/dev/xvda:r\"]"),
    ("cpuset", "a text", "\"0-2,4\""),
    ("memory_reservation", "a whole number of MB", "128"),
    ("pids_limit", "a whole number", "200"),
];

/// What is said of a value of another type than its key has; nothing where something else is wrong.
pub(super) fn of_wrong_type(text: &str, error: &toml::de::Error) -> Option<String> {
    let message = error.message();
    let wrong = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
    let (_, expected) = wrong.split_once(", expected ")?;
    let span = error.span()?;
    let document = DeTable::parse(text).ok()?;
    let path = path_to(document.get_ref(), &span)?;
    let key = path.get(2..).unwrap_or_default().join(".");
    let form = match FORMS.iter().find(|(known, ..)| *known == key) {
        Some((_, form, example)) => format!("{form}, such as {example}"),
        None => plain(expected.trim_end()).to_owned(),
    };
    let found: String = text.get(span)?.chars().take(40).collect();
    Some(format!("{}: must be {form}, not {}", path.join("."), found.replace('\n', " ")))
}

/// The key whose value stands there, or the list in it.
fn path_to<'a>(table: &'a DeTable<'_>, at: &Range<usize>) -> Option<Vec<&'a str>> {
    table.iter().find_map(|(key, value)| {
        let within = within(value.get_ref(), at);
        let below = if value.span() == *at { Some(Vec::new()) } else { within }?;
        Some([&[&**key.get_ref()], below.as_slice()].concat())
    })
}

fn within<'a>(value: &'a DeValue<'_>, at: &Range<usize>) -> Option<Vec<&'a str>> {
    match value {
        DeValue::Table(table) => path_to(table, at),
        DeValue::Array(list) => list.iter().find_map(|part| match part.span() == *at {
            true => Some(Vec::new()),
            false => within(part.get_ref(), at),
        }),
        _ => None,
    }
}

/// What a reader of Rust's types expects, in plain words.
fn plain(expected: &str) -> &str {
    match expected {
        "a string" => "a text in quotes",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
        "i64" | "i32" => "a whole number",
        "f64" => "a number",
        of_a_type if of_a_type.starts_with("struct ") => "a table",
        words => words,
    }
}
