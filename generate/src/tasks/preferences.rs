//! Preference pairs in the manner of UltraFeedback: several completions of one prompt, each rated on several aspects.
//!
//! Each completion is rated in a call of its own, so that the order of completions cannot influence the judge.

use super::steps::{fields, judge, object, pick};
use crate::maker::{Maker, OtherTeachers};
use crate::recipe::{Recipe, TaskSettings};
use crate::row_context::{RowContext, RowError, dropped};
use crate::task::{RowShape, SourceTexts, Task};
use crate::teacher::Prompt;
use anyhow::{Result, bail};
use checkpoint::Message;
use datasets::write::ColumnType;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub(super) static TASK: Maker = Maker {
    task: Task {
        name: "preferences",
        about: "Pairs of rated replies to a prompt, for direct preference optimization (`posttrain dpo`)",
        by_default: false,
        source: SourceTexts::Prompts,
        shape: RowShape::Pair,
        columns: &[
            ("chosen_score", ColumnType::Float),
            ("rejected_score", ColumnType::Float),
            ("margin", ColumnType::Float),
            ("chosen_model", ColumnType::Text),
            ("rejected_model", ColumnType::Text),
            ("ratings", ColumnType::Text),
            ("request", ColumnType::Text),
        ],
    },
    load,
    calls: |_| OtherTeachers { judge: true, completions: true, ..OtherTeachers::default() },
    user_turns: |has_source| !has_source,
    make_row: |context| Box::pin(make_row(context)),
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PreferenceSettings {
    /// Number of completions of a prompt.
    completions: usize,
    #[serde(default)]
    rejected: Rejected,
    /// Minimum difference between the scores of chosen and rejected; with a smaller one the row is a tie.
    #[serde(default)]
    minimum_margin: f64,
    /// Whether the judge first writes its own answer and sees it beside the one that it rates.
    #[serde(default)]
    reference_answers: bool,
    aspect: Vec<Aspect>,
    /// What users ask for if no `--source` provides the prompts.
    request: Vec<RequestKind>,
}

/// Which completion is the rejected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rejected {
    #[default]
    Worst,
    /// Any one whose score is lower by the margin.
    Random,
}

/// An aspect that completions are rated on, and its weight in the score.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
struct Aspect {
    key: String,
    description: String,
    weight: f64,
}

/// A kind of request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestKind {
    /// Its name for other programs that read the recipe.
    #[allow(dead_code, reason = "only other programs read it")]
    key: String,
    text: String,
}

fn load(recipe: &Recipe) -> Result<TaskSettings> {
    let settings: PreferenceSettings = recipe.parse()?;
    recipe.needs_entries(&settings.aspect, "aspect")?;
    recipe.needs_entries(&settings.request, "request")?;
    if settings.reference_answers {
        recipe.sampling("reference")?;
    }
    if settings.completions < 2 {
        let completions = settings.completions;
        bail!("preferences/recipe.toml: `completions = {completions}` makes no pair; give at least 2");
    }
    Ok(Box::new(settings))
}

/// Maximum length of the reason for one rating, in characters.
const MAX_REASON: usize = 400;

/// A completion of the prompt and its ratings.
struct Completion {
    model: String,
    text: String,
    ratings: Value,
    /// The weighted mean of its ratings.
    score: f64,
}

async fn make_row(context: &RowContext<'_>) -> Result<Map<String, Value>, RowError> {
    let settings: &PreferenceSettings = context.recipe.task_settings();
    let (request, prompt) = prompt(context, &settings.request).await?;
    let mut completions = completions(context, settings.completions, &prompt).await?;
    if all_the_same(&completions) {
        return dropped("pair", "tie", format!("all {} completions are the same", completions.len()));
    }
    rate(context, settings, &prompt, &mut completions).await?;
    let draw = context.draw("rejected");
    let Some((chosen, rejected)) = pair(&completions, settings.rejected, settings.minimum_margin, draw)
    else {
        let scores: Vec<String> = completions.iter().map(|one| format!("{:.2}", one.score)).collect();
        return dropped("pair", "tie", format!("scores {}", scores.join(", ")));
    };
    let reply = |completion: &Completion| [Message::new("assistant", completion.text.clone())];
    let ratings: Vec<Value> = completions
        .iter()
        .map(|one| json!({"model": one.model, "text": one.text, "score": one.score, "ratings": one.ratings}))
        .collect();
    Ok(fields(json!({
        "prompt": [Message::new("user", prompt)], "chosen": reply(chosen), "rejected": reply(rejected),
        "chosen_score": chosen.score, "rejected_score": rejected.score, "margin": chosen.score - rejected.score,
        "chosen_model": chosen.model, "rejected_model": rejected.model,
        "ratings": Value::from(ratings).to_string(), "request": request,
    })))
}

