//! Reading the arguments of the program, and what the environment says where they are silent.

use std::ffi::OsString;

use clap::{Command, Parser};

/// Reads arguments. A variable that is empty counts as one that is not there: whoever writes `PAAS_LISTEN=` into a file of
/// variables wants the default, and nothing could be made of an empty value.
///
/// # Errors
/// The arguments are wrong, or ask for help.
pub fn parse<F: Parser>(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<F, clap::Error> {
    let mut found = without_empty_variables(F::command()).try_get_matches_from(arguments)?;
    F::from_arg_matches_mut(&mut found).map_err(|error| error.format(&mut F::command()))
}

fn without_empty_variables(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        let is_empty = argument.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if is_empty { argument.env(None::<&'static str>) } else { argument }
    });
    command.mut_subcommands(without_empty_variables)
}
