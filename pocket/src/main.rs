//! The `smolpocket` command: its arguments and its exit code.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use terminal::errors;

/// Write the pocket world, audit datasets made in it, and score models on it
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write documents, conversations and preference pairs, and the held-out rows to score models on
    World(pocket::world::Options),
    /// Write letters and stories for `smoltalk gen --source`
    Texts(pocket::texts::Options),
    /// Write a small web with the right fate of every page, for `smoltalk curate`
    Web(pocket::web::Options),
    /// Judge datasets with the world's own checkers, and measure filters on planted rows
    Audit(Box<pocket::audit::Options>),
    /// Score models on held-out questions, requests, pairs and documents
    Score(Box<evaluate::score::Options>),
    /// List the benchmark tasks that `score --tasks` takes
    Tasks,
    /// Score stored answers to benchmark tasks again, without a model
    Rescore(evaluate::benchmark::RescoreOptions),
}

fn main() -> ExitCode {
    // The sandbox's process runs code of a model and nothing else.
    evaluate::sandbox::enter_if_asked();
    terminal::start();
    let result = match Arguments::parse().command {
        Command::World(options) => pocket::world::run(&options).map(|()| 0),
        Command::Texts(options) => pocket::texts::run(&options).map(|()| 0),
        Command::Web(options) => pocket::web::run(&options).map(|()| 0),
        Command::Audit(options) => pocket::audit::run(&options).map(|()| 0),
        Command::Score(options) => pocket::score::run(&options),
        Command::Tasks => evaluate::benchmark::list(&[pocket::tasks::tasks]),
        Command::Rescore(options) => evaluate::benchmark::rescore(&options, &[pocket::tasks::tasks]),
    };
    errors::exit_code("smolpocket", result)
}
