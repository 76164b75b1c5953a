//! The server program: see `paas-server --help`.

use std::process::ExitCode;

use paas_server::config::{Config, ConfigError, Purpose};

#[tokio::main]
async fn main() -> ExitCode {
    // Chosen here once, for everything that speaks TLS. It can only fail when somebody chose before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match Config::load(std::env::args_os()) {
        Ok((config, Purpose::Serve)) => paas_server::start::run(config).await,
        Ok((config, Purpose::Print)) => {
            print!("{config}");
            Ok(())
        }
        Err(ConfigError::Arguments(error)) => error.exit(),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("paas-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}
