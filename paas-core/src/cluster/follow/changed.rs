//! Containers that something happened to and that are to be read again, each once however much happened to it.

use std::collections::{BTreeSet, HashSet, VecDeque};

use tokio::time::Instant;

use crate::model::ContainerId;

#[derive(Debug, Default)]
pub(super) struct Changed {
    waiting: BTreeSet<ContainerId>,
    being_read: HashSet<ContainerId>,
    again: HashSet<ContainerId>,
    /// When the host is to be asked again what it says of itself.
    pub(super) info_due: Option<Instant>,
}

impl Changed {
    pub(super) fn mark(&mut self, id: ContainerId) {
        if self.being_read.contains(&id) {
            self.again.insert(id);
        } else {
            self.waiting.insert(id);
        }
    }

    pub(super) fn take(&mut self) -> Option<ContainerId> {
        let id = self.waiting.pop_first()?;
        self.being_read.insert(id.clone());
        Some(id)
    }

    /// Marks the first of those that wait.
    pub(super) fn take_first(&mut self, waiting: &mut VecDeque<ContainerId>) {
        if let Some(id) = waiting.pop_front() {
            self.mark(id);
        }
    }

    pub(super) fn done(&mut self, id: Option<ContainerId>) {
        let Some(id) = id else { return };
        self.being_read.remove(&id);
        if self.again.remove(&id) {
            self.waiting.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_changes_while_it_is_read_is_read_again() {
        let id: ContainerId = "0123456789abcdef".parse().unwrap();
        let mut changed = Changed::default();
        changed.mark(id.clone());
        changed.mark(id.clone());
        assert_eq!(changed.take(), Some(id.clone()));
        assert_eq!(changed.take(), None);
        changed.mark(id.clone());
        changed.done(Some(id.clone()));
        assert_eq!(changed.take(), Some(id));
    }
}
