//! Compose files as people write them, and what becomes of them.

use std::path::PathBuf;

use proptest::prelude::*;

use super::{ComposeInput, Imported, read_compose};
use crate::wire::app::{AppFileError, read_files};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/wire/compose/files")
}

fn variable(name: &str) -> Option<String> {
    let value = match name {
        "TAG" => "2.4",
        "DOMAIN" => "example.org",
        "DB_PASSWORD" => "pass$word",
        _ => return None,
    };
    Some(value.to_owned())
}

fn import_with(files: &[(&str, &str)], profiles: &[&str], images: &[(&str, &str)]) -> Result<Imported, AppFileError> {
    read_compose(&ComposeInput {
        files,
        variable: &variable,
        other_file: &|name| std::fs::read_to_string(folder().join(name)),
        profiles: &profiles.iter().map(|&profile| profile.to_owned()).collect(),
        images: &images.iter().map(|&(name, image)| (name.to_owned(), image.to_owned())).collect(),
        name: None,
    })
}

fn import(text: &str) -> Result<Imported, AppFileError> {
    import_with(&[("compose.yaml", text)], &[], &[])
}

/// The file and the notes.
fn shown(imported: &Imported) -> String {
    let mut text = imported.app.to_toml().unwrap();
    let app = imported.app.app.is_some();
    let again = read_files(&[("paas.toml", &text)], |_| None).unwrap();
    assert_eq!(again, imported.app, "what is written is read as the same");
    if !app {
        text.insert_str(0, "# without a name\n");
    }
    text.push_str("\n# ----\n");
    for note in &imported.notes {
        let mark = if note.is_refused { "refused" } else { "noted  " };
        text.push_str(&format!("{mark} {note}\n"));
    }
    text
}

#[test]
fn files_as_people_write_them_become_applications() {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with("ml"))
        .collect();
    names.sort();
    assert!(names.len() >= 20, "{names:?}");
    for name in names {
        let text = std::fs::read_to_string(folder().join(&name)).unwrap();
        let imported = import_with(&[(&name, &text)], &[], &[]).unwrap_or_else(|wrong| panic!("{wrong}"));
        insta::assert_snapshot!(name.replace('.', "_"), shown(&imported));
    }
}

/// What is wrong with a service that has these lines, and nothing before them but its image.
fn wrong_service(lines: &str) -> String {
    let lines = lines.replace('\n', "\n    ");
    import(&format!("services:\n  web:\n    image: a\n    {lines}\n")).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, expected) in [
        ("services:\n  a: [", "compose.yaml:2:6: is no YAML that can be read: unclosed bracket '['"),
        (
            "services:\n  a: {image: x}\n  a: {image: y}",
            "compose.yaml:3:3: is no YAML that can be read: duplicate mapping key",
        ),
        ("services: {a: *b}", "compose.yaml:1:15: is no YAML that can be read: reference to unknown value"),
        ("services:\n  a: !reset null", "compose.yaml:2:13: is no YAML that can be read: unsupported tag `!reset`"),
        ("services: {}\n---\nservices: {}", "compose.yaml:2:1: is no YAML that can be read: is more than is read"),
        ("", "compose.yaml:1:1: has no services"),
        ("a", "compose.yaml:1:1: must be a map, not a text"),
        ("services: [a]", "compose.yaml:1:11: services: must be a map, not a list"),
        ("services: {}", "compose.yaml:1:1: component: an application has at least one"),
        ("name: My Shop\nservices: {a: {image: x}}", "compose.yaml:1:7: name: must be 1 to 32"),
        ("x-paas: {app: a, image: b}\nservices: {}", "compose.yaml:1:18: x-paas.image: only app can stand here"),
        (
            "services:\n  a:\n    build: .",
            "compose.yaml:3:12: services.a.build: nothing is built here: build and push the image",
        ),
        ("services:\n  a: {}", "compose.yaml:2:6: services.a: has no image"),
        ("services:\n  a_b: {image: x}\n  a-b: {image: x}", "compose.yaml:3:8: services.a-b: would be a-b, as another"),
        ("services:\n  _: {image: x}", "compose.yaml:2:6: services._: the name must be 1 to 32"),
        (
            "services:\n  a: {image: x, depends_on: [b]}",
            "compose.yaml:2:30: services.a.depends_on: there is no service b",
        ),
        (
            "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, profiles: [dev]}",
            "compose.yaml:2:30: services.a.depends_on: b is left out, since it has profiles; add --profile (dev)",
        ),
        (
            "services:\n  a: {image: x, configs: [c]}\nconfigs: {c: {file: c.conf}}",
            "compose.yaml:2:27: services.a.configs: would be at /c, and has to be in a folder; write {source: c, ",
        ),
        ("services:\n  a: {image: 'x:${T?}'}", "compose.yaml:2:14: T has no value; set it in the environment"),
        ("services:\n  a: {image: 'Not An Image'}", "compose.yaml:2:3: component.a.image: "),
        (
            "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}",
            "compose.yaml:2:3: component.a.uses: none can be started before the others",
        ),
    ] {
        let wrong = import(text).unwrap_err().to_string();
        assert!(wrong.starts_with(expected), "{wrong}\nis not {expected}");
    }
    assert!(import_with(&[], &[], &[]).unwrap_err().to_string().ends_with("no file was given"));
    let large = format!("# {}", "x".repeat(1 << 20));
    assert!(import(&large).unwrap_err().to_string().contains("at most 1048576 are read"));
}

