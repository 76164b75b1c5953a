//! The file as people write it, and what becomes of it.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::forms::FORMS;
use super::{AppFileError, AppRequest, read_files};
use crate::model::app::{AppSpec, OnFailure, Probe, Replicas};

/// Every key of the file.
const WHOLE: &str = include_str!("testdata/whole.toml");

fn read(text: &str) -> Result<AppRequest, AppFileError> {
    read_files(&[("paas.toml", text)], |_| None)
}

fn normalised(text: &str) -> Result<AppSpec, String> {
    read(text).map_err(|wrong| wrong.to_string())?.normalise(None).map_err(|wrong| wrong.to_string())
}

#[test]
fn every_key_is_read() {
    let app = normalised(WHOLE).unwrap();
    insta::assert_json_snapshot!(app);
}

#[test]
fn json_is_the_same_as_toml() {
    let request = read(WHOLE).unwrap();
    let json = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<AppRequest>(&json).unwrap(), request);
    assert!(serde_json::from_str::<AppRequest>(r#"{"app": "a", "components": {}}"#).is_err(), "a slip of the pen");
}

#[test]
fn what_is_left_out_has_its_default() {
    let app = normalised("app = 'a'\n[component.web]\nimage = 'web'\nvolumes = ['data:/data']").unwrap();
    let web = &app.components["web"];
    assert_eq!((web.replicas, web.update.on_failure), (Replicas::Count(1), OnFailure::Pause));
    assert_eq!((web.heal.after_ms, web.update.monitor_ms, web.restart.name()), (Some(5000), 5000, "always"));
}

#[test]
fn a_file_without_a_number_keeps_the_number_that_is() {
    let with = normalised("app = 'a'\n[component.web]\nimage = 'web'\nreplicas = 7").unwrap();
    let without = read("app = 'a'\n[component.web]\nimage = 'web'").unwrap();
    assert_eq!(without.normalise(Some(&with)).unwrap(), with);
    assert_eq!(without.normalise(None).unwrap().components["web"].replicas, Replicas::Count(1));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, expected) in [
        ("app = 'a'\n[component.web]\nimgae = 'x'", "paas.toml:3:1: unknown field `imgae`"),
        ("app = 'a'\n[component.web]\nimage = 'x'\nhealth = { htpp = '/' }", "paas.toml:4:12: unknown field `htpp`"),
        ("app = 'a'\n  colour = 3", "paas.toml:2:3: unknown field `colour`"),
        (
            "app = 'a'\n[component.web]\nreplicas = 'all'",
            "paas.toml:3:12: component.web.replicas: must be a whole number, or \"each-host\", such as 3, not 'all'",
        ),
        ("[component.web]\nenv = { A = { secret = 'a', versoin = 1 } }", "paas.toml:2:29: unknown field `versoin`"),
        ("[component.web]\nupdate = { monitor = '5 apples' }", "paas.toml:2:22: must be a duration"),
        ("app = 'ü'\nenv = ", "paas.toml:2:"),
        (
            "[component.web]\nvolumes = ['a:/a', { name = 'b', traget = '/b' }]",
            "paas.toml:2:34: unknown field `traget`",
        ),
    ] {
        let wrong = read(text).unwrap_err().to_string();
        assert!(wrong.starts_with(expected), "{wrong}\nis not {expected}");
    }
}

#[test]
fn files_are_laid_over_each_other() {
    let base = "app = 'a'\n[component.web]\nimage = 'web:1'\ncommand = ['serve', 'all']\nenv = { A = '1', B = '2' }";
    let over = "[component.web]\ncommand = ['one']\nenv = { B = '3' }\n[component.db]\nimage = 'db'";
    let app = read_files(&[("a", base), ("b", over)], |_| None).unwrap().normalise(None).unwrap();
    let web = serde_json::to_value(&app.components["web"]).unwrap();
    assert_eq!(web["command"], serde_json::json!(["one"]), "arrays are replaced");
    assert_eq!(web["env"], serde_json::json!({ "A": "1", "B": "3" }), "tables are merged");
    assert_eq!(app.components.len(), 2);
    let wrong = read_files(&[("a", base), ("b", "x = 1")], |_| None).unwrap_err();
    assert_eq!((wrong.file.as_str(), wrong.line_and_column), ("b", Some((1, 1))));
}

