//! GSM8K (Cobbe et al. 2021): grade-school arithmetic, answered with its reasoning. `gsm8k` takes examples of the training
//! set, `gsm8k_cot` the eight of Wei et al. (2022).

use crate::task::{
    DataSet, Document, ExactMatch, Generation, Group, MetricValue, Metrics, Row, Scorer, ShotSource, Task,
    find_all,
};
use anyhow::Result;
use serde_json::{Value, json};

const STOPS: [&str; 3] = ["Question:", "</s>", "<|im_end|>"];
const COT_STOPS: [&str; 3] = ["Q:", "</s>", "<|im_end|>"];
const STRICT: &str = r"#### (\-?[0-9\.\,]+)";
const COT_STRICT: &str = r"The answer is (\-?[0-9\.\,]+).";
const FLEXIBLE: &str = r"(-?[$0-9.,]{2,})|(-?[0-9]+)";
const MATCH: ExactMatch =
    ExactMatch { ignored: &[",", r"\$", "(?s).*#### ", r"\.$"], case: true, punctuation: false };
const MAX_TOKENS: usize = 256;

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let about = "grade-school arithmetic (GSM8K)";
    let data = DataSet::new("openai/gsm8k", "main", "test");
    let train = || ShotSource::Random(data.with_split("train"));
    let examples = DataSet::examples(&["gsm8k_cot"]);
    let standard = Task {
        shots: 5,
        shot_source: train(),
        scorer: Scorer::Text(score),
        ..Task::new("gsm8k", about, data.clone(), document)
    };
    let cot = Task {
        shots: 8,
        shot_source: ShotSource::Fixed(examples),
        shot: Some(cot_shot),
        scorer: Scorer::Text(score_cot),
        ..Task::new("gsm8k_cot", about, data.clone(), cot_document)
    };
    let smollm2 = Task {
        shots: 5,
        shot_source: train(),
        scorer: Scorer::Text(score_smollm2),
        ..Task::smollm2("gsm8k", about, data.clone(), smollm2_document)
    };
    (vec![standard, cot, smollm2], Vec::new())
}

fn document(row: &Row) -> Result<Document> {
    let answer = row.text("answer")?;
    let query = format!("Question: {}\nAnswer:", row.text("question")?);
    Ok(Document::text(query, answer, Generation::new(&STOPS, MAX_TOKENS, json!(answer))))
}

fn cot_document(row: &Row) -> Result<Document> {
    let answer = row.text("answer")?;
    let gold = crate::task::python::strip(answer.rsplit("####").next().unwrap_or_default());
    let query = format!("Q: {}\nA:", row.text("question")?);
    Ok(Document::text(query, gold, Generation::new(&COT_STOPS, MAX_TOKENS, json!(gold))))
}

fn cot_shot(row: &Row) -> Result<Document> {
    let (query, target) = (format!("Q: {}\nA:", row.text("question")?), row.text("target")?);
    Ok(Document::text(query, target, Generation::new(&COT_STOPS, MAX_TOKENS, Value::Null)))
}

fn smollm2_document(row: &Row) -> Result<Document> {
    let answer = row.text("answer")?;
    let query = format!("Question: {}\nAnswer:", row.text("question")?);
    let generation = Generation::new(&["Question:", "Question"], MAX_TOKENS, json!(answer));
    Ok(Document::text(query, format!(" {answer}"), generation))
}

fn score(gold: &Value, response: &str) -> Result<Metrics> {
    Ok(both_filters(STRICT, gold, response))
}

fn score_cot(gold: &Value, response: &str) -> Result<Metrics> {
    Ok(both_filters(COT_STRICT, gold, response))
}

/// The first match of the strict pattern and the last one of the flexible pattern.
fn both_filters(strict: &str, gold: &Value, response: &str) -> Metrics {
    let gold = gold.as_str().unwrap_or_default();
    let picked = |found: Option<Option<String>>| found.flatten().unwrap_or_else(|| "[invalid]".to_owned());
    let strict = picked(find_all(strict, response).into_iter().next());
    let flexible = picked(find_all(FLEXIBLE, response).pop());
    let right = |answer: &str| MetricValue::Number(f64::from(MATCH.matches(answer, [gold])));
    vec![
        ("exact_match,strict-match".to_owned(), right(&strict)),
        ("exact_match,flexible-extract".to_owned(), right(&flexible)),
    ]
}

fn score_smollm2(gold: &Value, response: &str) -> Result<Metrics> {
    let number =
        |text: &str| find_all(STRICT, text).into_iter().next().flatten().map(|one| one.replace(',', ""));
    let gold = number(gold.as_str().unwrap_or_default());
    let is_right = gold.is_some() && number(response) == gold;
    Ok(vec![("exact_match".to_owned(), MetricValue::Number(f64::from(is_right)))])
}
