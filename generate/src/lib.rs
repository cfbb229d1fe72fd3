//! Teacher -> rows: `smoltalk gen` makes SmolTalk-style datasets, `smoltalk mix` composes sets into one, `smoltalk
//! show` prints them.
//!
//! Each row walks its own steps with many rows in flight and no barrier between them. Everything a
//! teacher said and everything decided about a row is in the run's store before it is counted.

pub mod r#gen;
pub mod mix;
pub mod show;

mod finish;
mod recipe;
mod store;
mod tasks;
mod teacher;
mod walk;

pub use recipe::{Profile, Task};
