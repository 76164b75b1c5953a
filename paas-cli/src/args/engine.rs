//! `eadd` and `rladd`: a Docker host, and the login to an image registry.

use std::path::{Path, PathBuf};

use clap::Args;
use paas_core::files;
use paas_core::model::{Cpus, EngineAddress, EngineId, EngineSpec, MemoryMb, RegistryLogin, TlsMaterial};

use super::values;
use crate::failure::Failure;
use crate::secret::{self, Secret};

#[derive(Debug, Args)]
pub(crate) struct AddEngineArgs {
    /// Id of the engine, free to choose
    #[arg(long, value_parser = |text: &str| values::plain(text.parse::<EngineId>()))]
    id: EngineId,
    /// Where its Docker answers: unix:///var/run/docker.sock, tcp://host:2375, https://host:2376
    #[arg(long, value_parser = |text: &str| values::plain(text.parse::<EngineAddress>()))]
    addr: EngineAddress,
    /// CPUs to give out; all that it has when not given
    #[arg(long, value_parser = values::cpus)]
    cpus: Option<Cpus>,
    /// Memory to give out, in MB; all that it has when not given
    #[arg(long, value_name = "MB")]
    memory: Option<u64>,
    /// Label that containers can ask for; may be repeated
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// Certificate (PEM) of the authority that signed the engine's, for https
    #[arg(long, value_name = "FILE", requires_all = ["tls_cert", "tls_key"])]
    tls_ca: Option<PathBuf>,
    /// Certificate (PEM) to show to the engine
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_cert"])]
    tls_key: Option<PathBuf>,
    /// Image registry that it logs in to; Docker Hub when not given
    #[arg(long, value_name = "HOST", requires = "registry_user")]
    registry_server: Option<String>,
    /// User name at the image registry; the password is asked for, or comes from PAAS_REGISTRY_PASSWORD
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    registry_user: Option<String>,
    /// Read the password at the image registry from stdin
    #[arg(long, requires = "registry_user")]
    registry_password_stdin: bool,
}

impl AddEngineArgs {
    /// The engine's description, checked as far as that is possible without a server.
    pub(crate) fn into_spec(self) -> Result<EngineSpec, Failure> {
        let mut spec = EngineSpec::new(self.id, self.addr);
        spec.cpus = self.cpus;
        spec.memory = self.memory.map(MemoryMb::new);
        spec.labels = self.labels;
        if let (Some(ca), Some(cert), Some(key)) = (&self.tls_ca, &self.tls_cert, &self.tls_key) {
            spec.tls = Some(TlsMaterial { ca_cert: read(ca)?, cert: read(cert)?, key: read(key)? });
        }
        spec.validate().map_err(|invalid| Failure::Usage(invalid.to_string()))?;
        if let Some(username) = self.registry_user {
            let option = "--registry-password-stdin";
            spec.registry_login =
                Some(registry_login(self.registry_server, username, option, self.registry_password_stdin)?);
        }
        Ok(spec)
    }
}

#[derive(Debug, Args)]
pub(crate) struct RegistryLoginArgs {
    /// Host and port of the registry; Docker Hub when not given
    #[arg(long, value_name = "HOST")]
    server: Option<String>,
    /// User name at the registry
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    user: String,
    /// Read the password from stdin
    #[arg(long)]
    password_stdin: bool,
}

impl RegistryLoginArgs {
    pub(crate) fn into_login(self) -> Result<RegistryLogin, Failure> {
        registry_login(self.server, self.user, "--password-stdin", self.password_stdin)
    }
}

/// Asks for the password and checks the whole.
fn registry_login(
    server: Option<String>,
    username: String,
    option: &'static str,
    from_stdin: bool,
) -> Result<RegistryLogin, Failure> {
    let prompt = "Password at the image registry: ";
    let variable = "PAAS_REGISTRY_PASSWORD";
    let password = secret::read(&Secret { prompt, variable, option, from_stdin, is_new: false })?;
    let login = RegistryLogin { server, username, password };
    login.validate().map_err(|invalid| Failure::Usage(invalid.to_string()))?;
    Ok(login)
}

fn read(path: &Path) -> Result<String, Failure> {
    files::read_text(path).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
}
