//! A Docker host that is only simulated: for tests, for trying the platform without Docker, and for loading it with a
//! thousand engines in one process.
//!
//! It does what Docker does as far as the platform can see: names are taken once, ports are bound once, images that are
//! not there cannot be run, events tell what happened and can be read again from a moment on. It has latency, and it
//! fails when told to, as real hosts do: before doing what it was asked, or after, so that only the answer is lost.
//!
//! Every image is there already, but for those whose last name is `missing`: nobody has those; nor those called `withdrawn`, of
//! which the registry says that it has them.

mod faults;
mod host;
mod logs;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    ContainerFile, CreateRequest, Created, DockerEngine, EngineError, EngineErrorKind, EngineEvent, EngineInfo,
    EngineUsage, EventDetail, ExecChunk, FoundImage, LogChunk, LogOptions, NetworkRequest, ObjectLabels,
    ObservedContainer, PullProgress, Result, VolumeRequest,
};
use crate::clock::Clock;
use crate::model::app::{SecretValue, Sizes};
use crate::model::{
    ContainerId, ContainerState, HealthStatus, ImageDigest, ImageRef, RegistryLogin, Resources, SimulatedHost,
};

use faults::{Faults, Moment};
use host::Host;

/// How long an operation waits for a host that hangs.
const DEADLINE: Duration = Duration::from_secs(10);

/// A simulated Docker host. Cheap to clone; every clone is the same host.
#[derive(Clone, Debug)]
pub struct SimulatedEngine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    /// CPUs and memory, latency, and how often operations fail.
    settings: Mutex<SimulatedHost>,
    host: Mutex<Host>,
    faults: Mutex<Faults>,
    asked: Mutex<HashMap<&'static str, Asked>>,
    /// Rings when an event happened, or when the host can be reached again or not any more.
    changed: Notify,
}

/// How often a host was asked for an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// How often in all.
    pub times: usize,
    /// How many of them are under way.
    pub now: usize,
    /// How many were under way at once at most.
    pub at_once: usize,
}

/// The simulated hosts of this process, by name: as a real host, one goes on while nobody talks to it.
static HOSTS: LazyLock<Mutex<HashMap<String, SimulatedEngine>>> = LazyLock::new(Mutex::default);

impl SimulatedEngine {
    /// A host of its own, that no address leads to.
    pub fn new(settings: &SimulatedHost) -> Self {
        Self::of(settings, Host::default())
    }

    /// The same, of another clock than the machine's. The ids of its containers follow from the seed of its settings.
    pub fn with_clock(settings: &SimulatedHost, clock: Clock) -> Self {
        Self::of(settings, Host::with_clock(clock, settings.seed))
    }

