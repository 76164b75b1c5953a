//! A simulated world, in which applications are applied at random while everything fails at random.
//!
//! The server is the real one: controller, reconciler, planner, executor, cluster. Hosts are simulated, the store is in memory,
//! and time is tokio's, which stands still while there is something to do. One number, the seed, decides what is declared, what is
//! asked for, and what fails when: hosts, their daemons, containers, calls to hosts and to the store, and the server itself, which
//! is killed before or after any step and followed by another one.
//!
//! After each step it is looked at what must always hold; [`run`] says what did not. Then the faults end, time goes on, and
//! everything has to be as it was declared, with nothing more to do.
//!
//! ```
//! let outcome = paas_core::testing::simulation::run(7);
//! assert!(outcome.broken.is_none(), "{outcome}");
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod declared;
mod events;
mod fate;
mod host;
mod programs;
mod rest;
mod store;
#[cfg(test)]
mod tests;
mod witness;
mod world;

use std::fmt;

use world::World;

/// How many of the last lines of its story the report of a seed shows.
const SHOWN: usize = 80;

/// What came of one seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What did not hold, the first of it; nothing where everything did.
    pub broken: Option<String>,
    /// What happened, in order: what was done to the world, what was asked of hosts, and what was written down.
    pub story: Vec<String>,
    /// The same as one number.
    pub hash: u64,
    /// How many rollouts ended.
    pub rollouts: usize,
    /// How many servers there were.
    pub servers: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped = self.story.len().saturating_sub(SHOWN);
        for line in &self.story[skipped..] {
            writeln!(f, "{line}")?;
        }
        match &self.broken {
            Some(broken) => write!(f, "seed {}: {broken}", self.seed),
            None => write!(f, "seed {}: everything held", self.seed),
        }
    }
}

/// Lets the world of a seed go its way, on a runtime of its own: outside of any other.
///
/// # Panics
/// Inside of a tokio runtime.
pub fn run(seed: u64) -> Outcome {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // Of a server that was killed nothing is left when the runtime ends.
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async { World::new(seed).go().await })
}
