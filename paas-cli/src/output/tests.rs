use paas_core::model::{Account, ClusterInfo, Container, Engine, Event};
use paas_core::wire::app::{AppPlan, AppStatus, AppSummary, FieldChange, RevisionSummary};
use serde::de::DeserializeOwned;

use super::{apps, details, one_line, tables};

fn read<T: DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

const CONTAINERS: &str = r#"[
    {"id": "714e01115f7600000000", "name": "/backstabbing_elion", "state": "running", "created": "2026-01-31T12:00:00.5Z",
     "managed": true, "image": {"name": "httpd", "cpus": 0.5, "memory": 100},
     "engine": {"id": "local", "addr": "unix:///var/run/docker.sock", "cpus": 4, "memory": 8192, "labels": []},
     "ports": [{"proto": "tcp", "host_ip": "0.0.0.0", "port": 32768, "container_port": 80},
               {"proto": "udp", "host_ip": "::1", "port": 53, "container_port": 53}]},
    {"id": "0123456789abcdef", "name": "/db", "state": "stopped", "created": "2026-01-31T12:00:00Z", "managed": false,
     "image": {"name": "registry.example:5000/shop/db:3", "args": ["--data", "a b", ""], "environment": {"A": "1"},
               "hostname": "db", "type": "host", "labels": ["host:sim-1"], "volumes": ["data:/data"],
               "links": {"cache": "c"}, "restart_policy": {"name": "on-failure", "maximum_retry": 3}, "user_data": "abc",
               "bind_ports": [{"container_port": 80}], "publish": true},
     "engine": {"id": "sim-1", "addr": "sim://one", "cpus": 4, "memory": 8192, "labels": [], "simulated": true}}]"#;

const ENGINES: &str = r#"[
    {"id": "local", "addr": "unix:///var/run/docker.sock", "cpus": 4, "memory": 8192, "reserved_cpus": 0.3,
     "reserved_memory": 96, "containers": 3, "labels": ["ssd", "eu"], "docker_version": "27.3.1", "draining": false,
     "tls": false, "health": {"status": "up", "response_time_ms": 3, "since": "2026-01-31T12:00:00Z"}},
    {"id": "sim-1", "addr": "sim://one", "cpus": 4, "memory": 8192, "reserved_cpus": 0, "reserved_memory": 0,
     "containers": 0, "labels": [], "docker_version": "simulated", "draining": true, "tls": false, "simulated": true,
     "health": {"status": "up", "since": "2026-01-31T12:00:00Z"}},
    {"id": "far", "addr": "https://far.example:2376", "cpus": 0, "memory": 0, "reserved_cpus": 0, "reserved_memory": 0,
     "containers": 0, "labels": [], "draining": false, "tls": true, "registry_user": "puller",
     "health": {"status": "down", "reason": "connection\nrefused", "since": "2026-01-31T12:00:00Z"}}]"#;

const EVENTS: &str = r#"[
    {"id": "01949e5a-0000-7000-8000-000000000002", "type": "run-container", "time": "2026-01-31T12:00:01.234Z",
     "message": "started httpd", "tags": [], "user": "admin", "engine": "local", "container": "714e01115f7600000000"},
    {"id": "01949e5a-0000-7000-8000-000000000001", "type": "login", "time": "2026-01-31T12:00:00Z",
     "message": "admin\tlogged in\u001b[31m", "tags": [], "user": "admin"}]"#;

#[test]
fn containers() {
    insta::assert_snapshot!(tables::containers(&read::<Vec<Container>>(CONTAINERS)));
}

#[test]
fn engines() {
    insta::assert_snapshot!(tables::engines(&read::<Vec<Engine>>(ENGINES)));
}

#[test]
fn events() {
    let events: Vec<Event> = read(EVENTS);
    insta::assert_snapshot!(tables::events(&events));
    let lines: Vec<_> = events.iter().rev().map(tables::event_line).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn accounts() {
    let accounts: Vec<Account> = read(
        r#"[{"id": "admin", "username": "admin", "role": "admin"}, {"id": "7", "username": "deployer", "role": "user"}]"#,
    );
    insta::assert_snapshot!(tables::accounts(&accounts));
    insta::assert_snapshot!(details::account(&accounts[1]));
}

#[test]
fn one_container_in_full() {
    let containers: Vec<Container> = read(CONTAINERS);
    insta::assert_snapshot!(details::container(&containers[0]));
    insta::assert_snapshot!(details::container(&containers[1]));
}

#[test]
fn what_goes_to_docker_as_it_is_is_shown_as_well() {
    let mut containers: Vec<Container> = read(CONTAINERS);
    let spec = r#"{"name": "web", "user": "1000", "init": false, "read_only": true, "tmpfs": ["/run", "/t:size=1m"],
        "shm_size": 32, "cap_add": ["NET_ADMIN", "MKNOD"], "cap_drop": ["ALL"], "ulimits": {"nofile": {"soft": 1, "hard": 2}},
        "sysctls": {"net.ipv4.ip_local_port_range": "1024 65000"}, "extra_hosts": ["db:10.0.0.5"], "logging": {"driver": "local",
        "options": {"max-size": "1m"}}, "devices": ["/dev/fuse"], "memory_reservation": 32, "pids_limit": 100,
        "stop_signal": "SIGINT", "stop_timeout": 30, "health": {"command": ["pg_isready", "-d", "a b"], "interval": "90s",
        "retries": 3}, "docker_labels": {"org.example": "x"}}"#;
    containers[0].image = std::sync::Arc::new(read(spec));
    insta::assert_snapshot!(details::container(&containers[0]));
}

