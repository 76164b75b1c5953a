//! TLS towards a Docker host: its certificate must be signed by the given authority, and we show our own.

use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::engine::{EngineError, EngineErrorKind, Result};
use crate::model::TlsMaterial;

const OPERATION: &str = "use the certificates";

fn wrong(detail: impl Into<String>) -> EngineError {
    EngineError::new(EngineErrorKind::Tls, OPERATION, detail)
}

/// The settings of connections that prove who we are with `material`. Certificates of other authorities, those of the
/// operating system included, are not trusted.
pub(super) fn client_config(material: &TlsMaterial) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(&material.ca_cert, "ca_cert")? {
        roots.add(authority).map_err(|err| wrong(format!("ca_cert is no usable authority: {err}")).with_source(err))?;
    }
    let chain = certificates(&material.cert, "cert")?;
    let key = PrivateKeyDer::from_pem_slice(material.key.as_bytes())
        .map_err(|err| wrong("key holds no private key in PEM").with_source(err))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|err| wrong(err.to_string()).with_source(err))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|err| wrong(format!("cert and key do not fit: {err}")).with_source(err))?;
    Ok(Arc::new(config))
}

/// Checks that the certificates are valid at this time. To be asked when they are given: the host that would refuse them
/// may not answer until long after. A platform whose certificates run out later goes on with its other engines.
///
/// # Errors
/// [`EngineErrorKind::Tls`] names the certificate, and says since when it is not valid.
pub fn check_certificates(material: &TlsMaterial) -> Result<()> {
    check_time(&certificates(&material.ca_cert, "ca_cert")?, "ca_cert")?;
    check_time(&certificates(&material.cert, "cert")?, "cert")
}

fn check_time(chain: &[CertificateDer<'_>], field: &str) -> Result<()> {
    let now = SystemTime::now();
    for certificate in chain {
        let read = Certificate::from_der(certificate)
            .map_err(|err| wrong(format!("{field} holds something that is no certificate")).with_source(err))?;
        let valid = read.tbs_certificate.validity;
        let (begins, ends) = (valid.not_before.to_system_time(), valid.not_after.to_system_time());
        if now > ends {
            return Err(wrong(format!("{field} expired at {}; have it renewed", shown(ends))));
        }
        if now < begins {
            return Err(wrong(format!("{field} is not valid before {}; look at this machine's clock", shown(begins))));
        }
    }
    Ok(())
}

fn shown(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "a time out of range".to_owned(), |time| time.to_string())
}

/// The name that the host's certificate must carry.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>> {
    let plain = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(plain).map_err(|err| wrong(format!("{host:?} is no name for a certificate")).with_source(err))
}

fn certificates(pem: &str, field: &str) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|err| wrong(format!("{field} is no valid PEM")).with_source(err))?;
    if all.is_empty() {
        return Err(wrong(format!("{field} holds no certificate in PEM")));
    }
    Ok(all)
}
