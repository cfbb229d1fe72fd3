//! Smol-Rewrite and Smol-Summarization: a source text, rewritten or summarized in one of several styles.

use super::steps::{fields, judge};
use crate::maker::{Maker, OtherTeachers};
use crate::recipe::{Recipe, TaskSettings};
use crate::row_context::{RowContext, RowError, dropped};
use crate::task::{RowShape, SourceTexts, Task};
use crate::teacher::Prompt;
use anyhow::{Result, anyhow};
use checkpoint::Message;
use datasets::write::ColumnType;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use unicode_segmentation::UnicodeSegmentation;

pub(super) static REWRITE: Maker = maker("smol-rewrite", "Source texts rewritten");
pub(super) static SUMMARIZATION: Maker = maker("smol-summarization", "Source texts summarized");

const fn maker(name: &'static str, about: &'static str) -> Maker {
    Maker {
        task: Task {
            name,
            about,
            by_default: true,
            source: SourceTexts::Texts,
            shape: RowShape::Conversation,
            columns: &[("style", ColumnType::Text)],
        },
        load,
        calls: |recipe| OtherTeachers {
            judge: recipe.task_settings::<SourceTaskSettings>().minimum_faithfulness.is_some(),
            ..OtherTeachers::default()
        },
        user_turns: |_| false,
        make_row: |context| Box::pin(make_row(context)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceTaskSettings {
    /// Minimum rating of how faithful a text is to its source, from 1 to 5; rated only if it is set.
    minimum_faithfulness: Option<i64>,
    style: Vec<Style>,
}

/// A style of rewriting or summarizing; its prompt is the template `KEY.jinja`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Style {
    pub(crate) key: String,
    /// Whether the text must be shorter than its source.
    #[serde(default)]
    shorter: bool,
    maximum_sentences: Option<usize>,
}

fn load(recipe: &Recipe) -> Result<TaskSettings> {
    let settings: SourceTaskSettings = recipe.parse()?;
    recipe.needs_entries(&settings.style, "style")?;
    for style in &settings.style {
        recipe.file(&format!("{}.jinja", style.key))?;
    }
    if settings.minimum_faithfulness.is_some() {
        recipe.needs_judge("faithfulness")?;
    }
    Ok(Box::new(settings))
}

/// The style of a row; `None` if its task has no styles.
pub(crate) fn style<'a>(context: &RowContext<'a>) -> Option<&'a Style> {
    let styles = &context.recipe.task_settings_of::<SourceTaskSettings>()?.style;
    Some(&styles[context.draw("style") as usize % styles.len()])
}

async fn make_row(context: &RowContext<'_>) -> Result<Map<String, Value>, RowError> {
    let source = context
        .source
        .as_deref()
        .ok_or_else(|| anyhow!("a task that needs a source text was started without one"))?;
    let style = style(context).ok_or_else(|| anyhow!("a task that needs a source text has no style"))?;
    let system = Message::new("system", context.recipe.prompt(&style.key, &json!({}))?);
    let request = Message::new("user", source);
    let reply =
        context.message("assistant", Prompt::Assistant(vec![system.clone(), request.clone()])).await?;
    check(style, source, &reply)?;
    check_faithfulness(context, source, &reply).await?;
    Ok(fields(json!({
        "messages": [system, request, Message::new("assistant", reply)], "style": style.key
    })))
}

/// Drops a text that is not faithful to its source, if the recipe asks for that.
async fn check_faithfulness(context: &RowContext<'_>, source: &str, reply: &str) -> Result<(), RowError> {
    let Some(minimum) = context.recipe.task_settings::<SourceTaskSettings>().minimum_faithfulness else {
        return Ok(());
    };
    let step = "faithfulness";
    let prompt = context.recipe.prompt(step, &json!({"source": source, "reply": reply}))?;
    let answer = context.judge(judge(context), step, "judge", prompt, context.recipe.schema(step)?).await?;
    match answer["score"].as_i64() {
        Some(score) if score < minimum => dropped(step, "unfaithful", answer["reason"].to_string()),
        _ => Ok(()),
    }
}

/// Drops a text that does not fit its style.
fn check(style: &Style, source: &str, reply: &str) -> Result<(), RowError> {
    if reply == source.trim() {
        return dropped("check", "unchanged", "");
    }
    if let Some(line) = announcement(source, reply) {
        return dropped("check", "announced", line);
    }
    if style.shorter && reply.chars().count() >= source.chars().count() {
        let detail = format!("{} characters from {}", reply.chars().count(), source.chars().count());
        return dropped("check", "not_shorter", detail);
    }
    let sentences = reply.unicode_sentences().count();
    match style.maximum_sentences {
        Some(maximum) if sentences > maximum => {
            dropped("check", "too_many_sentences", format!("{sentences} of at most {maximum}"))
        }
        _ => Ok(()),
    }
}

/// The first line of a reply that speaks of the text below it, which the prompts forbid and models write all the same.
fn announcement<'a>(source: &str, reply: &'a str) -> Option<&'a str> {
    const WORDS: [&str; 8] =
        ["here is", "here's", "here are", "rewritten", "revised", "version", "summary", "summarized"];
    let (line, rest) = reply.trim().split_once('\n')?;
    let line = line.trim();
    let lower = line.trim_matches(['*', '#', ' ']).to_lowercase().replace('’', "'");
    let speaks_of_it = lower.ends_with(':') && WORDS.iter().any(|word| lower.contains(word));
    (speaks_of_it && !rest.trim().is_empty() && !source.contains(line)).then_some(line)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn texts_that_do_not_fit_the_style_are_dropped_with_the_reason() {
        let style = |maximum_sentences| Style { key: "s".into(), shorter: true, maximum_sentences };
        let judged = |style: &Style, source: &str, reply: &str| match check(style, source, reply) {
            Err(RowError::Dropped(dropped)) => dropped.reason,
            Ok(()) => "kept".to_owned(),
            Err(other) => format!("{other:?}"),
        };
        let reason = |source: &str, reply: &str| judged(&style(Some(1)), source, reply);
        let source = "Tom went to the park. He saw a dog there. The dog was glad.";
        assert_eq!(reason(source, "Tom met a dog."), "kept");
        assert_eq!(reason(source, source), "unchanged");
        assert_eq!(reason("Short.", "A longer one."), "not_shorter");
        assert_eq!(reason(source, "Tom left. He met a dog."), "too_many_sentences");
        for line in ["Here’s a rewritten version of your message:", "**Summary:**", "Sure! Here is the text:"]
        {
            assert_eq!(reason(source, &format!("{line}\n\nTom met a dog.")), "announced", "{line}");
        }
        // A line of its own counts as a sentence.
        let kept = |source: &str, reply: &str| judged(&style(None), source, reply) == "kept";
        assert!(kept(&format!("Summary:\n{source}"), "Summary:\nTom met a dog."), "as in the source");
        assert!(kept(source, "Dear Tom:\nGlad of the dog."));
    }
}
