//! `posttrain pretrain | sft | dpo`: training loops, from rows to a checkpoint; plus `ablate`, `inspect`, `tokenizer` and
//! `export`.
//!
//! Each subcommand is a file of its own name, and its `run` is the whole command. The arithmetic of a step is in the
//! crate `training`.

pub mod dpo;
pub mod pretrain;
pub mod sft;

pub mod ablate;
pub mod export;
pub mod inspect;
pub mod tokenizer;

mod compute;
mod device;
pub mod recipe;
mod schedule;
mod settings;

mod data;
pub mod examples;
mod order;
mod tokenize;
mod tokens;
mod vocabulary;

mod benchmarks;
pub mod checkpoints;
mod checks;
mod run;

mod meter;
mod run_report;
mod tensorboard;

#[cfg(test)]
mod tests;
