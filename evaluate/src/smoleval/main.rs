//! The `smoleval` command: what was typed, and how it ended.

mod report;
mod score;

mod figures;
mod replies;
mod statistics;
mod stored;
mod table;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Say how good models are, with standard errors.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Ask models what the pocket world holds out, judge the replies, print a table side by side
    Score(score::Options),
    /// Make one page of what was scored, of training runs and of datasets
    Report(report::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Score(options) => score::run(&options),
        Command::Report(options) => report::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("smoleval: {error:#}");
            ExitCode::from(2)
        }
    }
}
