//! What a scheduler sees.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::model::{ContainerSpec, ContainerType, Cpus, EngineId, EngineStatus, HostPort, Resources};

/// One engine, as far as placing is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineState {
    /// Its id.
    pub id: EngineId,
    /// Whether it answers.
    pub status: EngineStatus,
    /// Whether it is to get no new containers.
    pub draining: bool,
    /// Its labels.
    pub labels: BTreeSet<String>,
    /// What it has.
    pub total: Resources,
    /// What is reserved for running containers and for placements in flight. May be more than `total` when others
    /// started containers there.
    pub reserved: Resources,
    /// How many containers and placements in flight hold something of it.
    pub containers: usize,
    /// How many containers, running or not, and placements in flight there are of each image, by canonical name.
    pub images: BTreeMap<String, usize>,
    /// Ports of the host that are taken or reserved.
    pub host_ports: BTreeSet<HostPort>,
    /// How many CPUs its daemon really has, whatever the operator says is to be given out: no container gets more, and none
    /// a CPU of a higher number. `None` while that is not known.
    pub cpu_count: Option<u32>,
    /// The networks that somebody made there, by name and by id; `None` where that is not known.
    pub networks: Option<BTreeSet<String>>,
}

impl EngineState {
    /// An empty engine that is up.
    pub fn new(id: EngineId, total: Resources) -> Self {
        Self {
            id,
            status: EngineStatus::Up,
            draining: false,
            labels: BTreeSet::new(),
            total,
            reserved: Resources::ZERO,
            containers: 0,
            images: BTreeMap::new(),
            host_ports: BTreeSet::new(),
            cpu_count: None,
            networks: None,
        }
    }

    /// Whether it has a network of that name or id, or of an id that begins so. One that does not tell may have it.
    pub fn has_network(&self, network: &str) -> bool {
        let Some(all) = &self.networks else { return true };
        let could_be_an_id = network.bytes().all(|byte| byte.is_ascii_hexdigit());
        all.contains(network)
            || could_be_an_id
                && all
                    .range::<str, _>((Bound::Included(network), Bound::Unbounded))
                    .next()
                    .is_some_and(|next| next.starts_with(network))
    }

    /// What is not reserved yet.
    pub fn free(&self) -> Resources {
        self.total.saturating_sub(self.reserved)
    }

    /// Counts one more container of `request`.
    pub fn reserve(&mut self, request: &PlacementRequest) {
        self.reserved += request.resources;
        self.containers += 1;
        self.add_image(&request.image);
        self.host_ports.extend(request.host_ports.iter().copied());
    }

    /// Undoes [`EngineState::reserve`].
    pub fn release(&mut self, request: &PlacementRequest) {
        self.reserved = self.reserved.saturating_sub(request.resources);
        self.containers = self.containers.saturating_sub(1);
        self.remove_image(&request.image);
        for port in &request.host_ports {
            self.host_ports.remove(port);
        }
    }

    /// Counts one more container of an image.
    pub fn add_image(&mut self, canonical: &str) {
        match self.images.get_mut(canonical) {
            Some(count) => *count += 1,
            None => drop(self.images.insert(canonical.to_owned(), 1)),
        }
    }

    /// Counts one container of an image less.
    pub fn remove_image(&mut self, canonical: &str) {
        if let Some(count) = self.images.get_mut(canonical) {
            *count -= 1;
            if *count == 0 {
                self.images.remove(canonical);
            }
        }
    }
}

/// What is to be placed.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacementRequest {
    /// How many containers.
    pub count: usize,
    /// Canonical name of their image.
    pub image: String,
    /// What is reserved for each.
    pub resources: Resources,
    /// Which filters apply.
    pub kind: ContainerType,
    /// Labels asked for.
    pub labels: BTreeSet<String>,
    /// Ports of the host that each asks for.
    pub host_ports: Vec<HostPort>,
    /// The most CPU that each may use at once, where that is limited. Unlike what is reserved, no overbooking stretches it.
    pub cpu_limit: Option<Cpus>,
    /// The highest CPU that each asks for by number, counted from 0.
    pub highest_cpu: Option<u32>,
    /// The network that each is to be in, if it is one that somebody has to have made.
    pub network: Option<String>,
    /// The one engine that will do: that of the containers it links to, or that it is on already.
    pub only: Option<EngineId>,
    /// Engines that will not do: those that failed already.
    pub except: BTreeSet<EngineId>,
    /// By how much `total` may be exceeded: 1.0 not at all, 1.5 by half.
    pub overbooking: f64,
}

impl PlacementRequest {
    /// `count` containers of `spec`, on any engine, without overbooking.
    pub fn new(spec: &ContainerSpec, count: usize) -> Self {
        Self {
            count,
            image: spec.name.canonical(),
            resources: spec.reserved(),
            kind: spec.kind,
            labels: spec.labels.clone(),
            host_ports: spec.host_ports(),
            cpu_limit: spec.cpus,
            highest_cpu: spec.highest_cpu(),
            network: spec.named_network().map(str::to_owned),
            only: None,
            except: BTreeSet::new(),
            overbooking: 1.0,
        }
    }

    /// How many CPUs a host must have for it.
    pub(super) fn needs_cpus(&self) -> u32 {
        let limit = self.cpu_limit.map_or(0, |limit| u32::try_from(limit.milli().div_ceil(1000)).unwrap_or(u32::MAX));
        let by_number = self.highest_cpu.map_or(0, |highest| highest.saturating_add(1));
        limit.max(by_number)
    }
}
