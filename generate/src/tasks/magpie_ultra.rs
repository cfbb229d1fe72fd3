//! Magpie-Ultra: the teacher writes the user's turn, then its own reply, for several turns; then judges rate the
//! conversation.

use super::steps::{Category, category, fields, judge, text, turn};
use crate::maker::{Maker, OtherTeachers};
use crate::recipe::{Recipe, TaskSettings};
use crate::row_context::{RowContext, RowError, dropped};
use crate::task::{RowShape, SourceTexts, Task};
use anyhow::Result;
use checkpoint::Message;
use datasets::write::ColumnType;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub(super) static TASK: Maker = Maker {
    task: Task {
        name: "magpie-ultra",
        about: "Conversations of which the teacher writes both sides",
        by_default: true,
        source: SourceTexts::None,
        shape: RowShape::Conversation,
        columns: &[
            ("category", ColumnType::Text),
            ("instruction", ColumnType::Text),
            ("intent", ColumnType::Text),
            ("knowledge", ColumnType::Text),
            ("difficulty", ColumnType::Text),
            ("explanation", ColumnType::Text),
            ("quality", ColumnType::Text),
            ("primary_tag", ColumnType::Text),
            ("other_tags", ColumnType::Texts),
            ("score", ColumnType::Integer),
            ("guard", ColumnType::Text),
        ],
    },
    load,
    calls: |_| OtherTeachers { judge: true, reward: true, safety: true, completions: false },
    user_turns: |_| true,
    make_row: |context| Box::pin(make_row(context)),
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MagpieSettings {
    turns: usize,
    minimum_quality: Option<Quality>,
    minimum_difficulty: Option<Difficulty>,
    minimum_score: Option<i64>,
    /// Whether the judge also scores rows if no reward teacher is named.
    #[serde(default)]
    judge_rewards: bool,
    /// Whether the judge first writes its own answer and sees it beside the one that it scores; it finds more
    /// errors then (reference-guided grading: Zheng et al. 2023, arXiv:2306.05685).
    #[serde(default)]
    reference_answers: bool,
    /// The system prompts, each a template `system/KEY.jinja`.
    category: Vec<Category>,
}

/// The quality of a request, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum Quality {
    #[serde(rename = "very poor")]
    VeryPoor,
    #[serde(rename = "poor")]
    Poor,
    #[serde(rename = "average")]
    Average,
    #[serde(rename = "good")]
    Good,
    #[serde(rename = "excellent")]
    Excellent,
}

/// The difficulty of a request, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum Difficulty {
    #[serde(rename = "very easy")]
    VeryEasy,
    #[serde(rename = "easy")]
    Easy,
    #[serde(rename = "medium")]
    Medium,
    #[serde(rename = "hard")]
    Hard,
    #[serde(rename = "very hard")]
    VeryHard,
}

fn load(recipe: &Recipe) -> Result<TaskSettings> {
    let settings: MagpieSettings = recipe.parse()?;
    recipe.needs_entries(&settings.category, "category")?;
    for category in &settings.category {
        recipe.file(&format!("system/{}.jinja", category.key))?;
    }
    if settings.judge_rewards {
        recipe.needs_judge("reward")?;
    }
    if settings.reference_answers {
        recipe.sampling("reference")?;
    }
    Ok(Box::new(settings))
}

/// The verdicts of a safety judge (Llama Guard 3's categories).
const SAFETY_VERDICT: &str = "safe|unsafe\\nS([1-9]|1[0-4])";

async fn make_row(context: &RowContext<'_>) -> Result<Map<String, Value>, RowError> {
    let settings: &MagpieSettings = context.recipe.task_settings();
    let category = category(&settings.category, context.draw("category"));
    let system = Message::new("system", context.recipe.prompt(&format!("system/{category}"), &json!({}))?);
    let messages = conversation(context, settings.turns, system).await?;
    let (instruction, response) = (&messages[0].content, &messages[1].content);
    let ratings = ratings(context, settings, instruction).await?;
    let score = reward(context, settings, &messages).await?;
    let guard = safety(context, instruction, response).await?;
    let mut row = fields(json!({
        "messages": messages, "category": category, "instruction": instruction, "score": score, "guard": guard
    }));
    row.extend(ratings);
    Ok(row)
}

async fn conversation(
    context: &RowContext<'_>,
    turns: usize,
    system: Message,
) -> Result<Vec<Message>, RowError> {
    let mut messages = vec![system];
    for number in 1..=turns {
        turn(context, number, &mut messages).await?;
    }
    Ok(messages.split_off(1))
}

