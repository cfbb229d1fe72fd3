//! The `smoltalk` command: parses its arguments and runs the subcommand.

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Rows, JSON and requests are many small allocations: `gen` makes a third more rows a second with it than with glibc's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Generate SmolTalk-style datasets with a teacher model, clean them and mix them.
#[derive(Parser)]
#[command(name = "smoltalk", version, after_help = terminal::shell::HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generate a synthetic dataset with a teacher model; the same command resumes a run that was stopped
    Gen(generate::r#gen::Options),
    /// Estimate the cost and the duration of a run from its first rows
    Estimate(generate::estimate::Options),
    /// Generate a few rows and print every prompt and reply
    Preview(generate::preview::Options),
    /// Export the prompts of a task, to change them
    Prompts(generate::export::Options),
    /// Deduplicate and decontaminate a dataset: drop near-duplicates and questions of evaluation sets
    Clean(generate::clean::Options),
    /// Curate training text from web archives: extract, filter, score and deduplicate pages by a recipe of stages
    Curate(generate::curate::Options),
    /// Mix generated and external datasets into one shuffled dataset
    Mix(generate::mix::Options),
    /// Print rows of a generated dataset
    Show(generate::show::Options),
    /// Upload a dataset or a model to the Hugging Face hub
    Push(generate::push::Options),
    /// Print the job files that run a shared command on a cluster: Slurm, Kubernetes
    Launch(generate::launch::Options),
    /// Print what of a shared run is done, running and missing, and the command that runs the rest
    Status(generate::status::Options),
    /// Show what this machine has and what of it is used: CPU, memory, disk, GPU, hub
    Doctor(generate::doctor::Options),
    /// Verify the checksums of a dataset, a run's store, a checkpoint or a training run
    Verify(generate::verify::Options),
}

fn main() -> ExitCode {
    // The process of a sandbox runs code of a teacher and nothing else.
    sandbox::enter_if_asked();
    terminal::start();
    if let Some(code) = terminal::shell::answer(Arguments::command()) {
        return code;
    }
    let result = match Arguments::parse().command {
        Command::Gen(options) => generate::r#gen::run(&options),
        Command::Estimate(options) => generate::estimate::run(&options),
        Command::Preview(options) => generate::preview::run(&options),
        Command::Prompts(options) => generate::export::run(&options),
        Command::Clean(options) => generate::clean::run(&options),
        Command::Curate(options) => generate::curate::run(&options),
        Command::Mix(options) => generate::mix::run(&options),
        Command::Show(options) => generate::show::run(&options),
        Command::Push(options) => generate::push::run(&options),
        Command::Launch(options) => generate::launch::run(&options),
        Command::Status(options) => generate::status::run(&options),
        Command::Doctor(options) => generate::doctor::run(&options),
        Command::Verify(options) => generate::verify::run(&options),
    };
    terminal::errors::exit_code("smoltalk", result)
}
