//! Ports: what is published, and what other components reach.

use std::net::IpAddr;

use super::Wrong;
use super::fields::Field;
use super::service::Service;
use super::values::port_range;
use crate::model::{BindPort, Protocol};

/// The most ports of one range.
const MAX_RANGE: usize = 1000;

/// What one entry of `ports` says.
#[derive(Debug, Default)]
struct Published {
    protocol: Protocol,
    ip: Option<IpAddr>,
    /// First and last port of the host.
    host: Option<(u16, u16)>,
    /// First and last port inside.
    container: (u16, u16),
    /// What the port is called.
    name: Option<String>,
}

impl Service<'_, '_> {
    pub(super) fn ports(&mut self) -> Result<(), Wrong> {
        for field in self.fields.take("ports").map_or(Ok(Vec::new()), Field::list)? {
            let port = if field.is_map() { detailed(&field)? } else { short(&field)? };
            self.publish(&field, port)?;
        }
        for field in self.fields.take("expose").map_or(Ok(Vec::new()), Field::list)? {
            let text = field.text()?;
            let (ports, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
            let (first, last) = port_range(ports).map_err(|message| field.wrong(message))?;
            if protocol == "tcp" && usize::from(last - first) < MAX_RANGE {
                (first..=last).for_each(|port| self.reached(port, None));
            }
        }
        Ok(())
    }

    fn publish(&mut self, field: &Field, port: Published) -> Result<(), Wrong> {
        let Published { protocol, ip, host, container: (first, last), name } = port;
        if usize::from(last - first) >= MAX_RANGE {
            return Err(field.wrong(format!("is a range of more than {MAX_RANGE} ports")));
        }
        let host_first = match host {
            Some((host_first, host_last)) if host_last - host_first == last - first => Some(host_first),
            Some(_) if first == last => {
                self.importer
                    .refuse(field, "one port of the host out of a range is not chosen; name one, or none for any");
                None
            }
            Some(_) => return Err(field.wrong("has ranges of different lengths")),
            None => None,
        };
        for container_port in first..=last {
            let host_port = host_first.map(|host| host + (container_port - first));
            let port = BindPort { proto: protocol, host_ip: ip, host_port, container_port };
            self.component.publish.push(written(&port));
            if protocol == Protocol::Tcp {
                self.reached(container_port, name.clone());
            }
        }
        Ok(())
    }

    /// Notes a port that other components reach. The first without a name is the one that routes and health checks take.
    fn reached(&mut self, port: u16, name: Option<String>) {
        let component = &mut self.component;
        if component.port == Some(port) || component.ports.values().any(|&known| known == port) {
            return;
        }
        match name {
            Some(name) => drop(component.ports.insert(name, port)),
            None if component.port.is_none() => component.port = Some(port),
            None => drop(component.ports.insert(format!("port-{port}"), port)),
        }
    }
}

/// `[[IP:][HOST]:]CONTAINER[/PROTOCOL]`.
fn short(field: &Field) -> Result<Published, Wrong> {
    let text = field.text()?;
    let wrong = |message: String| field.wrong(message);
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((&text, "tcp"));
    let protocol = protocol.parse().map_err(|invalid: crate::model::Invalid| wrong(invalid.to_string()))?;
    let (rest, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (ip, host) = rest.rsplit_once(':').unwrap_or(("", rest));
    let host = if host.is_empty() { None } else { Some(port_range(host).map_err(wrong)?) };
    let ip = if ip.is_empty() { None } else { Some(address(ip).map_err(wrong)?) };
    Ok(Published { protocol, ip, host, container: port_range(container).map_err(wrong)?, name: None })
}

/// `{target, published, host_ip, protocol, name}`.
fn detailed(field: &Field) -> Result<Published, Wrong> {
    let mut fields = field.clone().fields()?;
    let target = fields.take("target").ok_or_else(|| field.wrong("has no target, which is the port inside"))?;
    let mut port = Published { container: target.parsed(port_range)?, ..Published::default() };
    if let Some(published) = fields.take("published").filter(|field| field.text().is_ok_and(|text| !text.is_empty())) {
        port.host = Some(published.parsed(port_range)?);
    }
    port.ip = fields.take("host_ip").map(|ip| ip.parsed(address)).transpose()?;
    if let Some(protocol) = fields.take("protocol") {
        port.protocol = protocol.parsed(str::parse)?;
    }
    port.name = fields.take("name").map(|name| name.text()).transpose()?;
    // Each replica publishes on its host, in either mode.
    fields.take("mode");
    fields.take("app_protocol");
    fields.end()?;
    Ok(port)
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.trim_matches(['[', ']']).parse().map_err(|_| format!("must be an IP address, not {text:?}"))
}

/// As short as it can be written.
fn written(port: &BindPort) -> String {
    match port {
        BindPort { proto: Protocol::Tcp, host_ip: None, host_port: None, container_port } => container_port.to_string(),
        BindPort { proto: Protocol::Tcp, host_ip: None, host_port: Some(host), container_port } => {
            format!("{host}:{container_port}")
        }
        BindPort { proto: Protocol::Tcp, .. } => port.to_string().trim_start_matches("tcp/").to_owned(),
        _ => port.to_string(),
    }
}