#[test]
fn what_is_wrong_with_a_service_is_said_with_its_place() {
    for (lines, expected) in [
        ("command: 'a \"b'", "4:14: services.web.command: \"a \\\"b\" has a quote that is not closed"),
        ("command: {a: b}", "4:14: services.web.command: must be a text, not a map"),
        ("init: maybe", "4:11: services.web.init: must be true or false, not \"maybe\""),
        ("ports:\n- 80:http", "5:7: services.web.ports: must be a port from 1 to 65535"),
        ("ports: ['80-81:80-82']", "4:13: services.web.ports: has ranges of different lengths"),
        ("ports: ['1-2000']", "4:13: services.web.ports: is a range of more than 1000 ports"),
        ("ports: ['host:1:1']", "4:13: services.web.ports: must be an IP address"),
        ("ports: ['1/icmp']", "4:13: services.web.ports: proto: must be tcp, udp or sctp"),
        ("ports: [{published: 80}]", "4:13: services.web.ports: has no target"),
        ("ports: [{target: 80, color: red}]", "4:26: services.web.ports.color: is no key that Compose has here"),
        ("ports: ['80:1', '80:2']", "2:3: component.web.publish: asks for host port"),
        ("expose: [x]", "4:14: services.web.expose: must be a port"),
        ("volumes: ['data:/data']", "4:15: services.web.volumes: there is no volume data; declare it under volumes"),
        ("volumes: ['a:b:c:d']", "4:15: services.web.volumes: must be /path"),
        ("volumes: [{type: npipe, target: /a}]", "4:15: services.web.volumes: must be a volume, a bind or a tmpfs"),
        ("volumes: [{type: bind, target: /a}]", "4:15: services.web.volumes: has no source"),
        ("volumes: [{source: a}]", "4:15: services.web.volumes: has no target"),
        ("secrets: [a]", "4:15: services.web.secrets: there is no secret a; declare it under secrets"),
        ("configs: [a]", "4:15: services.web.configs: there is no configuration a"),
        ("configs: [{target: /a}]", "4:15: services.web.configs: has no source"),
        ("env_file: none.env", "4:15: services.web.env_file: cannot read none.env: No such file"),
        ("env_file: [{required: false}]", "4:16: services.web.env_file: has no path"),
        ("env_file: ports.yaml", "4:15: services.web.env_file: ports.yaml, line 1: \"name: ports\" is no name"),
        ("environment: [{a: b}]", "4:19: services.web.environment: must be a text, not a map"),
        ("environment: {A: [b]}", "4:22: services.web.environment.A: must be a text, not a list"),
        (
            "depends_on: {a: {condition: soon}}",
            "4:33: services.web.depends_on.a.condition: must be one of service_started",
        ),
        ("healthcheck: {test: []}", "4:25: services.web.healthcheck.test: must be a line for the shell"),
        ("healthcheck: {test: [curl, x]}", "4:25: services.web.healthcheck.test: must be a line for the shell"),
        ("healthcheck: {test: a, interval: soon}", "4:38: services.web.healthcheck.interval: must be a duration"),
        ("mem_limit: much", "4:16: services.web.mem_limit: must be bytes such as 512m"),
        ("cpus: many", "4:11: services.web.cpus: must be a number"),
        ("cpus: -1", "4:11: services.web.cpus: must be a number of CPUs"),
        (
            "cpus: 1\ndeploy: {resources: {limits: {cpus: 2}}}",
            "4:11: services.web.cpus: is another value than deploy.resources has",
        ),
        ("sysctls: [a]", "4:15: services.web.sysctls: a has no value"),
        ("ulimits: {nofile: {soft: 1}}", "4:23: services.web.ulimits.nofile: needs soft and hard"),
        ("extra_hosts: [a]", "4:19: services.web.extra_hosts: must be HOST=ADDRESS"),
        ("devices: [{target: /a}]", "4:15: services.web.devices: has no source"),
        ("deploy: {mode: some}", "4:20: services.web.deploy.mode: must be replicated or global"),
        ("deploy: {replicas: -1}", "4:24: services.web.deploy.replicas: must be a number"),
        (
            "deploy: {update_config: {order: none}}",
            "4:37: services.web.deploy.update_config.order: must be start-first",
        ),
        (
            "deploy: {restart_policy: {condition: x}}",
            "4:42: services.web.deploy.restart_policy.condition: must be none",
        ),
        ("deploy: {color: red}", "4:14: services.web.deploy.color: is no key that Compose has here"),
        ("restart: sometimes", "2:3: component.web.restart: must be no, always"),
        ("logging: {options: {a: }}", "4:26: services.web.logging.options.a: has no value"),
        ("x-paas: {imgae: b}", "4:14: services.web.x-paas.imgae: unknown field `imgae`"),
        ("x-paas: {heal: {after: 5}}", "4:14: services.web.x-paas.heal: invalid type: integer `5`, expected a string"),
        ("x-paas: {port: }", "4:18: services.web.x-paas.port: has no value"),
        ("x-paas: {health: {http: /up}}", "2:3: component.web.health: needs a port"),
    ] {
        let expected = format!("compose.yaml:{expected}");
        let wrong = wrong_service(lines);
        assert!(wrong.starts_with(&expected), "{wrong}\nis not {expected}");
    }
}

