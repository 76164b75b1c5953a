//! Scripts that complete commands in shells. What clap makes of the definition knows commands and options; the names of
//! applications are asked of the server at the moment.

use clap::{Arg, CommandFactory};
use clap_complete::{Generator, shells};

use super::Result;
use crate::args::{Cli, Shell};
use crate::output;

/// What lists the names. Where no server answers there are none, and nobody waits for one.
const NAMES: &str = "paas-cli app list --quiet --retry-for 0 2>/dev/null";

pub(super) fn completion(shell: Shell) -> Result {
    output::write(&[script(shell).as_bytes()])
}

fn script(shell: Shell) -> String {
    let commands = commands_of_apps();
    match shell {
        Shell::Bash => bash(&commands),
        Shell::Zsh => zsh(&commands),
        Shell::Fish => fish(&commands),
    }
}

fn generated(shell: impl Generator) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "paas-cli", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// A command whose first argument is an application.
struct OfApp {
    /// Its words: `app show`.
    path: Vec<String>,
    /// What clap calls the argument.
    argument: String,
}

fn commands_of_apps() -> Vec<OfApp> {
    fn look(command: &clap::Command, path: &[String], found: &mut Vec<OfApp>) {
        let is_app = |argument: &&Arg| {
            let names = argument.get_value_names().unwrap_or_default();
            names.first().is_some_and(|name| name.starts_with("APP"))
        };
        if let Some(argument) = command.get_positionals().next().filter(is_app) {
            found.push(OfApp { path: path.to_vec(), argument: argument.get_id().to_string() });
        }
        for sub in command.get_subcommands() {
            look(sub, &[path, &[sub.get_name().to_owned()]].concat(), found);
        }
    }
    let mut found = Vec::new();
    look(&Cli::command(), &[], &mut found);
    found
}

fn bash(commands: &[OfApp]) -> String {
    let words: Vec<String> = commands.iter().map(|command| format!("\"{}\"", command.path.join(" "))).collect();
    let words = words.join("|");
    format!(
        r#"{}
_paas__cli_and_names() {{
    _paas__cli "$@"
    local cur="${{COMP_WORDS[COMP_CWORD]}}" word words=()
    [[ ${{cur}} == -* ]] && return
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        [[ ${{word}} == -* ]] || words+=("${{word}}")
    done
    case "${{words[*]}}" in
        {words})
            COMPREPLY=($(compgen -W "$({NAMES})" -- "${{cur}}"))
            ;;
    esac
}}
complete -F _paas__cli_and_names -o bashdefault -o default paas-cli
"#,
        generated(shells::Bash)
    )
}

fn zsh(commands: &[OfApp]) -> String {
    let is_app = |line: &str| commands.iter().any(|command| line.starts_with(&format!("':{} -- ", command.argument)));
    let mut script = String::new();
    for line in generated(shells::Zsh).lines() {
        // Before the function is called for the first time, where it is loaded by its file's name.
        if line.starts_with("if [ \"$funcstack[1]\"") {
            let function = format!(
                "_paas-cli_apps() {{\n    local names; names=(${{(f)\"$({NAMES})\"}})\n    compadd -a names\n}}\n"
            );
            script.push_str(&function);
        }
        match is_app(line) {
            true => script.push_str(&line.replace(":_default'", ":_paas-cli_apps'")),
            false => script.push_str(line),
        }
        script.push('\n');
    }
    script
}

fn fish(commands: &[OfApp]) -> String {
    let mut script = generated(shells::Fish);
    for OfApp { path, .. } in commands {
        let (first, rest) = path.split_first().map_or(("", &path[..]), |(first, rest)| (first.as_str(), rest));
        let below: String = rest.iter().map(|word| format!("; and __fish_seen_subcommand_from {word}")).collect();
        let condition = format!("__fish_paas_cli_using_subcommand {first}{below}");
        script.push_str(&format!("complete -c paas-cli -n \"{condition}\" -f -a \"({NAMES})\"\n"));
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_an_application_completes_its_name() {
        let commands = commands_of_apps();
        let paths: Vec<String> = commands.iter().map(|command| command.path.join(" ")).collect();
        assert_eq!(
            paths.join(", "),
            "app show, app history, app diff, app rollback, app scale, app restart, app stop, app start, app destroy, app \
             export, app run, app logs, app rollout, exec, secret set, secret list, secret delete"
        );
        let (bash, zsh, fish) = (script(Shell::Bash), script(Shell::Zsh), script(Shell::Fish));
        assert_eq!(zsh.matches(":_paas-cli_apps'").count(), paths.len());
        for path in paths {
            assert!(bash.contains(&format!("\"{path}\"")), "{path}");
            let last = path.split(' ').next_back().unwrap();
            assert!(fish.lines().any(|line| line.contains(NAMES) && line.contains(last)), "{path}");
        }
    }
}
