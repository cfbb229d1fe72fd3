//! The `smolserve` command: parses the arguments and sets the exit code.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    terminal::start();
    terminal::errors::exit_code("smolserve", serve::command::run(&serve::command::Options::parse()))
}
