//! The tables of the platform. A table that is not in [`ALL`] is neither copied nor backed up.

use super::Table;

/// Who may log in.
pub const ACCOUNTS: Table = Table::new("accounts");
/// Engines that registered themselves and are drained.
pub const DRAINED_ENGINES: Table = Table::new("drained_engines");
/// The Docker hosts that were added by hand.
pub const ENGINES: Table = Table::new("engines");
/// What happened.
pub const EVENTS: Table = Table::new("events");
/// What lets a Docker host join by itself.
pub const JOIN_TOKENS: Table = Table::new("join_tokens");
/// The name of this installation.
pub const PLATFORM: Table = Table::new("platform");
/// What is known of engines that registered themselves.
pub const REGISTERED_ENGINES: Table = Table::new("registered_engines");
/// Logins to image registries that serve every engine.
pub const REGISTRY_LOGINS: Table = Table::new("registry_logins");
/// Requests that may be made again, and their answers.
pub const REQUESTS: Table = Table::new("requests");
/// Who is logged in.
pub const TOKENS: Table = Table::new("tokens");

/// Every table of the platform.
pub const ALL: [Table; 10] = [
    ACCOUNTS,
    DRAINED_ENGINES,
    ENGINES,
    EVENTS,
    JOIN_TOKENS,
    PLATFORM,
    REGISTERED_ENGINES,
    REGISTRY_LOGINS,
    REQUESTS,
    TOKENS,
];