#[test]
fn one_engine_in_full() {
    let engines: Vec<Engine> = read(ENGINES);
    insta::assert_snapshot!(details::engine(&engines[0]));
    insta::assert_snapshot!(details::engine(&engines[2]));
}

#[test]
fn what_a_host_warns_of_is_shown_with_its_engine() {
    let mut engines: Vec<Engine> = read(ENGINES);
    engines[0].warnings = vec!["WARNING: No swap limit support".to_owned(), "no IPv6".to_owned()];
    let shown = details::engine(&engines[0]);
    assert_eq!(shown.lines().last().unwrap(), "WARNINGS    WARNING: No swap limit support; no IPv6");
}

#[test]
fn the_cluster_in_full() {
    let info: ClusterInfo = read(
        r#"{"cpus": 8, "memory": 16384, "reserved_cpus": 0.3, "reserved_memory": 96, "used_cpus": 0.123456, "used_memory": 40,
            "container_count": 5, "running_count": 3, "unknown_count": 2, "engine_count": 3, "engines_up": 2, "image_count": 4,
            "simulated_count": 1, "version": "0.1.0"}"#,
    );
    insta::assert_snapshot!(details::cluster(&info));
    let one_of_several = ClusterInfo { leader: Some("https://two.example:8080".to_owned()), ..info };
    insta::assert_snapshot!(details::cluster(&one_of_several));
}

#[test]
fn a_list_of_nothing_is_its_headers() {
    assert_eq!(tables::containers(&[]), "ID  NAME  IMAGE  ENGINE  STATE  PORTS  CPUS  MEMORY");
}

#[test]
fn a_terminal_is_not_made_to_obey() {
    assert_eq!(one_line("\u{1b}[31mred\nline\r\n"), " [31mred line");
}

const PLAN: &str = r#"{"app": "shop", "base": 3,
    "changes": [
        {"field": "component.web.image", "old": "shop:1.8", "new": "shop:1.9", "new_containers": true},
        {"field": "component.web.replicas", "old": "2", "new": "3", "new_containers": false},
        {"field": "component.web.env.DATABASE_URL", "old": "postgres://shop:shop@db.example.org:5432/shop",
         "new": "postgres://shop:shop@db-1.example.org:5432/shop", "new_containers": true},
        {"field": "component.cache", "new": "", "new_containers": false},
        {"field": "component.mail", "old": "", "new_containers": false}],
    "steps": [
        {"action": "create web.1.2 on node-a, revision 4", "cause": "image changed", "choice": "score 12; next node-b with 10"},
        {"action": "create cache.1.1 on node-b, revision 4", "cause": "nothing fills the slot yet", "adds": true},
        {"action": "wait mail.1",
         "cause": "every other component is to be ready before what left the file is taken away from the hosts", "waits": true}],
    "drift": ["web.2 on node-b: it was stopped by hand"],
    "refused": ["component.search: image registry.example.org/search:7 is not known to the registry, and no host has it; push it first"],
    "notes": ["component.web.health is kept and has no effect yet"]}"#;

#[test]
fn a_plan() {
    let plan: AppPlan = read(PLAN);
    insta::assert_snapshot!(apps::plan(&plan));
    let mut plan = AppPlan { base: 0, changes: vec![], drift: vec![], refused: vec![], notes: vec![], ..plan };
    assert_eq!(apps::plan(&plan).lines().next(), Some("shop: revision 1, the first"));
    plan.base = 3;
    assert_eq!(apps::plan(&plan).lines().next(), Some("shop: revision 3, as it is"));
    plan.steps.clear();
    assert_eq!(apps::plan(&plan), "shop is up to date (revision 3)");
    plan.base = 0;
    assert_eq!(apps::plan(&plan), "shop: no revision");
    plan.base = 3;
    plan.refused = vec!["component.web.image: no:1 is on no host".to_owned()];
    let refused =
        "shop: nothing of it can be applied to revision 3\nrefused\n  component.web.image: no:1 is on no host";
    assert_eq!(apps::plan(&plan), refused);
}

