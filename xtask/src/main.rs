//! The workspace's own commands, by the name `cargo xtask`.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::commands::main()
}
