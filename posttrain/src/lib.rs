//! Rows -> weights: `posttrain pretrain | sft | dpo`, and what they share.
//!
//! One subcommand is one file of its own name, and its `run` tells the whole story.

pub mod dpo;
pub mod pretrain;
pub mod sft;

pub mod inspect;
pub mod tokenizer;

pub mod recipe;
pub mod schedule;

pub mod examples;
pub mod order;
pub mod tokens;
pub mod vocabulary;

pub mod device;
pub mod gpu;
pub mod learner;
pub mod model;
pub mod optimizer;

pub mod checkpoints;
pub mod run;

mod meter;
pub mod random;
mod report;
mod tensorboard;
