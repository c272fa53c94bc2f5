//! `modelcast completions SHELL`: the completion script, made from the very arguments that are parsed.

use clap::CommandFactory as _;

use crate::{
    cli::{Cli, CompletionsArgs},
    failure::{Exit, Failure},
    stdout,
};

/// Prints the script.
pub(super) fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    stdout::text(&script(args))?;
    Ok(Exit::Done)
}

fn script(args: &CompletionsArgs) -> String {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "modelcast", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn every_shells_script_knows_the_verbs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = script(&CompletionsArgs { shell });
            for verb in ["rollback", "quarantine", "--reason"] {
                // fish writes a long option without its dashes.
                assert!(script.contains(verb.trim_start_matches('-')), "{shell} lacks {verb}");
            }
        }
    }
}
