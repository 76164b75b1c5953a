//! Containers that were removed a moment ago.

use std::collections::{HashMap, VecDeque};

use super::Ticket;
use crate::model::ContainerId;

/// Containers that were removed a moment ago, so that an answer that was under way does not bring one back.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    tickets: HashMap<ContainerId, Ticket>,
    oldest_first: VecDeque<ContainerId>,
}

impl Tombstones {
    /// More removals than can happen while one answer is under way.
    const LIMIT: usize = 10_000;

    pub(super) fn add(&mut self, id: &ContainerId, ticket: Ticket) {
        if self.tickets.insert(id.clone(), ticket).is_none() {
            self.oldest_first.push_back(id.clone());
        }
        if self.oldest_first.len() > Self::LIMIT
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.tickets.remove(&oldest);
        }
    }

    pub(super) fn has(&self, id: &ContainerId) -> bool {
        self.tickets.contains_key(id)
    }

    pub(super) fn forbid(&self, id: &ContainerId, ticket: Ticket) -> bool {
        self.tickets.get(id).is_some_and(|&gone| gone >= ticket)
    }
}
