use clap::{CommandFactory, Parser};
use paas_core::model::{ContainerSpec, ContainerType, RestartPolicy};

use super::{Cli, Command};
use crate::failure::{Failure, Status};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("paas-cli").chain(line.split_whitespace()))
}

fn spec(line: &str) -> Result<ContainerSpec, Failure> {
    match parse(line).unwrap().command {
        Command::Run(arguments) => arguments.into_spec(),
        other => panic!("{other:?} is not run"),
    }
}

/// An object as JSON in a file.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("spec.json");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (place, path)
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_of_every_command() {
    let mut whole = String::new();
    let mut command = Cli::command().term_width(100);
    command.build();
    whole.push_str(&command.render_long_help().to_string());
    help_of_those_below(&mut command, "", &mut whole);
    insta::assert_snapshot!(whole);
}

fn help_of_those_below(command: &mut clap::Command, path: &str, whole: &mut String) {
    for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
        // The options of every command stand in the first page already.
        let mut sub = sub.clone().mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
        let help = sub.render_long_help();
        let path = format!("{path}{}", sub.get_name());
        whole.push_str(&format!("\n\n=== {path}\n\n{help}"));
        help_of_those_below(&mut sub, &format!("{path} "), whole);
    }
}

#[test]
fn the_documented_example_works_as_written() {
    let spec = spec("run --name httpd --port tcp/::80 --memory 100 --pull false").unwrap();
    let expected = r#"{"name":"httpd","memory":100,"bind_ports":[{"container_port":80}]}"#;
    assert_eq!(spec, serde_json::from_str(expected).unwrap());
}

#[test]
fn every_option_reaches_the_description() {
    let line = "run --name web:1 -n 3 --pull true --cpus 0.5 --cpuset 0-1 --memory 64 --entrypoint /bin/sh --entrypoint \
        -c --arg one --arg -two --env A=1 -e B=x=y --hostname h --domainname d.example --type multi --label ssd --label \
        eu --port udp/127.0.0.1:53:5353 -p 80 --user-data hello --volume data:/data --link db:database --link cache \
        --restart on-failure:4 --publish --network front -- three --four";
    let expected = r#"{"name": "web:1", "cpus": 0.5, "cpuset": "0-1", "memory": 64, "entrypoint": ["/bin/sh", "-c"],
        "args": ["one", "-two", "three", "--four"], "environment": {"A": "1", "B": "x=y"}, "hostname": "h",
        "domainname": "d.example", "type": "multi", "labels": ["eu", "ssd"], "bind_ports": [
        {"proto": "udp", "host_ip": "127.0.0.1", "port": 53, "container_port": 5353}, {"container_port": 80}],
        "user_data": "hello", "volumes": ["data:/data"], "links": {"db": "database", "cache": "cache"},
        "restart_policy": {"name": "on-failure", "maximum_retry": 4}, "publish": true, "network_mode": "front"}"#;
    assert_eq!(spec(line).unwrap(), serde_json::from_str(expected).unwrap());
    let Command::Run(arguments) = parse(line).unwrap().command else { panic!("not run") };
    assert_eq!((arguments.options().count, arguments.options().pull), (3, true));
}

#[test]
fn every_option_that_docker_has_reaches_the_description() {
    let line = "run --name web --user 1000:www --init --read-only --tmpfs /run --tmpfs /tmp:size=64m --shm-size 128m --cap-add \
        cap_net_admin --cap-add sys_time --cap-drop all --ulimit nofile=1024:2048 --ulimit core=0 --sysctl \
        net.core.somaxconn=1024 --add-host db:10.0.0.5 --add-host v6=fd00::1 --log-driver json-file --log-opt max-size=10m \
        --log-opt tag=a=b --device /dev/fuse --device /dev/a:/dev/b:r --memory-reservation 64m --pids-limit -1 --stop-signal \
        int --stop-timeout 30 --health-cmd true --health-interval 1m30s --health-timeout 500ms --health-start-period 1h \
        --health-retries 5 --docker-label org.example=x";
    let expected = r#"{"name": "web", "user": "1000:www", "init": true, "read_only": true, "tmpfs": ["/run", "/tmp:size=64m"],
        "shm_size": 128, "cap_add": ["NET_ADMIN", "SYS_TIME"], "cap_drop": ["ALL"],
        "ulimits": {"nofile": {"soft": 1024, "hard": 2048}, "core": 0}, "sysctls": {"net.core.somaxconn": "1024"},
        "extra_hosts": ["db:10.0.0.5", "v6:fd00::1"], "logging": {"driver": "json-file", "options": {"max-size": "10m",
        "tag": "a=b"}}, "devices": ["/dev/fuse", "/dev/a:/dev/b:r"], "memory_reservation": 64, "pids_limit": -1,
        "stop_signal": "SIGINT", "stop_timeout": 30, "health": {"command": "true", "interval": "90s", "timeout": "500ms",
        "start_period": "1h", "retries": 5}, "docker_labels": {"org.example": "x"}}"#;
    assert_eq!(spec(line).unwrap(), serde_json::from_str(expected).unwrap());
    let health = spec("run --name web --no-healthcheck --init=false").unwrap();
    assert_eq!(
        health,
        serde_json::from_str(r#"{"name": "web", "health": {"disabled": true}, "init": false}"#).unwrap()
    );
    let not_both = parse("run --name web --no-healthcheck --health-retries 1").unwrap_err();
    assert_eq!(not_both.kind(), clap::error::ErrorKind::ArgumentConflict);
}

