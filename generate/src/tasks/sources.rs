//! Smol-Rewrite and Smol-Summarization: a source text, rewritten or summed up in one of a few styles.

use super::{fields, judge};
use crate::recipe::Style;
use crate::teacher::Prompt;
use crate::walk::{Halt, Walk, dropped};
use anyhow::anyhow;
use serde_json::{Map, Value, json};
use smollm::Message;
use unicode_segmentation::UnicodeSegmentation;

pub(crate) async fn row(walk: &Walk<'_>) -> Result<Map<String, Value>, Halt> {
    let source = walk.source.as_deref().ok_or_else(|| anyhow!("a source task was begun without a source"))?;
    let style = walk.style().ok_or_else(|| anyhow!("a source task's recipe has no styles"))?;
    let system = Message::new("system", walk.recipe.prompt(&style.key, &json!({}))?);
    let question = Message::new("user", source);
    let reply = walk.words("assistant", Prompt::Assistant(vec![system.clone(), question.clone()])).await?;
    check(style, source, &reply)?;
    faithful(walk, source, &reply).await?;
    Ok(fields(json!({
        "messages": [system, question, Message::new("assistant", reply)], "style": style.key
    })))
}

/// Drops what says another thing than its source, where the recipe asks for that.
async fn faithful(walk: &Walk<'_>, source: &str, reply: &str) -> Result<(), Halt> {
    let Some(minimum) = walk.recipe.settings.minimum_faithfulness else { return Ok(()) };
    let step = "faithfulness";
    let question = walk.recipe.prompt(step, &json!({"source": source, "reply": reply}))?;
    let answer = walk.judge(judge(walk), step, "judge", question, walk.recipe.schema(step)?).await?;
    match answer["score"].as_i64() {
        Some(score) if score < minimum => dropped(step, "unfaithful", answer["reason"].to_string()),
        _ => Ok(()),
    }
}

fn check(style: &Style, source: &str, reply: &str) -> Result<(), Halt> {
    if reply == source.trim() {
        return dropped("check", "unchanged", "");
    }
    if style.shorter && reply.chars().count() >= source.chars().count() {
        let detail = format!("{} characters from {}", reply.chars().count(), source.chars().count());
        return dropped("check", "not_shorter", detail);
    }
    let sentences = reply.unicode_sentences().count();
    match style.maximum_sentences {
        Some(most) if sentences > most => {
            dropped("check", "too_many_sentences", format!("{sentences} of at most {most}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_summary_is_dropped_with_the_reason() {
        let style = Style { key: "s".into(), shorter: true, maximum_sentences: Some(1) };
        let reason = |source: &str, reply: &str| match check(&style, source, reply) {
            Err(Halt::Drop(dropped)) => dropped.reason,
            Ok(()) => "kept".to_owned(),
            Err(other) => format!("{other:?}"),
        };
        let source = "Tom went to the park. He saw a dog there. The dog was glad.";
        assert_eq!(reason(source, "Tom met a dog."), "kept");
        assert_eq!(reason(source, source), "unchanged");
        assert_eq!(reason("Short.", "A longer one."), "not_shorter");
        assert_eq!(reason(source, "Tom left. He met a dog."), "too_many_sentences");
    }
}
