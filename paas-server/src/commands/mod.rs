//! What the program does, one file per command.

pub mod agent;
pub mod serve;
pub mod store;
