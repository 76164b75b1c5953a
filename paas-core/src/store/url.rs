//! From a URL to a store.

use std::sync::Arc;

use super::{MemoryStore, Result, Store, StoreError, StoreErrorKind, Table};

/// What can be written, for errors.
const KINDS: &str = "memory:, sqlite:PATH, etcd://host:2379 or rethinkdb://user:password@host:port/database";

/// The store that a URL names: `memory:`, `sqlite:PATH`, `rethinkdb://user:password@host:port/database`, or
/// `etcd://user:password@host1:2379,host2:2379/prefix?ca=FILE&cert=FILE&key=FILE`, of which only a host is needed.
///
/// # Errors
/// [`StoreErrorKind::Invalid`] for a URL of no known kind; [`StoreErrorKind::Broken`] when the store cannot be opened,
/// [`StoreErrorKind::Unavailable`] when its server does not answer.
pub async fn open_store(url: &str) -> Result<Arc<dyn Store>> {
    // What follows the scheme may hold a password, so it is not repeated in errors.
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    let unusable = |detail: String| {
        Err(StoreError::new(StoreErrorKind::Invalid, "open", Table::new("store"), "").with_detail(detail))
    };
    match scheme {
        "memory" if rest.is_empty() => Ok(Arc::new(MemoryStore::new())),
        #[cfg(feature = "sqlite")]
        "sqlite" if !rest.is_empty() => {
            Ok(Arc::new(super::SqliteStore::open(std::path::Path::new(rest.trim_start_matches("//"))).await?))
        }
        #[cfg(feature = "rethinkdb")]
        "rethinkdb" | "rethinkdbs" => Ok(Arc::new(super::RethinkDbStore::open(url).await?)),
        "sqlite" => unusable("write sqlite:PATH, with the path of the file".to_owned()),
        #[cfg(feature = "etcd")]
        "etcd" => Ok(Arc::new(super::EtcdStore::open(rest).await?)),
        other => unusable(format!("there is no store of the kind {other:?}; write {KINDS}")),
    }
}

/// The store that a URL names, if it was made already: to read everything that is in it.
///
/// # Errors
/// [`StoreErrorKind::NotFound`] when it was not, or is one that nothing could be in; otherwise as [`open_store`].
pub async fn open_existing_store(url: &str) -> Result<Arc<dyn Store>> {
    let missing =
        |detail: String| StoreError::new(StoreErrorKind::NotFound, "open", Table::new("store"), "").with_detail(detail);
    match url.split_once(':') {
        Some(("memory", _)) => Err(missing("a store in memory is empty when a program starts".to_owned())),
        Some(("sqlite", path)) if !path.is_empty() => {
            let path = std::path::Path::new(path.trim_start_matches("//"));
            if !path.exists() {
                return Err(missing(format!("there is no file {}", path.display())));
            }
            open_store(url).await
        }
        #[cfg(feature = "rethinkdb")]
        Some(("rethinkdb", _)) => Ok(Arc::new(super::RethinkDbStore::open_existing(url).await?)),
        _ => open_store(url).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_store_is_refused_without_repeating_a_password() {
        assert!(open_store("memory:").await.is_ok());
        let of_servers = [
            "rethinkdbs://user:secret@host/paas",
            "rethinkdb://user:secret@host",
            "rethinkdb:secret",
            "etcd://user:secret@",
        ];
        for bad in ["", "memory", "sqlite:", "floppy://user:secret@disk"].into_iter().chain(of_servers) {
            if let Err(error) = open_store(bad).await {
                assert_eq!(error.kind(), StoreErrorKind::Invalid, "{bad}");
                assert!(!error.to_string().contains("secret"));
            } else {
                assert_eq!(bad, "memory");
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_made_to_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("db");
        let url = format!("sqlite:{}", file.display());
        for missing in ["memory:", url.as_str()] {
            let error = open_existing_store(missing).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::NotFound, "{missing}");
        }
        assert!(!file.exists());
        drop(open_store(&url).await.unwrap());
        assert!(open_existing_store(&url).await.is_ok());
        assert_eq!(open_existing_store("floppy:").await.unwrap_err().kind(), StoreErrorKind::Invalid);
    }
}
