//! Which engines have something: a label, an image, a port.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use super::Place;

/// A set of engines: 64 bits for every block that has a member, by the number of the block. What is rare takes little room.
#[derive(Clone, Debug, Default)]
pub(super) struct Postings {
    words: Vec<(u32, u64)>,
}

impl Postings {
    pub(super) fn add(&mut self, place: Place) {
        match self.position(place) {
            Ok(index) => self.words[index].1 |= 1 << place.lane,
            Err(index) => self.words.insert(index, (place.block, 1 << place.lane)),
        }
    }

    pub(super) fn remove(&mut self, place: Place) {
        let Ok(index) = self.position(place) else { return };
        self.words[index].1 &= !(1 << place.lane);
        if self.words[index].1 == 0 {
            self.words.remove(index);
        }
    }

    fn position(&self, place: Place) -> Result<usize, usize> {
        self.words.binary_search_by_key(&place.block, |(block, _)| *block)
    }

    /// Leaves of `words`, one per block, only members.
    pub(super) fn keep_only(&self, words: &mut [u64]) {
        let mut next = self.words.iter().peekable();
        for (block, word) in words.iter_mut().enumerate() {
            *word &= next.next_if(|(number, _)| *number as usize == block).map_or(0, |(_, members)| *members);
        }
    }

    /// Takes the members out of `words`.
    pub(super) fn take_out(&self, words: &mut [u64]) {
        for (block, members) in &self.words {
            words[*block as usize] &= !members;
        }
    }

    /// Takes those members out of `words` for which `really` says so; it is asked only about those that are in.
    pub(super) fn take_out_if(&self, words: &mut [u64], really: impl Fn(Place) -> bool) {
        for (block, members) in &self.words {
            let word = &mut words[*block as usize];
            for lane in super::block::lanes(*word & members) {
                if really(Place { block: *block, lane: lane as u32 }) {
                    *word &= !(1 << lane);
                }
            }
        }
    }

    pub(super) fn has(&self, place: Place) -> bool {
        self.position(place).is_ok_and(|index| self.words[index].1 & (1 << place.lane) != 0)
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn count(&self) -> usize {
        self.words.iter().map(|(_, members)| members.count_ones() as usize).sum()
    }
}

/// Notes that an engine has something.
pub(super) fn add(sets: &mut HashMap<String, Postings>, name: &str, place: Place) {
    match sets.get_mut(name) {
        Some(postings) => postings.add(place),
        None => sets.entry(name.to_owned()).or_default().add(place),
    }
}

/// Notes that an engine has it no more, and forgets what nobody has.
pub(super) fn remove<K, Q>(sets: &mut HashMap<K, Postings>, key: &Q, place: Place)
where
    K: Hash + Eq + Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    let Some(postings) = sets.get_mut(key) else { return };
    postings.remove(place);
    if postings.words.is_empty() {
        sets.remove(key);
    }
}
