//! Preference pairs, as UltraFeedback makes them: several completions of one prompt, each rated on named aspects.
//!
//! Each completion is rated alone, in a question of its own, so the order in which a judge meets completions
//! cannot sway it: there is no order.

use super::{fields, judge, object, pick};
use crate::recipe::{Aspect, Rejected};
use crate::teacher::Prompt;
use crate::walk::{Halt, Walk, dropped};
use serde_json::{Map, Value, json};
use smollm::Message;

/// The longest reason a judge may give for one rating, in characters.
const REASON: usize = 400;

/// One answer to the prompt, and what the judge thinks of it.
struct Completion {
    model: String,
    text: String,
    ratings: Value,
    /// The weighted mean of its ratings.
    score: f64,
}

pub(crate) async fn row(walk: &Walk<'_>) -> Result<Map<String, Value>, Halt> {
    let (request, prompt) = prompt(walk).await?;
    let mut completions = completions(walk, &prompt).await?;
    if all_the_same(&completions) {
        return dropped("pair", "tie", format!("all {} completions are the same", completions.len()));
    }
    rate(walk, &prompt, &mut completions).await?;
    let settings = &walk.recipe.settings;
    let draw = walk.draw("rejected");
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

/// The source's prompt, or one that the teacher writes as a user with a drawn kind of request.
async fn prompt<'a>(walk: &Walk<'a>) -> Result<(Option<&'a str>, String), Halt> {
    if let Some(source) = &walk.source {
        return Ok((None, source.clone()));
    }
    let request = pick(walk, "request", walk.recipe.list("request")?);
    let system = Message::new("system", walk.recipe.prompt("user", &json!({"request": request}))?);
    Ok((Some(request), walk.words("user", Prompt::User(vec![system])).await?))
}

/// Completions of the teachers in turn; one that cannot be used does not cost the row while two are left.
async fn completions(walk: &Walk<'_>, prompt: &str) -> Result<Vec<Completion>, Halt> {
    let named = &walk.teachers.completions;
    let count = walk.recipe.settings.completions;
    // Where there are more teachers than completions, each gets its share of the rows.
    let first = walk.draw("teacher") as usize % named.len().max(1);
    let question = Prompt::Assistant(vec![Message::new("user", prompt)]);
    let (mut completions, mut failure) = (Vec::new(), None);
    for number in 0..count {
        let teacher = match named.len() {
            0 => &walk.teachers.main,
            several => &named[(first + number) % several],
        };
        match walk.words_of(teacher, &format!("completion_{}", number + 1), question.clone()).await {
            Ok(text) => {
                let model = teacher.identity().to_owned();
                completions.push(Completion { model, text, ratings: Value::Null, score: 0.0 });
            }
            Err(Halt::Drop(entry)) => failure = Some(entry),
            Err(abort) => return Err(abort),
        }
    }
    match failure {
        Some(entry) if completions.len() < 2 => Err(Halt::Drop(entry)),
        _ => Ok(completions),
    }
}

/// Whether no judge could tell them apart, so that none needs to be asked.
fn all_the_same(completions: &[Completion]) -> bool {
    completions.windows(2).all(|two| two[0].text == two[1].text)
}

/// Has every text rated, once: completions with the same text share the rating, the dearest call of a row.
async fn rate(walk: &Walk<'_>, prompt: &str, completions: &mut [Completion]) -> Result<(), Halt> {
    let aspects = &walk.recipe.aspects;
    let schema = schema(aspects);
    let asked = [Message::new("user", prompt)];
    let reference = walk.reference(judge(walk), "reference", &asked).await?;
    for number in 0..completions.len() {
        let text = completions[number].text.as_str();
        let ratings = match completions[..number].iter().find(|before| before.text == text) {
            Some(before) => before.ratings.clone(),
            None => {
                let variables = json!({
                    "instruction": prompt, "response": text, "reference": reference, "aspects": aspects
                });
                let question = walk.recipe.prompt("rating", &variables)?;
                let step = format!("rating_{}", number + 1);
                walk.judge(judge(walk), &step, "judge", question, &schema).await?
            }
        };
        completions[number].score = score(&ratings, aspects);
        completions[number].ratings = ratings;
    }
    Ok(())
}

/// For each aspect a reason first, then a rating from 1 to 5.
fn schema(aspects: &[Aspect]) -> Value {
    let reason = json!({"type": "string", "minLength": 1, "maxLength": REASON});
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

/// The best completion, the first of equals, and the one it is set against: another text, worse by the margin.
/// Nothing where there is none: a tie.
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
    fn the_best_is_chosen_and_the_worst_or_any_other_rejected() {
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
    fn no_judge_is_asked_about_one_text() {
        assert!(all_the_same(&[completion("a", 0.0), completion("a", 0.0)]));
        assert!(!all_the_same(&["a", "a", "b"].map(|text| completion(text, 0.0))));
    }

    #[test]
    fn a_score_is_the_mean_by_weight() {
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
