//! Filters: which engines could take a container at all.

use super::{EngineState, PlacementRequest, Reason};
use crate::model::{ContainerType, EngineStatus, Resources};

/// What the filters say of one engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It can take one more container.
    Fits,
    /// It cannot, and this is the first reason.
    No(Reason),
}

impl Verdict {
    /// Whether it can take one more container.
    pub fn fits(&self) -> bool {
        *self == Self::Fits
    }
}

/// Asks all filters about one engine, in a fixed order: answers, is not excluded, is not draining, host, labels, unique,
/// network, the CPUs that it has, host ports, CPU, memory.
pub fn judge(engine: &EngineState, request: &PlacementRequest) -> Verdict {
    match first_reason(engine, request) {
        Some(reason) => Verdict::No(reason),
        None => Verdict::Fits,
    }
}

fn first_reason(engine: &EngineState, request: &PlacementRequest) -> Option<Reason> {
    if engine.status != EngineStatus::Up {
        return Some(Reason::NotUp(engine.status));
    }
    if request.only.as_ref().is_some_and(|only| *only != engine.id) {
        return Some(Reason::Elsewhere);
    }
    if request.except.contains(&engine.id) {
        return Some(Reason::RuledOut);
    }
    if engine.draining {
        return Some(Reason::Draining);
    }
    if request.kind == ContainerType::Host && !is_asked_host(engine, request) {
        return Some(Reason::OtherHost);
    }
    if request.kind.needs_labels()
        && let Some(label) = request.labels.iter().find(|label| !engine.labels.contains(*label))
    {
        return Some(Reason::LacksLabel(label.clone()));
    }
    if request.kind.needs_unique() && engine.images.contains_key(&request.image) {
        return Some(Reason::HasImage);
    }
    if let Some(network) = request.network.as_ref().filter(|network| !engine.has_network(network)) {
        return Some(Reason::LacksNetwork(network.clone()));
    }
    if let Some(has) = engine.cpu_count.filter(|&has| has < request.needs_cpus()) {
        return Some(match request.highest_cpu.filter(|&highest| highest >= has) {
            Some(cpu) => Reason::LacksCpu { has, cpu },
            None => Reason::TooFewCpus { has, asked: request.cpu_limit.unwrap_or_default() },
        });
    }
    let taken = |port: &&crate::model::HostPort| engine.host_ports.iter().any(|other| other.conflicts_with(port));
    if let Some(port) = request.host_ports.iter().find(taken) {
        return Some(Reason::PortTaken(*port));
    }
    lack_of_room(engine, request)
}

pub(super) fn is_asked_host(engine: &EngineState, request: &PlacementRequest) -> bool {
    request.labels.iter().any(|label| label.strip_prefix("host:") == Some(engine.id.as_str()))
}

fn lack_of_room(engine: &EngineState, request: &PlacementRequest) -> Option<Reason> {
    let limit = limit(engine.total, request.overbooking);
    let asked = request.resources;
    if fits(limit, engine.reserved, asked) {
        return None;
    }
    let free = limit.saturating_sub(engine.reserved);
    if asked.cpus > free.cpus {
        return Some(Reason::Cpus { free: free.cpus, asked: asked.cpus });
    }
    Some(Reason::Memory { free: free.memory, asked: asked.memory })
}

/// Whether `asked` can be reserved beside `reserved` without going past `limit`, CPU and memory each on its own.
///
/// Nothing always fits, even where others have taken more than there is: it takes nothing from anybody.
fn fits(limit: Resources, reserved: Resources, asked: Resources) -> bool {
    let free = limit.saturating_sub(reserved);
    asked.cpus <= free.cpus && asked.memory <= free.memory
}

/// What may be reserved of `total`.
fn limit(total: Resources, overbooking: f64) -> Resources {
    if overbooking == 1.0 {
        return total;
    }
    let scaled = |amount: u64| (amount as f64 * overbooking) as u64;
    Resources {
        cpus: crate::model::Cpus::from_milli(scaled(total.cpus.milli())),
        memory: crate::model::MemoryMb::new(scaled(total.memory.mb())),
    }
}