#[test]
fn a_file_is_laid_over_another() {
    let base = "name: shop\nservices:\n  web:\n    image: web:1\n    command: [a, b]\n    environment: [A=1, B=2]\n    \
                ports: ['80:80']\n    healthcheck: {test: [CMD, a], interval: 5s}\n    depends_on: [db]\n    \
                volumes: ['/a:/data', '/b:/b']\n  db: {image: db}\n  cache: {image: c}";
    let over = "services:\n  web:\n    image: web:2\n    command: [c]\n    environment: {B: 3, C: 4}\n    ports: ['443:443']\n    \
                healthcheck: {test: [CMD, b]}\n    depends_on: {cache: {condition: service_started}}\n    \
                volumes: ['/c:/data']\n    labels: {a: b}\n  more: {image: m, tty: true}";
    let imported = import_with(&[("compose.yaml", base), ("over.yaml", over)], &[], &[]).unwrap();
    assert_eq!(imported.notes[0].to_string(), "over.yaml:11:20: services.more.tty: nothing is attached to");
    insta::assert_snapshot!("laid_over_each_other", shown(&imported));
    let wrong =
        import_with(&[("compose.yaml", base), ("over.yaml", "services: {web: {cpus: x}}")], &[], &[]).unwrap_err();
    assert!(wrong.to_string().starts_with("over.yaml:1:24: services.web.cpus: "), "{wrong}");
}

