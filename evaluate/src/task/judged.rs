//! Tasks whose replies another model judges: what the judge is asked, and with which files.

use super::data_set::DataSet;
use super::row::Row;
use anyhow::Result;
use serde_json::Value;

/// How the replies of a task are judged.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The judge's prompts.
    pub prompts: DataSet,
    /// Reference answers to some of the questions.
    pub references: DataSet,
    /// The question that a row of the references is for (`id` of its gold), and the reference, which becomes `reference` of
    /// the gold.
    pub reference: fn(&Row) -> Result<(Value, Value)>,
    /// What the judge is asked: of the gold, the rows of the prompts, all replies and the turn that is judged.
    pub request: fn(&Value, &[Row], &[String], usize) -> Result<JudgeRequest>,
}

/// One request to a judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgeRequest {
    /// The system message; none if it is empty.
    pub system: String,
    /// The user's message.
    pub prompt: String,
}
