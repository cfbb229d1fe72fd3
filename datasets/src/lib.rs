//! Rows on disk, and all that is done to rows without a model.
//!
//! Reading takes the formats and layouts people have ([`read()`]); writing makes what
//! `datasets.load_dataset(folder)` loads ([`mod@write`], [`card`]). No model, no network, no runtime.

pub mod card;
pub mod columns;
pub mod contamination;
pub mod duplicates;
pub mod evaluation_set;
pub mod matching;
pub mod near_duplicate;
pub mod nearest;
pub mod pocket;
pub mod row;
pub mod write;

mod configs;
mod error;
mod hash;
mod layout;
mod minhash;
mod read;
mod source;

pub use configs::{Choice, choose};
pub use error::Error;
pub use layout::Layout;
pub use read::{Found, Located, Objects, Rows, objects, read, read_chosen};
pub use row::{ChatRow, Message, PreferenceRow, Row, TextRow};
pub use source::{data_files, is_data};
