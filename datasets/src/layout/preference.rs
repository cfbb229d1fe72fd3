//! Pairs of replies, one preferred, from the forms in which preferences are published.

use super::message::{Object, message, messages, short, system, turns};
use super::{pair, transcript};
use crate::row::{Message, PreferenceRow, Row};
use serde_json::Value;

/// Columns with several replies to one prompt.
const LISTS: [&str; 6] = ["completions", "responses", "generations", "answers", "outputs", "replies"];
/// Columns with their scores, higher being better.
const SCORES: [&str; 4] = ["scores", "ratings", "overall_scores", "rewards"];
/// Fields of a reply with its score, higher being better.
const SCORE_FIELDS: [&str; 4] = ["overall_score", "score", "rating", "reward"];
/// The columns of the two scores, which show ties.
const BOTH: [&str; 2] = ["score_chosen", "score_rejected"];

/// A pair with a prompt, or two conversations with the same start.
pub(super) fn row(mut object: Object) -> Result<Row, String> {
    let (chosen, rejected) =
        (object.remove("chosen").unwrap_or_default(), object.remove("rejected").unwrap_or_default());
    let prompt =
        pair::PROMPTS.into_iter().find(|name| object.get(*name).is_some_and(|value| !value.is_null()));
    let transcript = |value: &Value| value.as_str().and_then(transcript::anthropic);
    if prompt.is_none()
        && let (Some(chosen), Some(rejected)) = (transcript(&chosen), transcript(&rejected))
    {
        return split(chosen, rejected, object);
    }
    let chosen = turns(&chosen, "assistant", "chosen")?;
    let rejected = turns(&rejected, "assistant", "rejected")?;
    // A reply starts with the assistant; any other list repeats the conversation.
    let is_whole = |list: &[Message]| list.first().is_some_and(|first| first.role != "assistant");
    match prompt {
        _ if is_whole(&chosen) && is_whole(&rejected) => {
            if let Some(name) = prompt {
                object.remove(name);
            }
            split(chosen, rejected, object)
        }
        None => Err("has no `prompt`, and `chosen` and `rejected` are not conversations".to_owned()),
        Some(name) => {
            let prompt = pair::prompt_of(&mut object, name)?;
            Ok(Row::Preference(PreferenceRow { prompt, chosen, rejected, metadata: object }))
        }
    }
}

/// LLaMA-Factory's: `conversations`, and two last messages.
pub(super) fn sharegpt(mut object: Object) -> Result<Row, String> {
    let mut prompt = system(&mut object)?;
    prompt.extend(messages(&object.remove("conversations").unwrap_or_default(), "conversations")?);
    let mut reply = |name: &str| Ok(vec![message(&object.remove(name).unwrap_or_default(), name)?]);
    let (chosen, rejected): (_, Result<_, String>) = (reply("chosen")?, reply("rejected"));
    Ok(Row::Preference(PreferenceRow { prompt, chosen, rejected: rejected?, metadata: object }))
}

/// Two whole conversations in columns of these names.
pub(super) fn conversations(mut object: Object, names: [&str; 2]) -> Result<Row, String> {
    let [chosen, rejected] = names.map(|name| messages(&object.remove(name).unwrap_or_default(), name));
    split(chosen?, rejected?, object)
}

/// Two whole conversations: the prompt is their common start.
fn split(mut chosen: Vec<Message>, mut rejected: Vec<Message>, metadata: Object) -> Result<Row, String> {
    let shared = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count();
    // Each of two equal conversations still ends in a reply.
    let shared = shared.min(chosen.len().saturating_sub(1)).min(rejected.len().saturating_sub(1));
    if shared == 0 {
        return Err("`chosen` and `rejected` do not start with the same message".to_owned());
    }
    let chosen_reply = chosen.split_off(shared);
    Ok(Row::Preference(PreferenceRow {
        prompt: chosen,
        chosen: chosen_reply,
        rejected: rejected.split_off(shared),
        metadata,
    }))
}

