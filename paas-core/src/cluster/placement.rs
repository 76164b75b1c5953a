//! Placing that asks the hosts before it says no.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::timeout;

use super::{Cluster, Reservation};
use crate::model::EngineId;
use crate::scheduler::{PlacementRequest, Refusal};

/// How long a refusal waits for engines that were added a moment ago, or that a server found when it began.
const FIRST_READING: Duration = Duration::from_secs(10);
/// How long a host may take to say which networks it has.
const ANSWER: Duration = Duration::from_secs(2);
/// How many hosts are asked at once.
const HOSTS_AT_ONCE: usize = 32;

impl Cluster {
    /// The same as [`Cluster::place`], and never refuses because an engine was not read yet, or because of a network that was
    /// made since the hosts were last read: before it says no, it asks them.
    ///
    /// That a network is there although it was removed since is found out by the host, and then another one is tried.
    ///
    /// # Errors
    /// Why there is not enough room.
    pub async fn place_anywhere(&self, request: PlacementRequest) -> Result<Vec<Reservation>, Refusal> {
        let mut outcome = self.place(request.clone());
        if outcome.is_err() && self.are_unread(request.only.as_ref()) {
            let read = async {
                match &request.only {
                    Some(only) => self.wait_synced(only).await,
                    None => self.wait_all_synced().await,
                }
            };
            let _ = timeout(FIRST_READING, read).await;
            outcome = self.place(request.clone());
        }
        if outcome.is_ok() || request.network.is_none() {
            return outcome;
        }
        let engines: Vec<EngineId> = match &request.only {
            Some(only) => vec![only.clone()],
            None => self.engines_up(),
        };
        futures::stream::iter(engines)
            .for_each_concurrent(HOSTS_AT_ONCE, async |id| self.ask_for_networks(&id).await)
            .await;
        self.place(request)
    }

    async fn ask_for_networks(&self, id: &EngineId) {
        let Some(engine) = self.handle(id) else { return };
        // One that does not answer keeps what it said before.
        if let Ok(Ok(info)) = timeout(ANSWER, engine.client().info()).await {
            self.with(&engine, |view| view.set_networks(id, info.networks));
        }
    }
}
