//! Certificates of the hosts that are reached over TLS, made by openssl: an authority, one for each host, one for clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::network;
use crate::shell;

/// What a client of a host over TLS needs: files, PEM.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    /// The certificate of the authority that signed those of the hosts.
    pub ca: PathBuf,
    /// The client's certificate.
    pub cert: PathBuf,
    /// The client's key.
    pub key: PathBuf,
}

/// What a host needs.
pub(super) struct HostFiles {
    pub(super) ca: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

pub(super) fn client_files(folder: &Path) -> ClientFiles {
    let folder = tls(folder);
    ClientFiles { ca: folder.join("ca.pem"), cert: folder.join("client.pem"), key: folder.join("client-key.pem") }
}

/// Makes what a host needs, and what its clients do, unless it is there.
pub(super) fn make(folder: &Path, host: usize) -> Result<HostFiles> {
    let folder = tls(folder);
    fs::create_dir_all(&folder)?;
    let name = format!("host{host}");
    let file = |name: String| folder.join(name);
    if !file("client.pem".to_owned()).exists() {
        authority(&folder)?;
        sign(&folder, "client", "extendedKeyUsage=clientAuth\n")?;
    }
    let files = HostFiles {
        ca: file("ca.pem".to_owned()),
        cert: file(format!("{name}.pem")),
        key: file(format!("{name}-key.pem")),
    };
    if !files.cert.exists() {
        let address = network::address(host);
        sign(&folder, &name, &format!("subjectAltName=IP:{address},DNS:bed{host}\nextendedKeyUsage=serverAuth\n"))?;
    }
    Ok(files)
}

fn tls(folder: &Path) -> PathBuf {
    folder.join("tls")
}

fn authority(folder: &Path) -> Result<()> {
    key(folder, "ca")?;
    let mut request = openssl(folder, &["req", "-x509", "-new", "-key", "ca-key.pem", "-days", "3650"]);
    request.args(["-subj", "/CN=paas-bed", "-out", "ca.pem", "-addext", "basicConstraints=critical,CA:TRUE"]);
    request.args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
    shell::quietly(&mut request)
}

fn sign(folder: &Path, name: &str, extensions: &str) -> Result<()> {
    key(folder, name)?;
    let (request, file, key) = (format!("{name}.csr"), format!("{name}.ext"), format!("{name}-key.pem"));
    fs::write(folder.join(&file), extensions)?;
    let subject = format!("/CN={name}");
    shell::quietly(&mut openssl(folder, &["req", "-new", "-key", &key, "-subj", &subject, "-out", &request]))?;
    let mut sign = openssl(folder, &["x509", "-req", "-in", &request, "-CA", "ca.pem", "-CAkey", "ca-key.pem"]);
    sign.args(["-CAcreateserial", "-days", "3650", "-extfile", &file, "-out", &format!("{name}.pem")]);
    shell::quietly(&mut sign)
}

fn key(folder: &Path, name: &str) -> Result<()> {
    let file = format!("{name}-key.pem");
    shell::quietly(&mut openssl(folder, &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &file]))
}

fn openssl(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(arguments).current_dir(folder);
    command
}