#[test]
fn variables_stand_in_images_and_environment_only() {
    let text =
        "app = 'a'\n[component.web]\nimage = 'web:${V}'\ncommand = ['${V}']\nenv = { A = 'x${V}y$${V}$', B = '$V' }";
    let request = read_files(&[("a", text)], |name| (name == "V").then(|| "7".to_owned())).unwrap();
    let web = serde_json::to_value(&request.component["web"]).unwrap();
    assert_eq!((&web["image"], &web["command"][0]), (&"web:7".into(), &"${V}".into()));
    assert_eq!(web["env"], serde_json::json!({ "A": "x7y${V}$", "B": "$V" }));
    let missing = read(text).unwrap_err().to_string();
    assert_eq!(
        missing,
        "paas.toml: component.web.image: ${V} has no value; set it in the environment or with --var V=…"
    );
}

#[test]
fn what_cannot_be_is_refused_with_the_path_of_the_field() {
    let web = |more: &str| normalised(&format!("app = 'shop'\n[component.web]\nimage = 'web'\n{more}")).unwrap_err();
    for (more, expected) in [
        ("cpus = 0.001", "component.web.cpus: "),
        ("env = { 'A=B' = 'x' }", "component.web.env: "),
        ("publish = ['80:80', ':80:90']", "component.web.publish: asks for host port"),
        ("publish = ['none']", "component.web.publish: "),
        ("replicas = 10001", "component.web.replicas: must be at most"),
        ("uses = ['db:5432']", "component.web.uses: there is no component db"),
        ("depends_on = ['db']", "component.web.depends_on: there is no component db"),
        ("uses = ['web']", "component.web.uses: none can be started before the others: web → web"),
        ("health = { http = '/up' }", "component.web.health: needs a port"),
        ("port = 80\nhealth = { http = 'up' }", "component.web.health.http: must be a path"),
        ("port = 80\nhealth = { http = '/a b' }", "component.web.health.http: must be a path"),
        ("port = 80\nhealth = { http = \"/a\\r\\nX: y\" }", "component.web.health.http: must be a path"),
        ("stop = { grace = '9999999h' }", "component.web.stop.grace: must be at most 1h, not 9999999h"),
        ("update = { progress = '0s' }", "component.web.update.progress: must be more than 0"),
        ("before = { command = ['x'], timeout = '0s' }", "component.web.before.timeout: must be more than 0"),
        ("pids_limit = 0", "component.web.pids_limit: must be 1 to 4194304, or -1 for no limit, not 0"),
        ("sysctls = { 'kernel.shmmax' = 'x' }", "component.web.sysctls: kernel.shmmax is set to numbers"),
        ("user = '-1'", "component.web.user: must be USER"),
        ("heal = 'later'", "component.web.heal.after: must be a duration"),
        ("port = 80\nhealth = { http = '/up', tcp = true }", "component.web.health: must have exactly one"),
        ("ports = { a = 1, b = 2 }\nhealth = { tcp = true }", "component.web.health.port: must name one"),
        ("port = 80\nhealth = { tcp = true, port = 'x' }", "component.web.health.port: there is no port called"),
        ("port = 80\nhealth = { tcp = true, interval = '0s' }", "component.web.health: interval"),
        ("volumes = ['data:/a', 'data:/b']", "component.web.volumes: data is mounted twice"),
        ("volumes = ['data:/a', 'more:/a']", "component.web.volumes: two are to be at /a"),
        ("volumes = ['data:/a']\nupdate = { order = 'start-first' }", "component.web.update.order: start-first would"),
        ("restart = 'sometimes'", "component.web.restart: must be no, always"),
        ("heal = { after = 'later' }", "component.web.heal.after: must be a duration"),
        ("before = { command = [] }", "component.web.before.command: must not be empty"),
        ("labels = { 'paas.owner' = 'me' }", "component.web.labels: "),
        ("route = [{ host = 'a.org' }]", "component.web.route: leads to a port"),
        ("port = 80\nroute = [{ host = 'a b' }]", "component.web.route.host: must be a host name"),
        ("allow = ['blog']", "component.web.allow: must be"),
        ("secrets = [{ name = 'a', mode = '0999' }]", "component.web.secrets.mode: must be permissions"),
        ("secrets = [{ name = 'a', file = 'relative' }]", "component.web.secrets: must be the absolute path"),
        ("[component.-db]\nimage = 'db'", "component.-db: must be 1 to 32"),
        ("[component.db]", "component.db.image: is missing"),
        ("uses = ['db:1']\n[component.db]\nimage = 'db'\nport = 5432", "component.web.uses: db does not name 1"),
        (
            "uses = ['db']\n[component.db]\nimage = 'db'\ndepends_on = ['web']",
            "component.db.depends_on: none can be started before the others: db → web → db",
        ),
        (
            "port = 1\nroute = [{ host = 'a' }]\n[component.b]\nimage = 'b'\nport = 1\nroute = [{ host = 'A', path = '/' }]",
            "component.web.route: a/ leads to b already",
        ),
    ] {
        let wrong = web(more);
        assert!(wrong.starts_with(expected), "{wrong}\nis not {expected}");
    }
    assert!(normalised("app = 'shop'").unwrap_err().starts_with("component: an application has at least one"));
    assert!(normalised("[component.web]\nimage = 'web'").unwrap_err().starts_with("app: is missing"));
}

