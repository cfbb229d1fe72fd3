//! Files written whole ([`atomic`]), hashed ([`hash`], [`checksum`]), listed ([`manifest`]), found ([`folders`]) and read where
//! they describe others ([`small_file`]), and the folder of a run ([`run_folder`]); the machine's [memory] and [disk]; a fence around
//! libraries that panic on foreign files ([`fenced`]). Each of these has one implementation here, so that every program treats
//! files alike.

pub mod atomic;
pub mod checksum;
pub mod disk;
pub mod folders;
pub mod hash;
pub mod manifest;
pub mod memory;
pub mod output_folder;
pub mod owned;
pub mod run_folder;
pub mod small_file;

mod error;
mod fence;

pub use error::Error;
pub use fence::fenced;
