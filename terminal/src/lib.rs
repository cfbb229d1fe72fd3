//! What a person at a terminal sees and sends: [`progress`], [`signals`], [`errors`], [`message!`], what [`shell`]s complete,, [`printable()`] text, [columns()],
//! and how a program [starts](start()). Each has one implementation here, so that every program behaves alike.

pub mod errors;
pub mod progress;
pub mod shell;
pub mod signals;

mod columns;
mod messages;
mod printable;
mod start;

pub use columns::columns;
pub use messages::{print_message, print_results};
pub use printable::{printable, printable_message};
pub use progress::Progress;
pub use signals::Stop;
pub use start::start;