#[test]
fn options_of_docker_change_single_fields_of_a_file() {
    let (_place, path) = file(
        r#"{"name": "web", "health": {"command": ["up"], "interval": "5s"}, "cap_add": ["KILL"], "tmpfs": ["/a"],
            "logging": {"driver": "local", "options": {"max-size": "1m"}}, "sysctls": {"net.a": "1", "net.b": "1"}}"#,
    );
    let found =
        spec(&format!("run --file {path} --health-retries 2 --cap-add MKNOD --log-opt max-file=2 --sysctl net.b=2"))
            .unwrap();
    let expected = r#"{"name": "web", "health": {"command": ["up"], "interval": "5s", "retries": 2}, "cap_add": ["MKNOD"],
        "tmpfs": ["/a"], "logging": {"driver": "local", "options": {"max-size": "1m", "max-file": "2"}},
        "sysctls": {"net.a": "1", "net.b": "2"}}"#;
    assert_eq!(found, serde_json::from_str(expected).unwrap());
    let other_driver = spec(&format!("run --file {path} --log-driver none --no-healthcheck")).unwrap();
    assert!(other_driver.logging.unwrap().options.is_empty() && other_driver.health.unwrap().disabled);
    let again = file(r#"{"name": "web", "health": {"disabled": true}}"#);
    let health = spec(&format!("run --file {} --health-cmd up", again.1)).unwrap().health.unwrap();
    assert!(!health.disabled && health.command.is_some());
}

#[test]
fn options_take_the_place_of_what_a_file_says() {
    let (_place, path) = file(
        r#"{"name": "old", "memory": 64, "environment": {"A": "1", "B": "2"}, "args": ["x"], "type": "unique",
            "bind_ports": [{"container_port": 1}], "restart_policy": {"name": "always"}}"#,
    );
    let found = spec(&format!("run --file {path} --name new --env B=3 --port 2 -- y")).unwrap();
    assert_eq!((found.name.as_str(), found.memory.unwrap().mb()), ("new", 64));
    assert_eq!(found.environment["A"], "1");
    assert_eq!(found.environment["B"], "3");
    assert_eq!(found.args, ["y"]);
    assert_eq!(found.bind_ports.len(), 1);
    assert_eq!(found.bind_ports[0].container_port, 2);
    assert_eq!((found.kind, found.restart_policy), (ContainerType::Unique, RestartPolicy::Always));
}

