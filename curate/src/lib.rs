//! From web archives to training text: archives and pages are read ([`warc`]), their text is extracted with mathematics as
//! LaTeX ([`extract`]), and the stages of a recipe ([`recipe`]) keep or drop each page, with the reason and the value that
//! decided ([`run`]). Words, languages and rules decide as the programs do that made the published datasets.

pub mod agreement;
pub mod classifier;
pub mod fasttext;
pub mod recipe;
pub mod rules;
pub mod run;
pub mod warc;

mod charset;
mod dom;
mod fate;
mod html;
mod math;
mod page;
mod python;
mod report;
mod stage;
mod tokens;
mod why;
mod words;

pub use charset::decode;
pub use html::{Content, PageText, Unreadable, extract};
pub use why::why;
