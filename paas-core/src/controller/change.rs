//! Changes to what the store keeps, each with the event that tells of it.
//!
//! Both are one write, and so is the note that the request was done, where it has a key: whenever a server dies, either all
//! of it is there or nothing is.

use super::{Actor, Controller, ControllerError, Result};
use crate::model::Event;
use crate::store::{self, Write};

/// What is written together with a change.
#[derive(Debug)]
pub(super) struct Publication {
    event: Event,
    writes: Vec<Write>,
}

impl Publication {
    /// The writes to be committed after those of the change itself.
    pub(super) fn writes(&self) -> Vec<Write> {
        self.writes.clone()
    }
}

impl Controller {
    /// The event of a change of `actor`, and the note that the request of `actor` is done by it.
    pub(super) fn publication(&self, actor: &Actor, event: Event) -> Result<Publication> {
        self.publication_of(actor, event, "")
    }

    /// The same with what the change makes, for when its answer is lost.
    pub(super) fn publication_of(&self, actor: &Actor, event: Event, made: &str) -> Result<Publication> {
        let event = actor.sign(event);
        let mut writes = vec![self.shared.log.insertion(&event).map_err(ControllerError::Store)?];
        if let Some(request) = actor.request() {
            writes.push(self.note_of(request, made)?);
        }
        Ok(Publication { event, writes })
    }

    /// Makes a change with everything that tells of it.
    pub(super) async fn commit(&self, mut writes: Vec<Write>, publication: Publication) -> store::Result<()> {
        writes.extend(publication.writes());
        self.shared.store.commit(writes).await?;
        self.publish(publication).await;
        Ok(())
    }

    /// Tells of a change that was made. Those who listen cannot undo it, so what they have against it is a warning.
    pub(super) async fn publish(&self, publication: Publication) {
        self.shared.log.added(1);
        if let Err(error) = self.shared.subscribers.record(&[publication.event]).await {
            tracing::warn!(%error, "an event was stored, and not everybody was told of it");
        }
    }
}
