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
    /// Say what a run will cost and how long it will take, from its first rows
    Estimate(generate::estimate::Options),
    /// Make a few rows and print every prompt and reply
    Preview(generate::preview::Options),
    /// Drop near-duplicates and questions of evaluation sets from a dataset
    Clean(generate::clean::Options),
    /// Compose generated and external sets into one shuffled dataset
    Mix(generate::mix::Options),
    /// Print rows of a generated dataset
    Show(generate::show::Options),
    /// Judge a dataset of the pocket world, and try the filters on planted rows
    Audit(generate::audit::Options),
    /// Write the pocket world: small true texts to try everything on
    World(generate::world::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Gen(options) => generate::r#gen::run(&options),
        Command::Estimate(options) => generate::estimate::run(&options),
        Command::Preview(options) => generate::preview::run(&options),
        Command::Clean(options) => generate::clean::run(&options),
        Command::Mix(options) => generate::mix::run(&options),
        Command::Show(options) => generate::show::run(&options),
        Command::Audit(options) => generate::audit::run(&options),
        Command::World(options) => generate::world::run(&options),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("smoltalk: {error:#}");
            ExitCode::from(2)
        }
    }
}
