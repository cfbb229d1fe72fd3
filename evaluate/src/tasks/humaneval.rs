//! HumanEval (Chen et al. 2021): Python functions that are completed and run with their tests.

use crate::sandbox::{self, Verdict};
use crate::task::{DataSet, Document, Generation, Group, MetricValue, Metrics, Row, Scorer, Task};
use anyhow::{Context, Result};
use serde_json::{Value, json};

const STOPS: [&str; 5] = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"];
const MAX_TOKENS: usize = 1024;

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let about = "Python functions, run with their tests (HumanEval)";
    let data = DataSet {
        folders: &["humaneval"],
        files: &["HumanEval"],
        ..DataSet::new("openai/openai_humaneval", "openai_humaneval", "test")
    };
    let task = |name, document, scorer| Task {
        scorer: Scorer::Text(scorer),
        runs_code: true,
        ..Task::new(name, about, data.clone(), document)
    };
    (
        vec![task("humaneval", document, score), task("humaneval_instruct", instruct, score_instruct)],
        Vec::new(),
    )
}

fn generation(row: &Row) -> Result<Generation> {
    let gold = json!({
        "prompt": row.text("prompt")?, "test": row.text("test")?, "entry_point": row.text("entry_point")?,
    });
    Ok(Generation::new(&STOPS, MAX_TOKENS, gold))
}

fn document(row: &Row) -> Result<Document> {
    Ok(Document::text(row.text("prompt")?, "", generation(row)?))
}

fn instruct(row: &Row) -> Result<Document> {
    let prompt = row.text("prompt")?;
    let request = "Write a solution to the following problem and make sure that it passes the tests:";
    let document = Document::text(format!("{request}\n```python\n{prompt}\n```\n"), "", generation(row)?);
    Ok(Document {
        reply_start: format!("Here is the completed function:\n```python\n{prompt}\n"),
        ..document
    })
}

fn score(gold: &Value, response: &str) -> Result<Metrics> {
    let field = |name: &str| gold[name].as_str().with_context(|| format!("`gold` has no `{name}`"));
    let (prompt, test, entry_point) = (field("prompt")?, field("test")?, field("entry_point")?);
    pass_at_1(&format!("{prompt}{response}\n{test}\ncheck({entry_point})"))
}

fn score_instruct(gold: &Value, response: &str) -> Result<Metrics> {
    score(gold, response.split("```").next().unwrap_or_default())
}

/// Whether a program runs to its end.
pub(super) fn pass_at_1(program: &str) -> Result<Metrics> {
    let has_passed = sandbox::run(program)? == Verdict::Passed;
    Ok(vec![("pass@1".to_owned(), MetricValue::Number(f64::from(has_passed)))])
}
