//! The command `posttrain`: parses the command line, runs a subcommand and reports its error.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use posttrain::recipe::with_defaults;
use std::process::ExitCode;

/// Train small language models: pretraining, SFT, DPO.
#[derive(Parser)]
#[command(name = "posttrain", version, args_override_self = true, after_help = terminal::shell::HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Pretrain a base model on documents, from random weights or from a checkpoint
    Pretrain(posttrain::pretrain::Options),
    /// Train with supervised fine-tuning (SFT) on conversations, prompts with completions, or documents
    Sft(posttrain::sft::Options),
    /// Train with direct preference optimization (DPO) on pairs of replies
    Dpo(posttrain::dpo::Options),
    /// Train with Kahneman-Tversky optimization (KTO) on single replies that are labeled as good or bad
    Kto(posttrain::kto::Options),
    /// Change the mixture of a pretraining run that is stopped, from a step on
    Intervene(posttrain::intervene::Options),
    /// Write an adapter and its base model as one checkpoint
    Merge(posttrain::merge::Options),
    /// Write the mean of several checkpoints' weights as one checkpoint
    Average(posttrain::average::Options),
    /// Print rows as the model sees them, with trained tokens marked, and count all rows
    Inspect(posttrain::inspect::Options),
    /// Train a byte-level BPE tokenizer with the settings of SmolLM2's
    Tokenizer(posttrain::tokenizer::Options),
    /// Compare pretraining runs that differ in their mixture or in one setting, and propose a mixture
    Ablate(posttrain::ablate::Options),
    /// Write a checkpoint as a GGUF file, for llama.cpp and the programs that are built on it
    Export(posttrain::export::Options),
}

fn main() -> ExitCode {
    terminal::start();
    posttrain::command_clock::start();
    let command = Arguments::command()
        .mut_subcommand("pretrain", with_defaults::<posttrain::pretrain::Settings>)
        .mut_subcommand("sft", with_defaults::<posttrain::sft::Settings>)
        .mut_subcommand("dpo", with_defaults::<posttrain::dpo::Settings>)
        .mut_subcommand("kto", with_defaults::<posttrain::kto::Settings>);
    if let Some(code) = terminal::shell::answer(command.clone()) {
        return code;
    }
    let arguments = Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    // On a thread of the pool: from outside, each of a step's hundreds of products would wake the pool.
    let result = rayon::scope(|_| match arguments.command {
        Command::Pretrain(options) => posttrain::pretrain::run(&options),
        Command::Sft(options) => posttrain::sft::run(&options),
        Command::Dpo(options) => posttrain::dpo::run(&options),
        Command::Kto(options) => posttrain::kto::run(&options),
        Command::Intervene(options) => posttrain::intervene::run(&options),
        Command::Merge(options) => posttrain::merge::run(&options),
        Command::Average(options) => posttrain::average::run(&options),
        Command::Inspect(options) => posttrain::inspect::run(&options),
        Command::Tokenizer(options) => posttrain::tokenizer::run(&options),
        Command::Ablate(options) => posttrain::ablate::run(&options),
        Command::Export(options) => posttrain::export::run(&options),
    });
    terminal::errors::exit_code("posttrain", result)
}
