//! `posttrain pretrain | sft | dpo | kto`: training loops, from rows to a checkpoint; plus `ablate`, `intervene`,
//! `merge`, `average`, `inspect`, `tokenizer` and `export`.
//!
//! Each subcommand is a file of its own name, and its `run` is the whole command. The arithmetic of a step is in the
//! crate `training`.

pub mod dpo;
pub mod kto;
pub mod pretrain;
pub mod sft;

pub mod ablate;
pub mod export;
pub mod inspect;
pub mod intervene;
pub mod tokenizer;

pub mod average;
pub mod merge;

mod compute;
mod device;
mod lora;
mod lora_modules;
pub mod recipe;
mod schedule;
mod settings;
mod time_limit;

mod data;
pub mod examples;
mod order;
mod reference;
mod tokenize;
mod tokens;
mod vocabulary;

mod benchmarks;
pub mod checkpoints;
mod checks;
pub mod command_clock;
mod derived;
mod interventions;
mod model_card;
mod monitoring;
mod run;

mod meter;
mod run_report;
mod samples;
mod tensorboard;

#[cfg(test)]
mod tests;