#[test]
fn a_chain_of_too_many_components_is_refused() {
    let component =
        |number: usize| format!("[component.c{number:04}]\nimage = 'a'\ndepends_on = ['c{:04}']\n", number + 1);
    let chain = |count: usize| {
        let chain: String = (0..count).map(component).collect();
        normalised(&format!("app = 'a'\n{chain}[component.c{count:04}]\nimage = 'a'"))
    };
    chain(999).unwrap();
    assert_eq!(chain(9000).unwrap_err(), "component: must be at most 1000, not 9001");
}

#[test]
fn an_application_has_no_more_replicas_than_can_be_planned_in_a_moment() {
    let components = |count: u32| -> String {
        (0..count).map(|number| format!("[component.c{number}]\nimage = 'a'\nreplicas = 5000\n")).collect()
    };
    let read = |text: String| read_files(&[("paas.toml", &format!("app = 'shop'\n{text}"))], |_| None);
    let checked = |count| read(components(count)).unwrap().normalise(None).map_err(|wrong| wrong.to_string());
    assert!(checked(2).is_ok());
    assert_eq!(checked(3).unwrap_err(), "replicas: all of an application must be at most 10000, not 15000");
}

#[test]
fn more_replicas_with_a_fixed_port_than_hosts_are_refused() {
    let app = normalised("app = 'a'\n[component.web]\nimage = 'web'\nreplicas = 3\npublish = ['8443:8443']").unwrap();
    app.validate_for_hosts(3).unwrap();
    let wrong = app.validate_for_hosts(2).unwrap_err().to_string();
    assert_eq!(wrong, "component.web.publish: 3 replicas want port tcp/8443 of a host each, and there are 2 hosts");
}

/// Components of all kinds, in the words of the file.
fn any_component() -> impl Strategy<Value = String> {
    let lines = [
        "replicas = 3",
        "replicas = 'each-host'",
        "command = ['serve']",
        "env = { B = '1', A = { secret = 'a' } }",
        "secrets = [{ name = 'b' }, { name = 'a', file = '/etc/a', mode = '0600', uid = 1 }]",
        "configs = [{ source = 'x', target = '/etc/web/x', gid = 7 }]",
        "cpus = 0.5\nmemory = 64",
        "port = 8080\nhealth = { http = '/up', interval = '3s' }\nroute = [{ host = 'X.org' }, { host = 'a.org' }]",
        "publish = ['9000:9', '80:80', '80:80']",
        "update = { order = 'auto', parallel = '25%', drain = '90s' }",
        "heal = { after = 'never', singleton = true }",
        "place = { labels = ['ssd'], spread = 'none', prefer = ['b', 'a'] }",
        "before = { command = ['migrate'] }",
        "volumes = ['data:/data', '/srv:/srv:ro', { name = 'media', target = '/media', shared = true }]",
        "restart = 'on-failure:3'",
        "uses = ['blog/db:5432', 'blog/web']\nallow = ['blog/*']",
        "cap_add = ['cap_net_admin', 'SYS_TIME']\ntmpfs = ['/run']\nulimits = { nofile = { soft = 1, hard = 2 } }",
        "logging = { driver = 'local' }\nuser = '1000'\ninit = true\nextra_hosts = { a = '10.0.0.1' }",
    ];
    proptest::sample::subsequence(lines.to_vec(), 0..=lines.len()).prop_map(|chosen| {
        // One key stands once.
        let counted = chosen.iter().filter(|line| !(line.contains("each-host") && chosen.contains(&"replicas = 3")));
        counted.copied().collect::<Vec<_>>().join("\n")
    })
}

