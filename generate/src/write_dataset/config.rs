//! One configuration of the dataset: the rows of a task, or the conversations of all tasks.

use datasets::write::Shard;
use serde_json::Value;
use std::collections::BTreeMap;

/// A configuration with its counts, as `run.json` and the dataset card list it.
pub(super) struct DatasetConfig {
    pub(super) name: &'static str,
    /// Rows that were started.
    pub(super) begun: usize,
    /// Rows that were kept.
    pub(super) rows: usize,
    /// Rows that were dropped, by reason.
    pub(super) drops: BTreeMap<String, usize>,
    pub(super) shards: Vec<Shard>,
    /// The types of its columns, where its files do not state them.
    pub(super) features: Option<Value>,
}
