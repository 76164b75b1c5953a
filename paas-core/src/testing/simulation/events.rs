//! What happens in a world: what somebody asks for, and what fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;

use super::declared::APP;
use super::fate::Rates;
use super::witness::slot_of;
use super::world::{World, ann};
use crate::engine::{ObservedContainer, SimulatedEngine};
use crate::model::{ContainerId, ContainerState, Cpus, HealthStatus, MemoryMb, Resources};
use crate::store::{MemoryStore, Store, transfer};
use crate::wire::app::{ApplyRequest, RestartRequest, RollbackRequest, ScaleRequest};

/// What is wrong with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// It has no power.
    Dark,
    /// Nothing reaches it, and what runs there goes on.
    Cut,
    /// Its daemon is gone.
    DaemonGone,
    /// It takes calls and answers none.
    Hangs,
}

/// What may fail in a world, and what fails at this time.
#[derive(Debug)]
pub(super) struct Faults {
    may: May,
    troubles: BTreeMap<String, Trouble>,
    drained: Vec<String>,
    outsiders: Vec<(String, ContainerId)>,
    rates: Rates,
}

/// Which kinds of faults there are in a world: of all of them at once little is to be learned.
#[derive(Clone, Copy, Debug)]
struct May {
    hosts: bool,
    containers: bool,
    calls: bool,
    servers: bool,
    store: bool,
}

impl Faults {
    pub(super) fn new(random: &mut StdRng) -> Self {
        let may = May {
            hosts: random.random_bool(0.6),
            containers: random.random_bool(0.6),
            calls: random.random_bool(0.6),
            servers: random.random_bool(0.7),
            store: random.random_bool(0.05),
        };
        Self { may, troubles: BTreeMap::new(), drained: Vec::new(), outsiders: Vec::new(), rates: Rates::default() }
    }

    /// Whether anything makes an application smaller at this time.
    pub(super) fn disturb(&self) -> bool {
        !self.troubles.is_empty() || !self.outsiders.is_empty()
    }
}

impl World {
    /// Something happens.
    pub(super) async fn happen(&mut self) {
        let May { hosts, containers, calls, servers, store } = self.faults.may;
        let what = self.random.random_range(0..100);
        match what {
            0..38 => self.somebody_asks(),
            38..44 => self.somebody_drains(),
            44..56 if hosts => self.break_a_host(),
            56..64 => self.mend_a_host(),
            64..76 if containers => self.break_a_container(),
            76..82 if calls => self.change_the_weather(),
            82..93 if servers => self.kill_the_server(),
            93..95 => self.crowd(),
            95..97 if hosts => self.give_a_host_up(),
            97..100 if store => self.restore_the_store().await,
            _ => {}
        }
    }

    fn somebody_asks(&mut self) {
        match self.random.random_range(0..40) {
            0..14 => {
                self.declared.improve(&mut self.random);
                self.apply();
            }
            14..21 => {
                self.declared.spoil(&mut self.random);
                self.apply();
            }
            21..26 => {
                let (component, replicas) = self.declared.scale(&mut self.random);
                let request = ScaleRequest { component: component.parse().ok(), replicas };
                let what = format!("scale {component} to {replicas}");
                self.ask(what, |controller| async move { controller.scale_app(&ann(), APP, request).await });
            }
            26..29 => {
                let request = RollbackRequest { to: None, supersede: self.random.random_bool(0.5) };
                self.ask("rollback".to_owned(), |controller| async move {
                    controller.rollback_app(&ann(), APP, request).await
                });
            }
            29..32 => {
                let request = RestartRequest { supersede: self.random.random_bool(0.5) };
                self.ask("restart".to_owned(), |controller| async move {
                    controller.restart_app(&ann(), APP, request).await
                });
            }
            32..34 => {
                self.witness.disturb();
                self.ask("stop".to_owned(), |controller| async move { controller.stop_app(&ann(), APP).await });
            }
            34..37 => self.start(),
            37..38 => {
                self.witness.disturb();
                let with_volumes = self.random.random_bool(0.5);
                self.ask(format!("destroy, with volumes {with_volumes}"), |controller| async move {
                    controller.destroy_app(&ann(), APP, with_volumes).await
                });
            }
            _ => self.ask("heal now".to_owned(), |controller| async move { controller.heal_now(&ann()).await }),
        }
    }