#[test]
fn a_plan_does_not_make_a_terminal_obey() {
    let change: FieldChange =
        read(r#"{"field": "component.web.env.A", "old": "\u001b[31m", "new": "a\nb", "new_containers": true}"#);
    let shown = apps::changes(&[change]);
    assert_eq!(shown, "  ~ component.web.env.A   [31m → a b   new containers");
}

const APP: &str = r#"{"name": "shop", "state": "degraded", "revision": 4, "ready": 2, "replicas": 4, "components": ["db", "web"],
    "changed": "2026-01-31T12:00:00.5Z",
    "last_rollout": {"to": 4, "outcome": "stopped", "ended": "2026-01-31T12:15:00Z",
        "why": "web.3 did not become ready within 10 min, and the component says that nothing is rolled back"},
    "component": {
        "db": {"image": "postgres:17", "declared": 1, "ready": 1, "replicas": [
            {"slot": 1, "revision": 2, "engine": "node-a", "container": "0123456789abcdef", "name": "shop.db.1.1",
             "state": "ready"}]},
        "web": {"image": "registry.example.org/shop/web:1.9", "declared": 3, "ready": 1, "replicas": [
            {"slot": 1, "revision": 4, "engine": "node-a", "container": "714e01115f76", "name": "shop.web.1.2",
             "state": "ready", "ports": ["8443 → 10.0.0.1:8443"]},
            {"slot": 2, "revision": 4, "engine": "node-b", "container": "714e01115f77", "name": "shop.web.2.2",
             "state": "starting", "reason": "healthy, and watched before it takes traffic"},
            {"slot": 3, "state": "pending", "reason": "no engine has room: 1 of 2 engines has too little memory (256 MB), 1 of 2 is drained"}]}},
    "notes": ["web: others go first"]}"#;

#[test]
fn applications() {
    let app: AppStatus = read(APP);
    let list: Vec<AppSummary> = vec![app.summary.clone()];
    insta::assert_snapshot!(apps::list(&list));
    insta::assert_snapshot!(apps::status(&app));
    insta::assert_snapshot!(apps::rollout(&app));
}

#[test]
fn a_rollout_that_is_under_way() {
    let mut app: AppStatus = read(APP);
    app.rollout = Some(read(
        r#"{"to": 5, "reason": "rollback", "why": "web.3 did not become ready", "started": "2026-01-31T12:00:00Z"}"#,
    ));
    insta::assert_snapshot!(apps::rollout(&app));
    (app.rollout, app.last_rollout) = (None, None);
    assert_eq!(apps::rollout(&app), "there was no rollout of shop yet");
}

#[test]
fn revisions() {
    let revisions: Vec<RevisionSummary> = read(
        r#"[{"revision": 4, "created": "2026-01-31T12:00:00.5Z", "user": "anna", "message": "new checkout for the spring sale",
             "images": {"db": "postgres:17", "web": "registry.example.org/shop/web:1.9"}, "current": true},
            {"revision": 3, "created": "2026-01-30T12:00:01Z", "message": "rolled back from 2",
             "images": {"db": "postgres:17", "web": "shop:1.8"}, "current": false},
            {"revision": 2, "created": "2026-01-30T12:00:00Z", "user": "anna",
             "images": {"db": "postgres:17", "web": "shop:1.8.1"}, "current": false},
            {"revision": 1, "created": "2026-01-29T12:00:00Z", "user": "anna",
             "images": {"db": "postgres:17", "web": "shop:1.8"}, "current": false}]"#,
    );
    insta::assert_snapshot!(apps::history(&revisions));
}

#[test]
fn an_image_of_a_revision_is_not_shown_as_another_one() {
    let images = |images: &str| {
        let revision =
            format!(r#"[{{"revision": 1, "created": "2026-01-29T12:00:00Z", "images": {images}, "current": false}}]"#);
        let shown = apps::history(&read::<Vec<RevisionSummary>>(&revision));
        shown.lines().last().unwrap().split_whitespace().nth(3).unwrap().to_owned()
    };
    assert_eq!(images(r#"{"web": "nosuch:1/x:1"}"#), "web=nosuch:1/x:1");
    assert_eq!(images(r#"{"web": "nosuch.local:1/x:1"}"#), "web=…/x:1");
    assert_eq!(images(r#"{"db": "postgres:17", "web": "reg.io/shop:1"}"#), "db=postgres:17,web=…");
}

#[test]
fn what_is_shown_of_applications_fits_a_terminal() {
    let (plan, app): (AppPlan, AppStatus) = (read(PLAN), read(APP));
    for text in [apps::plan(&plan), apps::status(&app), apps::list(&[app.summary])] {
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
