//! Files written whole ([`atomic`]), hashed ([`hash`], [`checksum`]), listed ([`manifest`]) and found ([`folders`]), and
//! the folder of a run ([`run_folder`]). Each of these has one implementation here, so that every program treats files
//! alike.

pub mod atomic;
pub mod checksum;
pub mod folders;
pub mod hash;
pub mod manifest;
pub mod output_folder;
pub mod owned;
pub mod run_folder;

mod error;

pub use error::Error;