/// The prompt of the source, or one that the teacher writes as a user for a drawn kind of request, with that kind.
async fn prompt<'a>(
    context: &RowContext<'_>,
    requests: &'a [RequestKind],
) -> Result<(Option<&'a str>, String), RowError> {
    if let Some(source) = &context.source {
        return Ok((None, source.clone()));
    }
    let request = pick(context, "request", requests).text.as_str();
    let system = Message::new("system", context.recipe.prompt("user", &json!({"request": request}))?);
    Ok((Some(request), context.message("user", Prompt::User(vec![system])).await?))
}

/// Completions of the teachers in turn. An unusable one does not drop the row as long as two are left.
async fn completions(
    context: &RowContext<'_>,
    count: usize,
    prompt: &str,
) -> Result<Vec<Completion>, RowError> {
    let writers = &context.teachers.completions;
    // With more teachers than completions, each writes for its share of the rows.
    let first = context.draw("teacher") as usize % writers.len().max(1);
    let conversation = Prompt::Assistant(vec![Message::new("user", prompt)]);
    let (mut completions, mut failure) = (Vec::new(), None);
    for number in 0..count {
        let teacher = match writers.len() {
            0 => &context.teachers.main,
            several => &writers[(first + number) % several],
        };
        match context.message_of(teacher, &format!("completion_{}", number + 1), conversation.clone()).await {
            Ok(text) => {
                let model = teacher.identity().to_owned();
                completions.push(Completion { model, text, ratings: Value::Null, score: 0.0 });
            }
            Err(RowError::Dropped(entry)) => failure = Some(entry),
            Err(error) => return Err(error),
        }
    }
    match failure {
        Some(entry) if completions.len() < 2 => Err(RowError::Dropped(entry)),
        _ => Ok(completions),
    }
}

/// Whether all texts are equal, so that no judge needs to be called.
fn all_the_same(completions: &[Completion]) -> bool {
    completions.windows(2).all(|two| two[0].text == two[1].text)
}

/// Rates every different text once: completions with the same text share the rating, which is the most expensive
/// call of a row.
async fn rate(
    context: &RowContext<'_>,
    settings: &PreferenceSettings,
    prompt: &str,
    completions: &mut [Completion],
) -> Result<(), RowError> {
    let aspects = &settings.aspect;
    let schema = schema(aspects);
    let messages = [Message::new("user", prompt)];
    let reference = match settings.reference_answers {
        true => Some(context.reference(judge(context), "reference", &messages).await?),
        false => None,
    };
    for number in 0..completions.len() {
        let text = completions[number].text.as_str();
        let ratings = match completions[..number].iter().find(|earlier| earlier.text == text) {
            Some(earlier) => earlier.ratings.clone(),
            None => {
                let variables = json!({
                    "instruction": prompt, "response": text, "reference": reference, "aspects": aspects
                });
                let rating_prompt = context.recipe.prompt("rating", &variables)?;
                let step = format!("rating_{}", number + 1);
                context.judge(judge(context), &step, "judge", rating_prompt, &schema).await?
            }
        };
        completions[number].score = score(&ratings, aspects);
        completions[number].ratings = ratings;
    }
    Ok(())
}

/// The schema of the ratings: for each aspect first a reason, then a rating from 1 to 5.
fn schema(aspects: &[Aspect]) -> Value {
    let reason = json!({"type": "string", "minLength": 1, "maxLength": MAX_REASON});
    let rating = json!({"type": "integer", "minimum": 1, "maximum": 5});
    let rating = object(&fields(json!({"reason": reason, "rating": rating})));
    object(&aspects.iter().map(|aspect| (aspect.key.clone(), rating.clone())).collect())
}

