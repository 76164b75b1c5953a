//! What the program does, one file per command.

pub mod agent;
pub mod key;
pub mod serve;
pub mod store;
