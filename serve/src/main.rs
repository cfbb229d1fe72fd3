//! The `smolserve` command: what was typed, and how it ended.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match serve::command::run(&serve::command::Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("smolserve: {error:#}");
            ExitCode::from(2)
        }
    }
}
