//! WinoGrande (Sakaguchi et al. 2021): which of two names fits a blank.
//!
//! lm-evaluation-harness scores the same ending after both names; the paper's task scores name and ending together.

use crate::task::python::strip;
use crate::task::{ChoiceMetrics, DataSet, Document, Group, Question, Row, Scorer, ShotSource, Task};
use anyhow::{Context, Result};

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let about = "which name a pronoun stands for (WinoGrande)";
    let data = DataSet {
        folders: &["winogrande_xl"],
        ..DataSet::new("allenai/winogrande", "winogrande_xl", "validation")
    };
    let task = Task {
        shot_source: ShotSource::Random(data.with_split("train")),
        scorer: Scorer::Choices(ChoiceMetrics::Accuracy),
        ..Task::new("winogrande", about, data.clone(), document)
    };
    (vec![task, Task::smollm2("winogrande", about, data, whole_document)], Vec::new())
}

/// What is before the blank, what is after it, both names, and the index of the right one.
fn parts(row: &Row) -> Result<(&str, &str, [&str; 2], usize)> {
    let sentence = row.text("sentence")?;
    let (before, after) = sentence.split_once('_').context("`sentence` has no blank `_`")?;
    let gold = match row.text("answer")? {
        "1" => 0,
        "2" => 1,
        other => anyhow::bail!("`answer` is `{other}`; expected `1` or `2`"),
    };
    Ok((before, strip(after), [row.text("option1")?, row.text("option2")?], gold))
}

fn document(row: &Row) -> Result<Document> {
    let (before, after, names, gold) = parts(row)?;
    let contexts = names.map(|name| format!("{before}{name}")).to_vec();
    Ok(Document {
        query: contexts[gold].clone(),
        answer: after.to_owned(),
        reply_start: String::new(),
        question: Question::Contexts { contexts, continuation: after.to_owned(), gold },
    })
}

fn whole_document(row: &Row) -> Result<Document> {
    let (before, after, names, gold) = parts(row)?;
    let choices = names.map(|name| format!("{name} {after}")).to_vec();
    Ok(Document::choices(before, choices, gold))
}