proptest! {
    /// What was normalised and written again means the same.
    #[test]
    fn normalising_is_idempotent(web in any_component(), db in any_component()) {
        // One route stands once.
        let db = db.replace("X.org", "y.org").replace("a.org", "b.org");
        let text = format!("app = 'shop'\n[component.web]\nimage = 'web'\n{web}\n[component.db]\nimage = 'db'\n{db}");
        let once = normalised(&text).unwrap();
        let again = AppRequest::from(&once).normalise(None).unwrap();
        prop_assert_eq!(&again, &once);
        let record = serde_json::to_value(&once).unwrap();
        prop_assert_eq!(serde_json::from_value::<AppSpec>(record).unwrap(), once);
    }

    /// No text makes the reader panic.
    #[test]
    fn any_text_is_answered(text in "[a-z\\[\\]{}='\"\n. ${}0-9ü]{0,80}") {
        let _ = read(&text).map(|request| request.normalise(None));
    }
}

#[test]
fn the_probe_of_the_example_is_made_at_its_port() {
    let app = normalised(WHOLE).unwrap();
    let probe = &app.components["web"].health.as_ref().unwrap().probe;
    assert_eq!(*probe, Probe::Http { path: "/up".to_owned(), port: "default".to_owned() });
}

#[test]
fn what_nothing_carries_out_yet_is_known_by_name() {
    let app = normalised(WHOLE).unwrap();
    let fields = app.components["web"].fields_not_carried_out();
    let expected = ["route"];
    assert_eq!(fields, expected);
    let plain =
        "app = 'a'\n[component.web]\nimage = 'web'\ncpus = 1\nenv = { A = '1' }\npublish = ['80:80']\ncpuset = '0'";
    assert!(normalised(plain).unwrap().components["web"].fields_not_carried_out().is_empty());
}

/// Each field is either part of the container or not; which it is decides whether replicas are replaced.
#[test]
fn only_what_docker_cannot_change_in_place_makes_a_new_container() {
    let base = "replicas = 3\nport = 80\nhealth = { http = '/up' }";
    let with = |more: &str| normalised(&format!("app = 'a'\n[component.web]\nimage = 'web'\n{more}")).unwrap();
    let old = with(base).components["web"].clone();
    for same in [
        "replicas = 5\nport = 80\nhealth = { http = '/other', interval = '9s' }",
        "replicas = 3\nport = 81\nhealth = { tcp = true }",
        &format!("{base}\nupdate = {{ parallel = 2 }}\nheal = {{ after = 'never' }}\nplace = {{ labels = ['ssd'] }}"),
        &format!("{base}\nroute = [{{ host = 'a.org' }}]\nallow = ['b/*']\nbefore = {{ command = ['x'] }}"),
        &format!("{base}\ncpus = 1\nmemory = 64\nrestart = 'no'"),
    ] {
        assert!(old.fields_for_a_new_container(&with(same).components["web"]).is_empty(), "{same}");
    }
    for (field, more) in [
        ("command", "command = ['x']"),
        ("env", "env = { A = '1' }"),
        ("publish", "publish = ['80:80']"),
        ("volumes", "volumes = ['data:/data']"),
        ("stop", "stop = { grace = '9s' }"),
        ("user", "user = '1000'"),
        ("labels", "labels = { a = 'b' }"),
        ("pids_limit", "pids_limit = 9"),
    ] {
        let new = with(&format!("{base}\n{more}"));
        assert_eq!(old.fields_for_a_new_container(&new.components["web"]), [field]);
    }
    let checked = with("replicas = 3\nport = 80\nhealth = { command = ['x'] }");
    assert_eq!(old.fields_for_a_new_container(&checked.components["web"]), ["health"], "Docker runs that one itself");
}

/// The keys of a component, and those of tables in it; not those that somebody chose.
fn keys(component: &Value) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (key, value) in component.as_object().unwrap() {
        keys.insert(key.clone());
        let chosen = ["env", "ports", "labels", "ulimits", "sysctls", "extra_hosts"].contains(&key.as_str());
        let tables = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter().filter(|_| !chosen);
        let below = tables.filter_map(Value::as_object).flat_map(|table| table.keys());
        keys.extend(below.map(|below| format!("{key}.{below}")));
    }
    keys
}

