//! Why nothing was placed, in words.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use super::filter::is_asked_host;
use super::{EngineState, PlacementRequest, Snapshot, Verdict, judge};
use crate::model::{ContainerType, Cpus, EngineStatus, HostPort, MemoryMb};

/// Why one engine cannot take a container.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// It does not answer, or has not yet.
    NotUp(EngineStatus),
    /// It is not where the container has to be: beside one that it links to, or where it is already.
    Elsewhere,
    /// It was ruled out: the container was tried there already, or is not to be there.
    RuledOut,
    /// It is to get no new containers.
    Draining,
    /// It is not the host that the container asks for.
    OtherHost,
    /// It does not carry a label.
    LacksLabel(String),
    /// It has a container of that image already.
    HasImage,
    /// It does not have a network.
    LacksNetwork(String),
    /// It does not have the CPU of that number.
    LacksCpu {
        /// How many its daemon has.
        has: u32,
        /// The highest that was asked for, counted from 0.
        cpu: u32,
    },
    /// One container may not use as many CPUs there, whatever is free.
    TooFewCpus {
        /// How many its daemon has.
        has: u32,
        /// What was asked for.
        asked: Cpus,
    },
    /// A port of the host is taken.
    PortTaken(HostPort),
    /// Not enough CPU.
    Cpus {
        /// What is not reserved yet.
        free: Cpus,
        /// What was asked for.
        asked: Cpus,
    },
    /// Not enough memory.
    Memory {
        /// What is not reserved yet.
        free: MemoryMb,
        /// What was asked for.
        asked: MemoryMb,
    },
}

impl Reason {
    /// Place in a refusal.
    fn group(&self) -> (u8, String) {
        match self {
            Self::NotUp(status) => (0, status.to_string()),
            Self::Elsewhere => (1, String::new()),
            Self::RuledOut => (2, String::new()),
            Self::Draining => (3, String::new()),
            Self::OtherHost => (4, String::new()),
            Self::LacksLabel(label) => (5, label.clone()),
            Self::HasImage => (6, String::new()),
            Self::LacksNetwork(_) => (7, String::new()),
            Self::LacksCpu { has, .. } => (8, format!("{has:08}")),
            Self::TooFewCpus { has, .. } => (9, format!("{has:08}")),
            Self::PortTaken(port) => (10, port.to_string()),
            Self::Cpus { .. } => (11, String::new()),
            Self::Memory { .. } => (12, String::new()),
        }
    }

    /// Whether it is counted together with another.
    fn is_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::NotUp(mine), Self::NotUp(theirs)) => mine == theirs,
            (Self::LacksLabel(mine), Self::LacksLabel(theirs)) => mine == theirs,
            (Self::PortTaken(mine), Self::PortTaken(theirs)) => mine == theirs,
            // Of each size of host it is said what it has.
            (Self::LacksCpu { has: mine, .. }, Self::LacksCpu { has: theirs, .. })
            | (Self::TooFewCpus { has: mine, .. }, Self::TooFewCpus { has: theirs, .. }) => mine == theirs,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// Takes the place of another that is alike if that one is nearer to fitting.
    fn come_nearer(&mut self, other: Self) {
        match (&self, &other) {
            (Self::Cpus { free: mine, .. }, Self::Cpus { free: theirs, .. }) if theirs > mine => *self = other,
            (Self::Memory { free: mine, .. }, Self::Memory { free: theirs, .. }) if theirs > mine => *self = other,
            _ => {}
        }
    }

    /// What `count` engines have in common.
    fn describe(&self, count: usize, request: &PlacementRequest) -> String {
        let one = count == 1;
        let has = match (one, self) {
            (true, _) => "has",
            (false, Self::Cpus { .. } | Self::Memory { .. }) => "have at most",
            (false, _) => "have",
        };
        let is = if one { "is" } else { "are" };
        match self {
            Self::NotUp(status) => format!("{count} {status}"),
            Self::Elsewhere => format!("{count} {is} not where the container has to be"),
            Self::RuledOut => format!("{count} ruled out"),
            Self::Draining => format!("{count} draining"),
            Self::OtherHost => {
                let asked =
                    request.labels.iter().find_map(|label| label.strip_prefix("host:")).unwrap_or("the one asked for");
                format!("{count} {is} not {asked}")
            }
            Self::LacksLabel(label) => format!("{count} {} label {label}", if one { "lacks" } else { "lack" }),
            Self::HasImage => format!("{count} {has} a container of {} already", request.image),
            Self::LacksNetwork(network) => {
                format!("{count} {} network {network}", if one { "lacks" } else { "lack" })
            }
            Self::LacksCpu { has: number, cpu } => {
                format!("{count} {has} {} and no CPU {cpu}", cpus(*number))
            }
            Self::TooFewCpus { has: number, asked } => {
                format!("{count} {has} {} for a container of {asked}", cpus(*number))
            }
            Self::PortTaken(port) => format!("{count} {has} port {port} taken"),
            Self::Cpus { free, asked } => format!("{count} {has} {free} of {asked} CPUs free"),
            Self::Memory { free, asked } => format!("{count} {has} {free} of {asked} MB free"),
        }
    }
}