    fn of(settings: &SimulatedHost, host: Host) -> Self {
        let shared = Shared {
            name: settings.name.clone(),
            faults: Mutex::new(Faults::new(settings.seed)),
            settings: Mutex::new(settings.clone()),
            host: Mutex::new(host),
            asked: Mutex::default(),
            changed: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The host of that name in this process; made when there is none. One that exists takes on the new properties.
    /// Health checks of containers pass there, unless [`set_health`](Self::set_health) says otherwise.
    pub fn named(settings: &SimulatedHost) -> Self {
        let mut hosts = HOSTS.lock();
        if let Some(host) = hosts.get(&settings.name) {
            *host.shared.settings.lock() = settings.clone();
            return host.clone();
        }
        let host = Self::of(settings, Host::in_good_health());
        hosts.insert(settings.name.clone(), host.clone());
        host
    }

    /// Forgets the host of that name, with what is on it.
    pub fn forget(name: &str) {
        HOSTS.lock().remove(name);
    }

    /// From now on the registry that the host asks has an image. It has none that nobody published but those called `withdrawn`.
    pub fn publish(&self, image: &ImageRef, digest: ImageDigest) {
        self.shared.host.lock().publish(image, digest);
    }

    /// From now on that registry does not have an image any more.
    pub fn unpublish(&self, image: &ImageRef) {
        self.shared.host.lock().unpublish(image);
    }

    /// From now on a tag points to another image on the host, which is in no registry and was made at this moment.
    pub fn set_image(&self, image: &ImageRef, id: ImageDigest) {
        self.shared.host.lock().set_image(image, id);
    }

    /// What the image was of which a container was made.
    pub fn image_of(&self, id: &ContainerId) -> Option<ImageDigest> {
        self.shared.host.lock().image_of(id)
    }

    /// From now on the host lacks an image, which is in no registry; or has it, as one that was loaded there.
    pub fn set_lacking(&self, image: &ImageRef, lacks: bool) {
        self.shared.host.lock().set_lacking(image, lacks);
    }

    /// Makes the host reachable or not. When it is not, every operation fails at once, and event streams end.
    pub fn set_reachable(&self, reachable: bool) {
        self.shared.faults.lock().unreachable = !reachable;
        self.shared.changed.notify_waiters();
    }

    /// Ends the daemon of the host, or starts it again. While it is gone every operation fails at once, event streams end, and
    /// the host says itself that nobody listens. The containers go on.
    pub fn set_daemon_gone(&self, gone: bool) {
        self.shared.faults.lock().refusing = gone;
        self.shared.changed.notify_waiters();
    }

    /// Makes the host hang or go on. While it hangs, operations wait; after their deadline they fail.
    pub fn set_hanging(&self, hanging: bool) {
        self.shared.faults.lock().hanging = hanging;
        self.shared.changed.notify_waiters();
    }

    /// Makes the output of containers not come, whoever reads it, or come again for those who begin to read.
    pub fn set_output_hanging(&self, hanging: bool) {
        self.shared.faults.lock().output_hangs = hanging;
    }

    /// Makes every operation take so long from now on.
    pub fn set_latency(&self, latency: Duration) {
        self.shared.settings.lock().latency = latency;
    }

    /// Makes the next `times` operations called `operation` (the name of the trait's method) fail with `kind`, before they
    /// do anything.
    pub fn fail_next(&self, operation: &'static str, times: usize, kind: EngineErrorKind) {
        self.shared.faults.lock().planned.insert(operation, (times, kind, Moment::Before));
    }

    /// The same, when they have done what they were asked: only the answer is lost.
    pub fn lose_next(&self, operation: &'static str, times: usize, kind: EngineErrorKind) {
        self.shared.faults.lock().planned.insert(operation, (times, kind, Moment::After));
    }

    /// Makes the host say this when it fails as planned: hosts may repeat what they were given.
    pub fn set_words_of_failure(&self, words: &str) {
        self.shared.faults.lock().words = Some(words.to_owned());
    }

    /// The environment variables of a container whose values are secrets: what its program would see.
    pub fn hidden_environment(&self, id: &ContainerId) -> BTreeMap<String, SecretValue> {
        self.shared.host.lock().hidden_environment(id)
    }

    /// The files that were put into a container.
    pub fn files(&self, id: &ContainerId) -> Vec<ContainerFile> {
        self.shared.host.lock().files(id)
    }

    /// How often the host was asked for an operation, called as the trait's method.
    pub fn asked(&self, operation: &'static str) -> Asked {
        self.shared.asked.lock().get(operation).copied().unwrap_or_default()
    }

    /// What really is on the host.
    pub fn really_there(&self) -> Vec<ObservedContainer> {
        self.shared.host.lock().all()
    }

    /// Somebody else starts a container with Docker, with these limits or without.
    pub fn outsider_run(&self, image: ImageRef, limits: Option<Resources>) -> ContainerId {
        self.outsider_run_as(&format!("outsider-{:08x}", rand::random::<u32>()), image, limits)
    }

    /// The same, under a name of his choice.
    pub fn outsider_run_as(&self, name: &str, image: ImageRef, limits: Option<Resources>) -> ContainerId {
        let id = self.shared.host.lock().outsider_run(name, image, limits);
        self.shared.changed.notify_waiters();
        id
    }

    /// Somebody else makes a network with Docker. From then on the host tells which networks it has, and has no others;
    /// before, it has every network that is named.
    pub fn outsider_network(&self, name: &str) {
        self.shared.host.lock().make_network(name);
    }

    /// Somebody else removes a network with Docker.
    pub fn outsider_remove_network(&self, name: &str) {
        self.shared.host.lock().remove_network(name);
    }

    /// Makes every container that is made come with a warning of the host.
    pub fn warn(&self, warning: &str) {
        self.shared.host.lock().warnings = vec![warning.to_owned()];
    }

    /// Somebody else makes a container that bears all the labels of another, as tools do that copy one, and starts it. With an
    /// `owner` it belongs to something of the platform that this version does not know.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`].
    pub fn outsider_copy(&self, id: &ContainerId, name: &str, owner: Option<&str>) -> Result<ContainerId> {
        let copy = self.shared.host.lock().outsider_copy(id, name, owner);
        self.shared.changed.notify_waiters();
        copy
    }

    /// Somebody else stops a container with Docker.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`].
    pub fn outsider_stop(&self, id: &ContainerId) -> Result<()> {
        let outcome = self.shared.host.lock().stop(id);
        self.shared.changed.notify_waiters();
        outcome
    }

    /// Somebody else removes a container with Docker.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`].
    pub fn outsider_remove(&self, id: &ContainerId) -> Result<()> {
        let outcome = self.shared.host.lock().remove(id);
        self.shared.changed.notify_waiters();
        outcome
    }
}

/// What others do on the host, and what happens to it, without the platform.
impl SimulatedEngine {
    /// A program ends by itself, with a status. It is started again at once where its restart policy says so.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`].
    pub fn outsider_end(&self, id: &ContainerId, exit_code: i64) -> Result<()> {
        self.outsider(|host| host.outsider_end(id, exit_code))
    }

    /// The health check of a container found something.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`].
    pub fn set_health(&self, id: &ContainerId, health: HealthStatus) -> Result<()> {
        self.outsider(|host| host.set_health(id, health))
    }

    /// Somebody pauses a container that runs.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`], [`EngineErrorKind::Conflict`] (it does not run).
    pub fn outsider_pause(&self, id: &ContainerId) -> Result<()> {
        self.outsider(|host| host.outsider_pause(id))
    }

    /// Somebody gives a container another name.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`], [`EngineErrorKind::Conflict`] (the name is taken).
    pub fn outsider_rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        self.outsider(|host| host.rename(id, name))
    }

    /// Somebody makes a volume, unless there is one of that name.
    pub fn outsider_volume(&self, name: &str) {
        self.shared.host.lock().create_volume(name, ObjectLabels::default());
    }

    /// Somebody removes a volume.
    ///
    /// # Errors
    /// [`EngineErrorKind::Conflict`] (a container has it).
    pub fn outsider_remove_volume(&self, name: &str) -> Result<()> {
        self.outsider(|host| host.remove_volume(name))
    }

    /// Somebody changes the limits of a container, as with `docker update`.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`].
    pub fn outsider_update(&self, id: &ContainerId, limits: Resources) -> Result<()> {
        self.outsider(|host| host.outsider_update(id, limits))
    }

    /// A container of another host is on this one as well, as on a cloned machine.
    pub fn outsider_twin(&self, container: &ObservedContainer) {
        self.outsider(|host| host.outsider_twin(container));
    }

    /// Takes the power of the host away, or gives it back. Without it nothing answers and nothing runs; with it again, Docker
    /// starts what its restart policy says.
    pub fn set_power(&self, on: bool) {
        self.shared.faults.lock().unreachable = !on;
        self.outsider(|host| if on { host.regain_power() } else { host.lose_power() });
    }

    /// The clock of the host is set forwards, or backwards where `by` is negative.
    pub fn step_clock(&self, by: SignedDuration) {
        self.outsider(|host| host.step_clock(by));
    }

    /// How many event streams of the host are open.
    pub fn open_streams(&self) -> usize {
        self.asked("events").now
    }

    /// Ends every event stream, as when the connections break. The host goes on.
    pub fn break_streams(&self) {
        self.shared.faults.lock().broken += 1;
        self.shared.changed.notify_waiters();
    }

    fn outsider<T>(&self, act: impl FnOnce(&mut Host) -> T) -> T {
        let outcome = act(&mut self.shared.host.lock());
        self.shared.changed.notify_waiters();
        outcome
    }
}

/// An operation counts as under way until this is dropped.
struct UnderWay<S: AsRef<Shared>> {
    shared: S,
    operation: &'static str,
}

impl AsRef<Shared> for Shared {
    fn as_ref(&self) -> &Shared {
        self
    }
}

impl<S: AsRef<Shared>> UnderWay<S> {
    fn of(operating: S, operation: &'static str) -> Self {
        let shared = operating.as_ref();
        let mut all = shared.asked.lock();
        let asked = all.entry(operation).or_default();
        *asked = Asked { times: asked.times + 1, now: asked.now + 1, at_once: asked.at_once.max(asked.now + 1) };
        drop(all);
        Self { shared: operating, operation }
    }
}

impl<S: AsRef<Shared>> Drop for UnderWay<S> {
    fn drop(&mut self) {
        if let Some(asked) = self.shared.as_ref().asked.lock().get_mut(self.operation) {
            asked.now -= 1;
        }
    }
}

impl Shared {
    /// Does something to the host as an operation would: after the latency, unless a fault comes in between.
    async fn act<T>(&self, operation: &'static str, act: impl FnOnce(&mut Host) -> Result<T>) -> Result<T> {
        let _under_way = UnderWay::of(self, operation);
        self.answer(DEADLINE).await?;
        let fault = self.faults.lock().next(operation, self.settings.lock().failure_rate);
        if let Some((kind, Moment::Before)) = fault {
            let words = self.faults.lock().words.clone();
            let words = words.unwrap_or_else(|| "the simulated host failed before it did anything".to_owned());
            return Err(EngineError::new(kind, operation, words));
        }
        let outcome = act(&mut self.host.lock());
        self.changed.notify_waiters();
        match fault {
            Some((kind, Moment::After)) => {
                Err(EngineError::new(kind, operation, "the simulated host failed, and its answer is lost"))
            }
            _ => outcome,
        }
    }

