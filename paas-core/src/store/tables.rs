//! The tables of the platform. A table that is not in [`ALL`] is neither copied nor backed up.

use super::Table;

/// Who may log in.
pub const ACCOUNTS: Table = Table::new("accounts");
/// Applications: which revision they have, and the rollout that is under way.
pub const APPLICATIONS: Table = Table::new("applications");
/// Configuration files of applications, by their SHA-256.
pub const BLOBS: Table = Table::new("blobs");
/// Hosts that register themselves and were deleted while their agent ran.
pub const DELETED_ENGINES: Table = Table::new("deleted_engines");
/// Engines that registered themselves and are drained.
pub const DRAINED_ENGINES: Table = Table::new("drained_engines");
/// The Docker hosts that were added by hand.
pub const ENGINES: Table = Table::new("engines");
/// What happened.
pub const EVENTS: Table = Table::new("events");
/// What lets a Docker host join by itself.
pub const JOIN_TOKENS: Table = Table::new("join_tokens");
/// What was asked of Docker, and what became of it.
pub const LAUNCHES: Table = Table::new("launches");
/// What containers of applications wrote last that were removed.
pub const OUTPUTS: Table = Table::new("outputs");
/// The name of this installation, and of those whose containers it took over.
pub const PLATFORM: Table = Table::new("platform");
/// What is known of engines that registered themselves.
pub const REGISTERED_ENGINES: Table = Table::new("registered_engines");
/// Logins to image registries that serve every engine.
pub const REGISTRY_LOGINS: Table = Table::new("registry_logins");
/// What fills the slots of applications.
pub const REPLICAS: Table = Table::new("replicas");
/// Requests that may be made again, and their answers.
pub const REQUESTS: Table = Table::new("requests");
/// What applications are to be, and were.
pub const REVISIONS: Table = Table::new("revisions");
/// Secrets of applications.
pub const SECRETS: Table = Table::new("secrets");
/// Who is logged in.
pub const TOKENS: Table = Table::new("tokens");
/// Volumes that slots of applications have of their own.
pub const VOLUMES: Table = Table::new("volumes");

/// What this very store is: which of all copies, how often somebody took it over. Never copied itself.
pub const STORE: Table = Table::new("store");
/// What is being copied into this store, as long as it is not finished. Never copied itself.
pub const TRANSFERS: Table = Table::new("transfers");

/// Every table of the platform that holds something of it.
pub const ALL: [Table; 19] = [
    ACCOUNTS,
    APPLICATIONS,
    BLOBS,
    DELETED_ENGINES,
    DRAINED_ENGINES,
    ENGINES,
    EVENTS,
    JOIN_TOKENS,
    LAUNCHES,
    OUTPUTS,
    PLATFORM,
    REGISTERED_ENGINES,
    REGISTRY_LOGINS,
    REPLICAS,
    REQUESTS,
    REVISIONS,
    SECRETS,
    TOKENS,
    VOLUMES,
];

/// Those that a store of the first release has. It made all of them at once.
#[cfg(feature = "rethinkdb")]
pub(crate) const FIRST: [Table; 10] = [
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

/// Every table, also those that are never copied.
#[cfg(feature = "rethinkdb")]
pub(crate) fn every() -> Vec<Table> {
    ALL.into_iter().chain([STORE, TRANSFERS]).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match (path.is_dir(), path.file_name().unwrap().to_str().unwrap()) {
                (_, "testing" | "tests" | "tests.rs" | "tables.rs") => {}
                (true, _) => sources(&path, found),
                (false, _) => found.push(path),
            }
        }
    }

    /// A table that is made up elsewhere would be missing in every copy and backup.
    #[test]
    fn no_table_is_named_anywhere_else() {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        assert!(files.len() > 50, "the sources are there");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            // The store as a whole, in errors.
            let named = code.replace("Table::new(\"store\")", "").contains("Table::new(\"");
            assert!(!named, "{} names a table: put it into tables.rs", file.display());
        }
    }

    #[test]
    fn all_are_in_order_and_once() {
        assert!(ALL.is_sorted() && ALL.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(!ALL.contains(&TRANSFERS) && !ALL.contains(&STORE));
        #[cfg(feature = "rethinkdb")]
        assert!(FIRST.iter().all(|table| ALL.contains(table)));
    }
}
