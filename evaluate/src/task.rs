//! What a benchmark task is: where its rows are, what is asked about each, and how an answer is scored. Each task is one
//! file of [`crate::tasks`]; everything else is generic over these types.

mod data_set;
mod definition;
mod document;
mod exact_match;
mod judged;
mod metrics;
mod prompt;
pub(crate) mod python;
mod row;

pub(crate) use data_set::DataSet;
pub(crate) use definition::{Dialect, Group, GroupMean, ShotSource, Task};
pub(crate) use document::{Conversation, Document, Generation, Question};
pub(crate) use exact_match::{ExactMatch, find_all};
pub(crate) use judged::{JudgeRequest, Judged};
pub(crate) use metrics::{
    ChoiceMetrics, MetricValue, Metrics, Scorer, choice_metrics, is_share, perplexity_metrics,
};
pub(crate) use prompt::{Prompt, prompts};
pub(crate) use row::Row;