#[test]
fn the_page_of_the_file_has_every_key_with_its_type_its_default_and_an_example() {
    let whole = serde_json::to_value(read(WHOLE).unwrap()).unwrap();
    let known: BTreeSet<String> = whole["component"].as_object().unwrap().values().flat_map(keys).collect();
    assert_eq!(known, FORMS.iter().map(|(key, ..)| (*key).to_owned()).collect());

    let page = include_str!("../../../../docs/applications.md");
    let (_, section) = page.split_once("\n## The file\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), FORMS.len());
    for (row, (key, form, example)) in rows.iter().zip(FORMS) {
        let line = format!("{} = {example}", key.rsplit('.').next().unwrap());
        assert_eq!((row[0], row[1], row[3]), (format!("`{key}`").as_str(), *form, format!("`{line}`").as_str()));
        assert!(row.len() == 5 && !row[2].is_empty() && !row[4].is_empty(), "{row:?}");
    }
}

#[test]
fn every_example_of_the_page_is_right() {
    for (key, _, example) in FORMS.iter().filter(|(key, ..)| !key.contains('.')) {
        let rest = [("image", "'web'"), ("ports", "{ admin = 1 }"), ("port", "8080")].iter();
        let rest: String =
            rest.filter(|(other, _)| other != key).map(|(key, value)| format!("{key} = {value}\n")).collect();
        let db = "[component.db]\nimage = 'db'\nport = 5432";
        let wrong = normalised(&format!("app = 'shop'\n[component.web]\n{key} = {example}\n{rest}{db}")).err();
        assert_eq!(wrong, None, "{key}");
    }
}

#[test]
fn a_value_of_another_type_is_refused_in_the_words_of_the_file() {
    for (line, expected) in [
        ("heal = 5", "heal: must be a table, or \"never\", such as { after = \"5s\" }, not 5"),
        (
            "ulimits = 7",
            "ulimits: must be a table of limits, such as { nofile = { soft = 1024, hard = 4096 }, nproc = 512 }, not 7",
        ),
        (
            "extra_hosts = ['a:1']",
            "extra_hosts: must be a table of texts, such as { registry = \"10.0.0.1\" }, not ['a:1']",
        ),
        ("command = 'serve'", "command: must be a list of texts, such as [\"serve\"], not 'serve'"),
        ("command = ['serve', 1]", "command: must be a list of texts, such as [\"serve\"], not 1"),
        ("memory = '1g'", "memory: must be a whole number of MB, such as 256, not '1g'"),
        ("port = 65536", "port: must be a port from 1 to 65535, such as 8080, not 65536"),
        ("user = 1000", "user: must be a text, such as \"1000:1000\", not 1000"),
        ("stop = { grace = 5 }", "stop.grace: must be a duration, such as \"30s\", not 5"),
        ("secrets = [{ name = 'a', uid = 'b' }]", "secrets.uid: must be a whole number, such as 1000, not 'b'"),
        ("sysctls = { 'net.core.somaxconn' = 1 }", "sysctls.net.core.somaxconn: must be a text in quotes, not 1"),
        ("labels = { a = true }", "labels.a: must be a text in quotes, not true"),
        ("init = 'yes'", "init: must be true or false, such as true, not 'yes'"),
        ("ulimits = { nofile = 'x' }", "a limit must be a whole number, or a table with soft and hard"),
    ] {
        let wrong = read(&format!("component.web.{line}")).unwrap_err().to_string();
        let (_, said) = wrong.split_once("paas.toml:1:").and_then(|(_, rest)| rest.split_once(": ")).unwrap();
        assert_eq!(said.replace("component.web.", ""), expected, "{wrong}");
    }
    let web = normalised(
        "app = 'a'\n[component.web]\nimage = 'web'\nheal = 'never'\npids_limit = -1\nulimits = { nproc = 9 }",
    );
    let web = &web.unwrap().components["web"];
    assert_eq!((web.heal.after_ms, web.docker.pids_limit, web.docker.ulimits["nproc"].hard), (None, Some(-1), 9));
}

#[test]
fn the_defaults_are_those_of_the_page() {
    let text = "app = 'shop'\n[component.web]\nimage = 'web:1'\nport = 80\nhealth = { http = '/up' }\n";
    let web = &normalised(text).unwrap().components["web"];
    let health = web.health.as_ref().unwrap();
    let check = (health.interval_ms, health.timeout_ms, health.start_ms, health.failures);
    assert_eq!(check, (2_000, 1_000, 60_000, 3));
    assert_eq!((web.stop.signal.as_str(), web.stop.grace_ms), ("SIGTERM", 30_000));
    let update = &web.update;
    assert_eq!((update.monitor_ms, update.drain_ms, update.progress_ms), (5_000, 30_000, 600_000));
    assert_eq!((update.on_failure, web.replicas), (OnFailure::Rollback, Replicas::Count(1)));
    assert_eq!((web.heal.after_ms, web.heal.singleton), (Some(5_000), false));
}
