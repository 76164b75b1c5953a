//! Lists as tables.

use jiff::Timestamp;
use paas_core::auth::JoinToken;
use paas_core::model::{Account, BoundPort, Container, Engine, Event, ShownRegistryLogin};
use paas_core::wire::app::{SecretSummary, SecretVersion};

use super::table::with_headers;

pub(crate) fn containers(containers: &[Container]) -> String {
    let rows = containers.iter().map(|container| {
        let reserved = container.image.reserved();
        [
            container.id.short().to_owned(),
            container_name(container).to_owned(),
            container.image.name.to_string(),
            container.engine.id.to_string(),
            container_state(container),
            ports(&container.ports),
            reserved.cpus.to_string(),
            format!("{}MB", reserved.memory),
        ]
    });
    with_headers(["ID", "NAME", "IMAGE", "ENGINE", "STATE", "PORTS", "CPUS", "MEMORY"], rows)
}

pub(crate) fn engines(engines: &[Engine]) -> String {
    let rows = engines.iter().map(|engine| {
        [
            engine.id.to_string(),
            engine.addr.clone(),
            engine_status(engine),
            format!("{}/{}", engine.reserved_cpus, engine.cpus),
            format!("{}/{}MB", engine.reserved_memory, engine.memory),
            engine.containers.to_string(),
            engine.labels.join(","),
            engine.docker_version.clone().unwrap_or_default(),
        ]
    });
    with_headers(["ID", "ADDR", "STATUS", "CPUS", "MEMORY", "CONTAINERS", "LABELS", "VERSION"], rows)
}

pub(crate) fn events(events: &[Event]) -> String {
    with_headers(["TIME", "TYPE", "USER", "ENGINE", "CONTAINER", "MESSAGE"], events.iter().map(event_cells))
}

/// One event of a stream, in columns as wide as most need: how wide those to come will be is not known.
pub(crate) fn event_line(event: &Event) -> String {
    let [time, kind, user, engine, container, message] =
        event_cells(event).map(|text| super::one_line(if text.is_empty() { "-" } else { &text }));
    format!("{time:<20}  {kind:<17}  {user:<12}  {engine:<12}  {container:<12}  {message}")
}

fn event_cells(event: &Event) -> [String; 6] {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    [
        time(event.time),
        event.kind.to_string(),
        text(event.user.as_ref().map(|user| user.as_str())),
        text(event.engine.as_ref().map(|engine| engine.as_str())),
        text(event.container.as_ref().map(|container| container.short())),
        event.message.clone(),
    ]
}

pub(crate) fn accounts(accounts: &[Account]) -> String {
    let rows =
        accounts.iter().map(|account| [account.username.to_string(), account.role.to_string(), account.id.to_string()]);
    with_headers(["NAME", "ROLE", "ID"], rows)
}

pub(crate) fn join_tokens(tokens: &[JoinToken]) -> String {
    let rows = tokens.iter().map(|token| [token.id.clone(), time(token.created), token.created_by.clone()]);
    with_headers(["ID", "CREATED", "CREATED BY"], rows)
}

pub(crate) fn registry_logins(logins: &[ShownRegistryLogin]) -> String {
    with_headers(["SERVER", "USER"], logins.iter().map(|login| [login.server.clone(), login.username.clone()]))
}

/// A line for each value that is kept.
pub(crate) fn secrets(secrets: &[SecretSummary]) -> String {
    let of = |secret: &SecretSummary| {
        let row = |version: &SecretVersion| {
            let mark = if version.used { "*" } else { "" };
            let user = version.user.as_ref().map(ToString::to_string).unwrap_or_default();
            [secret.name.to_string(), format!("{}{mark}", version.version), time(version.created), user]
        };
        secret.versions.iter().map(row).collect::<Vec<_>>()
    };
    with_headers(["NAME", "VERSION", "SET", "USER"], secrets.iter().flat_map(of))
}

/// What a pull came to: image and engines.
pub(crate) fn pulled<'a>(image: &str, engines: impl IntoIterator<Item = &'a str>) -> String {
    with_headers(["ENGINE", "IMAGE"], engines.into_iter().map(|engine| [engine.to_owned(), image.to_owned()]))
}

/// Docker's name without the slash that it puts before it.
pub(super) fn container_name(container: &Container) -> &str {
    container.name.trim_start_matches('/')
}

/// A container on a simulated engine does not run, whatever its state says.
pub(super) fn container_state(container: &Container) -> String {
    marked(container.state.as_str(), [(container.engine.simulated, "simulated")])
}

pub(super) fn engine_status(engine: &Engine) -> String {
    marked(engine.health.status.as_str(), [(engine.simulated, "simulated"), (engine.draining, "draining")])
}

fn marked<const N: usize>(state: &str, marks: [(bool, &str); N]) -> String {
    let marks = marks.into_iter().filter(|&(on, _)| on).map(|(_, mark)| mark);
    std::iter::once(state).chain(marks).collect::<Vec<_>>().join(",")
}

pub(super) fn ports(ports: &[BoundPort]) -> String {
    let texts = ports.iter().map(|port| {
        let ip = port.host_ip.map(|ip| if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() });
        format!("{}:{}->{}/{}", ip.unwrap_or_default(), port.host_port, port.container_port, port.proto)
    });
    texts.collect::<Vec<_>>().join(",")
}

/// To the second, which is what people read.
pub(super) fn time(time: Timestamp) -> String {
    format!("{time:.0}")
}
