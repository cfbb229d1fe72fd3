//! What a program's command line gives to the shell and to `man`: `PROGRAM completions SHELL` and `PROGRAM man FOLDER`, for
//! every program alike.

use anyhow::{Context, Result, anyhow};
use clap::{Command, ValueEnum};
use clap_complete::Shell;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// The end of a program's help.
pub const HELP: &str = "Also: `completions bash|zsh|fish|elvish|powershell` prints completions for a shell, `man FOLDER` writes \
                        manual pages.";

/// Answers `completions SHELL` and `man FOLDER`, if that is what this process was asked; then the program ends with this code.
pub fn answer(command: Command) -> Option<ExitCode> {
    let name = command.get_name().to_owned();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let result = match arguments.as_slice() {
        [what, shell] if what == "completions" => completions(command, &shell.to_string_lossy()),
        [what, folder] if what == "man" => manual(command, Path::new(folder)),
        _ => return None,
    };
    Some(crate::errors::exit_code(&name, result.map(|()| 0)))
}

/// Prints the completions of a shell.
fn completions(mut command: Command, shell: &str) -> Result<()> {
    let known = || Shell::value_variants().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let shell: Shell =
        shell.parse().map_err(|_| anyhow!("`{shell}` is no shell; expected one of {}", known()))?;
    let (name, mut text) = (command.get_name().to_owned(), Vec::new());
    clap_complete::generate(shell, &mut command, name, &mut text);
    Ok(crate::print_results(&String::from_utf8_lossy(&text))?)
}

/// Writes a page for the program and one for each subcommand, for section 1 of the manual.
fn manual(command: Command, folder: &Path) -> Result<()> {
    let cannot = || format!("cannot write manual pages to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(cannot)?;
    clap_mangen::generate_to(command, folder).with_context(cannot)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use clap::Arg;

    fn program() -> Command {
        Command::new("tool")
            .subcommand(Command::new("make").about("Make things").arg(Arg::new("size").long("size")))
    }

    #[test]
    fn a_subcommand_has_a_manual_page_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        manual(program(), &folder.path().join("man1")).unwrap();
        let page = std::fs::read_to_string(folder.path().join("man1/tool-make.1")).unwrap();
        assert!(page.contains("Make things") && page.contains("size"), "{page}");
        assert!(folder.path().join("man1/tool.1").is_file());
    }

    #[test]
    fn an_unknown_shell_is_refused_with_the_known_ones() {
        let error = completions(program(), "cmd").unwrap_err().to_string();
        assert!(error.contains("`cmd` is no shell") && error.contains("zsh"), "{error}");
    }
}
