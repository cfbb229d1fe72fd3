//! From web archives to training text: archives and pages are read ([`warc`]), their text is extracted with mathematics as
//! LaTeX ([`extract`]), and a recipe of stages keeps or drops each page, with the reason and the value that decided.

mod charset;
mod html;
mod math;
pub mod warc;

pub use charset::decode;
pub use html::{Content, PageText, Unreadable, extract};
