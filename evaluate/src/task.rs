//! What a benchmark task is: where its rows are, what is asked about each, and how an answer is scored. Each task is one
//! file of `tasks`, or handed in by another crate ([`TasksOfFile`]); everything else is
//! generic over these types.

mod data_set;
mod definition;
mod document;
mod exact_match;
mod judged;
mod metrics;
mod prompt;
pub(crate) mod python;
mod row;

pub use data_set::DataSet;
pub use definition::{Dialect, Group, GroupMean, ShotSource, Task};
pub use document::{Conversation, Document, Generation, Question};
pub(crate) use exact_match::{ExactMatch, find_all};
pub use judged::{JudgeRequest, Judged};
pub use metrics::{ChoiceMetrics, MetricValue, Metrics, Scorer};
pub(crate) use metrics::{choice_metrics, is_share, perplexity_metrics};
pub(crate) use prompt::{Prompt, prompts};
pub use row::Row;

/// The tasks and groups of a file.
pub type TasksOfFile = fn() -> (Vec<Task>, Vec<Group>);
