//! The `smoleval` command: its arguments and its exit code.

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;
use terminal::errors;

/// Evaluate language models; every figure has its standard error
#[derive(Parser)]
#[command(name = "smoleval", version, after_help = terminal::shell::HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Score models on benchmark tasks or held-out rows and print a table of them side by side
    Score(Box<evaluate::score::Options>),
    /// List the benchmark tasks that `score --tasks` takes
    Tasks,
    /// Score stored answers to benchmark tasks again, without a model
    Rescore(evaluate::benchmark::RescoreOptions),
    /// Write an HTML report of scores, training runs and datasets
    Report(evaluate::report::Options),
}

fn main() -> ExitCode {
    // The sandbox's process runs code of a model and nothing else.
    evaluate::sandbox::enter_if_asked();
    terminal::start();
    if let Some(code) = terminal::shell::answer(Arguments::command()) {
        return code;
    }
    let result = match Arguments::parse().command {
        Command::Score(options) => evaluate::score::run(&options, None, &[]),
        Command::Tasks => evaluate::benchmark::list(&[]),
        Command::Rescore(options) => evaluate::benchmark::rescore(&options, &[]),
        Command::Report(options) => evaluate::report::run(&options).map(|()| 0),
    };
    errors::exit_code("smoleval", result)
}
