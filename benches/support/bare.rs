//! A program that asks Docker for containers and does nothing else: what the platform is held against on real hosts.

use std::sync::Mutex;
use std::time::Instant;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, PortBinding};
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions,
};
use futures::StreamExt;
use futures::future::join_all;
use jiff::Timestamp;
use xtask::bed::Bed;

/// The hosts, and what to start there.
pub(crate) struct Bare {
    hosts: Vec<(String, Docker)>,
    image: String,
}

impl Bare {
    /// Over the first hosts of a bed.
    pub(crate) async fn over(bed: &Bed, hosts: usize, image: &str) -> Self {
        let connected = (1..=hosts).map(|host| async move {
            let client = Docker::connect_with_host(&bed.address(host).unwrap()).unwrap();
            (bed.ip(host).to_string(), client.negotiate_version().await.unwrap())
        });
        Self { hosts: join_all(connected).await, image: image.to_owned() }
    }

    fn description(&self) -> ContainerCreateBody {
        ContainerCreateBody {
            image: Some(self.image.clone()),
            exposed_ports: Some(vec!["80/tcp".to_owned()]),
            host_config: Some(HostConfig {
                memory: Some(32 << 20),
                memory_swap: Some(32 << 20),
                nano_cpus: Some(50_000_000),
                port_bindings: Some([("80/tcp".to_owned(), Some(vec![PortBinding::default()]))].into()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// Starts containers, spread evenly, so many at once on each host; after how many seconds the first one ran.
    pub(crate) async fn launch(&self, count: usize, at_once: usize) -> f64 {
        let (begun, first) = (Instant::now(), Mutex::new(None));
        let on_each = self.hosts.iter().enumerate().map(|(position, (_, client))| {
            let mine = (0..count).filter(move |number| number % self.hosts.len() == position);
            let first = &first;
            futures::stream::iter(mine).for_each_concurrent(at_once, move |_| async move {
                let created =
                    client.create_container(None::<CreateContainerOptions>, self.description()).await.unwrap();
                client.start_container(&created.id, None::<StartContainerOptions>).await.unwrap();
                first.lock().unwrap().get_or_insert_with(|| begun.elapsed().as_secs_f64());
            })
        });
        join_all(on_each).await;
        first.into_inner().unwrap().unwrap()
    }

    /// Removes everything, so many at once on each host.
    pub(crate) async fn remove_all(&self, at_once: usize) {
        let on_each = self.hosts.iter().map(|(_, client)| async move {
            let all = ids(client).await;
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            let removals = futures::stream::iter(all);
            removals
                .for_each_concurrent(at_once, |id| {
                    let options = options.clone();
                    async move { client.remove_container(&id, Some(options)).await.unwrap() }
                })
                .await;
        });
        join_all(on_each).await;
    }

    /// From when Docker began to make each container until it ran, by Docker's own account, seconds.
    pub(crate) async fn start_times(&self) -> Vec<f64> {
        let mut times = Vec::new();
        for (_, client) in &self.hosts {
            for id in ids(client).await {
                let found = client.inspect_container(&id, None::<InspectContainerOptions>).await.unwrap();
                let created: Timestamp = found.created.unwrap().to_string().parse().unwrap();
                let started: Timestamp = found.state.unwrap().started_at.unwrap().parse().unwrap();
                times.push(started.duration_since(created).as_secs_f64());
            }
        }
        times
    }

    /// Where each container answers.
    pub(crate) async fn pages(&self) -> Vec<String> {
        let mut pages = Vec::new();
        for (ip, client) in &self.hosts {
            for container in client.list_containers(Some(ListContainersOptionsBuilder::new().build())).await.unwrap() {
                let port = container.ports.unwrap().into_iter().find_map(|port| port.public_port).unwrap();
                pages.push(format!("http://{ip}:{port}/"));
            }
        }
        pages
    }
}

async fn ids(client: &Docker) -> Vec<String> {
    let all = ListContainersOptionsBuilder::new().all(true).build();
    client.list_containers(Some(all)).await.unwrap().into_iter().map(|container| container.id.unwrap()).collect()
}
