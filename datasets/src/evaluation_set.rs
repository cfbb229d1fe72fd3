//! Evaluation sets whose questions training data must not contain. IFEval, GSM8K, HumanEval and MT-Bench are recognized
//! by name or by their fields; any other set is read by the column of its questions.

use crate::Choice;
use crate::Error;
use crate::source::{Format, data_files, file_objects};
use serde_json::{Map, Value};
use std::path::Path;

/// An evaluation set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationSet {
    /// Its name.
    pub name: String,
    /// Its questions.
    pub items: Vec<Item>,
}

/// One question of an evaluation set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its id in the set, or its line.
    pub id: String,
    /// Its text.
    pub text: String,
}

/// The fields of a well-known set.
struct KnownSet {
    name: &'static str,
    /// The field of its questions: a string, or a list of turns.
    text: &'static str,
    /// The field of its ids; lines are counted if it has none.
    id: Option<&'static str>,
    /// Fields that this set has beside its questions and the others do not.
    signs: &'static [&'static str],
}

const KNOWN: [KnownSet; 4] = [
    KnownSet { name: "ifeval", text: "prompt", id: Some("key"), signs: &["instruction_id_list", "kwargs"] },
    KnownSet {
        name: "humaneval",
        text: "prompt",
        id: Some("task_id"),
        signs: &["entry_point", "canonical_solution"],
    },
    KnownSet {
        name: "mt-bench",
        text: "turns",
        id: Some("question_id"),
        signs: &["category", "question_id"],
    },
    KnownSet { name: "gsm8k", text: "question", id: None, signs: &["answer"] },
];

impl EvaluationSet {
    /// Reads a data file, or a folder of them: its test split, if it has one. The questions are in `column`;
    /// without one, in the column of the well-known set with this name or with the first row's fields; otherwise in
    /// `text`. Without a name the set has the name of the well-known set, or of its file.
    ///
    /// # Errors
    /// Names the file, the row and its fields.
    pub fn read(name: Option<&str>, path: &Path, column: Option<&str>) -> Result<Self, Error> {
        let mut known = KNOWN.iter().find(|known| Some(known.name) == name);
        let mut set = Self { name: name.unwrap_or_default().to_owned(), items: Vec::new() };
        // What is measured with: the test split, where the names of files tell it.
        let test = Choice { config: None, split: Some("test") };
        for file in data_files(path, test).or_else(|_| data_files(path, Choice::default()))? {
            for object in file_objects(&file)? {
                let (number, object) = object?;
                known = known.or_else(|| KNOWN.iter().find(|known| known.matches(&object)));
                let text = column.or(known.map(|known| known.text)).unwrap_or("text");
                let id = known.and_then(|known| object.get(known.id?)).or_else(|| object.get("id"));
                let unit = Format::of(&file).map_or("line", Format::unit);
                let id = id.and_then(id_text).unwrap_or_else(|| format!("{unit} {number}"));
                let items = items(&object, text, &id);
                let path = file.clone();
                set.items.extend(items.map_err(|reason| Error::Row { path, unit, number, reason })?);
            }
        }
        if set.items.is_empty() {
            let reason = "the evaluation set has no question".to_owned();
            return Err(Error::NotData { path: path.to_owned(), reason });
        }
        if name.is_none() {
            let stem = path.file_name().map(|name| name.to_string_lossy().into_owned());
            set.name = known.map_or(stem.unwrap_or_default(), |known| known.name.to_owned());
        }
        Ok(set)
    }
}

impl KnownSet {
    fn matches(&self, object: &Map<String, Value>) -> bool {
        let has = |name: &str| object.contains_key(name);
        // Many sets have a question and an answer; GSM8K's answers end in four hashes and a number.
        let has_result = || object["answer"].as_str().is_some_and(|answer| answer.contains("#### "));
        has(self.text) && self.signs.iter().all(|sign| has(sign)) && (self.name != "gsm8k" || has_result())
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
        Some(_) => Err(format!("`{column}` is neither a string nor a list of strings")),
        None => {
            let names: Vec<&String> = object.keys().collect();
            Err(format!(
                "has no column `{column}`; it has {names:?}; name the column of the questions as in NAME=PATH#COLUMN"
            ))
        }
    }
}

fn id_text(id: &Value) -> Option<String> {
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
    fn sets_are_recognized_by_their_fields_or_read_by_a_column() {
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
        assert!(reason.contains("has no column `text`; it has [\"question\"]"), "{reason}");
        assert!(
            read(Some("humaneval"), None, lines).unwrap_err().to_string().contains("has no column `prompt`")
        );
    }
}
