//! The server program: see `paas-server --help`.

use std::process::ExitCode;

use clap::Parser;
use paas_server::commands::agent::AgentFlags;
use paas_server::commands::store::StoreFlags;
use paas_server::config::{Config, ConfigError, Purpose};

#[tokio::main]
async fn main() -> ExitCode {
    // Chosen here once, for everything that speaks TLS. It can only fail when somebody chose before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if std::env::args_os().nth(1).is_some_and(|first| first == "agent") {
        // `agent` takes the place of the program's name, so that what follows are its own arguments.
        let flags = AgentFlags::parse_from(std::env::args_os().skip(1));
        return ended(paas_server::commands::agent::run(flags).await);
    }
    if std::env::args_os().nth(1).is_some_and(|first| first == "store") {
        let flags = StoreFlags::parse_from(std::env::args_os().skip(1));
        return ended(paas_server::commands::store::run(flags).await);
    }
    let outcome = match Config::load(std::env::args_os()) {
        Ok((config, Purpose::Serve)) => paas_server::commands::serve::run(config).await,
        Ok((config, Purpose::Print)) => {
            print!("{config}");
            Ok(())
        }
        Err(ConfigError::Arguments(error)) => error.exit(),
        Err(error) => Err(error.into()),
    };
    ended(outcome)
}

fn ended(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("paas-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}
