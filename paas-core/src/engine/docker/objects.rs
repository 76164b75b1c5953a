//! Networks and volumes of a Docker host.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::body_full;
use bollard::errors::Error;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListNetworksOptions, ListVolumesOptions};
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use ipnet::IpNet;
use serde_json::json;
use tokio::time::timeout;

use super::errors::Call;
use super::lines::granted;
use super::transport::Transport;
use super::{Docker, deadlines, observed};
use crate::engine::{NetworkRequest, ObjectLabels, Result, VolumeRequest, labels};

/// How long a host may take to say which volumes it has. It asks its volume plugins for them, and one that hangs must not make the
/// host look as if it were away.
const VOLUMES: Duration = Duration::from_secs(5);

impl Docker {
    /// The volumes that somebody named; nothing where the host does not tell.
    pub(super) async fn list_volumes(&self) -> Result<Option<BTreeMap<String, ObjectLabels>>, Error> {
        match timeout(VOLUMES, self.client.list_volumes(None::<ListVolumesOptions>)).await {
            Ok(Ok(found)) => Ok(Some(observed::volumes(found.volumes.unwrap_or_default()))),
            // As with networks; see there.
            Err(_) | Ok(Err(Error::DockerResponseServerError { .. } | Error::JsonDataError { .. })) => Ok(None),
            Ok(Err(err)) => Err(err),
        }
    }
}

/// Makes a network; false where there is one of that name. Docker chooses its addresses as long as it has any; then they are of the range
/// that the request names.
pub(super) async fn create_network(docker: &Docker, call: Call, network: &NetworkRequest) -> Result<bool> {
    let asked = async {
        let mut taken = Vec::new();
        let mut subnet = None;
        loop {
            match ask_for_network(&docker.transport, network, subnet).await {
                Err(Error::DockerResponseServerError { message, .. })
                    if subnet.is_none() && is_out_of_addresses(&message) =>
                {
                    taken = taken_addresses(docker).await?;
                }
                // Another program may have taken it, or a network that is not Docker's has it.
                Err(Error::DockerResponseServerError { message, .. }) if subnet.is_some() && is_overlap(&message) => {
                    taken.extend(subnet);
                }
                outcome => return outcome,
            }
            subnet = network.subnets.free(&taken);
            if subnet.is_none() {
                let message = format!(
                    "the host has no addresses left for another network, of its own or of {}; remove networks, or start \
                     the server with --app-subnets and a larger range",
                    network.subnets
                );
                return Err(Error::DockerResponseServerError { status_code: 500, message });
            }
        }
    };
    call.within(deadlines::CHANGE, asked).await
}

async fn ask_for_network(
    transport: &Transport,
    network: &NetworkRequest,
    subnet: Option<IpNet>,
) -> Result<bool, Error> {
    // Before 1.44 Docker makes a second one of the same name unless it is told to look. bollard cannot tell it to.
    let mut body = json!({
        "Name": network.name, "Driver": "bridge", "CheckDuplicate": true, "Labels": labels::of_network(network),
    });
    if let Some(subnet) = subnet {
        body["IPAM"] = json!({ "Config": [{ "Subnet": subnet.to_string() }] });
    }
    let request = Request::post("/networks/create").header(CONTENT_TYPE, "application/json");
    let answer = transport.send(request.body(body_full(body.to_string().into()))?).await?;
    match granted(answer).await {
        Ok(_) => Ok(true),
        Err(Error::DockerResponseServerError { status_code: 409, .. }) => Ok(false),
        Err(err) => Err(err),
    }
}

/// Docker's words for it, before and since 28.
fn is_out_of_addresses(message: &str) -> bool {
    message.contains("could not find an available, non-overlapping") || message.contains("fully subnetted")
}

fn is_overlap(message: &str) -> bool {
    message.contains("overlap")
}

/// The addresses of all networks of a host.
async fn taken_addresses(docker: &Docker) -> Result<Vec<IpNet>, Error> {
    let networks = docker.client.list_networks(None::<ListNetworksOptions>).await?;
    let configs = networks.into_iter().filter_map(|network| network.ipam?.config).flatten();
    Ok(configs.filter_map(|config| config.subnet?.parse().ok()).collect())
}

/// What Docker is told to make.
pub(super) fn volume_body(volume: &VolumeRequest) -> VolumeCreateRequest {
    VolumeCreateRequest {
        name: Some(volume.name.clone()),
        labels: Some(labels::of_volume(volume)),
        ..VolumeCreateRequest::default()
    }
}

/// A removal: what is not there need not go.
pub(super) async fn or_gone(asked: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    match asked.await {
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        outcome => outcome,
    }
}

/// What was asked for, if it is there.
pub(super) async fn if_there<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<Option<T>, Error> {
    match asked.await {
        Ok(found) => Ok(Some(found)),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(err) => Err(err),
    }
}
