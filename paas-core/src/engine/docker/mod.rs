//! A real Docker host, spoken to through bollard.
//!
//! Nothing is sent before the first operation, and the version of the API is agreed upon with the first answer. Each
//! request has a connection of its own, so a request that hangs keeps no other waiting.

mod describe;
mod errors;
mod events;
mod exec;
mod files;
mod identity;
mod images;
mod lines;
mod logs;
mod objects;
mod observed;
mod pull;
mod run_state;
mod runtime;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod usage;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::models::{ContainerSummary, HostConfigLogConfig, LocalNodeState, SystemInfo};
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, InspectNetworkOptions, ListContainersOptions, ListImagesOptions,
    ListNetworksOptions, RemoveContainerOptions, RemoveVolumeOptions, RenameContainerOptions, RestartContainerOptions,
    StartContainerOptions, StatsOptions, StopContainerOptions,
};
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker as Client};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use parking_lot::Mutex;

use self::errors::{Call, Subject};
use self::identity::Identity;
use self::images::ImageLaunches;
pub use self::tls::check_certificates;
use self::transport::Transport;
use self::usage::Samples;
use super::{
    ContainerFile, CreateRequest, Created, DockerEngine, EngineError, EngineErrorKind, EngineEvent, EngineInfo,
    EngineUsage, ExecChunk, FoundImage, LogChunk, LogOptions, NetworkRequest, ObjectLabels, ObservedContainer,
    PullProgress, Result, VolumeRequest, labels,
};
use crate::model::app::Sizes;
use crate::model::{
    ContainerId, ContainerState, Cpus, EngineAddress, ImageDigest, ImageRef, MemoryMb, RegistryLogin, TlsMaterial,
};

/// How long a host may take for what.
mod deadlines {
    use std::time::Duration;

    /// One question.
    pub(super) const ASK: Duration = Duration::from_secs(10);
    /// All questions of a list, on a host with many containers of others.
    pub(super) const LIST: Duration = Duration::from_secs(30);
    /// Making, starting or removing one container.
    pub(super) const CHANGE: Duration = Duration::from_secs(60);
    /// Stopping, beyond the time that the container itself is given.
    pub(super) const STOP_EXTRA: Duration = Duration::from_secs(30);
    /// Until a stream begins.
    pub(super) const OPEN: Duration = Duration::from_secs(10);
    /// Without any progress of a pull.
    pub(super) const PULL_SILENCE: Duration = Duration::from_secs(120);
    /// Between two pieces of output that are there already.
    pub(super) const LOG_SILENCE: Duration = Duration::from_secs(30);
    /// Of bollard itself, where one of the above is in force already.
    pub(super) const NONE: Duration = Duration::from_secs(24 * 60 * 60);
}

/// Questions asked of one host at a time: a daemon answers a few at once faster than many.
const QUESTIONS_AT_ONCE: usize = 8;
/// How often a container that is being removed by somebody else is looked for.
const REMOVAL_POLL: Duration = Duration::from_millis(100);

/// A Docker host. Docker 20.10 (API 1.41) and later.
pub struct Docker {
    address: EngineAddress,
    transport: Arc<Transport>,
    /// Speaks through the transport.
    client: Client,
    samples: Samples,
    /// Where the daemon puts the output of containers by itself, as it last said.
    log_driver: Mutex<Option<String>>,
    identity: Identity,
    images: ImageLaunches,
    /// Held while a network is made.
    making_networks: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Docker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Docker").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Docker {
    /// The host at `address`; `tls` for an `https://` address. Does no I/O: a host that does not answer yet, or a socket
    /// that is not there yet, is found out by the first operation.
    ///
    /// # Errors
    /// [`EngineErrorKind::Tls`] for certificates that cannot be used, or are missing; [`EngineErrorKind::Refused`] for
    /// an address that is not Docker's.
    pub fn new(address: &EngineAddress, tls: Option<&TlsMaterial>) -> Result<Self> {
        let transport = Arc::new(Transport::new(address, tls)?);
        let send = {
            let transport = transport.clone();
            move |request: BollardRequest| {
                let transport = transport.clone();
                async move { transport.send(request).await }
            }
        };
        // The transport knows where to connect; the host of the URL is never looked at.
        let url = Some("http://docker");
        let client = Client::connect_with_custom_transport(send, url, deadlines::NONE.as_secs(), API_DEFAULT_VERSION)
            .map_err(|err| call(address, "connect", Subject::Host).failure(err))?;
        Ok(Self {
            address: address.clone(),
            transport,
            client,
            samples: Samples::default(),
            log_driver: Mutex::default(),
            identity: Identity::default(),
            images: ImageLaunches::default(),
            making_networks: tokio::sync::Mutex::default(),
        })
    }