#[test]
fn profiles_take_services_in() {
    let text = std::fs::read_to_string(folder().join("profiles.yaml")).unwrap();
    let services = |profiles: &[&str]| {
        let imported = import_with(&[("compose.yaml", &text)], profiles, &[]).unwrap();
        imported.app.component.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(services(&["dev"]), ["db", "debug", "web"]);
    assert_eq!(services(&["*"]), ["admin", "db", "debug", "web"]);
}

#[test]
fn an_image_can_be_given_for_what_would_be_built() {
    let files = [("compose.yaml", "services:\n  web: {build: .}\n  db: {image: db:1}")];
    let imported = import_with(&files, &[], &[("web", "shop:2"), ("db", "db:2")]).unwrap();
    let images: Vec<_> = imported.app.component.values().filter_map(|component| component.image.as_deref()).collect();
    assert_eq!(images, ["db:2", "shop:2"]);
}

#[test]
fn the_name_is_that_of_the_file_or_else_the_one_that_is_given() {
    let name = |text: &str| {
        let files = [("compose.yaml", text)];
        let (profiles, images) = Default::default();
        let other_file = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        let input = ComposeInput {
            files: &files,
            variable: &variable,
            other_file: &other_file,
            profiles: &profiles,
            images: &images,
            name: Some("given"),
        };
        read_compose(&input).unwrap().app.app.unwrap()
    };
    assert_eq!(name("services: {a: {image: a}}"), "given");
    assert_eq!(name("name: theirs\nservices: {a: {image: a}}"), "theirs");
    assert_eq!(name("name: Not A Name\nx-paas: {app: ours}\nservices: {a: {image: a}}"), "ours");
}

#[test]
fn notes_are_named_by_their_key() {
    let imported = import("services:\n  web: {image: a, deploy: {endpoint_mode: vip}, tty: true}").unwrap();
    let [deploy, tty] = &imported.notes[..] else { panic!("{:?}", imported.notes) };
    for key in
        ["services.web.deploy.endpoint_mode", "services.web.deploy", "services.web", "deploy", "deploy.endpoint_mode"]
    {
        assert!(deploy.is_named_by(key), "{key}");
    }
    for key in ["", "dep", "endpoint_mode", "services.we", "web"] {
        assert!(!deploy.is_named_by(key), "{key}");
    }
    assert!(tty.is_named_by("tty") && !tty.is_named_by("deploy"));
}

#[test]
fn a_variable_without_a_value_is_noted_once() {
    let imported = import("services:\n  a: {image: 'a$NONE', hostname: 'h$NONE'}").unwrap();
    let told = "compose.yaml:2:14: ${NONE}: has no value, and stands for nothing; set it in the environment, in .env or with --var NONE=…";
    assert_eq!(imported.notes.iter().map(ToString::to_string).collect::<Vec<_>>(), [told]);
}

#[test]
fn many_services_that_wait_for_each_other_are_answered() {
    let service = |number: usize| format!("  s{number:05}: {{image: a, depends_on: [s{:05}]}}\n", number + 1);
    let text: String = (0..6000).map(service).collect();
    let wrong = import(&format!("services:\n{text}  s06000: {{image: a}}\n")).unwrap_err().to_string();
    assert_eq!(wrong, "compose.yaml:1:1: component: must be at most 1000, not 6001");
}

/// Every key that Compose has for a service.
const OF_COMPOSE: &str = "annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs container_name cpu_count \
    cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset credential_spec depends_on deploy develop \
    device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint env_file environment expose extends external_links extra_hosts \
    gpus group_add healthcheck hostname image init ipc isolation label_file labels links logging mac_address mem_limit mem_reservation \
    mem_swappiness memswap_limit models network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform ports post_start \
    pre_stop privileged profiles provider pull_policy read_only restart runtime scale secrets security_opt shm_size stdin_open \
    stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts volumes volumes_from working_dir";

const DOCS: &str = include_str!("../../../../docs/compose.md");

fn keys() -> Vec<&'static str> {
    OF_COMPOSE.split_whitespace().collect()
}

