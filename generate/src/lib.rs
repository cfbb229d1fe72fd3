//! Synthetic datasets from a teacher: `smoltalk gen` generates SmolTalk-style datasets, `smoltalk clean` and
//! `smoltalk mix` work on finished ones, `smoltalk show` prints them.
//!
//! Every row runs through the steps of its task by itself, many rows concurrently. Every answer of a teacher and
//! every outcome of a row is in the run's store before it is counted.

// Everything is printed by `terminal`, which escapes it and ends no run when standard error cannot be written.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod clean;
pub mod curate;
pub mod doctor;
pub mod estimate;
pub mod export;
pub mod r#gen;
pub mod launch;
pub mod mix;
pub mod planted;
pub mod preview;
pub mod push;
pub mod show;
pub mod status;
pub mod verify;

mod answer;
mod api_keys;
mod beside_replies;
mod budget;
mod draw;
mod embed;
mod endpoint;
mod flaws;
mod goal;
mod in_flight;
mod install;
mod location;
mod maker;
mod oddities;
mod pauses;
mod progress;
mod recipe;
mod report;
mod resume;
mod room;
mod row_context;
mod rows;
mod run;
mod setup;
mod shared_run;
mod store;
mod task;
mod tasks;
mod teacher;
mod teachers;
mod trace;
mod unusable;
mod write_dataset;

pub use budget::Limit;
pub use recipe::{Prompts, Recipe};
pub use setup::TeacherOptions;
pub use task::Task;
pub use tasks::recipe;
