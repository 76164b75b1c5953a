//! Who leads: the candidate whose key is the oldest.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, PutOptions, SortOrder, SortTarget, Txn, TxnOp};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::{EtcdRegistry, LeaseId};
use crate::etcd::{Effect, EtcdError, EtcdErrorKind, Result};
use crate::store::LeaderKey;

/// How often, and after which time, a candidate that gives up tries to take its key away. Otherwise it goes with the lease.
const WITHDRAWALS: (u32, Duration) = (5, Duration::from_millis(500));
/// How long to wait before a registry that is away is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// Waits until `candidate` leads. The work is done by a task of its own, so that a caller who gives up in the middle of a
/// call leaves no key behind.
pub(super) async fn campaign(
    registry: &EtcdRegistry,
    election: &str,
    candidate: &str,
    lease: LeaseId,
) -> Result<LeaderKey> {
    let (answer, answered) = oneshot::channel();
    // Dropped unsaid when the caller gives up, at whatever moment.
    let (accept, accepted) = oneshot::channel();
    let candidacy = Candidacy {
        registry: registry.clone(),
        prefix: prefix(registry, election),
        candidate: candidate.to_owned(),
        lease,
    };
    tokio::spawn(candidacy.stand(answer, accepted));
    let outcome = answered.await.unwrap_or_else(|_| Err(EtcdError::new(EtcdErrorKind::Unavailable, "it was given up")));
    if outcome.is_ok() {
        // Fails only when the runtime ends, and everything with it.
        let _ = accept.send(());
    }
    outcome
}

/// The candidate whose key is the oldest.
pub(super) async fn leader(registry: &EtcdRegistry, election: &str) -> Result<Option<String>> {
    let key = prefix(registry, election);
    let first = registry.connection.call(Effect::Same, |client| {
        let key = key.clone();
        let options = GetOptions::new().with_prefix().with_sort(SortTarget::Create, SortOrder::Ascend).with_limit(1);
        async move { Ok(client.kv_client().get(key, Some(options)).await?) }
    });
    let first = first.await?;
    Ok(first.kvs().first().map(|kv| String::from_utf8_lossy(kv.value()).into_owned()))
}

/// Who leads now, and again whenever that changes. While etcd is away nothing is said.
pub(super) async fn watch_leader(
    registry: &EtcdRegistry,
    election: &str,
) -> Result<BoxStream<'static, Option<String>>> {
    let changes = registry.connection.watch(prefix(registry, election), None).await?;
    // Looked at only after the watch has begun, so that nothing is missed in between.
    let first = leader(registry, election).await?;
    let state = (registry.clone(), election.to_owned(), changes, first.clone());
    let later = stream::unfold(state, |(registry, election, mut changes, mut known)| async move {
        loop {
            changes.next().await?;
            let found = loop {
                match leader(&registry, &election).await {
                    Ok(found) => break found,
                    Err(error) => tracing::debug!(%error, "who leads cannot be read"),
                }
                sleep(RETRY).await;
            };
            if found != known {
                known.clone_from(&found);
                return Some((found, (registry, election, changes, known)));
            }
        }
    });
    Ok(stream::once(std::future::ready(first)).chain(later).boxed())
}

/// What the keys of all candidates begin with. A slash in the name would make one election a part of another.
fn prefix(registry: &EtcdRegistry, election: &str) -> String {
    registry.key(&format!("elections/{}/", election.replace('%', "%25").replace('/', "%2F")))
}

struct Candidacy {
    registry: EtcdRegistry,
    prefix: String,
    candidate: String,
    lease: LeaseId,
}

impl Candidacy {
    fn key(&self) -> String {
        format!("{}{:016x}", self.prefix, self.lease.0)
    }

    /// Until this candidate leads, its lease ends, or its caller is gone.
    async fn stand(self, answer: oneshot::Sender<Result<LeaderKey>>, mut accepted: oneshot::Receiver<()>) {
        let outcome = async {
            // Not cut off: whether the key is there must be known before it is taken away.
            self.enter().await?;
            tokio::select! {
                outcome = self.until_first() => outcome,
                _ = &mut accepted => Err(EtcdError::new(EtcdErrorKind::Unavailable, "it was given up")),
            }
        };
        let outcome = outcome.await;
        let is_first = outcome.is_ok();
        let heard = answer.send(outcome).is_ok();
        if !(is_first && heard && accepted.await.is_ok()) {
            self.withdraw().await;
        }
    }

    /// Gets in line. Who stands there already keeps its place.
    async fn enter(&self) -> Result<()> {
        let key = self.key();
        let put = PutOptions::new().with_lease(self.lease.0);
        let txn = Txn::new()
            .when([Compare::create_revision(key.as_str(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key, self.candidate.as_str(), Some(put))]);
        let entered = self.registry.connection.call(Effect::Same, |client| {
            let txn = txn.clone();
            async move { Ok(client.kv_client().txn(txn).await?) }
        });
        entered.await.map(drop)
    }

    async fn until_first(&self) -> Result<LeaderKey> {
        loop {
            match self.look().await {
                Ok(Ok(key)) => return Ok(key),
                Ok(Err(revision)) => self.until_somebody_leaves(revision).await,
                // It stays in line as long as its lease does; the task that keeps the lease finds out when it ends.
                Err(error) if error.kind() == EtcdErrorKind::Unavailable => sleep(RETRY).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// The key of this candidate when it is the first in line; otherwise at which revision it was not.
    async fn look(&self) -> Result<Result<LeaderKey, i64>> {
        let prefix = self.prefix.as_str();
        let line = self.registry.connection.call(Effect::Same, |client| async move {
            let options = GetOptions::new().with_prefix().with_sort(SortTarget::Create, SortOrder::Ascend);
            Ok(client.kv_client().get(prefix, Some(options.with_keys_only())).await?)
        });
        let line = line.await?;
        let own = self.key();
        let place = line.kvs().iter().position(|kv| kv.key() == own.as_bytes());
        let place = place.ok_or_else(|| EtcdError::new(EtcdErrorKind::NoLease, "the lease ran out"))?;
        let (revision, cluster_id) = line.header().map_or((0, 0), |header| (header.revision(), header.cluster_id()));
        let create_revision = line.kvs().get(place).map_or(0, KeyValue::create_revision);
        Ok(if place == 0 { Ok(LeaderKey { cluster_id, key: own, create_revision }) } else { Err(revision) })
    }

    /// Until the line is not any more what it was at a revision. Returns early when that cannot be known.
    async fn until_somebody_leaves(&self, revision: i64) {
        match self.registry.connection.watch(self.prefix.clone(), Some(revision)).await {
            Ok(mut changes) => drop(changes.next().await),
            Err(error) => {
                tracing::debug!(%error, "an election cannot be watched");
                sleep(RETRY).await;
            }
        }
    }

    async fn withdraw(&self) {
        let key = self.key();
        for _ in 0..WITHDRAWALS.0 {
            let deleted = self.registry.connection.call(Effect::Same, |client| {
                let key = key.clone();
                async move { Ok(client.kv_client().delete(key, None).await?) }
            });
            match deleted.await {
                Ok(_) => return,
                Err(error) => tracing::debug!(%error, "a candidate cannot be withdrawn"),
            }
            sleep(WITHDRAWALS.1).await;
        }
    }
}