/// The keys in the first column of the table below a heading of the documentation.
fn documented(heading: &str) -> Vec<&'static str> {
    let (_, rest) = DOCS.split_once(heading).unwrap();
    let rows = rest.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let first = rows.filter_map(|row| row.split('|').nth(1));
    first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_documentation_has_every_key_and_is_right_about_it() {
    let taken = documented("## Keys of a service that are taken");
    let mut all: Vec<&str> = taken.iter().copied().filter(|key| *key != "x-paas").collect();
    for (key, fate, reason) in super::not_taken::KEYS {
        let row = format!("| `{key}` | {} | {reason} |", format!("{fate:?}").to_lowercase());
        assert!(DOCS.contains(&row), "docs/compose.md has no line\n{row}");
        all.push(key);
        let imported = import(&format!("services:\n  web:\n    image: a\n    {key}: x")).unwrap();
        assert_eq!(imported.notes.len(), 1, "{key}");
    }
    all.sort_unstable();
    assert_eq!(all, keys());
    for key in taken.iter().filter(|key| **key != "image") {
        let imported = import(&format!("services:\n  web:\n    image: a\n    {key}:")).unwrap();
        assert_eq!(imported.notes, [], "{key}");
    }
    for key in documented("## `deploy`") {
        import(&format!("services:\n  web:\n    image: a\n    deploy: {{{key}: }}")).unwrap();
    }
    for key in documented("## Top level").iter().filter(|key| **key != "services") {
        let imported = import(&format!("{key}:\nservices: {{web: {{image: a}}}}")).unwrap();
        assert!(imported.notes.iter().all(|note| note.reason == "is not known here"), "{key}");
    }
}

#[test]
fn the_example_of_the_documentation_works() {
    let (_, example) = DOCS.split_once("    x-paas:\n").unwrap();
    let (example, _) = example.split_once("\n\n").unwrap();
    let text: String = format!("    x-paas:\n{example}").lines().map(|line| format!("{}\n", &line[4..])).collect();
    let imported = import(&text).unwrap();
    assert_eq!((imported.app.app.as_deref(), imported.notes), (Some("shop"), Vec::new()));
}

/// Lines of Compose files, true and damaged.
fn any_text() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        proptest::sample::select(std::fs::read_dir(folder()).unwrap().flat_map(lines_of).collect::<Vec<_>>()),
        "[ ]{0,8}[a-z_]{1,9}: ?[-&*!|>{}\\[\\]'\"$#%@:,. a-z0-9ü]{0,20}",
        "[ ]{0,8}- [-&*!{}\\[\\]'\"$:/. a-z0-9]{0,20}",
    ];
    proptest::collection::vec(line, 0..40)
        .prop_map(|lines| format!("services:\n  web:\n    image: a\n{}", lines.join("\n")))
}

fn lines_of(entry: std::io::Result<std::fs::DirEntry>) -> Vec<String> {
    let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
    text.lines().map(str::to_owned).collect()
}

proptest! {
    /// No text makes the reader panic, and what comes out can be written and read again.
    #[test]
    fn any_text_is_answered(text in any_text()) {
        if let Ok(imported) = import(&text) {
            shown(&imported);
        }
    }

    /// Each key of a service with values of every kind.
    #[test]
    fn any_value_is_answered(
        key in proptest::sample::select(keys()),
        value in "[-\\[\\]{}:,.'\"a-z0-9/$ ]{0,24}",
    ) {
        let _ = import(&format!("services:\n  web:\n    image: a\n    {key}: {value}\nvolumes: {{a: }}\n"));
    }
}
