//! HellaSwag (Zellers et al. 2019): the likeliest of four endings of a description, from ActivityNet and WikiHow.
//!
//! WikiHow's rows carry marks in brackets, which both dialects remove, each in its own way: lm-evaluation-harness strips
//! white space first, so that an ending which began with `[title]` keeps a space; lighteval does not strip, so that the
//! query ends in a space.

use crate::task::python::{capitalize, strip};
use crate::task::{DataSet, Document, Group, Row, ShotSource, Task};
use anyhow::Result;

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let about = "endings of everyday descriptions (HellaSwag)";
    let data = DataSet::new("Rowan/hellaswag", "", "validation");
    let train = ShotSource::Random(data.with_split("train"));
    let task = Task { shot_source: train, ..Task::new("hellaswag", about, data.clone(), document) };
    (vec![task, Task::smollm2("hellaswag", about, data, spaced_document)], Vec::new())
}

fn document(row: &Row) -> Result<Document> {
    let endings = row.exactly("endings", 4)?;
    let gold = row.index("label", 4)?;
    let choices = endings.iter().map(|ending| clean(strip(ending))).collect();
    Ok(Document::choices(clean(strip(&text(row)?)), choices, gold))
}

fn spaced_document(row: &Row) -> Result<Document> {
    let endings = row.exactly("endings", 4)?;
    let gold = row.index("label", 4)?;
    let choices = endings.iter().map(|ending| clean(ending)).collect();
    Ok(Document::choices(clean(&format!("{} ", text(row)?)), choices, gold).with_spaces())
}

fn text(row: &Row) -> Result<String> {
    let second = capitalize(row.text("ctx_b")?);
    Ok(format!("{}: {} {second}", row.text("activity_label")?, row.text("ctx_a")?))
}

/// Without WikiHow's marks.
fn clean(text: &str) -> String {
    let text = text.replace(" [title]", ". ");
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find('[') {
        // Python's `.` does not match a line break.
        let Some(length) = rest[start..].find([']', '\n']).filter(|end| rest[start + end..].starts_with(']'))
        else {
            kept.push_str(&rest[..=start]);
            rest = &rest[start + 1..];
            continue;
        };
        kept.push_str(&rest[..start]);
        rest = &rest[start + length + 1..];
    }
    kept.push_str(rest);
    kept.replace("  ", " ")
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn marks_are_removed_as_pythons_patterns_do() {
        assert_eq!(clean("How to. [header] One [title] Two [step] three"), "How to. One. Two three");
        assert_eq!(clean("[title] Two"), " Two");
        assert_eq!(clean("a [b\nc] d [ e"), "a [b\nc] d [ e");
        assert_eq!(clean("a    b"), "a  b", "two spaces become one, once");
    }
}
