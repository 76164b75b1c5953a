//! Requests that may be made again: by a client that did not hear what became of them.
//!
//! A client gives its request a key. The first one of a key is done, and its answer kept; another gets that answer.
//! One that was begun and never answered, because its server died, is done again, and every change takes care that this
//! adds nothing: a change to what the store keeps notes in the same write that it is done, so that the answer can be made of
//! what is there; and [`Controller::run_once`] counts what the earlier one started.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::records::Record;
use super::{Actor, Controller, ControllerError, Result};
use crate::background::Report;
use crate::model::RequestId;
use crate::store::records::{KeptAnswer, KeptRequest};
use crate::store::{self, Collection, KeyRange, StoreErrorKind, Version, Versioned, Write};

/// How often requests are looked through for those that are too old.
pub(super) const LOOK: Duration = Duration::from_secs(3600);
/// How many are looked at in one go: with answers as large as can be 12 MB. They are forgotten in one commit.
const PAGE: usize = 50;
/// How long to let others go first in between.
const BETWEEN_PAGES: Duration = Duration::from_millis(10);

/// Adds the answer to what the store has of a request, whichever version that is.
async fn add_answer(requests: &Collection<KeptRequest>, id: RequestId, answered: &KeptRequest) -> store::Result<()> {
    let key = id.to_string();
    let added = requests.update(&key, |kept| {
        // Not to another one, if this one was forgotten and its key used again.
        if kept.fingerprint == answered.fingerprint {
            kept.answer.clone_from(&answered.answer);
        }
    });
    added.await.map(drop)
}

/// What there is to do about a request with a key.
#[derive(Debug)]
pub enum Begin {
    /// Do it: it is the first of its key, or the one before was never answered.
    Execute(IdempotentRequest),
    /// It was answered already.
    Replay(KeptAnswer),
}

/// A request that is being done. No other of the same key is done meanwhile.
#[derive(Debug)]
pub struct IdempotentRequest {
    controller: Controller,
    request: RequestContext,
    again: bool,
    _one_at_a_time: OwnedMutexGuard<()>,
}

/// A request with a key that is being done, for those who make its change. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RequestContext(Arc<Request>);

#[derive(Debug)]
struct Request {
    id: RequestId,
    /// None when the store could not note that it was begun.
    version: Option<Version>,
    kept: KeptRequest,
    /// Whether a change was begun that notes in what is kept that it was made.
    noted: AtomicBool,
}

impl Request {
    /// The write after which this is kept of the request.
    fn write(&self, requests: &Collection<KeptRequest>, kept: &KeptRequest) -> Result<Write> {
        let key = self.id.to_string();
        let write = match self.version {
            Some(version) => requests.replacement(&key, version, kept),
            None => requests.insertion(&key, kept),
        };
        write.map_err(ControllerError::Store)
    }
}

/// Answers that were given and that the store does not have yet.
#[derive(Debug, Default)]
pub(super) struct AnswersToCome(Mutex<HashMap<RequestId, KeptRequest>>);

impl AnswersToCome {
    fn of(&self, id: RequestId) -> Option<KeptRequest> {
        self.0.lock().get(&id).cloned()
    }

    /// Adds the answer to what the store has of a request.
    ///
    /// # Errors
    /// As [`Collection::update`].
    pub(super) async fn add(&self, requests: &Collection<KeptRequest>, id: RequestId) -> store::Result<()> {
        match self.of(id) {
            Some(kept) => add_answer(requests, id, &kept).await,
            None => Ok(()),
        }
    }

    /// The store has it.
    pub(super) fn arrived(&self, id: RequestId) {
        self.0.lock().remove(&id);
    }
}

impl RequestContext {
    /// What the request made, if it was done before.
    pub(super) fn made(&self) -> Option<&str> {
        self.0.kept.made.as_deref()
    }
}

impl Controller {
    /// Begins a request that `actor` calls `key`; `parts` are everything that makes it what it is. Waits while another of the
    /// same key is being done here.
    ///
    /// # Errors
    /// [`ControllerError::KeyReused`] when the key was used for another request; the store does not answer.
    pub async fn begin_request(&self, actor: &Actor, key: &str, parts: &[&[u8]]) -> Result<Begin> {
        self.begin(actor, key, parts, false).await
    }

    /// The same for a request that does no harm when it is done twice, and that must be possible on a full disk: it is begun
    /// also where the store can only be read, and its answer is kept there when the store takes it.
    ///
    /// # Errors
    /// As [`Controller::begin_request`].
    pub async fn begin_harmless_request(&self, actor: &Actor, key: &str, parts: &[&[u8]]) -> Result<Begin> {
        self.begin(actor, key, parts, true).await
    }

    async fn begin(&self, actor: &Actor, key: &str, parts: &[&[u8]], harmless: bool) -> Result<Begin> {
        let id = RequestId::of(actor.name(), key);
        let one_at_a_time = self.shared.idempotency_locks.lock(&id.to_string()).await;
        self.check_open()?;
        let fingerprints = self.fingerprints(parts);
        let is_same = |kept: &str| fingerprints.iter().any(|one| one == kept);
        let new = KeptRequest::new(fingerprints[0].clone(), self.shared.clock.now());
        let reused = || Err(ControllerError::KeyReused { key: key.to_owned() });
        if let Some(kept) = self.shared.answers.of(id) {
            return match kept {
                KeptRequest { fingerprint, answer: Some(answer), .. } if is_same(&fingerprint) => {
                    Ok(Begin::Replay(answer))
                }
                _ => reused(),
            };
        }
        let requests = &self.shared.requests;
        let (version, kept, again) = match requests.insert(&id.to_string(), &new).await {
            Ok(version) => (Some(version), new, false),
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists || (harmless && error.is_of_the_backend()) => {
                let found = requests.get(&id.to_string()).await.map_err(ControllerError::Store)?;
                match found {
                    None if error.is_of_the_backend() => (None, new, false),
                    // Forgotten in between: its time was over.
                    None => return reused(),
                    Some(found) if !is_same(&found.value.fingerprint) => return reused(),
                    Some(Versioned { value: KeptRequest { answer: Some(answer), .. }, .. }) => {
                        return Ok(Begin::Replay(answer));
                    }
                    Some(found) => (Some(found.version), found.value, true),
                }
            }
            Err(error) => return Err(ControllerError::Store(error)),
        };
        let controller = self.clone();
        let request = RequestContext(Arc::new(Request { id, version, kept, noted: AtomicBool::new(false) }));
        Ok(Begin::Execute(IdempotentRequest { controller, request, again, _one_at_a_time: one_at_a_time }))
    }

