//! A heap of candidates of which the first is replaced again and again.

/// A candidate, as one number that is greater when the candidate is better: measure, then few containers, then rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u128);

impl Key {
    /// Smaller than that of any candidate.
    const NONE: Self = Self(0);

    pub(super) fn new((measure, containers, rank): (f64, u32, u32)) -> Self {
        // In the order of `f64::total_cmp`: a negative number has all its bits flipped, another its sign only.
        let bits = measure.to_bits();
        let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
        Self(u128::from(ordered) << 64 | u128::from(!containers) << 32 | u128::from(!rank))
    }

    pub(super) fn rank(self) -> u32 {
        !(self.0 as u32)
    }
}

/// Children of a node: four keys are one line of the cache, so that a step down costs one access to memory, and there are
/// half as many steps as with two.
const WIDTH: usize = 4;

/// The children of one node.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Siblings([Key; WIDTH]);

/// The greatest first. What is missing to full lines is [`Key::NONE`], which sinks and never comes first.
#[derive(Debug)]
pub(super) struct Heap {
    first: Key,
    /// The children of the first, then those of each key here, in turn.
    others: Vec<Siblings>,
}

impl Heap {
    pub(super) fn new(keys: &[Key]) -> Self {
        let (first, others) = keys.split_first().unwrap_or((&Key::NONE, &[]));
        let line = |keys: &[Key]| {
            let mut line = Siblings([Key::NONE; WIDTH]);
            line.0[..keys.len()].copy_from_slice(keys);
            line
        };
        let mut heap = Self { first: *first, others: others.chunks(WIDTH).map(line).collect() };
        for line in (0..heap.others.len()).rev() {
            for place in 0..WIDTH {
                heap.sink(line, place);
            }
        }
        heap.replace_first(*first);
        heap
    }

    /// The greatest, if any is left.
    pub(super) fn first(&self) -> Option<Key> {
        (self.first != Key::NONE).then_some(self.first)
    }

    pub(super) fn remove_first(&mut self) {
        self.replace_first(Key::NONE);
    }

    /// Puts another key in the place of the first.
    pub(super) fn replace_first(&mut self, key: Key) {
        self.first = key;
        let Some((place, child)) = self.greatest(0).filter(|(_, child)| *child > key) else { return };
        self.first = child;
        self.others[0].0[place] = key;
        self.sink(0, place);
    }

    fn greatest(&self, line: usize) -> Option<(usize, Key)> {
        let Siblings([a, b, c, d]) = *self.others.get(line)?;
        let one = if a > b { (0, a) } else { (1, b) };
        let other = if c > d { (2, c) } else { (3, d) };
        Some(if one.1 > other.1 { one } else { other })
    }

    fn sink(&mut self, mut line: usize, mut place: usize) {
        let key = self.others[line].0[place];
        loop {
            let below = line * WIDTH + place + 1;
            let Some((next, child)) = self.greatest(below).filter(|(_, child)| *child > key) else { break };
            self.others[line].0[place] = child;
            (line, place) = (below, next);
        }
        self.others[line].0[place] = key;
    }
}
