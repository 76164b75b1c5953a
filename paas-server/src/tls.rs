//! The server's own certificate.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use paas_core::files;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file does not hold what it should.
    #[error("{} holds no {what} in PEM", path.display())]
    NotThere {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// Certificate and key do not belong together, or are of a kind that is not known.
    #[error("the certificate in {} and the key in {} cannot be used together", cert.display(), key.display())]
    Unusable {
        /// The file with the certificate.
        cert: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// Reads a chain of certificates, the server's own first, and its private key, both PEM. When one of the files changes,
/// the next connection gets what is in them then: a certificate that is renewed needs no restart.
///
/// # Errors
/// [`TlsError`] says which file is wrong, and how. Later, files that are wrong are told in the log, and what was read before
/// stays.
pub fn load(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let unusable = |source| TlsError::Unusable { cert: cert.to_owned(), key: key.to_owned(), source };
    let files = Files::read(cert, key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(files));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The two files, and what was read of them last.
#[derive(Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    /// How the files looked when they were last read, whether or not what they held was of use.
    stamp: Stamp,
    certified: Arc<CertifiedKey>,
}

/// What changes when a file is written or another takes its place: length, time of writing and number of each.
type Stamp = [Option<(u64, SystemTime, u64)>; 2];

impl Files {
    fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        // Looked at first: what is written in between is then read once more.
        let stamp = stamp(cert, key);
        let last = Mutex::new(Last { stamp, certified: certified(cert, key)? });
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), last })
    }

    /// What is in the files now, or was when they last made sense.
    fn current(&self) -> Arc<CertifiedKey> {
        let stamp = stamp(&self.cert, &self.key);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.stamp != stamp {
            last.stamp = stamp;
            match certified(&self.cert, &self.key) {
                Ok(certified) => {
                    tracing::info!(cert = %self.cert.display(), "the certificate was read again");
                    last.certified = certified;
                }
                // Perhaps one of the two is still to be written: then that is the next change.
                Err(error) => tracing::warn!(%error, "the certificate was changed, and is not in use yet"),
            }
        }
        last.certified.clone()
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn stamp(cert: &Path, key: &Path) -> Stamp {
    [cert, key].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()?, metadata.ino()))
    })
}

fn certified(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let not_there = |path: &Path, what| TlsError::NotThere { path: path.to_owned(), what };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<_, _>>()
        .map_err(|_| not_there(cert, "certificate"))?;
    if chain.is_empty() {
        return Err(not_there(cert, "certificate"));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| not_there(key, "private key"))?;
    let unusable = |source| TlsError::Unusable { cert: cert.to_owned(), key: key.to_owned(), source };
    CertifiedKey::from_der(chain, private, &ring::default_provider()).map(Arc::new).map_err(unusable)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    files::read(path, files::LARGEST_TEXT).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_renewed_is_used_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let issue = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        // As those who renew certificates do it: the new file takes the place of the old one at once.
        let replace = |path: &Path, text: String| {
            let new = folder.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(&new, path).unwrap();
        };
        let (first, second) = (issue(), issue());
        fs::write(&cert, first.cert.pem()).unwrap();
        fs::write(&key, first.signing_key.serialize_pem()).unwrap();
        let files = Files::read(&cert, &key).unwrap();
        let shown = || files.current().cert[0].clone();
        assert_eq!(shown(), *first.cert.der());
        // A certificate without its key is not there yet, and what is no certificate never is.
        replace(&cert, second.cert.pem());
        assert_eq!(shown(), *first.cert.der());
        replace(&cert, "nothing".to_owned());
        assert_eq!(shown(), *first.cert.der());
        replace(&cert, second.cert.pem());
        replace(&key, second.signing_key.serialize_pem());
        assert_eq!(shown(), *second.cert.der());
        fs::remove_file(&cert).unwrap();
        assert_eq!(shown(), *second.cert.der());
    }
}
