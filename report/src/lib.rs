//! HTML reports: the shell of a page ([`Page`]) with its content security policy, the base style, line charts
//! ([`chart`]), bars ([`bars`]), small pieces of HTML ([`html`]), numbers for people ([`numbers`]), and the reader of a
//! training run's `metrics.jsonl` ([`metrics`]).
//!
//! A page is one file: it loads nothing, and its policy permits its own style and script by their hashes alone, so that
//! nothing a model or a data file contains can run.

pub mod bars;
pub mod chart;
pub mod html;
pub mod metrics;
pub mod numbers;

mod axes;
mod page;

pub use html::escape;
pub use page::{Page, STYLE, hash_source};