/// The arena's: two conversations and the winner. A tie is a pair with two equal scores.
pub(super) fn arena(mut object: Object) -> Result<Row, String> {
    let winner = object.get("winner").cloned().unwrap_or_default();
    let (names, scores) = match winner.as_str() {
        Some("model_a") => (["conversation_a", "conversation_b"], [1.0, 0.0]),
        Some("model_b") => (["conversation_b", "conversation_a"], [1.0, 0.0]),
        Some(tie) if tie.starts_with("tie") || tie == "both" => {
            (["conversation_a", "conversation_b"], [0.5, 0.5])
        }
        _ => return Err(format!("winner is {}; expected model_a, model_b or tie", short(&winner))),
    };
    set_scores(&mut object, scores);
    conversations(object, names)
}

/// Numbered replies of PKU-SafeRLHF, HelpSteer2 and HelpSteer3: the names of both, and of the column that says which is the
/// better one.
const NUMBERED: [[&str; 3]; 3] = [
    ["response_0", "response_1", "better_response_id"],
    ["response_1", "response_2", "preference_strength"],
    ["response1", "response2", "overall_preference"],
];

/// The columns of numbered replies, if the object has some.
pub(super) fn numbered_columns(has: &impl Fn(&str) -> bool) -> Option<[&'static str; 3]> {
    NUMBERED.into_iter().find(|columns| columns.iter().all(|column| has(column)))
}

/// Two replies, and the number of the better one or how much better the second one is (less than 0: the first one is).
pub(super) fn numbered(mut object: Object) -> Result<Row, String> {
    let has = |name: &str| object.get(name).is_some_and(|value| !value.is_null());
    let [first, second, decider] =
        numbered_columns(&has).ok_or("has no two replies with a column that says which is better")?;
    let value = object.get(decider).cloned().unwrap_or_default();
    let is_tie = decider != "better_response_id" && value.as_f64() == Some(0.0);
    let names = match (decider, value.as_f64()) {
        ("better_response_id", Some(0.0)) => [first, second],
        ("better_response_id", Some(1.0)) => [second, first],
        ("better_response_id", _) => return Err("better_response_id is not 0 or 1".to_owned()),
        (_, Some(strength)) => {
            if strength > 0.0 {
                [second, first]
            } else {
                [first, second]
            }
        }
        _ => return Err(format!("{decider} is {}; expected a number", short(&value))),
    };
    if decider != "better_response_id" {
        set_scores(&mut object, if is_tie { [0.5, 0.5] } else { [1.0, 0.0] });
    }
    let [chosen, rejected] =
        names.map(|name| turns(&object.remove(name).unwrap_or_default(), "assistant", name));
    let prompt = match object.remove("context") {
        Some(context @ Value::Array(_)) => messages(&context, "context")?,
        context => {
            object.extend(context.map(|context| ("context".to_owned(), context)));
            pair::prompt_of(&mut object, "prompt")?
        }
    };
    Ok(Row::Preference(PreferenceRow { prompt, chosen: chosen?, rejected: rejected?, metadata: object }))
}

/// OpenAI's: `input` with messages, `preferred_output` and `non_preferred_output`.
pub(super) fn openai(mut object: Object) -> Result<Row, String> {
    let mut input = match object.remove("input") {
        Some(Value::Object(input)) => input,
        other => return Err(format!("input is {}; expected messages", short(&other.unwrap_or_default()))),
    };
    let prompt = messages(&input.remove("messages").unwrap_or_default(), "input.messages")?;
    let [chosen, rejected] = ["preferred_output", "non_preferred_output"]
        .map(|name| messages(&object.remove(name).unwrap_or_default(), name));
    object.extend(input);
    Ok(Row::Preference(PreferenceRow { prompt, chosen: chosen?, rejected: rejected?, metadata: object }))
}

/// ms-swift's: a conversation, and another last reply (or another conversation) that is worse.
pub(super) fn rejected_response(mut object: Object, column: &str) -> Result<Row, String> {
    let mut list = system(&mut object)?;
    list.extend(messages(&object.remove(column).unwrap_or_default(), column)?);
    if let Some(other) = object.remove("rejected_messages").filter(|other| !other.is_null()) {
        return split(list, messages(&other, "rejected_messages")?, object);
    }
    let rejected =
        turns(&object.remove("rejected_response").unwrap_or_default(), "assistant", "rejected_response")?;
    match list.pop().filter(|last| last.role == "assistant") {
        Some(last) => Ok(Row::Preference(PreferenceRow {
            prompt: list,
            chosen: vec![last],
            rejected,
            metadata: object,
        })),
        None => {
            Err(format!("{column} does not end with a reply, which `rejected_response` is another one of"))
        }
    }
}