    /// Waits as long as the host takes to answer.
    async fn answer(&self, deadline: Duration) -> Result<()> {
        let unreachable = |why: &str| EngineError::new(EngineErrorKind::Unreachable, "reach the host", why);
        let latency = self.settings.lock().latency;
        if latency > Duration::ZERO {
            tokio::time::sleep(latency).await;
        }
        let goes_on = async {
            loop {
                let rings = self.changed.notified();
                if !self.faults.lock().hanging {
                    return;
                }
                rings.await;
            }
        };
        if self.faults.lock().hanging && tokio::time::timeout(deadline, goes_on).await.is_err() {
            return Err(unreachable("the simulated host does not answer"));
        }
        let (is_away, refuses) = {
            let faults = self.faults.lock();
            (faults.unreachable, faults.refusing)
        };
        match (is_away, refuses) {
            (true, _) => Err(unreachable("the simulated host cannot be reached")),
            (false, true) => Err(unreachable("connection refused").with_nobody_listening()),
            (false, false) => Ok(()),
        }
    }

    async fn until_started(&self, id: &ContainerId) {
        loop {
            let rings = self.changed.notified();
            let waits = self.host.lock().inspect(id).is_ok_and(|found| found.state == ContainerState::Created);
            if !waits || self.faults.lock().is_lost() {
                return;
            }
            rings.await;
        }
    }