    fn call(&self, operation: &'static str, subject: Subject) -> Call {
        call(&self.address, operation, subject)
    }

    async fn list_summaries(&self, all: bool) -> Result<Vec<ContainerSummary>, Error> {
        self.client.list_containers(Some(ListContainersOptions { all, ..ListContainersOptions::default() })).await
    }

    /// A listed container in full: others' containers, and those of applications, show their limits only when inspected.
    /// Nothing for one that is gone by now.
    async fn complete(&self, call: &Call, mut summary: ContainerSummary) -> Result<Option<ObservedContainer>> {
        let id = summary.id.clone().unwrap_or_default();
        self.strip_listed(call, &mut summary).await?;
        let listed = observed::from_summary(summary);
        let managed = listed.as_ref().map(|container| container.managed.as_ref());
        if managed.is_none_or(|managed| managed.is_some_and(|managed| managed.replica().is_none())) {
            return Ok(listed);
        }
        match self.client.inspect_container(&id, None::<InspectContainerOptions>).await {
            Ok(mut inspected) => {
                self.strip_inspected(call, &mut inspected).await?;
                Ok(observed::from_inspect(inspected).or(listed))
            }
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            // What this version of the client cannot read takes room on the host all the same.
            Err(Error::JsonDataError { .. } | Error::JsonSerdeError { .. }) => Ok(listed),
            Err(err) => Err(call.failure(err)),
        }
    }

    /// What the host is told of the output of a container: nothing where nobody asks for anything, or where Docker does not keep
    /// it itself.
    async fn log_config(&self, request: &CreateRequest) -> Result<Option<HostConfigLogConfig>> {
        let (asked, rotation) = (request.spec.logging.as_ref(), request.log_rotation);
        let driver = match asked.and_then(|asked| asked.driver.clone()) {
            Some(driver) => Some(driver),
            None if rotation.is_none() => None,
            None => self.own_log_driver().await?,
        };
        Ok(runtime::log_config(driver, asked, rotation))
    }

    async fn own_log_driver(&self) -> Result<Option<String>> {
        let known = self.log_driver.lock().clone();
        if known.is_some() {
            return Ok(known);
        }
        // Nobody asked yet what it is.
        let call = self.call("create the container", Subject::Host);
        let driver = call.within(deadlines::ASK, self.client.info()).await?.logging_driver;
        self.log_driver.lock().clone_from(&driver);
        Ok(driver)
    }

    /// Docker says 404 for a missing container, and for a network or another thing that a container needs. Only the
    /// first is [`EngineErrorKind::NoSuchContainer`]; the rest another host may have.
    async fn blame_the_right_one(&self, id: &ContainerId, call: &Call, err: super::EngineError) -> super::EngineError {
        if err.kind() == EngineErrorKind::NoSuchContainer && self.inspect(id).await.is_ok() {
            return call.error(EngineErrorKind::Unable, err.detail()).with_source(err);
        }
        err
    }

    async fn wait_until_gone(&self, call: &Call, id: &ContainerId) -> Result<()> {
        loop {
            match self.client.inspect_container(id.as_str(), None::<InspectContainerOptions>).await {
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(()),
                Err(err) => return Err(call.failure(err)),
                Ok(_) => tokio::time::sleep(REMOVAL_POLL).await,
            }
        }
    }

    /// The host's own clock.
    async fn now(&self, call: &Call) -> Result<Timestamp> {
        let info = call.within(deadlines::ASK, self.client.info()).await?;
        let time = info.system_time.and_then(|time| time.parse().ok());
        time.ok_or_else(|| call.error(EngineErrorKind::Failed, format!("{} does not tell its time", self.address)))
    }
}

fn call(address: &EngineAddress, operation: &'static str, subject: Subject) -> Call {
    Call { operation, address: address.to_string(), subject }
}

/// A worker of a swarm makes a network of the swarm when the first container wants it, and does not list it before.
fn gets_networks_from_others(info: &SystemInfo) -> bool {
    let swarm = info.swarm.as_ref();
    swarm.is_some_and(|swarm| {
        swarm.local_node_state == Some(LocalNodeState::ACTIVE) && swarm.control_available != Some(true)
    })
}