    /// What a request is known by, and what else it may have been known by: the first is written.
    ///
    /// A request may hold a password or the value of a secret, so its hash needs a key of the platform: from a plain one somebody
    /// who reads the store could find out what it was by trying. Versions before wrote a plain one.
    fn fingerprints(&self, parts: &[&[u8]]) -> Vec<String> {
        let keyed = self.shared.sealer.as_ref().map(|sealer| sealer.keyed_hashes("paas-request-1", parts));
        keyed.into_iter().flatten().chain([plain_fingerprint(parts)]).collect()
    }

    /// The write that notes that a request made its change, to be made with that change.
    pub(super) fn note_of(&self, request: &RequestContext, made: &str) -> Result<Write> {
        let RequestContext(request) = request;
        request.noted.store(true, Ordering::Relaxed);
        let kept = KeptRequest { made: Some(made.to_owned()), ..request.kept.clone() };
        request.write(&self.shared.requests, &kept)
    }

    /// Forgets requests that are older than [`super::Settings::keep_requests`], until it is given up.
    pub(super) async fn forget_old_requests(self, report: Report) {
        let mut ticker = interval(LOOK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = ticker.tick() => {}
                () = report.woken() => {}
            }
            match self.forget_requests_before(self.shared.settings.keep_requests).await {
                Ok(()) => report.ok(),
                Err(error) => {
                    tracing::warn!(%error, "old requests are not forgotten");
                    report.failed(&error);
                }
            }
        }
    }

    pub(super) async fn forget_requests_before(&self, age: Duration) -> Result<()> {
        let requests = &self.shared.requests;
        let mut from = None;
        loop {
            let page = KeyRange { from, limit: PAGE, ..KeyRange::all() };
            let found = requests.list(&page).await.map_err(ControllerError::Store)?;
            let now = self.shared.clock.now();
            let is_old =
                |request: &&Versioned<KeptRequest>| now.duration_since(request.value.began).unsigned_abs() > age;
            let old: Vec<Write> = found.iter().filter(is_old).map(|old| requests.clearance(&old.key)).collect();
            if !old.is_empty() {
                self.shared.store.commit(old).await.map_err(ControllerError::Store)?;
            }
            match found.last() {
                Some(last) if found.len() == PAGE => from = Some(format!("{}\u{1}", last.key)),
                _ => return Ok(()),
            }
            // Others ask the store for something, too.
            sleep(BETWEEN_PAGES).await;
        }
    }
}

impl IdempotentRequest {
    /// The request.
    pub fn id(&self) -> RequestId {
        self.request.0.id
    }

    /// The request for those who make its change: see [`Actor::by_request`].
    pub fn context(&self) -> RequestContext {
        self.request.clone()
    }

    /// Whether it was begun before, and never answered.
    pub fn is_again(&self) -> bool {
        self.again
    }

    /// Keeps the answer, before it is given. When the store does not take it, it is kept in memory until the store does, and
    /// is given all the same: what was done is done.
    ///
    /// # Errors
    /// The answer is none that can be kept; then it must not be given.
    pub async fn finish(self, answer: KeptAnswer) -> Result<()> {
        if answer.body.len() > KeptAnswer::LARGEST {
            return Ok(());
        }
        let (shared, request) = (&self.controller.shared, &self.request.0);
        let kept = KeptRequest { answer: Some(answer), ..request.kept.clone() };
        let (writes, finished) = if request.noted.load(Ordering::Relaxed) {
            // The version that the note has is known to nobody here.
            (Vec::new(), add_answer(&shared.requests, request.id, &kept).await)
        } else {
            let writes = vec![request.write(&shared.requests, &kept)?];
            (writes.clone(), shared.store.commit(writes).await.map(drop))
        };
        match finished {
            Err(error) if error.is_of_the_backend() => {
                shared.answers.0.lock().insert(request.id, kept);
                shared.records.follow(Record { writes, event: None, answered: Some(request.id), ended: None });
                Ok(())
            }
            outcome => outcome.map_err(ControllerError::Store),
        }
    }

    /// Forgets the request: it was not done, and the next one of its key is the first. If it was done all the same, because
    /// only the store's answer was lost, it is not forgotten.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn forget(self) -> Result<()> {
        let (requests, request) = (&self.controller.shared.requests, &self.request.0);
        let Some(version) = request.version else { return Ok(()) };
        let forget = requests.deletion(&request.id.to_string(), Some(version));
        match self.controller.shared.store.commit(vec![forget]).await {
            Err(error) if !matches!(error.kind(), StoreErrorKind::NotFound | StoreErrorKind::VersionMismatch) => {
                Err(ControllerError::Store(error))
            }
            _ => Ok(()),
        }
    }
}

fn plain_fingerprint(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // With its length, so that two different requests cannot run together to the same bytes.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}