    async fn until_stopped(&self, id: &ContainerId) {
        loop {
            let rings = self.changed.notified();
            let runs = self.host.lock().inspect(id).is_ok_and(|found| found.state.holds_resources());
            if !runs || self.faults.lock().is_lost() {
                return;
            }
            rings.await;
        }
    }

    /// The events from a position on, as soon as there is one; nothing when the host is lost.
    async fn events_from(&self, position: u64, broken: usize) -> Option<(Vec<EngineEvent>, u64)> {
        loop {
            let rings = self.changed.notified();
            let (unreachable, hanging) = {
                let faults = self.faults.lock();
                (faults.is_lost() || faults.broken != broken, faults.hanging)
            };
            if unreachable {
                return None;
            }
            let (events, next) = self.host.lock().events_from(position);
            if !events.is_empty() && !hanging {
                return Some((events, next));
            }
            rings.await;
        }
    }
}

#[async_trait]
impl DockerEngine for SimulatedEngine {
    async fn ping(&self, deadline: Duration) -> Result<()> {
        match tokio::time::timeout(deadline, self.shared.answer(deadline)).await {
            Ok(answer) => answer,
            Err(_) => Err(EngineError::new(EngineErrorKind::Unreachable, "ping", "the simulated host is too slow")),
        }
    }

