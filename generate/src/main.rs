//! The `smoltalk` command: what was typed, and how it ended.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Make SmolTalk-style datasets from a teacher.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generate a dataset; the same command again goes on where it stopped
    Gen(generate::r#gen::Options),
    /// Compose generated and external sets into one shuffled dataset
    Mix(generate::mix::Options),
    /// Print rows of a generated dataset
    Show(generate::show::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Gen(options) => generate::r#gen::run(&options),
        Command::Mix(options) => generate::mix::run(&options),
        Command::Show(options) => generate::show::run(&options),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("smoltalk: {error:#}");
            ExitCode::from(2)
        }
    }
}
