//! Pages that a teacher marks on an additive scale of points, with a reason: what a classifier of pages learns from. The
//! kinds are those of FineWeb-Edu, FineMath (its first pass and its second) and Stack-Edu; the prompts are our own.

use super::steps::{fields, object};
use crate::maker::{Maker, OtherTeachers};
use crate::recipe::{Recipe, TaskSettings};
use crate::row_context::{RowContext, RowError};
use crate::task::{RowShape, SourceTexts, Task};
use anyhow::{Result, anyhow, ensure};
use datasets::write::ColumnType;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub(super) static EDU: Maker =
    maker("annotate-edu", "Pages with 0 to 5 points for educational value, as FineWeb-Edu's");
pub(super) static MATH: Maker = maker(
    "annotate-math",
    "Pages with 0 to 3 points for mathematics and reasoning, as FineMath's first pass",
);
pub(super) static MATH_LESSONS: Maker = maker(
    "annotate-math-lessons",
    "Pages with 0 to 5 points as mathematics lessons, as FineMath's second pass",
);
pub(super) static CODE: Maker =
    maker("annotate-code", "Files of code with 0 to 5 points for educational value, as Stack-Edu's");

/// The step that asks, its template and its sampling.
const STEP: &str = "score";
/// Maximum length of the reason, in characters; about 100 words.
const MAX_REASON: usize = 1000;

const fn maker(name: &'static str, about: &'static str) -> Maker {
    Maker {
        task: Task {
            name,
            about,
            by_default: false,
            source: SourceTexts::Texts,
            shape: RowShape::Text,
            columns: &[("score", ColumnType::Integer), ("reason", ColumnType::Text)],
        },
        load,
        calls: |_| OtherTeachers::default(),
        user_turns: |_| false,
        make_row: |context| Box::pin(make_row(context)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnnotationSettings {
    /// The number of points of the scale.
    points: i64,
    /// Characters of a page that the teacher sees, from its beginning.
    characters: usize,
}

fn load(recipe: &Recipe) -> Result<TaskSettings> {
    let settings: AnnotationSettings = recipe.parse()?;
    recipe.sampling(STEP)?;
    recipe.check_prompt(STEP, &["text", "points"])?;
    ensure!(
        settings.points > 0 && settings.characters > 0,
        "{}/recipe.toml: `points = {}` and `characters = {}` must be at least 1",
        recipe.task.name,
        settings.points,
        settings.characters
    );
    Ok(Box::new(settings))
}

async fn make_row(context: &RowContext<'_>) -> Result<Map<String, Value>, RowError> {
    let settings: &AnnotationSettings = context.recipe.task_settings();
    let text = context
        .source
        .as_deref()
        .ok_or_else(|| anyhow!("a task that needs a source text was started without one"))?;
    let shown: String = text.chars().take(settings.characters).collect();
    let prompt = context.recipe.prompt(STEP, &json!({"text": shown, "points": settings.points}))?;
    let schema = schema(settings.points);
    let teacher = &context.teachers.main;
    let check = |answer| mark(&answer, settings.points);
    let (score, reason) = context.checked(teacher, STEP, STEP, prompt, &schema, check).await?;
    Ok(fields(json!({"text": text, "score": score, "reason": reason})))
}

/// The schema of an answer: the reason comes first, so that the number follows from it.
fn schema(points: i64) -> Value {
    object(&fields(json!({
        "reason": {"type": "string", "minLength": 1, "maxLength": MAX_REASON},
        "score": {"type": "integer", "minimum": 0, "maximum": points},
    })))
}

/// The points and the reason of an answer. An answer without a number of the scale is a failure: counted as 0, it would
/// teach the classifier that the page is bad.
fn mark(answer: &Value, points: i64) -> Result<(i64, String), (&'static str, String)> {
    let number = answer["score"].as_f64().filter(|score| score.fract() == 0.0);
    let Some(score) = number.map(|score| score as i64) else {
        return Err(("no_score", format!("`score` is no whole number: {answer}")));
    };
    if !(0..=points).contains(&score) {
        return Err((
            "score_out_of_scale",
            format!("`score` is {score}, the scale is 0 to {points}: {answer}"),
        ));
    }
    match answer["reason"].as_str().map(str::trim) {
        Some(reason) if !reason.is_empty() => Ok((score, reason.to_owned())),
        _ => Err(("no_reason", format!("`reason` is no text: {answer}"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_number_of_the_scale_is_a_failure_and_never_zero() {
        let reason_of = |answer: Value| mark(&answer, 5).unwrap_err().0;
        assert_eq!(mark(&json!({"reason": " clear ", "score": 4}), 5).unwrap(), (4, "clear".to_owned()));
        assert_eq!(mark(&json!({"reason": "clear", "score": 0.0}), 5).unwrap().0, 0);
        for missing in [
            json!({"reason": "a"}),
            json!({"reason": "a", "score": null}),
            json!({"reason": "a", "score": "4"}),
        ] {
            assert_eq!(reason_of(missing), "no_score");
        }
        assert_eq!(reason_of(json!({"reason": "a", "score": 2.5})), "no_score");
        assert_eq!(reason_of(json!({"reason": "a", "score": 6})), "score_out_of_scale");
        assert_eq!(reason_of(json!({"reason": "a", "score": -1})), "score_out_of_scale");
        assert_eq!(reason_of(json!({"score": 3})), "no_reason");
        assert_eq!(reason_of(json!([])), "no_score");
    }

    #[test]
    fn the_schema_allows_what_is_marked() {
        let valid = |answer: Value| jsonschema::is_valid(&schema(3), &answer);
        assert!(valid(json!({"reason": "a", "score": 3})));
        assert!(!valid(json!({"reason": "a", "score": 4})) && !valid(json!({"score": 1})));
    }

    #[test]
    fn every_kind_shows_the_page_and_its_scale() {
        for (maker, points) in [(&EDU, 5), (&MATH, 3), (&MATH_LESSONS, 5), (&CODE, 5)] {
            let recipe = maker.recipe(&crate::Prompts::default()).unwrap();
            let settings: &AnnotationSettings = recipe.task_settings();
            assert_eq!(settings.points, points, "{}", maker.task.name);
            let prompt = recipe.prompt(STEP, &json!({"text": "A page.", "points": points})).unwrap();
            assert!(
                prompt.contains("A page.") && prompt.contains(&format!("from 0 to {points}")),
                "{prompt}"
            );
            // One condition for each point.
            assert_eq!(prompt.lines().filter(|line| line.starts_with("- ")).count() as i64, points);
        }
    }
}