    async fn info(&self) -> Result<EngineInfo> {
        self.shared.answer(DEADLINE).await?;
        let (settings, host) = (self.shared.settings.lock(), self.shared.host.lock());
        Ok(EngineInfo {
            daemon_id: format!("sim:{}", self.shared.name),
            cpus: settings.cpus,
            memory: settings.memory,
            docker_version: "simulated".to_owned(),
            images: host.images(),
            networks: host.networks(),
            volumes: Some(host.volumes()),
            warnings: Vec::new(),
            time: Some(host.now()),
        })
    }

    async fn list(&self) -> Result<Vec<ObservedContainer>> {
        self.shared.answer(DEADLINE).await?;
        Ok(self.shared.host.lock().all())
    }

    async fn inspect(&self, id: &ContainerId) -> Result<ObservedContainer> {
        self.shared.act("inspect", |host| host.inspect(id)).await
    }

    async fn create(&self, request: &CreateRequest) -> Result<Created> {
        let cpus = self.shared.settings.lock().cpus;
        self.shared.act("create", |host| host.create(request, cpus)).await
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        self.shared.act("start", |host| host.start(id)).await
    }

    async fn stop(&self, id: &ContainerId, _grace: Duration) -> Result<()> {
        self.shared.act("stop", |host| host.stop(id)).await
    }

    async fn restart(&self, id: &ContainerId, _grace: Duration) -> Result<()> {
        self.shared.act("restart", |host| host.restart(id)).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        self.shared.act("remove", |host| host.remove(id)).await
    }

    async fn pull(
        &self,
        image: &ImageRef,
        _login: Option<RegistryLogin>,
    ) -> Result<BoxStream<'static, Result<PullProgress>>> {
        let fetch = |host: &mut Host| {
            host.check_image("pull", image)?;
            host.have_image(image);
            Ok(())
        };
        self.shared.act("pull", fetch).await?;
        const SIZE: u64 = 4 << 20;
        let image = image.clone();
        let step = move |quarter: u64| {
            let status = if quarter == 4 { "Pull complete" } else { "Downloading" }.to_owned();
            Ok(PullProgress { image: image.clone(), status, bytes: Some((SIZE * quarter / 4, SIZE)) })
        };
        Ok(stream::iter(1..=4).map(step).boxed())
    }

    async fn registry_digest(&self, image: &ImageRef, _login: Option<RegistryLogin>) -> Result<ImageDigest> {
        self.shared.act("registry_digest", |host| host.published(image)).await
    }