/// The columns of several replies with scores or ranks, and of their prompt.
pub(super) fn scored_columns(object: &Object) -> Option<(&'static str, &'static str)> {
    let has = |name: &str| object.get(name).is_some_and(|value| !value.is_null());
    let prompt = pair::PROMPTS.into_iter().find(|name| has(name))?;
    let is_scored = |name: &&str| {
        let list = object.get(*name).and_then(Value::as_array).filter(|list| !list.is_empty());
        list.is_some_and(|list| match &list[0] {
            Value::String(_) => SCORES.iter().any(|name| object.get(*name).is_some_and(Value::is_array)),
            reply => {
                SCORE_FIELDS.iter().any(|field| reply.get(*field).is_some()) || reply.get("rank").is_some()
            }
        })
    };
    Some((prompt, LISTS.into_iter().find(is_scored)?))
}

/// Several replies with scores or ranks, as UltraFeedback and Nectar have them: the best one and the worst one.
pub(super) fn scored(mut object: Object) -> Result<Row, String> {
    let (prompt, name) =
        scored_columns(&object).ok_or("has no replies with scores, which earlier rows have")?;
    let replies = object.remove(name).unwrap_or_default();
    let scores = SCORES.iter().find_map(|name| object.get(*name).and_then(Value::as_array));
    let replies = replies.as_array().map(Vec::as_slice).unwrap_or_default().iter().enumerate();
    let scored = |(index, reply): (usize, &Value)| -> Option<(f64, Message)> {
        let own = SCORE_FIELDS.iter().find_map(|field| reply.get(*field).and_then(number));
        let rank = || reply.get("rank").and_then(number).map(|rank| -rank);
        let score = own.or_else(rank).or_else(|| scores?.get(index).and_then(number))?;
        let texts = ["response", "completion", "answer", "text", "content", "output"];
        let text = reply.as_str().or_else(|| texts.iter().find_map(|field| reply[*field].as_str()))?;
        Some((score, Message::new("assistant", text)))
    };
    let mut scored: Vec<(f64, Message)> = replies.filter_map(scored).collect();
    // Stable: of equal ones the first is the best and the last the worst.
    scored.sort_by(|one, other| other.0.total_cmp(&one.0));
    let worst = scored.pop().ok_or_else(|| format!("{name} has no reply with a score"))?;
    if scored.is_empty() {
        return Err(format!("{name} has one reply with a score; expected two or more"));
    }
    let best = scored.swap_remove(0);
    set_scores(&mut object, [best.0, worst.0]);
    let prompt = pair::prompt_of(&mut object, prompt)?;
    Ok(Row::Preference(PreferenceRow {
        prompt,
        chosen: vec![best.1],
        rejected: vec![worst.1],
        metadata: object,
    }))
}

/// LLaMA-Factory's earlier form: an `output` of two texts, the better one first.
pub(super) fn two_outputs(mut object: Object) -> Result<Row, String> {
    let outputs = object.remove("output").unwrap_or_default();
    let two =
        outputs.as_array().filter(|two| two.len() == 2).and_then(|two| two[0].as_str().zip(two[1].as_str()));
    let Some((better, worse)) = two else {
        return Err(format!(
            "output is {}; expected two texts, as in earlier rows of this file",
            short(&outputs)
        ));
    };
    let reply = |text: &str| vec![Message::new("assistant", text)];
    let (chosen, rejected) = (reply(better), reply(worse));
    let prompt = pair::prompt_of(&mut object, "instruction")?;
    Ok(Row::Preference(PreferenceRow { prompt, chosen, rejected, metadata: object }))
}

fn set_scores(object: &mut Object, scores: [f64; 2]) {
    for (name, score) in BOTH.into_iter().zip(scores) {
        object.entry(name).or_insert_with(|| score.into());
    }
}

/// A number, also one in a string. NaN and infinity rank nothing.
fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|number: &f64| number.is_finite())
}
