//! Sealing: passwords of image registries and private keys lie in the store encrypted, under a key that does not.
//!
//! A [`Sealer`] has one or more keys of 256 bits. One of them seals (ChaCha20-Poly1305, a random nonce each time), and all of
//! them open. A sealed text is bound to its place, which is the table, the key and the field it belongs to: moved to another
//! record it does not open there.
//!
//! The keys are made once, by the server that finds a store without any, and the store keeps the fingerprint of the one that
//! seals: a controller without that key is not built, so that nothing is written that the others could not read, and nothing
//! is lost without a word. Records that were written before there were keys are read as they are, and sealed when the next
//! controller is built.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use paas_core::controller::Controller;
//! use paas_core::seal::{KeyFile, Sealer};
//! use paas_core::store::{MemoryStore, Store};
//!
//! // What outlives the process needs a key that does, too.
//! let file = KeyFile::new("/var/lib/my-platform/secret.key");
//! if file.read()?.is_none() {
//!     file.create()?; // only for a store that is new
//! }
//! # let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
//! let controller = Controller::builder().store(store).sealer(Sealer::from_file(file)?).build().await?;
//! # controller.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod custody;
mod file;
mod key;
mod records;
mod sealer;
#[cfg(test)]
mod tests;

pub use custody::{Resealed, begin_rotation, claim, reseal, sealed_with, unfinished};
pub use file::{KeyFile, KeyFileError};
pub use key::{Fingerprint, KeyRing, KeyRingError, SealingKey};
pub(crate) use records::{seal_body, unseal_body};
pub use sealer::{Place, SealError, Sealer};
