//! The server program: see `paas-server --help`.

use std::process::ExitCode;

use paas_server::arguments::parse;
use paas_server::commands::agent::AgentFlags;
use paas_server::commands::key::KeyFlags;
use paas_server::commands::store::StoreFlags;
use paas_server::config::{Config, ConfigError, Purpose};

fn main() -> ExitCode {
    // Chosen here once, for everything that speaks TLS. It can only fail when somebody chose before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ended(Err(error.into())),
    };
    let outcome = runtime.block_on(run());
    // Without waiting for what still reads a file or looks up a name: that may hang, and nobody needs it any more.
    runtime.shutdown_background();
    ended(outcome)
}

async fn run() -> anyhow::Result<()> {
    if std::env::args_os().nth(1).is_some_and(|first| first == "agent") {
        // `agent` takes the place of the program's name, so that what follows are its own arguments.
        let flags: AgentFlags = parse(std::env::args_os().skip(1)).unwrap_or_else(|error| error.exit());
        return paas_server::commands::agent::run(flags).await;
    }
    if std::env::args_os().nth(1).is_some_and(|first| first == "store") {
        let flags: StoreFlags = parse(std::env::args_os().skip(1)).unwrap_or_else(|error| error.exit());
        return paas_server::commands::store::run(flags).await;
    }
    if std::env::args_os().nth(1).is_some_and(|first| first == "key") {
        let flags: KeyFlags = parse(std::env::args_os().skip(1)).unwrap_or_else(|error| error.exit());
        return paas_server::commands::key::run(flags).await;
    }
    match Config::load(std::env::args_os()) {
        Ok((config, Purpose::Serve)) => paas_server::commands::serve::run(config).await,
        Ok((config, Purpose::Print)) => {
            print!("{config}");
            Ok(())
        }
        Err(ConfigError::Arguments(error)) => error.exit(),
        Err(error) => Err(error.into()),
    }
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