/// Docker counts in whole seconds; a container never gets less time than it was given.
fn whole_seconds(grace: Duration) -> i32 {
    let seconds = grace.as_secs().saturating_add(u64::from(grace.subsec_nanos() > 0));
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// The same stream, ended by an error when nothing comes for `silence`, and after its first error.
fn until_silent<T: Send + 'static>(
    source: BoxStream<'static, Result<T, Error>>,
    silence: Duration,
    call: Call,
) -> BoxStream<'static, Result<T>> {
    stream::unfold(Some(source), move |source| {
        let call = call.clone();
        async move {
            let mut source = source?;
            match tokio::time::timeout(silence, source.next()).await {
                Ok(Some(Ok(item))) => Some((Ok(item), Some(source))),
                Ok(Some(Err(err))) => Some((Err(call.failure(err)), None)),
                Ok(None) => None,
                Err(_) => Some((Err(call.unreachable(format!("silent for {silence:?}"))), None)),
            }
        }
    })
    .boxed()
}

#[async_trait]
impl DockerEngine for Docker {
    async fn ping(&self, deadline: Duration) -> Result<()> {
        self.call("ping", Subject::Host).within(deadline, self.client.ping()).await.map(drop)
    }

    async fn info(&self) -> Result<EngineInfo> {
        let call = self.call("ask the host", Subject::Host);
        let images = self.client.list_images(Some(ListImagesOptions::default()));
        let networks = async {
            match self.client.list_networks(None::<ListNetworksOptions>).await {
                Ok(networks) => Ok(Some(networks)),
                // Behind some proxies one may not ask, and what is in front of others does not know of networks.
                Err(Error::DockerResponseServerError { .. } | Error::JsonDataError { .. }) => Ok(None),
                Err(err) => Err(err),
            }
        };
        let asked = futures::future::try_join4(self.client.info(), images, networks, self.list_volumes());
        let (info, images, networks, volumes) = call.within(deadlines::ASK, asked).await?;
        *self.log_driver.lock() = info.logging_driver.clone();
        let networks = networks.filter(|_| !gets_networks_from_others(&info)).map(observed::networks);
        let again = async || {
            let again = call.within(deadlines::ASK, self.client.info()).await?;
            Ok::<_, EngineError>(again.id.unwrap_or_default())
        };
        let daemon_id = self.identity.settle(info.id.clone().unwrap_or_default(), again).await?;
        self.images.note_all(&images);
        let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default();
        Ok(EngineInfo {
            daemon_id,
            cpus: Cpus::from_milli(number(info.ncpu).saturating_mul(1000)),
            memory: MemoryMb::from_bytes_floor(number(info.mem_total)),
            docker_version: info.server_version.unwrap_or_default(),
            images: images.into_iter().map(|image| image.id).collect(),
            networks,
            volumes,
            warnings: info.warnings.unwrap_or_default(),
            time: info.system_time.and_then(|time| time.parse().ok()),
        })
    }

    async fn list(&self) -> Result<Vec<ObservedContainer>> {
        let call = self.call("list the containers", Subject::Host);
        let work = async {
            let summaries = self.list_summaries(true).await.map_err(|err| call.failure(err))?;
            let found: Vec<Option<ObservedContainer>> = stream::iter(summaries)
                .map(|summary| self.complete(&call, summary))
                .buffered(QUESTIONS_AT_ONCE)
                .try_collect()
                .await?;
            Ok(found.into_iter().flatten().collect())
        };
        call.all_within(deadlines::LIST, work).await
    }

    async fn inspect(&self, id: &ContainerId) -> Result<ObservedContainer> {
        let call = self.call("inspect the container", Subject::Container);
        let asked = self.client.inspect_container(id.as_str(), None::<InspectContainerOptions>);
        let mut inspected = call.within(deadlines::ASK, asked).await?;
        self.strip_inspected(&call, &mut inspected).await?;
        observed::from_inspect(inspected)
            .ok_or_else(|| call.error(EngineErrorKind::Failed, format!("{} gives no id", self.address)))
    }

