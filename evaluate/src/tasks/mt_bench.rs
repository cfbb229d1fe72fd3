//! MT-Bench (Zheng et al. 2023): conversations of two turns, each reply rated from 1 to 10 by a judge. A judgment without a
//! rating is left out, as FastChat does.
//!
//! Questions, the judge's prompts and the reference answers of mathematics, reasoning and coding are FastChat's files
//! `question.jsonl`, `judge_prompts.jsonl` and `reference_answer-gpt-4.jsonl` in the folder `mt-bench`.

use crate::task::{
    Conversation, DataSet, Document, Group, JudgeRequest, Judged, MetricValue, Metrics, Question, Row,
    Scorer, Task, find_all,
};
use anyhow::{Context, Result};
use serde_json::{Value, json};

pub(super) fn tasks() -> (Vec<Task>, Vec<Group>) {
    let file = |name| DataSet::local("MT-Bench", &["mt-bench", "mt_bench"], name);
    let judged = Judged {
        prompts: file(&["judge_prompts"]),
        references: file(&["reference_answer-gpt-4", "reference_answer/gpt-4"]),
        reference: |row| {
            let turns = row.value("choices")?.get(0).and_then(|choice| choice.get("turns"));
            let turns = turns.context("`choices` has no `turns`")?;
            Ok((row.value("question_id")?.clone(), turns.clone()))
        },
        request,
    };
    let task = Task {
        scorer: Scorer::Judged(score),
        judged: Some(judged),
        ..Task::new("mt_bench", "conversations rated by a judge (MT-Bench)", file(&["question"]), document)
    };
    (vec![task], Vec::new())
}

fn document(row: &Row) -> Result<Document> {
    let (turns, category) = (row.texts("turns")?, row.text("category")?);
    let temperature = match category {
        "writing" | "roleplay" => 0.7,
        "stem" | "humanities" => 0.1,
        _ => 0.0,
    };
    let gold = json!({"id": row.value("question_id")?, "category": category, "turns": turns});
    Ok(Document {
        query: turns[0].clone(),
        answer: String::new(),
        reply_start: String::new(),
        question: Question::Conversation(Conversation { turns, temperature, max_tokens: 1024, gold }),
    })
}

/// What the judge is asked about the reply of a turn.
fn request(gold: &Value, prompts: &[Row], replies: &[String], turn: usize) -> Result<JudgeRequest> {
    let needs_reference = matches!(gold["category"].as_str(), Some("math" | "reasoning" | "coding"));
    let kind = if needs_reference { "single-math-v1" } else { "single-v1" };
    let name = if turn == 0 { kind.to_owned() } else { format!("{kind}-multi-turn") };
    let prompt = prompts.iter().find(|row| row.text("name").is_ok_and(|other| other == name));
    let prompt = prompt.with_context(|| format!("judge_prompts has no prompt `{name}`"))?;
    let text = |list: &Value, index: usize| list[index].as_str().map(str::to_owned);
    let mut fields: Vec<(String, String)> = Vec::new();
    for (index, reply) in replies.iter().enumerate().take(turn + 1) {
        let question = text(&gold["turns"], index).context("`gold` has no turn")?;
        let mut texts = vec![("question", question), ("answer", reply.clone())];
        if needs_reference {
            let reference = text(&gold["reference"], index);
            texts.push((
                "ref_answer",
                reference.with_context(|| {
                    format!(
                        "question {} has no reference answer; add it to reference_answer-gpt-4.jsonl",
                        gold["id"]
                    )
                })?,
            ));
        }
        fields.extend(texts.into_iter().flat_map(|(field, text)| {
            [(format!("{field}_{}", index + 1), text.clone()), (field.to_owned(), text)]
        }));
    }
    let system = prompt.text("system_prompt")?.to_owned();
    Ok(JudgeRequest { system, prompt: filled(prompt.text("prompt_template")?, &fields) })
}

/// A template with its fields in braces replaced; what is put in is not read again.
fn filled(template: &str, fields: &[(String, String)]) -> String {
    let (mut text, mut rest) = (String::new(), template);
    while let Some(start) = rest.find('{') {
        let field = rest[start + 1..].split_once('}').and_then(|(name, after)| {
            let (_, value) = fields.iter().find(|(field, _)| field == name)?;
            Some((value, after))
        });
        text.push_str(&rest[..start]);
        match field {
            Some((value, after)) => {
                text.push_str(value);
                rest = after;
            }
            None => {
                text.push('{');
                rest = &rest[start + 1..];
            }
        }
    }
    text + rest
}

fn score(judgments: &[String]) -> Result<Metrics> {
    let ratings: Vec<Option<f64>> = judgments.iter().map(|judgment| rating(judgment)).collect();
    let over = |ratings: &[Option<f64>]| {
        let known: Vec<f64> = ratings.iter().copied().flatten().collect();
        MetricValue::Ratio { sum: known.iter().sum(), of: known.len() as f64 }
    };
    let mut metrics = vec![("points_per_turn".to_owned(), over(&ratings))];
    for (index, name) in ["points_per_first_turn", "points_per_second_turn"].into_iter().enumerate() {
        metrics.extend(ratings.get(index).map(|rating| (name.to_owned(), over(&[*rating]))));
    }
    Ok(metrics)
}

/// The number in `[[7]]`, or else in `[7]`.
fn rating(judgment: &str) -> Option<f64> {
    let first = |pattern: &str| find_all(pattern, judgment).into_iter().next().flatten();
    first(r"\[\[(\d+\.?\d*)\]\]").or_else(|| first(r"\[(\d+\.?\d*)\]"))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rating_is_in_brackets() {
        assert_eq!(rating("Good [1]. Rating: [[7.5]] of [[10]]"), Some(7.5));
        assert_eq!(rating("Rating: [6]"), Some(6.0));
        assert_eq!(rating("Rating: 6"), None);
        let metrics = score(&["[[8]]".to_owned(), "no".to_owned()]).expect("metrics");
        assert_eq!(metrics[0].1, MetricValue::Ratio { sum: 8.0, of: 1.0 });
        assert_eq!(metrics[2].1, MetricValue::Ratio { sum: 0.0, of: 0.0 });
    }

    #[test]
    fn an_answer_is_not_read_as_a_template() {
        let fields = [("a".to_owned(), "{b}".to_owned()), ("b".to_owned(), "x".to_owned())];
        assert_eq!(filled("{a} {b} {c} {", &fields), "{b} x {c} {");
    }
}
