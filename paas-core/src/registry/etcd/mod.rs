//! Leases in etcd, which every server and every agent reaches by itself.
//!
//! Below the prefix of the URL, a member is `registry/members/ID`, a claim that was refused `registry/claims/ID/LEASE`, and a
//! candidate `elections/NAME/LEASE`. Each key vanishes with the lease of its writer.

mod election;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse};
use futures::stream::{BoxStream, StreamExt};

use super::{LeaseId, Listing, Member, MemberChange, Registry, RegistryError, RegistryErrorKind, Result, Revision};
use crate::etcd::{Address, Connection, Effect, EtcdError, EtcdErrorKind, LARGEST_ANSWER, Seen};
use crate::model::EngineId;
use crate::store::LeaderKey;

/// How long etcd may take to answer. A lease of a few seconds must survive that one server hangs and another is asked.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Who is alive, as known to etcd. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EtcdRegistry {
    connection: Arc<Connection>,
}

impl EtcdRegistry {
    /// The registry on the etcd that a URL names; `rest` is what follows `etcd:`. Connects when it is first used.
    ///
    /// # Errors
    /// [`RegistryErrorKind::Invalid`] says what is wrong with the URL, or with which of its files.
    pub fn open(rest: &str) -> Result<Self> {
        let address = Address::parse(rest).map_err(|error| failed("open", error))?;
        Ok(Self { connection: Arc::new(Connection::new(address, TIMEOUT)) })
    }

    pub(super) fn hosts(rest: &str) -> Result<Vec<String>> {
        Ok(Address::parse(rest).map_err(|error| failed("open", error))?.hosts())
    }

    fn key(&self, path: &str) -> String {
        format!("{}/{path}", self.connection.prefix())
    }

    fn member_key(&self, id: &str) -> String {
        self.key(&format!("registry/members/{id}"))
    }

    fn claim_key(&self, id: &str, lease: LeaseId) -> String {
        self.key(&format!("registry/claims/{id}/{:016x}", lease.0))
    }

    /// Writes a member unless another lease holds its id. False when one does.
    async fn write(&self, member: &Member, lease: LeaseId) -> Result<bool, EtcdError> {
        let (key, value) = (self.member_key(member.id.as_str()), in_json(member)?);
        let claim = self.claim_key(member.id.as_str(), lease);
        let txn = registration(&key, &claim, &value, lease);
        let answer = self.connection.call(Effect::Same, move |client| {
            let txn = txn.clone();
            async move { Ok(client.kv_client().txn(txn).await?) }
        });
        let answer = answer.await?;
        // Either branch reads the key at its end, so that the lease on it says who holds the id.
        let holder = answer.op_responses().into_iter().find_map(|response| match response {
            TxnOpResponse::Get(found) => found.kvs().first().map(KeyValue::lease),
            _ => None,
        });
        Ok(holder == Some(lease.0))
    }
}

/// Writes the member if nobody holds the key, or the same lease does and says something else; otherwise the claim. Repeating
/// what was said already writes nothing, so that watchers do not hear it twice.
fn registration(key: &str, claim: &str, value: &[u8], lease: LeaseId) -> Txn {
    let held_by_us = || Compare::lease(key, CompareOp::Equal, lease.0);
    let put = |key: &str| TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease.0)));
    let read = || TxnOp::get(key, Some(GetOptions::new().with_keys_only()));
    let claim_once = Txn::new().when([Compare::value(claim, CompareOp::Equal, value)]).or_else([put(claim)]);
    let replace = Txn::new().when([held_by_us()]).and_then([put(key)]).or_else([TxnOp::txn(claim_once)]);
    let join = Txn::new()
        .when([Compare::create_revision(key, CompareOp::Equal, 0)])
        .and_then([put(key), TxnOp::delete(claim, None)])
        .or_else([TxnOp::txn(replace)]);
    Txn::new()
        .when([held_by_us(), Compare::value(key, CompareOp::Equal, value)])
        .and_then([read()])
        .or_else([TxnOp::txn(join), read()])
}

#[async_trait]
impl Registry for EtcdRegistry {
    async fn grant(&self, ttl: Duration) -> Result<LeaseId> {
        // Whole seconds, and rather more than less. etcd itself has a shortest lease, of about two.
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1);
        // A grant whose answer was lost is a lease that nobody knows, and ends by itself.
        let granted = self
            .connection
            .call(Effect::Same, |client| async move { Ok(client.lease_client().grant(seconds, None).await?) });
        Ok(LeaseId(granted.await.map_err(|error| failed("grant a lease", error))?.id()))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<()> {
        let kept = self.connection.call(Effect::Same, |client| async move {
            // Asks once, and waits for the answer. The stream for further ones is not needed.
            client.lease_client().keep_alive(lease.0).await?;
            Ok(())
        });
        kept.await.map_err(|error| failed("keep the lease", error))
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        let revoked = self.connection.call(Effect::Same, |client| async move {
            client.lease_client().revoke(lease.0).await?;
            Ok(())
        });
        match revoked.await {
            Err(error) if error.kind() != EtcdErrorKind::NoLease => Err(failed("revoke the lease", error)),
            _ => Ok(()),
        }
    }