    async fn create(&self, request: &CreateRequest) -> Result<Created> {
        let call = self.call("create the container", Subject::Creation);
        let options = CreateContainerOptions { name: Some(request.name.clone()), ..CreateContainerOptions::default() };
        let log_config = self.log_config(request).await?;
        let asked = self.client.create_container(Some(options), describe::container_body(request, log_config));
        let created = match call.within(deadlines::CHANGE, asked).await {
            Ok(created) => created,
            Err(err) if err.kind() == EngineErrorKind::NoSuchImage => {
                // 404 may mean a network or a plugin, too.
                let image = self.client.inspect_image(request.spec.name.as_str());
                return Err(match call.within(deadlines::ASK, image).await {
                    Ok(_) => call.error(EngineErrorKind::Unable, err.detail()).with_source(err),
                    Err(_) => err,
                });
            }
            Err(err) => return Err(err),
        };
        let no_id = |_| call.error(EngineErrorKind::Failed, format!("{} gives no id", self.address));
        Ok(Created { id: created.id.parse().map_err(no_id)?, warnings: created.warnings })
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        let call = self.call("start the container", Subject::Start);
        let asked = self.client.start_container(id.as_str(), None::<StartContainerOptions>);
        match call.within(deadlines::CHANGE, asked).await {
            Ok(()) => Ok(()),
            // Docker starts none that is paused.
            Err(err) if err.kind() == EngineErrorKind::Conflict && self.is_paused(id).await => {
                call.within(deadlines::CHANGE, self.client.unpause_container(id.as_str())).await
            }
            Err(err) => Err(self.blame_the_right_one(id, &call, err).await),
        }
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let call = self.call("stop the container", Subject::Container);
        let options = StopContainerOptions { t: Some(whole_seconds(grace)), signal: None };
        let deadline = grace.saturating_add(deadlines::STOP_EXTRA);
        call.within(deadline, self.client.stop_container(id.as_str(), Some(options))).await
    }