fn cpus(number: u32) -> String {
    if number == 1 { "1 CPU".to_owned() } else { format!("{number} CPUs") }
}

/// Why not all containers of a request were placed. None of them was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refusal {
    /// How many containers were asked for.
    pub asked: usize,
    /// How many of them would fit.
    pub possible: usize,
    /// How many engines there are.
    pub engines: usize,
    /// Per reason, how many engines cannot take one more, in words.
    pub reasons: Vec<String>,
}

impl Refusal {
    /// Explains why `snapshot`, in which `possible` containers of the request are placed already, takes no more.
    pub fn explain(snapshot: &Snapshot, request: &PlacementRequest, possible: usize) -> Self {
        Self::of(snapshot.engines().map(Cow::Borrowed), request, possible)
    }

    /// The same of engines that are not in a snapshot.
    pub(super) fn of<'a>(
        engines: impl Iterator<Item = Cow<'a, EngineState>>,
        request: &PlacementRequest,
        possible: usize,
    ) -> Self {
        // There are few groups and many engines, of which each is merely compared.
        let mut groups: Vec<(usize, Reason)> = Vec::new();
        let (mut count, mut is_there) = (0, false);
        for engine in engines {
            count += 1;
            is_there |= is_asked_host(&engine, request);
            let Verdict::No(reason) = judge(&engine, request) else { continue };
            match groups.iter_mut().find(|(_, known)| known.is_alike(&reason)) {
                Some((count, known)) => {
                    *count += 1;
                    known.come_nearer(reason);
                }
                None => groups.push((1, reason)),
            }
        }
        groups.sort_by_cached_key(|(_, reason)| reason.group());
        let reasons = groups.into_iter().map(|(count, reason)| reason.describe(count, request)).collect();
        let mut refusal = Self { asked: request.count, possible, engines: count, reasons };
        if request.kind == ContainerType::Host && !is_there {
            // When the host asked for does not exist, that is all there is to say.
            let asked = request.labels.iter().find_map(|label| label.strip_prefix("host:")).unwrap_or("");
            refusal.reasons = vec![format!("none is called {asked}")];
        }
        refusal
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.engines == 0 {
            return f.write_str("there are no engines; add one first");
        }
        let engines = if self.engines == 1 { "engine" } else { "engines" };
        if self.possible > 0 {
            write!(f, "only {} of {} containers fit on ", self.possible, self.asked)?;
        }
        write!(f, "{} {engines}: {}", self.engines, self.reasons.join(", "))
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerSpec, EngineId, Resources};
    use crate::scheduler::{Scheduler, Spread};

    fn engine(id: &str, memory: u64) -> EngineState {
        let total = Resources { cpus: Cpus::from_milli(4000), memory: MemoryMb::new(memory) };
        EngineState::new(id.parse().unwrap(), total)
    }

    fn refusal(engines: Vec<EngineState>, count: usize, change: impl FnOnce(&mut ContainerSpec)) -> String {
        let mut spec = ContainerSpec::new("web".parse().unwrap());
        spec.memory = Some(MemoryMb::new(512));
        change(&mut spec);
        let snapshot: Snapshot = engines.into_iter().collect();
        Spread::default().place(&snapshot, &PlacementRequest::new(&spec, count)).unwrap_err().to_string()
    }

    #[test]
    fn each_engine_is_counted_under_its_first_reason() {
        let mut down = engine("a", 1024);
        down.status = EngineStatus::Down;
        let mut small = engine("c", 256);
        small.labels.insert("ssd".into());
        let text = refusal(vec![down, engine("b", 1024), small], 1, |spec| {
            spec.labels.insert("ssd".into());
        });
        assert_eq!(text, "3 engines: 1 down, 1 lacks label ssd, 1 has 256 of 512 MB free");
    }

    #[test]
    fn several_with_too_little_room_say_what_the_best_of_them_has() {
        let text = refusal(vec![engine("a", 100), engine("b", 300), engine("c", 200)], 1, |_| {});
        assert_eq!(text, "3 engines: 3 have at most 300 of 512 MB free");
    }

    #[test]
    fn what_would_fit_is_said() {
        let text = refusal(vec![engine("a", 1200), engine("b", 700)], 5, |_| {});
        assert_eq!(text, "only 3 of 5 containers fit on 2 engines: 2 have at most 188 of 512 MB free");
    }

    #[test]
    fn no_engines_and_unknown_hosts_have_their_own_words() {
        assert_eq!(refusal(vec![], 1, |_| {}), "there are no engines; add one first");
        let text = refusal(vec![engine("a", 1024)], 1, |spec| {
            spec.kind = ContainerType::Host;
            spec.labels.insert("host:b".into());
        });
        assert_eq!(text, "1 engine: none is called b");
    }

    #[test]
    fn what_each_host_lacks_is_said_of_each() {
        let with = |id: &str, cpus: u32, networks: &[&str]| {
            let mut engine = engine(id, 1024);
            engine.cpu_count = Some(cpus);
            engine.networks = Some(networks.iter().map(|&name| name.to_owned()).collect());
            engine
        };
        let hosts = || vec![with("a", 2, &[]), with("b", 1, &["other"]), with("c", 2, &[])];
        let text = refusal(hosts(), 1, |spec| spec.cpuset = Some("0-63".into()));
        assert_eq!(text, "3 engines: 1 has 1 CPU and no CPU 63, 2 have 2 CPUs and no CPU 63");
        let text = refusal(hosts(), 1, |spec| spec.cpus = Some(Cpus::from_milli(2500)));
        assert_eq!(text, "3 engines: 1 has 1 CPU for a container of 2.5, 2 have 2 CPUs for a container of 2.5");
        let text = refusal(hosts(), 1, |spec| spec.network_mode = "backend".into());
        assert_eq!(text, "3 engines: 3 lack network backend");
    }

    #[test]
    fn the_other_reasons_have_their_words() {
        let mut busy = engine("a", 1024);
        busy.host_ports.insert(HostPort { proto: crate::model::Protocol::Tcp, ip: None, port: 80 });
        let port = |spec: &mut ContainerSpec| spec.bind_ports = vec![":80:80".parse().unwrap()];
        assert_eq!(refusal(vec![busy], 1, port), "1 engine: 1 has port tcp/80 taken");
        let mut draining = engine("a", 1024);
        draining.draining = true;
        assert_eq!(refusal(vec![draining], 1, |_| {}), "1 engine: 1 draining");
        let mut has_it = engine("a", 1024);
        has_it.add_image("docker.io/library/web:latest");
        let text = refusal(vec![has_it], 1, |spec| spec.kind = ContainerType::Unique);
        assert_eq!(text, "1 engine: 1 has a container of docker.io/library/web:latest already");
        let text = refusal(vec![engine("a", 1024)], 1, |spec| spec.cpus = Some(Cpus::from_milli(4500)));
        assert_eq!(text, "1 engine: 1 has 4 of 4.5 CPUs free");
        let mut request = PlacementRequest::new(&ContainerSpec::new("web".parse().unwrap()), 1);
        let snapshot: Snapshot = [engine("a", 1024), engine("b", 1024)].into_iter().collect();
        request.only = Some("a".parse::<EngineId>().unwrap());
        request.except.insert("a".parse().unwrap());
        let text = Spread::default().place(&snapshot, &request).unwrap_err().to_string();
        assert_eq!(text, "2 engines: 1 is not where the container has to be, 1 ruled out");
    }
}
