//! The held-out rows of `smolpocket world` as benchmark tasks, which `smoleval` does not know: questions, requests,
//! preference pairs, and the documents of each source.

use crate::documents::DocumentSource;
use crate::questions::{Verdict, check};
use anyhow::{Context, Result, ensure};
use evaluate::task::{
    ChoiceMetrics, DataSet, Document, Generation, Group, GroupMean, MetricValue, Metrics, Question, Row,
    Scorer, Task,
};
use ifeval::Instruction;
use serde_json::{Map, Value, json};

/// Where a reply ends, with a tokenizer that writes these tokens as text, too.
const STOPS: [&str; 2] = ["<|im_end|>", "<|im_start|>"];
/// Maximum length of a reply, in tokens.
const MAX_TOKENS: usize = 128;

/// The tasks of the world, and their group.
pub fn tasks() -> (Vec<Task>, Vec<Group>) {
    let scored = |name: &str, about, file, document, scorer| Task {
        scorer,
        ..Task::new(format!("pocket_{name}"), about, rows(file, "test"), document)
    };
    let mut tasks = vec![
        scored(
            "questions",
            "questions of the pocket world",
            "questions",
            question,
            Scorer::Text(score_question),
        ),
        scored("requests", "requests with conditions", "requests", request, Scorer::Text(score_request)),
        scored(
            "pairs",
            "the better one of two replies",
            "pairs",
            pair,
            Scorer::Choices(ChoiceMetrics::Accuracy),
        ),
    ];
    for (source, folder) in [
        (DocumentSource::Web, "held-out/web"),
        (DocumentSource::Code, "held-out/code"),
        (DocumentSource::Math, "held-out/math"),
        (DocumentSource::Copybook, "held-out/copybook"),
    ] {
        let name = format!("pocket_documents_{}", source.name());
        let task = Task::new(name, "log-likelihood of documents", rows(folder, "documents"), document);
        tasks.push(Task { scorer: Scorer::Perplexity, ..task });
    }
    let group = |name: &str, about, prefix: &str, mean| Group {
        name: name.to_owned(),
        about,
        tasks: tasks.iter().map(|task| task.name.clone()).filter(|name| name.starts_with(prefix)).collect(),
        mean,
    };
    let groups = vec![
        group("pocket_documents", "log-likelihood of documents", "pocket_documents_", GroupMean::OfTasks),
        group("pocket", "all tasks of the pocket world", "pocket_", GroupMean::None),
    ];
    (tasks, groups)
}

/// A file of the world's folder.
fn rows(folder: &'static str, file: &'static str) -> DataSet {
    DataSet { folders: &["."], is_on_hub: false, ..DataSet::new("the pocket world", folder, file) }
}

/// The text of the last message of a column.
fn last_text<'a>(row: &'a Row, column: &str) -> Result<&'a str> {
    let messages = row.value(column)?.as_array();
    let text = messages.and_then(|messages| messages.last()?["content"].as_str());
    text.with_context(|| format!("`{column}` is no list of messages"))
}

fn question(row: &Row) -> Result<Document> {
    let (text, answer) = (last_text(row, "messages")?, row.text("answer")?);
    ensure!(
        check(&[text], answer) == Verdict::Right,
        "`{answer}` is not the answer to the question `{text}`"
    );
    let gold = json!({"question": text, "answer": answer, "kind": row.text("kind")?});
    Ok(Document::text(text, answer, Generation::new(&STOPS, MAX_TOKENS, gold)))
}

fn score_question(gold: &Value, reply: &str) -> Result<Metrics> {
    let question = gold["question"].as_str().context("`gold` has no `question`")?;
    let is_right = check(&[question], reply) == Verdict::Right;
    Ok(vec![("acc".to_owned(), MetricValue::Number(f64::from(is_right)))])
}

fn request(row: &Row) -> Result<Document> {
    let gold = json!({"ids": row.value("instruction_id_list")?, "kwargs": row.value("kwargs")?});
    instructions(&gold)?;
    Ok(Document::text(last_text(row, "messages")?, "", Generation::new(&STOPS, MAX_TOKENS, gold)))
}

fn instructions(gold: &Value) -> Result<Vec<Instruction>> {
    let (ids, kwargs) = (gold["ids"].as_array(), gold["kwargs"].as_array());
    let (ids, kwargs) = ids.zip(kwargs).context("`instruction_id_list` and `kwargs` are no lists")?;
    ensure!(ids.len() == kwargs.len(), "`instruction_id_list` and `kwargs` have other lengths");
    let none = Map::new();
    let one = |(id, kwargs): (&Value, &Value)| {
        let id = id.as_str().with_context(|| format!("{id} is not the id of an instruction"))?;
        Ok(Instruction::new(id, kwargs.as_object().unwrap_or(&none))?)
    };
    ids.iter().zip(kwargs).map(one).collect()
}

fn score_request(gold: &Value, reply: &str) -> Result<Metrics> {
    let verdicts: Vec<bool> = instructions(gold)?.iter().map(|one| one.strict(reply)).collect();
    let all = f64::from(verdicts.iter().all(|verdict| *verdict));
    Ok(vec![
        ("prompt_level_strict_acc".to_owned(), MetricValue::Number(all)),
        ("inst_level_strict_acc".to_owned(), MetricValue::Verdicts(verdicts)),
    ])
}

/// The better reply is the first or the second one, by the length of the prompt: of equally likely ones, the first wins.
fn pair(row: &Row) -> Result<Document> {
    let [prompt, chosen, rejected] = ["prompt", "chosen", "rejected"].map(|column| last_text(row, column));
    let (prompt, mut choices) = (prompt?, vec![chosen?.to_owned(), rejected?.to_owned()]);
    let gold = prompt.len() % 2;
    choices.rotate_left(gold);
    Ok(Document::choices(prompt, choices, gold))
}

fn document(row: &Row) -> Result<Document> {
    let text = row.text("text")?;
    ensure!(!text.is_empty(), "`text` is empty");
    let (answer, reply_start) = (String::new(), String::new());
    Ok(Document { query: text.to_owned(), answer, reply_start, question: Question::Likelihood })
}