    pub(super) fn start(&mut self) {
        self.ask("start".to_owned(), |controller| async move { controller.start_app(&ann(), APP).await });
    }

    pub(super) fn apply(&mut self) {
        let request = ApplyRequest {
            // It has nobody who would look at what no record names.
            beside_orphans: true,
            app: self.declared.file(),
            supersede: self.random.random_bool(0.6),
            ..ApplyRequest::default()
        };
        let images: Vec<String> = request
            .app
            .component
            .iter()
            .filter_map(|(name, part)| Some(format!("{name} {}", part.image.as_ref()?)))
            .collect();
        let what = format!("apply {}", images.join(", "));
        self.ask(what, |controller| async move { controller.apply_app(&ann(), APP, request).await });
    }

    fn somebody_drains(&mut self) {
        // What is on each host goes with its host.
        self.witness.disturb();
        if let Some(host) = self.faults.drained.pop() {
            return self.drain(host, false);
        }
        let host = self.any_host();
        self.faults.drained.push(host.clone());
        self.drain(host, true);
    }

    fn drain(&mut self, host: String, draining: bool) {
        let what = format!("drain {host}: {draining}");
        self.ask(what, move |controller| async move { controller.set_draining(&ann(), &host, draining).await });
    }

    fn any_host(&mut self) -> String {
        let number = self.random.random_range(0..self.hosts.len());
        self.hosts.keys().nth(number).cloned().unwrap_or_default()
    }

    fn break_a_host(&mut self) {
        let host = self.any_host();
        if self.faults.troubles.contains_key(&host) {
            return;
        }
        self.witness.disturb();
        let all = [Trouble::Dark, Trouble::Dark, Trouble::Cut, Trouble::Cut, Trouble::DaemonGone, Trouble::Hangs];
        let trouble = all[self.random.random_range(0..all.len())];
        self.witness.tell(format!("host {host}: {trouble:?}"));
        let engine = &self.hosts[&host];
        match trouble {
            Trouble::Dark => engine.set_power(false),
            Trouble::Cut => engine.set_reachable(false),
            Trouble::DaemonGone => engine.set_daemon_gone(true),
            Trouble::Hangs => engine.set_hanging(true),
        }
        self.faults.troubles.insert(host, trouble);
    }

    fn mend_a_host(&mut self) {
        let number = self.random.random_range(0..self.hosts.len());
        if let Some(host) = self.faults.troubles.keys().nth(number).cloned() {
            self.mend(&host);
        }
    }

    fn mend(&mut self, host: &str) {
        let Some(trouble) = self.faults.troubles.remove(host) else { return };
        self.witness.tell(format!("host {host} is back: {trouble:?}"));
        let engine = &self.hosts[host];
        match trouble {
            Trouble::Dark => engine.set_power(true),
            Trouble::Cut => engine.set_reachable(true),
            Trouble::DaemonGone => engine.set_daemon_gone(false),
            Trouble::Hangs => engine.set_hanging(false),
        }
    }

    fn break_a_container(&mut self) {
        let found: Vec<(String, ObservedContainer)> = self
            .witness
            .containers()
            .into_iter()
            .filter(|(_, found)| slot_of(found).is_some())
            .map(|(host, found)| (host.to_owned(), found))
            .collect();
        if found.is_empty() {
            return;
        }
        let (host, container) = &found[self.random.random_range(0..found.len())];
        // On a host without power nobody does anything, nor where no daemon is to be asked.
        if self.faults.troubles.contains_key(host) {
            return;
        }
        self.witness.disturb();
        let what = hurt(&mut self.random, &self.hosts[host], container);
        self.witness.tell(format!("{} on {host}: {what}", container.name.trim_start_matches('/')));
    }

    fn change_the_weather(&mut self) {
        let rates = match self.random.random_range(0..4) {
            0 => Rates { failing: 0.05, slow: 0.1 },
            1 => Rates { failing: 0.3, slow: 0.0 },
            2 => Rates { failing: 0.0, slow: 0.5 },
            _ => Rates::default(),
        };
        self.set_weather(rates);
    }

