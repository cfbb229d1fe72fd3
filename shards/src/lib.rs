//! One piece of work for many processes on one or many machines, through a folder that all of them see. Schedulers start the
//! processes; nothing here does. [`Place`] is which worker a process is, [`Board`] is the folder: a record of the run that is
//! written once, claims with leases, and markers of which each shard gets exactly one. [`status`] reads it, [`launch`] writes
//! the files of jobs.
//!
//! Every decision between processes is one operation: a file that is created unless it exists (`create.rs`).
//! No two clocks are compared: a worker that waits measures for how long a claim has not changed (`silence.rs`).

pub mod launch;
pub mod status;

mod board;
mod claim;
mod create;
mod listing;
mod options;
mod owner;
mod place;
mod record;
mod silence;

pub use board::{Board, FOLDER};
pub use claim::{Claim, Marker};
pub use options::Options;
pub use place::{Launcher, Place};
pub use record::Stage;

/// The exit code of a worker that a signal stopped: the same command continues its work (EX_TEMPFAIL of sysexits.h).
pub const AGAIN: u8 = 75;
