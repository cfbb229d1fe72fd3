//! Teacher -> rows: `smoltalk gen` makes SmolTalk-style datasets, `smoltalk mix` composes sets into one, `smoltalk
//! show` prints them, `smoltalk world` writes the pocket world.
//!
//! Each row walks its own steps with many rows in flight and no barrier between them. Everything a
//! teacher said and everything decided about a row is in the run's store before it is counted.

pub mod audit;
pub mod clean;
pub mod estimate;
pub mod r#gen;
pub mod mix;
pub mod preview;
pub mod show;
pub mod world;

mod budget;
mod embed;
mod endpoint;
mod finish;
mod flight;
mod keys;
mod printable;
mod progress;
mod recipe;
mod report;
mod resume;
mod rows;
mod run;
mod setup;
mod store;
mod tasks;
mod teacher;
mod walk;

pub use budget::Limit;
pub use recipe::{Profile, Task};
pub use setup::Common;
