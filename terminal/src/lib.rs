//! What a person at a terminal sees and sends: [`progress`], [`signals`], [`errors`] and [`printable()`] text. Each has one
//! implementation here, so that every program behaves alike.

pub mod errors;
pub mod progress;
pub mod signals;

mod printable;

pub use printable::printable;
pub use progress::Progress;
pub use signals::Stop;
