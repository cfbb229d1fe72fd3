//! Evaluation sets that training data must not hold: IFEval, GSM8K, HumanEval and MT-Bench are known by name or
//! by their fields, any other is read by the column that holds its texts.

use crate::Error;
use crate::source::{Format, data_files, objects};
use serde_json::{Map, Value};
use std::path::Path;

/// An evaluation set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationSet {
    /// What it is called.
    pub name: String,
    /// What a model is asked.
    pub items: Vec<Item>,
}

/// One question of an evaluation set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The set's own name for it, or its line.
    pub id: String,
    /// Its text.
    pub text: String,
}

/// Where a set keeps what.
struct Known {
    name: &'static str,
    /// The field of its questions: a string, or a list of turns.
    text: &'static str,
    /// The field of its ids; lines are counted where it has none.
    id: Option<&'static str>,
    /// Fields that only this set has beside its questions.
    signs: &'static [&'static str],
}

const KNOWN: [Known; 4] = [
    Known { name: "ifeval", text: "prompt", id: Some("key"), signs: &["instruction_id_list", "kwargs"] },
    Known {
        name: "humaneval",
        text: "prompt",
        id: Some("task_id"),
        signs: &["entry_point", "canonical_solution"],
    },
    Known { name: "mt-bench", text: "turns", id: Some("question_id"), signs: &["category", "question_id"] },
    Known { name: "gsm8k", text: "question", id: None, signs: &["answer"] },
];

impl EvaluationSet {
    /// Reads a file or folder of JSONL, JSON or Parquet, plain, `.gz` or `.zst`. The questions stand in `column`; where
    /// none is named, in the column of the known set of this name, or of the set whose fields the first row has, or in
    /// `text`. Without a name the set is called as it is known, or as its file.
    ///
    /// # Errors
    /// Names the file, the row and the fields that are there.
    pub fn read(name: Option<&str>, path: &Path, column: Option<&str>) -> Result<Self, Error> {
        let mut known = KNOWN.iter().find(|known| Some(known.name) == name);
        let mut set = Self { name: name.unwrap_or_default().to_owned(), items: Vec::new() };
        for file in data_files(path)? {
            for object in objects(&file)? {
                let (number, object) = object?;
                known = known.or_else(|| KNOWN.iter().find(|known| known.recognises(&object)));
                let text = column.or(known.map(|known| known.text)).unwrap_or("text");
                let id = known.and_then(|known| object.get(known.id?)).or_else(|| object.get("id"));
                let unit = Format::of(&file).map_or("line", Format::unit);
                let id = id.and_then(spelled).unwrap_or_else(|| format!("{unit} {number}"));
                let items = items(&object, text, &id);
                let path = file.clone();
                set.items.extend(items.map_err(|reason| Error::Row { path, unit, number, reason })?);
            }
        }
        if set.items.is_empty() {
            let reason = "an evaluation set without a question".to_owned();
            return Err(Error::NotData { path: path.to_owned(), reason });
        }
        if name.is_none() {
            let stem = path.file_name().map(|name| name.to_string_lossy().into_owned());
            set.name = known.map_or(stem.unwrap_or_default(), |known| known.name.to_owned());
        }
        Ok(set)
    }
}

impl Known {
    fn recognises(&self, object: &Map<String, Value>) -> bool {
        let has = |name: &str| object.contains_key(name);
        // Many sets have a question and an answer; GSM8K's answers end in four hashes and a number.
        let marked = || object["answer"].as_str().is_some_and(|answer| answer.contains("#### "));
        has(self.text) && self.signs.iter().all(|sign| has(sign)) && (self.name != "gsm8k" || marked())
    }
}

fn items(object: &Map<String, Value>, column: &str, id: &str) -> Result<Vec<Item>, String> {
    let item = |id: String, text: &str| Item { id, text: text.to_owned() };
    match object.get(column) {
        Some(Value::String(text)) => Ok(vec![item(id.to_owned(), text)]),
        Some(Value::Array(turns)) if turns.iter().all(Value::is_string) => {
            let turns = turns.iter().filter_map(Value::as_str).enumerate();
            Ok(turns.map(|(turn, text)| item(format!("{id} turn {}", turn + 1), text)).collect())
        }
        Some(_) => Err(format!("{column} is neither a text nor a list of texts")),
        None => {
            let names: Vec<&String> = object.keys().collect();
            Err(format!(
                "has no {column}; it has {names:?}: name the column of the questions, NAME=PATH#COLUMN"
            ))
        }
    }
}

fn spelled(id: &Value) -> Option<String> {
    match id {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn read(name: Option<&str>, column: Option<&str>, lines: &str) -> Result<EvaluationSet, Error> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("set.jsonl");
        std::fs::write(&file, lines).unwrap();
        EvaluationSet::read(name, &file, column)
    }

    #[test]
    fn sets_are_known_by_their_fields_or_by_a_column() {
        let ids = |set: &EvaluationSet| set.items.iter().map(|item| item.id.clone()).collect::<Vec<_>>();
        let set = read(None, None, r#"{"key": 7, "prompt": "Do", "instruction_id_list": [], "kwargs": []}"#)
            .unwrap();
        assert_eq!((set.name.as_str(), ids(&set)), ("ifeval", vec!["7".to_owned()]));
        let set = read(None, None, r#"{"question_id": 81, "category": "c", "turns": ["a", "b"]}"#).unwrap();
        assert_eq!(
            (set.name.as_str(), ids(&set)),
            ("mt-bench", vec!["81 turn 1".into(), "81 turn 2".into()])
        );
        let lines = "{\"question\": \"How?\", \"answer\": \"#### 1\"}\n";
        let set = read(None, None, lines).unwrap();
        assert_eq!((set.name.as_str(), ids(&set)), ("gsm8k", vec!["line 1".to_owned()]));
        let set = read(Some("mine"), Some("answer"), lines).unwrap();
        assert_eq!((set.name.as_str(), set.items[0].text.as_str()), ("mine", "#### 1"));
        let reason = read(None, None, r#"{"question": "How?"}"#).unwrap_err().to_string();
        assert!(reason.contains("has no text; it has [\"question\"]"), "{reason}");
        assert!(read(Some("humaneval"), None, lines).unwrap_err().to_string().contains("has no prompt"));
    }
}