/// The weighted mean of the ratings.
fn score(ratings: &Value, aspects: &[Aspect]) -> f64 {
    let weight: f64 = aspects.iter().map(|aspect| aspect.weight).sum();
    let rated = |aspect: &Aspect| ratings[&aspect.key]["rating"].as_f64().unwrap_or(0.0) * aspect.weight;
    aspects.iter().map(rated).sum::<f64>() / weight
}

/// Selects the best completion, the first of equals, and the rejected one: another text with a score that is lower
/// by the margin. `None` for a tie.
fn pair(
    completions: &[Completion],
    rejected: Rejected,
    minimum_margin: f64,
    draw: u64,
) -> Option<(&Completion, &Completion)> {
    let best = completions.iter().reduce(|best, one| if one.score > best.score { one } else { best })?;
    let worse = |one: &&Completion| {
        let margin = best.score - one.score;
        one.text != best.text && margin > 0.0 && margin >= minimum_margin
    };
    let others: Vec<&Completion> = completions.iter().filter(worse).collect();
    let other = match rejected {
        Rejected::Worst => {
            others.into_iter().reduce(|worst, one| if one.score < worst.score { one } else { worst })?
        }
        Rejected::Random if others.is_empty() => return None,
        Rejected::Random => others[(draw % others.len() as u64) as usize],
    };
    Some((best, other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(text: &str, score: f64) -> Completion {
        Completion { model: String::new(), text: text.to_owned(), ratings: Value::Null, score }
    }

    fn chosen(list: &[Completion], rejected: Rejected, margin: f64, draw: u64) -> Option<(&str, &str)> {
        pair(list, rejected, margin, draw).map(|(best, other)| (best.text.as_str(), other.text.as_str()))
    }

    #[test]
    fn the_best_is_chosen_and_the_worst_or_a_random_one_rejected() {
        let list = [completion("a", 2.5), completion("b", 4.0), completion("c", 1.5), completion("d", 3.75)];
        assert_eq!(chosen(&list, Rejected::Worst, 0.5, 0), Some(("b", "c")));
        let drawn = [0, 1, 2].map(|draw| chosen(&list, Rejected::Random, 0.5, draw));
        assert_eq!(drawn, [Some(("b", "a")), Some(("b", "c")), Some(("b", "a"))], "d is too close");
    }

    #[test]
    fn ties_make_no_pair() {
        let close = [completion("a", 3.0), completion("b", 3.2)];
        let same_text = [completion("a", 1.0), completion("a", 5.0)];
        let equal = [completion("a", 3.0), completion("b", 3.0)];
        for (list, margin) in [(&close, 0.5), (&same_text, 0.5), (&equal, 0.0)] {
            assert_eq!(chosen(list, Rejected::Worst, margin, 0), None);
            assert_eq!(chosen(list, Rejected::Random, margin, 1), None);
        }
        assert_eq!(chosen(&close, Rejected::Worst, 0.1, 0), Some(("b", "a")));
    }

    #[test]
    fn equal_texts_are_recognized() {
        assert!(all_the_same(&[completion("a", 0.0), completion("a", 0.0)]));
        assert!(!all_the_same(&["a", "a", "b"].map(|text| completion(text, 0.0))));
    }

    #[test]
    fn a_score_is_the_weighted_mean() {
        let aspect = |key: &str, weight| Aspect { key: key.into(), description: String::new(), weight };
        let aspects = [aspect("helpfulness", 3.0), aspect("honesty", 1.0)];
        let rating = |rating: i64| json!({"reason": "so", "rating": rating});
        let ratings = json!({"helpfulness": rating(5), "honesty": rating(1)});
        assert_eq!(score(&ratings, &aspects), 4.0);
        let valid = |value: &Value| jsonschema::is_valid(&schema(&aspects), value);
        assert!(valid(&ratings));
        assert!(!valid(&json!({"helpfulness": rating(5)})), "an aspect is missing");
        assert!(!valid(&json!({"helpfulness": rating(6), "honesty": rating(1)})), "out of range");
    }
}
