//! System chats: the teacher writes a system prompt for a drawn kind of assistant, then a conversation under it;
//! a judge says whether the replies keep to it.

use super::{fields, judge, pick, text, turn, turns};
use crate::walk::{Halt, Walk, dropped};
use serde_json::{Map, Value, json};
use smollm::Message;

/// The most rules an assistant is given.
const RULES: u64 = 2;

/// The kind of assistant a row is about.
struct Kind<'a> {
    role: &'a str,
    tone: &'a str,
    rules: Vec<&'a str>,
}

pub(crate) async fn row(walk: &Walk<'_>) -> Result<Map<String, Value>, Halt> {
    let kind = kind(walk)?;
    let mut messages = vec![Message::new("system", system_prompt(walk, &kind).await?)];
    for number in 1..=turns(walk) {
        turn(walk, number, &mut messages).await?;
    }
    let judgement = adherence(walk, &messages).await?;
    let mut row = fields(json!({
        "messages": messages, "role": kind.role, "tone": kind.tone, "rules": kind.rules
    }));
    row.extend(judgement);
    Ok(row)
}

fn kind<'a>(walk: &Walk<'a>) -> Result<Kind<'a>, Halt> {
    let list = |name: &str| walk.recipe.list(name);
    let rules = list("rule")?;
    let first = walk.draw("rule") as usize % rules.len();
    let count = (1 + walk.draw("rules") % RULES) as usize;
    // Neighbours of the list are different rules and do not contradict each other.
    let rules = (0..count.min(rules.len())).map(|next| rules[(first + next) % rules.len()].as_str());
    Ok(Kind {
        role: pick(walk, "role", list("role")?),
        tone: pick(walk, "tone", list("tone")?),
        rules: rules.collect(),
    })
}

async fn system_prompt(walk: &Walk<'_>, kind: &Kind<'_>) -> Result<String, Halt> {
    let variables = json!({"role": kind.role, "tone": kind.tone, "rules": kind.rules});
    let question = walk.recipe.prompt("system_prompt", &variables)?;
    let schema = walk.recipe.schema("system_prompt")?;
    let answer = walk.judge(&walk.teachers.main, "system_prompt", "system_prompt", question, schema).await?;
    match answer["system_prompt"].as_str().map(str::trim) {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => dropped("system_prompt", "empty", ""),
    }
}

/// The judge's verdict on all replies of the conversation together.
async fn adherence(walk: &Walk<'_>, messages: &[Message]) -> Result<Map<String, Value>, Halt> {
    let variables = json!({"system_prompt": messages[0].content, "messages": messages[1..]});
    let question = walk.recipe.prompt("adherence", &variables)?;
    let schema = walk.recipe.schema("adherence")?;
    let answer = walk.judge(judge(walk), "adherence", "judge", question, schema).await?;
    match (answer["adherence"].as_i64(), walk.recipe.settings.minimum_adherence) {
        (Some(found), Some(least)) if found < least => {
            let why = text(&answer["explanation"]);
            dropped("adherence", "broke_system_prompt", format!("{found} of 5: {why}"))
        }
        _ => Ok(fields(answer)),
    }
}
