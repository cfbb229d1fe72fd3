//! The `posttrain` command: what was typed, and how it ended.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use posttrain::recipe::with_defaults;
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
    let command = Arguments::command()
        .mut_subcommand("pretrain", with_defaults::<posttrain::pretrain::Settings>)
        .mut_subcommand("sft", with_defaults::<posttrain::sft::Settings>)
        .mut_subcommand("dpo", with_defaults::<posttrain::dpo::Settings>);
    let arguments = Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    // On a thread of the pool: from outside it every one of a step's hundreds of products would wake the pool anew.
    let result = rayon::scope(|_| match arguments.command {
        Command::Pretrain(options) => posttrain::pretrain::run(&options),
        Command::Sft(options) => posttrain::sft::run(&options),
        Command::Dpo(options) => posttrain::dpo::run(&options),
        Command::Inspect(options) => posttrain::inspect::run(&options),
        Command::Tokenizer(options) => posttrain::tokenizer::run(&options),
    });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("posttrain: {}", line(&error));
            ExitCode::from(2)
        }
    }
}

/// An error and its causes; a cause that the error before it spells out already is left out.
fn line(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.ends_with(&cause) {
            line.extend([": ", &cause]);
        }
    }
    line
}