    fn set_weather(&mut self, rates: Rates) {
        self.witness.tell(format!("calls: {rates:?}"));
        self.faults.rates = rates;
        self.weather.change(rates);
    }

    fn kill_the_server(&mut self) {
        let Some(server) = &self.server else { return };
        if self.random.random_bool(0.3) {
            self.witness.tell("the server is killed");
            server.life.end();
        } else {
            let moments = self.random.random_range(0..12);
            self.witness.tell(format!("the server is killed after {moments} moments"));
            server.life.end_after(moments);
        }
    }

    /// Somebody else takes room with Docker.
    fn crowd(&mut self) {
        if let Some((host, id)) = self.faults.outsiders.pop() {
            self.witness.tell(format!("somebody gives room back on {host}"));
            return self.hosts[&host].outsider_remove(&id).expect("it is there");
        }
        self.witness.disturb();
        let host = self.any_host();
        let limits = Resources { cpus: Cpus::from_milli(100), memory: MemoryMb::new(1300) };
        let name = format!("neighbour-{}", self.random.random_range(0..1_000_000));
        self.witness.tell(format!("somebody takes room on {host}"));
        let id = self.hosts[&host].outsider_run_as(&name, "neighbour:1".parse().expect("an image"), Some(limits));
        self.faults.outsiders.push((host, id));
    }

    /// Somebody says that a host is gone for good which does not answer: rightly, or not.
    fn give_a_host_up(&mut self) {
        let Some(host) = self.faults.troubles.keys().next().cloned() else { return };
        self.witness.note_lost(&host, true);
        let lose_volumes = self.random.random_bool(0.5);
        let what = format!("host {host} lost, with volumes {lose_volumes}");
        self.ask(
            what,
            move |controller| async move { controller.host_lost(&ann(), &host.parse()?, lose_volumes).await },
        );
    }

    /// The store is copied, or an earlier copy takes its place.
    async fn restore_the_store(&mut self) {
        if let Some(backup) = self.backup.take().filter(|_| self.random.random_bool(0.5)) {
            if let Some(server) = &self.server {
                server.life.end();
            }
            self.bury();
            self.witness.tell("the store is restored");
            self.store = backup;
            self.witness.store_is_restored(self.store.clone());
            return;
        }
        let copy = MemoryStore::new();
        self.witness.tell("the store is copied");
        match transfer::copy(&*self.store, &copy, &mut |_, _| {}).await {
            Ok(_) => self.backup = Some(Arc::new(copy) as Arc<dyn Store>),
            // Somebody wrote to it meanwhile.
            Err(error) => self.witness.tell(format!("no copy: {error}")),
        }
    }

    /// Every fault ends.
    pub(super) fn end_faults(&mut self) {
        self.witness.tell("the faults end");
        for host in self.faults.troubles.keys().cloned().collect::<Vec<_>>() {
            self.mend(&host);
        }
        while !self.faults.outsiders.is_empty() {
            self.crowd();
        }
        self.set_weather(Rates::default());
    }
}

/// Something bad happens to a container.
fn hurt(random: &mut StdRng, host: &SimulatedEngine, container: &ObservedContainer) -> &'static str {
    let id = &container.id;
    let runs = container.state == ContainerState::Running;
    let name = format!("old-{}-{}", container.name.trim_start_matches('/'), random.random_range(0..1000));
    let (what, outcome) = match random.random_range(0..14) {
        0..3 if runs => ("it ends with 1", host.outsider_end(id, 1)),
        3..5 if runs => ("it is killed", host.outsider_end(id, 137)),
        5..8 => ("somebody removes it", host.outsider_remove(id)),
        8..10 => ("somebody stops it", host.outsider_stop(id)),
        10 if runs => ("somebody pauses it", host.outsider_pause(id)),
        11 => ("somebody renames it", host.outsider_rename(id, &name)),
        12 if runs && container.run.health.is_some() => {
            ("it is unhealthy", host.set_health(id, HealthStatus::Unhealthy))
        }
        _ => ("nothing", Ok(())),
    };
    outcome.expect("it is there");
    what
}
