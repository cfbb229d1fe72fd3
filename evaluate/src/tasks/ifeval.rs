//! IFEval (Zhou et al. 2023): requests whose instructions a program can verify, judged strictly and loosely, per prompt
//! and per instruction.

use crate::task::{DataSet, Document, Generation, Group, MetricValue, Metrics, Row, Scorer, Task};
use anyhow::{Context, Result, ensure};
use ifeval::{Instruction, InstructionError};
use serde_json::{Map, Value, json};

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let about = "instructions that can be verified (IFEval)";
    let data = DataSet {
        folders: &["ifeval"],
        files: &["ifeval_input_data", "input_data"],
        ..DataSet::new("google/IFEval", "", "train")
    };
    let scorer = Scorer::Text(score);
    let task = Task { scorer, ..Task::new("ifeval", about, data.clone(), document) };
    (vec![task, Task { scorer, ..Task::smollm2("ifeval", about, data, document) }], Vec::new())
}

/// Makes an instruction of its id and its arguments.
pub(super) type NewInstruction = fn(&str, &Map<String, Value>) -> Result<Instruction, InstructionError>;

fn document(row: &Row) -> Result<Document> {
    document_of(row, Instruction::new)
}

fn score(gold: &Value, response: &str) -> Result<Metrics> {
    score_of(gold, response, Instruction::new)
}

/// A prompt whose instructions `new` makes.
pub(super) fn document_of(row: &Row, new: NewInstruction) -> Result<Document> {
    let gold = json!({
        "instruction_id_list": row.value("instruction_id_list")?,
        "kwargs": row.value("kwargs")?,
    });
    instructions(&gold, new)?;
    Ok(Document::text(row.text("prompt")?, "", Generation::new(&[], 1280, gold)))
}

/// The instructions of a prompt.
fn instructions(gold: &Value, new: NewInstruction) -> Result<Vec<Instruction>> {
    let list = |name: &str| gold[name].as_array().with_context(|| format!("`{name}` is not a list"));
    let (ids, kwargs) = (list("instruction_id_list")?, list("kwargs")?);
    ensure!(
        ids.len() == kwargs.len(),
        "`instruction_id_list` has {} entries and `kwargs` {}",
        ids.len(),
        kwargs.len()
    );
    let none = Map::new();
    let instruction = |(id, kwargs): (&Value, &Value)| {
        let id = id.as_str().with_context(|| format!("{id} is not the id of an instruction"))?;
        Ok(new(id, kwargs.as_object().unwrap_or(&none))?)
    };
    ids.iter().zip(kwargs).map(instruction).collect()
}

/// The four accuracies of a response to a prompt whose instructions `new` makes.
pub(super) fn score_of(gold: &Value, response: &str, new: NewInstruction) -> Result<Metrics> {
    let instructions = instructions(gold, new)?;
    let strict: Vec<bool> = instructions.iter().map(|one| one.strict(response)).collect();
    let loose: Vec<bool> = instructions.iter().map(|one| one.loose(response)).collect();
    let all = |verdicts: &[bool]| MetricValue::Number(f64::from(verdicts.iter().all(|verdict| *verdict)));
    Ok(vec![
        ("prompt_level_strict_acc".to_owned(), all(&strict)),
        ("inst_level_strict_acc".to_owned(), MetricValue::Verdicts(strict)),
        ("prompt_level_loose_acc".to_owned(), all(&loose)),
        ("inst_level_loose_acc".to_owned(), MetricValue::Verdicts(loose)),
    ])
}
