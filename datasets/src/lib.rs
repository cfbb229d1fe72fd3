//! Datasets on disk, and everything that is done to their rows without a model.
//!
//! Reading accepts the common formats and layouts ([`read()`]). Writing produces folders that
//! `datasets.load_dataset(folder)` loads ([`mod@write`], [`card`]). Near-duplicates are found by text
//! ([`duplicates`]) or by embedding ([`nearest`]), and questions of evaluation sets by [`contamination`]. No model, no
//! network, no asynchronous runtime.

pub mod batch;
pub mod card;
pub mod columns;
pub mod contamination;
pub mod duplicates;
pub mod encoded;
pub mod evaluation_set;
pub mod export;
pub mod logprobs;
pub mod near_duplicate;
pub mod nearest;
pub mod packed;
pub mod row;
pub mod write;

mod ahead;
mod configs;
mod error;
mod layout;
mod limits;
mod matching;
mod minhash;
mod options;
mod plain;
mod quick;
mod raw_row;
mod read;
mod recorded;
mod source;
mod splits;
mod trees;
mod unchanged;
mod weight;

pub use configs::{Choice, choose};
pub use error::{Error, InvalidRow};
pub use layout::Layout;
pub use limits::RowLimits;
pub use matching::longest_common_subsequence;
pub use options::{ColumnRole, NamedColumn, ReadOptions};
pub use quick::{PlainRow, QuickRow};
pub use raw_row::{LocatedRow, RawRow, row_error};
pub use read::{QuickRows, RawRows, Rows, read, read_quick_with, read_raw, read_raw_with, read_with};
pub use row::{ChatRow, Message, PreferenceRow, Row, TextRow};
pub use source::{FileObject, data_files, file_objects, format_name, is_data, left_out};
pub use unchanged::UnchangedFiles;