    async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let call = self.call("restart the container", Subject::Start);
        let options = RestartContainerOptions { t: Some(whole_seconds(grace)), signal: None };
        let deadline = grace.saturating_add(deadlines::STOP_EXTRA).saturating_add(deadlines::CHANGE);
        match call.within(deadline, self.client.restart_container(id.as_str(), Some(options))).await {
            Ok(()) => Ok(()),
            Err(err) => Err(self.blame_the_right_one(id, &call, err).await),
        }
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        let call = self.call("remove the container", Subject::Container);
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        let work = async {
            match self.client.remove_container(id.as_str(), Some(options)).await {
                Ok(()) => Ok(()),
                // Somebody else removes it already.
                Err(Error::DockerResponseServerError { status_code: 409, .. }) => self.wait_until_gone(&call, id).await,
                Err(err) => Err(call.failure(err)),
            }
        };
        call.all_within(deadlines::CHANGE, work).await
    }

    async fn put_files(&self, id: &ContainerId, files: &[ContainerFile]) -> Result<()> {
        self.put(self.call("put files into the container", Subject::Container), id, files).await
    }

    async fn pull(
        &self,
        image: &ImageRef,
        login: Option<RegistryLogin>,
    ) -> Result<BoxStream<'static, Result<PullProgress>>> {
        Ok(pull::open(self.transport.clone(), self.call("pull the image", Subject::Image), image, login))
    }

    async fn registry_digest(&self, image: &ImageRef, login: Option<RegistryLogin>) -> Result<ImageDigest> {
        pull::registry_digest(&self.transport, &self.call("ask the registry", Subject::Registry), image, login).await
    }

    async fn find_image(&self, image: &ImageRef) -> Result<Option<FoundImage>> {
        let call = self.call("look for the image", Subject::Image);
        match call.within(deadlines::ASK, self.client.inspect_image(image.as_str())).await {
            Ok(found) => images::found(&call, image, found).map(Some),
            Err(error) if error.kind() == EngineErrorKind::NoSuchImage => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let call = self.call("read the output", Subject::Container);
        if !options.stdout && !options.stderr {
            return Err(call.error(EngineErrorKind::Refused, "neither of the two outputs is asked for"));
        }
        // Whether it has a terminal is not told by the answer of every version.
        let asked = self.client.inspect_container(id.as_str(), None::<InspectContainerOptions>);
        let config = call.within(deadlines::ASK, asked).await?.config;
        let has_terminal = config.and_then(|config| config.tty).unwrap_or(false);
        logs::open(&self.transport, call, id, has_terminal, options).await
    }

    async fn events(&self, since: Option<Timestamp>) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        let call = self.call("read the events", Subject::Host);
        // Opened at a known time of the host's own clock, so that what happens while the connection is made is in it.
        let since = match since {
            Some(since) => since,
            None => self.now(&call).await?,
        };
        Ok(events::open(self.transport.clone(), call, since))
    }

    async fn usage(&self) -> Result<EngineUsage> {
        let call = self.call("ask what the containers use", Subject::Host);
        let work = async {
            let running = self.list_summaries(false).await.map_err(|err| call.failure(err))?;
            let all: Vec<_> = stream::iter(running.into_iter().filter_map(|summary| summary.id))
                .map(|id| self.stats(&call, id))
                .buffer_unordered(QUESTIONS_AT_ONCE)
                .try_collect()
                .await?;
            Ok(self.samples.usage(all.into_iter().flatten()))
        };
        call.all_within(deadlines::LIST, work).await
    }

    async fn update(&self, id: &ContainerId, sizes: &Sizes) -> Result<()> {
        let call = self.call("update the container", Subject::Update);
        let asked = self.client.update_container(id.as_str(), describe::update_body(sizes));
        call.within(deadlines::CHANGE, asked).await
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        let call = self.call("rename the container", Subject::Container);
        let options = RenameContainerOptions { name: name.to_owned() };
        call.within(deadlines::CHANGE, self.client.rename_container(id.as_str(), options)).await
    }

    async fn create_network(&self, network: &NetworkRequest) -> Result<ObjectLabels> {
        // Docker makes two of one name where it is asked twice at once.
        let _one_at_a_time = self.making_networks.lock().await;
        let call = || self.call("create the network", Subject::Object);
        if objects::create_network(self, call(), network).await? {
            return Ok(labels::of_object(&labels::of_network(network)));
        }
        let gone = || call().error(EngineErrorKind::Failed, "it is gone again");
        self.find_network(&network.name).await?.ok_or_else(gone)
    }

    async fn find_network(&self, name: &str) -> Result<Option<ObjectLabels>> {
        let call = self.call("look for the network", Subject::Object);
        let asked = self.client.inspect_network(name, None::<InspectNetworkOptions>);
        let found = call.within(deadlines::ASK, objects::if_there(asked)).await?;
        Ok(found.map(|network| labels::of_object(&network.labels.unwrap_or_default())))
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        let call = self.call("remove the network", Subject::Object);
        call.within(deadlines::CHANGE, objects::or_gone(self.client.remove_network(name))).await
    }

    async fn create_volume(&self, volume: &VolumeRequest) -> Result<ObjectLabels> {
        let call = self.call("create the volume", Subject::Object);
        let made = call.within(deadlines::CHANGE, self.client.create_volume(objects::volume_body(volume))).await?;
        Ok(labels::of_object(&made.labels))
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        let call = self.call("remove the volume", Subject::Object);
        let asked = self.client.remove_volume(name, None::<RemoveVolumeOptions>);
        call.within(deadlines::CHANGE, objects::or_gone(asked)).await
    }

    async fn find_volume(&self, name: &str) -> Result<Option<ObjectLabels>> {
        let call = self.call("look for the volume", Subject::Object);
        let found = call.within(deadlines::ASK, objects::if_there(self.client.inspect_volume(name))).await?;
        Ok(found.map(|volume| labels::of_object(&volume.labels)))
    }

    async fn exec(&self, id: &ContainerId, command: &[String]) -> Result<BoxStream<'static, Result<ExecChunk>>> {
        let call = self.call("run the command", Subject::Container);
        exec::open(&self.transport, self.client.clone(), call, id, command).await
    }

    async fn attach(&self, id: &ContainerId) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let call = self.call("attach to the container", Subject::Container);
        logs::attach(&self.transport, call, id).await
    }
}

impl Docker {
    async fn is_paused(&self, id: &ContainerId) -> bool {
        self.inspect(id).await.is_ok_and(|found| found.state == ContainerState::Paused)
    }

    /// What one container used up to now. Nothing for one that is gone by now.
    async fn stats(&self, call: &Call, id: String) -> Result<Option<bollard::models::ContainerStatsResponse>> {
        let options = StatsOptions { stream: false, one_shot: true };
        let mut answer = Box::pin(self.client.stats(&id, Some(options)));
        match answer.next().await {
            Some(Ok(stats)) => Ok(Some(bollard::models::ContainerStatsResponse { id: Some(id), ..stats })),
            None | Some(Err(Error::DockerResponseServerError { status_code: 404 | 409, .. })) => Ok(None),
            Some(Err(err)) => Err(call.failure(err)),
        }
    }
}
