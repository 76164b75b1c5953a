use super::layer::Settings;
use super::*;

fn of(arguments: &[&str]) -> Result<Config, ConfigError> {
    let arguments = std::iter::once("paas-server").chain(arguments.iter().copied());
    let flags: Flags = parse(arguments)?;
    let settings = match &flags.config {
        Some(path) => flags.settings.or(layer::read(path)?),
        None => flags.settings,
    };
    Config::of(settings, None)
}

fn file(content: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

fn with_file(content: &str, arguments: &[&str]) -> Result<Config, ConfigError> {
    let file = file(content);
    let mut all = vec!["--config", file.path().to_str().unwrap()];
    all.extend(arguments);
    of(&all)
}

#[test]
fn without_any_setting_it_serves_this_machine() {
    let config = of(&[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:5002");
    assert_eq!(config.registry.as_str(), "embedded:");
    let store = config.store_url();
    assert!(store.as_str().starts_with("sqlite:/") && store.as_str().ends_with("/paas.db"));
    assert_eq!((config.weights.cpu, config.weights.memory, config.overbooking), (65.0, 35.0, 1.0));
    let EnginesAtStart::IfNoneIsKnown(engine) = config.engines else { panic!("{:?}", config.engines) };
    assert_eq!((engine.id.as_str(), engine.addr.to_string().as_str()), ("local", "unix:///var/run/docker.sock"));
}

#[test]
fn nothing_that_is_printed_holds_the_password_of_the_store() {
    let config = of(&["--store", "rethinkdb://paas:hush@db/paas"]).unwrap();
    assert_eq!(config.store_url().as_str(), "rethinkdb://paas:hush@db/paas");
    assert!(config.to_string().contains("store = \"rethinkdb://paas:***@db/paas\""), "{config}");
    assert!(!format!("{config} {config:?}").contains("hush"));
}

#[test]
fn the_file_says_what_the_flags_do_not() {
    let content = r#"
        listen = "127.0.0.1:1"
        engine = ["a=sim://a", "b=sim://b"]
        body_limit = "2M"
        token_ttl = 60
        scheduler = "binpack"
        log_format = "json"
    "#;
    let config = with_file(content, &["--listen", "127.0.0.1:2", "--scheduler", "spread"]).unwrap();
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.scheduler, SchedulerName::Spread);
    assert_eq!(config.body_limit, 2 << 20);
    assert_eq!(config.token_ttl, Duration::from_secs(60));
    assert_eq!(config.log_format, LogFormat::Json);
    assert!(matches!(&config.engines, EnginesAtStart::Named(engines) if engines.len() == 2));
}

#[test]
fn engines_named_by_flags_replace_what_the_file_says_of_engines() {
    let named = with_file("no_engine = true", &["--engine", "a=sim://a"]).unwrap();
    assert!(matches!(named.engines, EnginesAtStart::Named(_)));
    let none = with_file(r#"engine = ["a=sim://a"]"#, &["--no-engine"]).unwrap();
    assert_eq!(none.engines, EnginesAtStart::None);
}

#[test]
fn a_wrong_file_is_refused_and_the_key_is_named() {
    for (content, named) in [
        ("lisen = 1", "lisen"),
        ("listen = 1", "listen"),
        ("scheduler = \"random\"", "random"),
        ("token_ttl = \"soon\"", "soon"),
        ("admin_password = \"x\"", "admin_password"),
        ("listen = ", "line 1"),
    ] {
        let error = with_file(content, &[]).unwrap_err().to_string();
        assert!(error.contains(named), "{content}: {error}");
    }
    let missing = of(&["--config", "/nowhere/at/all.toml"]).unwrap_err();
    assert!(matches!(missing, ConfigError::File { .. }), "{missing}");
}

#[test]
fn a_certificate_opens_the_server_to_the_network() {
    let config = of(&["--tls-cert", "c.pem", "--tls-key", "k.pem"]).unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:5002");
    let config = of(&["--tls-cert", "c.pem", "--tls-key", "k.pem", "--listen", "[::1]:1"]).unwrap();
    assert_eq!(config.listen.to_string(), "[::1]:1");
}

#[test]
fn what_cannot_be_is_refused_with_its_name() {
    for (arguments, named) in [
        (&["--tls-cert", "c.pem"][..], "tls-key"),
        (&["--tls-key", "k.pem"], "tls-cert"),
        (&["--engine", "nonsense"], "ID=ADDRESS"),
        (&["--engine", "a b=sim://a"], "engine"),
        (&["--engine", "a=ftp://a"], "ftp"),
        (&["--engine", "a=sim://a", "--no-engine"], "no-engine: is given together with --engine"),
        (&["--overbooking", "0.5"], "overbooking"),
        (&["--overbooking", "NaN"], "overbooking"),
        (&["--cpu-weight=-1"], "cpu-weight"),
        (&["--cpu-weight", "0", "--memory-weight", "0"], "cpu-weight and memory-weight: are both 0"),
        (&["--token-ttl", "0"], "token-ttl"),
        (&["--body-limit", "10"], "body-limit"),
        (&["--max-connections", "3"], "max-connections"),
        (&["--listen", "here"], "listen"),
        (&["--scheduler", "random"], "scheduler"),
        (&["--container-log-size", "100k"], "container-log-size"),
        (&["--container-log-files", "0"], "container-log-files"),
        (&["--app-subnets", "10.0.0.0/30"], "app-subnets"),
        (&["--probe", "smoke"], "ping, tcp or icmp"),
        (&["--probe-interval", "1ms"], "probe-interval"),
        (&["--probe-timeout", "2h"], "probe-timeout"),
        (&["--probe-misses", "0"], "probe-misses"),
        (&["--unknown"], "--unknown"),
        (&["--advertise", "http://here:1"], "sqlite: serves one server only"),
        (&["--advertise", "here:1", "--store", "etcd://e", "--registry", "etcd://e"], "as in https://paas-1:5002"),
        (&["--advertise", "http://0.0.0.0:1", "--store", "etcd://e", "--registry", "etcd://e"], "others reach"),
        (&["--advertise", "http://a:1", "--store", "etcd://e"], "embedded: serves one server only"),
        (&["--leader-lease", "3s"], "give --advertise"),
        (&["--peer-ca", "ca.pem"], "give --advertise"),
        (&["--advertise", "http://a:1", "--leader-lease", "1s"], "leader-lease"),
    ] {
        let error = of(arguments).unwrap_err().to_string();
        assert!(error.contains(named), "{arguments:?}: {error}");
    }
}

#[test]
fn docker_host_is_the_engine_of_a_server_that_knows_none() {
    let config = Config::of(Settings::default(), Some("tcp://10.0.0.1:2375".to_owned())).unwrap();
    assert!(matches!(config.engines, EnginesAtStart::IfNoneIsKnown(engine) if engine.addr.place() == "10.0.0.1:2375"));
    let error = Config::of(Settings::default(), Some("ssh://somewhere".to_owned())).unwrap_err().to_string();
    assert!(error.contains("DOCKER_HOST") && error.contains("--engine"), "{error}");
}

#[test]
fn what_is_printed_can_be_given_back() {
    let line = "--listen 127.0.0.1:7 --engine a=sim://a,b=sim://b --overbooking 1.5 --log debug --probe icmp \
        --store etcd://e --registry etcd://e --advertise https://a:5002/ --leader-lease 5s --peer-ca ca.pem \
        --container-log-size 5M --container-log-files 2 --probe-interval 500ms --probe-timeout 2s --probe-misses 3 \
         --record-exec-events --max-connections 77 --app-subnets 10.9.0.0/20";
    let config = of(&line.split_whitespace().collect::<Vec<_>>()).unwrap();
    let again = with_file(&config.to_string(), &[]).unwrap();
    assert_eq!(again, Config { store: Some(config.store_url()), ..config });
}

#[test]
fn output_of_containers_is_kept_up_to_a_size_or_as_docker_likes() {
    let three_of_ten = LogRotation { max_size_mb: 10, max_files: 3 };
    assert_eq!(of(&[]).unwrap().log_rotation, Some(three_of_ten));
    let set = with_file("container_log_size = \"20M\"", &["--container-log-files", "2"]).unwrap().log_rotation;
    assert_eq!(set, Some(LogRotation { max_size_mb: 20, max_files: 2 }));
    let left_to_docker = of(&["--container-log-size", "0"]).unwrap();
    assert_eq!(left_to_docker.log_rotation, None);
    assert_eq!(with_file(&left_to_docker.to_string(), &[]).unwrap().log_rotation, None);
}

#[test]
fn what_is_run_inside_of_containers_is_recorded_only_when_asked_for() {
    assert!(!of(&[]).unwrap().record_exec_events);
    assert!(of(&["--record-exec-events"]).unwrap().record_exec_events);
    assert!(with_file("record_exec_events = true", &[]).unwrap().record_exec_events);
    assert!(!with_file("record_exec_events = true", &["--record-exec-events=false"]).unwrap().record_exec_events);
}

#[test]
fn events_are_kept_for_a_time_and_up_to_a_number() {
    let default = of(&[]).unwrap().retention;
    assert_eq!((default.max_age, default.max_count), (Some(Duration::from_secs(90 * 86_400)), Some(200_000)));
    let set = with_file("event_max_count = 5\nevent_max_age = \"1d\"", &["--event-max-age", "2h"]).unwrap().retention;
    assert_eq!((set.max_age, set.max_count), (Some(Duration::from_secs(7200)), Some(5)));
    let none = of(&["--event-max-age", "0", "--event-max-count", "0"]).unwrap().retention;
    assert_eq!((none.max_age, none.max_count), (None, None));
}

#[test]
fn the_policy_is_strict_unless_it_is_told_otherwise() {
    let strict = of(&[]).unwrap().policy;
    assert!(strict.host_paths.is_empty() && !strict.host_network && !strict.unix_engines && !strict.simulated_engines);
    let open = of(&["--allow-host-paths", "/srv,/data", "--allow-host-network", "--allow-simulated"]).unwrap().policy;
    assert_eq!(open.host_paths, ["/srv", "/data"]);
    assert!(open.host_network && open.simulated_engines && !open.unix_engines);
    let by_file = with_file("allow_host_paths = [\"/srv\"]\nallow_unix_engines = true", &[]).unwrap().policy;
    assert!(by_file.unix_engines && by_file.host_paths == ["/srv"]);
    let Policy { capabilities, devices, sysctls, log_drivers, .. } = strict;
    assert!(capabilities.is_empty() && devices.is_empty() && sysctls.is_empty() && log_drivers.is_empty());
    let flags = [
        "--allow-capabilities",
        "cap_net_admin,SYS_TIME",
        "--allow-devices",
        "/dev/fuse",
        "--allow-log-drivers",
        "gelf",
    ];
    let flags = [&flags[..], &["--allow-sysctls", "net.core.somaxconn,net.ipv4.*"]].concat();
    let Policy { capabilities, devices, sysctls, log_drivers, .. } = of(&flags).unwrap().policy;
    assert_eq!(capabilities.iter().map(|one| one.as_str()).collect::<Vec<_>>(), ["NET_ADMIN", "SYS_TIME"]);
    assert_eq!((devices.as_slice(), log_drivers.as_slice()), (&["/dev/fuse".to_owned()][..], &["gelf".to_owned()][..]));
    assert_eq!(sysctls, ["net.core.somaxconn", "net.ipv4.*"]);
    assert!(
        of(&["--allow-capabilities", "ROOT"]).is_err() && with_file("allow_capabilities = [\"ROOT\"]", &[]).is_err()
    );
    assert!(of(&["--allow-devices", "fuse"]).unwrap_err().to_string().contains("allow-devices"));
    for wrong in ["srv", "/srv/../etc", ""] {
        let error = of(&["--allow-host-paths", wrong]).unwrap_err().to_string();
        assert!(error.contains("allow-host-paths"), "{error}");
    }
}