#[test]
fn the_name_may_be_in_the_file_or_beside_it() {
    let (_place, path) = file(r#"{"name": "web"}"#);
    assert_eq!(spec(&format!("run --file {path}")).unwrap().name.as_str(), "web");
    let (_place, path) = file(r#"{"memory": 64}"#);
    assert_eq!(spec(&format!("run --file {path} --name web")).unwrap().name.as_str(), "web");
    assert_eq!(spec(&format!("run --file {path}")).unwrap_err().status(), Status::Usage);
}

#[test]
fn user_data_comes_from_a_file_after_an_at_sign() {
    let (_place, path) = file("line one\nline two\n");
    let found = spec(&format!("run --name web --user-data @{path}")).unwrap();
    assert_eq!(found.user_data.as_deref(), Some("line one\nline two\n"));
    assert_eq!(spec("run --name web --user-data @/does/not/exist").unwrap_err().status(), Status::Usage);
}

#[test]
fn what_no_server_would_take_is_refused_here() {
    let (_place, unknown) = file(r#"{"name": "web", "memroy": 64}"#);
    let (_place, no_object) = file("[]");
    for line in [
        "run --name web --memory 1",
        "run --name web --network host --port 80",
        "run --name web --type host",
        "run --name web --volume relative",
        "run --name web --tmpfs relative",
        "run --name web --shm-size 0m",
        "run --name web --pids-limit 0",
        "run --name web --sysctl vm.swappiness=1",
        &format!("run --file {unknown}"),
        &format!("run --file {no_object}"),
    ] {
        assert_eq!(spec(line).unwrap_err().status(), Status::Usage, "{line}");
    }
}

#[test]
fn values_that_are_free_text_may_begin_with_a_hyphen() {
    let token = parse("engines --token -abc").unwrap().global.token;
    assert_eq!(token.as_deref(), Some("-abc"));
    assert_eq!(spec("run --name web --user-data -----BEGIN").unwrap().user_data.as_deref(), Some("-----BEGIN"));
    for line in [
        "--token --abc engines",
        "aadd --name bob --password -secret",
        "rladd --user -robot",
        "eadd --id a --addr tcp://host --registry-user -robot",
        "run --name web --key -deploy",
        "scale a 2 --key --deploy",
        "deploy --message -m",
    ] {
        assert!(parse(line).is_ok(), "{line:?} was refused");
    }
}

#[test]
fn wrong_usage_is_told_by_the_parser() {
    for line in [
        "",
        "nonsense",
        "run",
        "run --name WEB",
        "run --name web --pull",
        "run --name web --pull maybe",
        "run --name web --count 0",
        "run --name web --count 10001",
        "run --name web --port 80:",
        "run --name web --port tcp/::99999",
        "run --name web --env A",
        "run --name web --restart never",
        "run --name web --type gang",
        "run --name web --memory lots",
        "run --name web --shm-size 64",
        "run --name web --cap-add ROOT",
        "run --name web --ulimit nofile",
        "run --name web --stop-signal NOTHING",
        "run --name web --health-interval 5",
        "destroy",
        "stop",
        "stop a --timeout 3601",
        "scale a",
        "scale a -1",
        "scale a 10001",
        "containers --managed --limit 2",
        "log",
        "log a --since yesterday",
        "events 0",
        "events 10001",
        "engine",
        "eadd --id a",
        "eadd --id a --addr host:2375",
        "eadd --id a/b --addr tcp://host",
        "eadd --id a --addr https://host --tls-ca ca.pem",
        "eadd --id a --addr tcp://host --registry-server r",
        "rladd --server r.example.org",
        "rldelete",
        "aadd --name a --password b --password-stdin",
        "pull",
        "completion powershell",
        "app",
        "app show",
        "app show Shop",
        "app diff shop 3",
        "app rollback shop last",
        "app scale shop/web",
        "app scale shop/ 2",
        "app scale shop/web -1",
        "app restart shop/web",
        "app rollout shop --timeout 5",
        "deploy --var VERSION",
        "deploy --image web",
        "deploy --image =shop:1",
        "heal",
        "host",
        "host lost",
        "reconcile",
        "containers --output yaml",
        "containers --insecure",
    ] {
        match parse(line) {
            Err(error) => assert!(error.use_stderr() && error.exit_code() == 2, "{line}"),
            Ok(cli) => panic!("{line:?} was taken as {cli:?}"),
        }
    }
}

#[test]
fn an_engine_is_described_in_full() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| {
        let path = place.path().join(name);
        std::fs::write(&path, name).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let line = format!(
        "eadd --id far --addr https://far:2376 --cpus 3.5 --memory 2048 --label ssd --label eu --tls-ca {} --tls-cert {} \
         --tls-key {}",
        path("ca"),
        path("cert"),
        path("key")
    );
    let Command::Eadd(arguments) = parse(&line).unwrap().command else { panic!("not eadd") };
    let expected = r#"{"id": "far", "addr": "https://far:2376", "cpus": 3.5, "memory": 2048, "labels": ["ssd", "eu"],
        "tls": {"ca_cert": "ca", "cert": "cert", "key": "key"}}"#;
    assert_eq!(arguments.into_spec().unwrap(), serde_json::from_str(expected).unwrap());
}

#[test]
fn long_names_mean_the_same_as_short_ones() {
    assert!(matches!(parse("list-containers --all").unwrap().command, Command::Containers { all: true, .. }));
    assert!(matches!(parse("logs a -f").unwrap().command, Command::Log(arguments) if arguments.follow));
    assert!(matches!(parse("shell-completion bash").unwrap().command, Command::Completion { .. }));
    let with_alias = Cli::command().get_subcommands().filter(|sub| sub.get_visible_aliases().count() > 0).count();
    assert_eq!(with_alias, 32);
}
