//! The program `paas-cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    paas_cli::run(std::env::args_os())
}