/// The judge's ratings of the first request.
async fn ratings(
    context: &RowContext<'_>,
    settings: &MagpieSettings,
    instruction: &str,
) -> Result<Map<String, Value>, RowError> {
    let teacher = judge(context);
    let mut ratings = Map::new();
    for step in ["difficulty", "quality", "classification"] {
        let prompt = context.recipe.prompt(step, &json!({"instruction": instruction}))?;
        ratings.extend(fields(
            context.judge(teacher, step, "judge", prompt, context.recipe.schema(step)?).await?,
        ));
        match step {
            "difficulty" if too_low::<Difficulty>(&ratings[step], settings.minimum_difficulty) => {
                return dropped(step, "too_easy", ratings[step].to_string());
            }
            "quality" if too_low::<Quality>(&ratings[step], settings.minimum_quality) => {
                let (quality, explanation) = (text(&ratings[step]), text(&ratings["explanation"]));
                return dropped(step, "low_quality", format!("{quality}: {explanation}"));
            }
            _ => {}
        }
    }
    Ok(ratings)
}

/// Whether a level is below the minimum; an unknown name counts as too low.
fn too_low<Level: for<'a> Deserialize<'a> + PartialOrd>(name: &Value, minimum: Option<Level>) -> bool {
    let level = serde_json::from_value::<Level>(name.clone()).ok();
    minimum.is_some_and(|minimum| level.is_none_or(|level| level < minimum))
}

/// The score of the worst reply; `None` unless a reward teacher is named or the recipe lets the judge score.
async fn reward(
    context: &RowContext<'_>,
    settings: &MagpieSettings,
    messages: &[Message],
) -> Result<Option<i64>, RowError> {
    let teacher = match &context.teachers.reward {
        Some(teacher) => teacher,
        None if settings.judge_rewards => judge(context),
        None => return Ok(None),
    };
    let mut references = Vec::new();
    let replies = messages.iter().enumerate().filter(|(_, message)| message.role == "assistant");
    for (index, _) in replies.filter(|_| settings.reference_answers) {
        let step = format!("reference_{}", references.len() + 1);
        references.push(context.reference(teacher, &step, &messages[..index]).await?);
    }
    let prompt = context.recipe.prompt("reward", &json!({"messages": messages, "references": references}))?;
    let answer = context.judge(teacher, "reward", "judge", prompt, context.recipe.schema("reward")?).await?;
    let score = answer["score"].as_i64();
    match (score, settings.minimum_score) {
        (Some(score), Some(minimum)) if score < minimum => {
            dropped("reward", "low_score", format!("{score}: {}", text(&answer["reason"])))
        }
        _ => Ok(score),
    }
}

/// The verdict of the safety teacher, if there is one; drops an unsafe row.
async fn safety(
    context: &RowContext<'_>,
    instruction: &str,
    response: &str,
) -> Result<Option<String>, RowError> {
    let Some(teacher) = &context.teachers.safety else { return Ok(None) };
    let prompt =
        context.recipe.prompt("safety", &json!({"instruction": instruction, "response": response}))?;
    let verdict = context.verdict(teacher, "safety", prompt, SAFETY_VERDICT, is_verdict).await?;
    if verdict == "safe" { Ok(Some(verdict)) } else { dropped("safety", "unsafe", verdict) }
}

/// Whether a text is a verdict: endpoints are not constrained, and a refusal to judge says nothing about the row.
fn is_verdict(text: &str) -> bool {
    text == "safe" || text.strip_prefix("unsafe").is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::recipe::Prompts;

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
    fn levels_are_ordered_by_meaning() {
        // As strings, "Excellent" sorts before "Good" and "Poor" after both.
        assert!(Quality::Poor < Quality::Average && Quality::Good < Quality::Excellent);
        assert!(Difficulty::VeryEasy < Difficulty::Easy && Difficulty::Hard < Difficulty::VeryHard);
    }

    #[test]
    fn the_published_categories_and_weights_are_there() {
        let recipe = TASK.recipe(&Prompts::default()).unwrap();
        let categories = &recipe.task_settings::<MagpieSettings>().category;
        let weights: f64 = categories.iter().map(|category| category.weight).sum();
        assert!(categories.len() == 11 && (weights - 1.0).abs() < 1e-9);
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