    async fn find_image(&self, image: &ImageRef) -> Result<Option<FoundImage>> {
        let found = |host: &mut Host| Ok(host.check_image("find", image).is_ok().then(|| host.found_image(image)));
        self.shared.act("find_image", found).await
    }

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let (lines, runs) = self.shared.act("logs", |host| host.log_of(id)).await?;
        if self.shared.faults.lock().output_hangs {
            return Ok(stream::pending().boxed());
        }
        let written = stream::iter(logs::select(&lines, options)).map(Ok);
        if !(options.follow && runs) {
            return Ok(written.boxed());
        }
        // A simulated program writes when it starts and says no more, so all that is left is to wait for its end.
        let (shared, id) = (self.shared.clone(), id.clone());
        let end = stream::once(async move { shared.until_stopped(&id).await }).filter_map(|()| async { None });
        Ok(written.chain(end).boxed())
    }

    async fn events(&self, since: Option<Timestamp>) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        self.shared.answer(DEADLINE).await?;
        let position = self.shared.host.lock().position_since(since);
        let broken = self.shared.faults.lock().broken;
        let open = UnderWay::of(self.shared.clone(), "events");
        let events = stream::unfold(Some((open, position)), move |reading| async move {
            let (open, position) = reading?;
            match open.shared.events_from(position, broken).await {
                Some((events, position)) => {
                    let events: Vec<_> = events.into_iter().map(Ok).collect();
                    Some((events, Some((open, position))))
                }
                None => {
                    let lost =
                        EngineError::new(EngineErrorKind::Unreachable, "read events", "the simulated host is lost");
                    Some((vec![Err(lost)], None))
                }
            }
        });
        Ok(events.flat_map(stream::iter).boxed())
    }

    async fn usage(&self) -> Result<EngineUsage> {
        self.shared.answer(DEADLINE).await?;
        Ok(self.shared.host.lock().usage())
    }

    async fn update(&self, id: &ContainerId, sizes: &Sizes) -> Result<()> {
        let cpus = self.shared.settings.lock().cpus;
        self.shared.act("update", |host| host.update(id, sizes, cpus)).await
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        self.shared.act("rename", |host| host.rename(id, name)).await
    }

    async fn create_network(&self, network: &NetworkRequest) -> Result<ObjectLabels> {
        let NetworkRequest { name, platform, app, .. } = network;
        let labels = ObjectLabels { platform: platform.clone(), app: app.to_string() };
        self.shared.act("create_network", |host| Ok(host.create_network(name, labels))).await
    }

    async fn find_network(&self, name: &str) -> Result<Option<ObjectLabels>> {
        self.shared.act("find_network", |host| Ok(host.network(name))).await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        self.shared.act("remove_network", |host| host.remove_unused_network(name)).await
    }

    async fn create_volume(&self, volume: &VolumeRequest) -> Result<ObjectLabels> {
        let VolumeRequest { name, platform, app, .. } = volume;
        let labels = ObjectLabels { platform: platform.clone(), app: app.to_string() };
        self.shared.act("create_volume", |host| Ok(host.create_volume(name, labels))).await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.shared.act("remove_volume", |host| host.remove_volume(name)).await
    }

    async fn put_files(&self, id: &ContainerId, files: &[ContainerFile]) -> Result<()> {
        self.shared.act("put_files", |host| host.put_files(id, files)).await
    }

    async fn find_volume(&self, name: &str) -> Result<Option<ObjectLabels>> {
        self.shared.act("find_volume", |host| Ok(host.volume(name))).await
    }

    async fn exec(&self, id: &ContainerId, command: &[String]) -> Result<BoxStream<'static, Result<ExecChunk>>> {
        let chunks = self.shared.act("exec", |host| host.exec(id, command)).await?;
        // `sleep 5` takes as long as it says; `sleep infinity`, until the container ends.
        let takes = command.split_first().filter(|(program, _)| *program == "sleep").map(|(_, arguments)| {
            arguments.first().and_then(|seconds| seconds.parse().ok()).map_or(Duration::MAX, Duration::from_secs)
        });
        let (shared, id) = (self.shared.clone(), id.clone());
        let wait = async move {
            if let Some(takes) = takes {
                let _ = tokio::time::timeout(takes, shared.until_stopped(&id)).await;
            }
        };
        let wait = stream::once(wait).filter_map(|()| async { None });
        Ok(wait.chain(stream::iter(chunks).map(Ok)).boxed())
    }

    async fn attach(&self, id: &ContainerId) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let (written, _) = self.shared.act("attach", |host| host.log_of(id)).await?;
        let (shared, id, already) = (self.shared.clone(), id.clone(), written.len());
        let output = stream::once(async move {
            shared.until_started(&id).await;
            // One that is gone has written nothing.
            let (lines, _) = shared.host.lock().log_of(&id).unwrap_or_default();
            let new = logs::select(lines.get(already..).unwrap_or_default(), &LogOptions::default());
            if shared.faults.lock().output_hangs {
                std::future::pending::<()>().await;
            }
            let end = stream::once(async move { shared.until_stopped(&id).await }).filter_map(|()| async { None });
            stream::iter(new).map(Ok).chain(end)
        });
        Ok(output.flatten().boxed())
    }
}
