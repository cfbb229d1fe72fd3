//! The `posttrain` command: what was typed, and how it ended.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Train small language models: pretrain, SFT, DPO.
#[derive(Parser)]
#[command(version, args_override_self = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a base model on documents, from random weights or a checkpoint
    Pretrain(posttrain::pretrain::Options),
    /// Fine-tune on conversations, prompts with completions, or texts
    Sft(posttrain::sft::Options),
    /// Prefer chosen replies over rejected ones
    Dpo(posttrain::dpo::Options),
    /// Print rows as the model will see them, with the trained tokens marked, and count all
    Inspect(posttrain::inspect::Options),
    /// Train a byte-level BPE tokenizer set up as SmolLM2's
    Tokenizer(posttrain::tokenizer::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Pretrain(options) => posttrain::pretrain::run(&options),
        Command::Sft(options) => posttrain::sft::run(&options),
        Command::Dpo(options) => posttrain::dpo::run(&options),
        Command::Inspect(options) => posttrain::inspect::run(&options),
        Command::Tokenizer(options) => posttrain::tokenizer::run(&options),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("posttrain: {error:#}");
            ExitCode::from(2)
        }
    }
}
