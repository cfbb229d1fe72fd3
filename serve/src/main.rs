//! The `smolserve` command: parses the arguments and sets the exit code.

use clap::{CommandFactory, Parser};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = checkpoint::template::render_for_parent() {
        return code;
    }
    terminal::start();
    if let Some(code) = terminal::shell::answer(serve::command::Options::command()) {
        return code;
    }
    terminal::errors::exit_code("smolserve", serve::command::run(&serve::command::Options::parse()))
}