    async fn register(&self, member: &Member, lease: LeaseId) -> Result<()> {
        match self.write(member, lease).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let detail = format!("'{}' is alive already under another lease", member.id);
                Err(RegistryError::new(RegistryErrorKind::Taken, "register", detail))
            }
            Err(error) => Err(failed("register", error)),
        }
    }

    async fn holder(&self, id: &EngineId) -> Result<Option<(Member, LeaseId)>> {
        let key = self.member_key(id.as_str());
        let found = self.connection.call(Effect::Same, |client| {
            let key = key.clone();
            async move { Ok(client.kv_client().get(key, None).await?) }
        });
        let found = found.await.map_err(|error| failed("find who holds the id", error))?;
        Ok(found.kvs().first().and_then(|kv| Some((in_words(kv)?, LeaseId(kv.lease())))))
    }

    async fn list(&self) -> Result<Listing> {
        let prefix = self.member_key("");
        let listed = self.connection.call(Effect::Same, |client| {
            let options = GetOptions::new().with_prefix();
            let (prefix, mut keys) = (prefix.clone(), client.kv_client().max_decoding_message_size(LARGEST_ANSWER));
            async move { Ok(keys.get(prefix, Some(options)).await?) }
        });
        let listed = listed.await.map_err(|error| failed("list", error))?;
        let revision = Revision(listed.header().map_or(0, |header| header.revision()));
        Ok(Listing { members: listed.kvs().iter().filter_map(in_words).collect(), revision })
    }

    async fn watch(&self, from: Revision) -> Result<BoxStream<'static, MemberChange>> {
        let (members, claims) = (self.member_key(""), self.key("registry/claims/"));
        let seen = self.connection.watch(self.key("registry/"), Some(from.0)).await;
        let seen = seen.map_err(|error| failed("watch", error))?;
        let changes = seen.filter_map(move |seen| {
            let change = match seen {
                Seen::Lagged => Some(MemberChange::Lagged),
                Seen::Resumed => Some(MemberChange::Resumed),
                Seen::Put(kv) => {
                    let revision = Revision(kv.mod_revision());
                    match kv.key() {
                        key if key.starts_with(members.as_bytes()) => {
                            in_words(&kv).map(|member| MemberChange::Joined(member, revision))
                        }
                        key if key.starts_with(claims.as_bytes()) => {
                            in_words(&kv).map(|member| MemberChange::Refused(member, revision))
                        }
                        _ => None,
                    }
                }
                Seen::Deleted { key, revision } => {
                    let id = key.strip_prefix(members.as_bytes()).and_then(|id| std::str::from_utf8(id).ok());
                    id.and_then(|id| id.parse::<EngineId>().ok()).map(|id| MemberChange::Left(id, Revision(revision)))
                }
            };
            std::future::ready(change)
        });
        Ok(changes.boxed())
    }

    async fn campaign(&self, election: &str, candidate: &str, lease: LeaseId) -> Result<Option<LeaderKey>> {
        let key = election::campaign(self, election, candidate, lease).await;
        key.map(Some).map_err(|error| failed("campaign", error))
    }

    async fn leader(&self, election: &str) -> Result<Option<String>> {
        election::leader(self, election).await.map_err(|error| failed("find the leader", error))
    }

    async fn watch_leader(&self, election: &str) -> Result<BoxStream<'static, Option<String>>> {
        election::watch_leader(self, election).await.map_err(|error| failed("watch the leader", error))
    }
}

fn in_json(member: &Member) -> Result<Vec<u8>, EtcdError> {
    serde_json::to_vec(member).map_err(|error| EtcdError::new(EtcdErrorKind::Invalid, error.to_string()))
}

/// The member that a key holds. What others have written there is nobody's word.
fn in_words(kv: &KeyValue) -> Option<Member> {
    match serde_json::from_slice(kv.value()) {
        Ok(member) => Some(member),
        Err(error) => {
            tracing::warn!(key = %String::from_utf8_lossy(kv.key()), %error, "a key in etcd holds no member");
            None
        }
    }
}

fn failed(operation: &'static str, error: EtcdError) -> RegistryError {
    let kind = match error.kind() {
        EtcdErrorKind::Unavailable | EtcdErrorKind::Compacted | EtcdErrorKind::Fenced => RegistryErrorKind::Unavailable,
        EtcdErrorKind::Refused | EtcdErrorKind::Full => RegistryErrorKind::Broken,
        EtcdErrorKind::NoLease => RegistryErrorKind::LeaseExpired,
        EtcdErrorKind::Invalid | EtcdErrorKind::TooLarge => RegistryErrorKind::Invalid,
    };
    let detail = match kind {
        RegistryErrorKind::LeaseExpired => "the lease ran out".to_owned(),
        _ => format!("etcd: {error}"),
    };
    RegistryError::new(kind, operation, detail)
}
