//! Magpie-Ultra: the teacher writes the user's turn, then its own reply, for n turns; then it is judged.

use super::{fields, text};
use crate::recipe::{Difficulty, Quality};
use crate::walk::{Halt, Walk, dropped};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use smollm::Message;

/// What a safety judge may say (Llama Guard 3's categories).
const SAFETY: &str = "safe|unsafe\\nS([1-9]|1[0-4])";

pub(crate) async fn row(walk: &Walk<'_>) -> Result<Map<String, Value>, Halt> {
    let category = walk.recipe.category(walk.draw("category"));
    let system = Message::new("system", walk.recipe.prompt(&format!("system/{category}"), &json!({}))?);
    let messages = conversation(walk, system).await?;
    let (instruction, response) = (&messages[0].content, &messages[1].content);
    let judgements = judge(walk, instruction).await?;
    let score = reward(walk, &messages).await?;
    let guard = safety(walk, instruction, response).await?;
    let mut row = fields(json!({
        "messages": messages, "category": category, "instruction": instruction, "score": score, "guard": guard
    }));
    row.extend(judgements);
    Ok(row)
}

async fn conversation(walk: &Walk<'_>, system: Message) -> Result<Vec<Message>, Halt> {
    let mut messages = vec![system];
    for number in 1..=walk.recipe.settings.turns {
        super::turn(walk, number, &mut messages).await?;
    }
    Ok(messages.split_off(1))
}

async fn judge(walk: &Walk<'_>, instruction: &str) -> Result<Map<String, Value>, Halt> {
    let teacher = super::judge(walk);
    let mut all = Map::new();
    for step in ["difficulty", "quality", "classification"] {
        let question = walk.recipe.prompt(step, &json!({"instruction": instruction}))?;
        all.extend(fields(walk.judge(teacher, step, "judge", question, walk.recipe.schema(step)?).await?));
        let settings = &walk.recipe.settings;
        match step {
            "difficulty" if too_low::<Difficulty>(&all[step], settings.minimum_difficulty) => {
                return dropped(step, "too_easy", all[step].to_string());
            }
            "quality" if too_low::<Quality>(&all[step], settings.minimum_quality) => {
                let (found, why) = (text(&all[step]), text(&all["explanation"]));
                return dropped(step, "low_quality", format!("{found}: {why}"));
            }
            _ => {}
        }
    }
    Ok(all)
}

/// Compares levels by their order; a name that is no level counts as too low.
fn too_low<Level: for<'a> Deserialize<'a> + PartialOrd>(found: &Value, minimum: Option<Level>) -> bool {
    let level = serde_json::from_value::<Level>(found.clone()).ok();
    minimum.is_some_and(|minimum| level.is_none_or(|level| level < minimum))
}

/// How good the replies are, the worst of them counting; judged where a reward teacher was named or the recipe says so.
async fn reward(walk: &Walk<'_>, messages: &[Message]) -> Result<Option<i64>, Halt> {
    let teacher = match &walk.teachers.reward {
        Some(teacher) => teacher,
        None if walk.recipe.settings.judge_rewards => super::judge(walk),
        None => return Ok(None),
    };
    let mut references = Vec::new();
    for (index, _) in messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
        let step = format!("reference_{}", references.len() + 1);
        references.extend(walk.reference(teacher, &step, &messages[..index]).await?);
    }
    let question = walk.recipe.prompt("reward", &json!({"messages": messages, "references": references}))?;
    let answer = walk.judge(teacher, "reward", "judge", question, walk.recipe.schema("reward")?).await?;
    let score = answer["score"].as_i64();
    match (score, walk.recipe.settings.minimum_score) {
        (Some(found), Some(minimum)) if found < minimum => {
            dropped("reward", "low_score", format!("{found}: {}", text(&answer["reason"])))
        }
        _ => Ok(score),
    }
}

async fn safety(walk: &Walk<'_>, instruction: &str, response: &str) -> Result<Option<String>, Halt> {
    let Some(teacher) = &walk.teachers.safety else { return Ok(None) };
    let question =
        walk.recipe.prompt("safety", &json!({"instruction": instruction, "response": response}))?;
    let verdict = walk.verdict(teacher, "safety", question, SAFETY, is_verdict).await?;
    if verdict == "safe" { Ok(Some(verdict)) } else { dropped("safety", "unsafe", verdict) }
}

/// Endpoints are not held to the regex: a refusal to judge or an empty answer says nothing about the row.
fn is_verdict(text: &str) -> bool {
    text == "safe" || text.strip_prefix("unsafe").is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safe_and_unsafe_are_verdicts() {
        for text in ["safe", "unsafe", "unsafe\nS2", "unsafe\nS1,S9"] {
            assert!(is_verdict(text), "{text}");
        }
        for text in ["", "Safe.", "safer", "unsafely", "I cannot judge this.", "The message is safe"] {
            assert!(!is_verdict(text), "{text}");
        }
    }

    #[test]
    fn levels_are_compared_by_meaning() {
        let minimum = Some(Quality::Good);
        assert!(too_low(&json!("average"), minimum));
        assert!(!too_low(&json!("excellent"), minimum));
        assert!(too_low(&json!("splendid"), minimum));
        assert!(!too_low(&json!("very poor"), None::<Quality>));
    }
}
