//! An answer as a row uses it: thoughts taken apart from the text, special tokens at its end and a turn that follows it
//! left out; and JSON found in it. What is recorded stays as it came.

use crate::store::Reply;
use crate::teacher::{Prompt, USER_STOPS};
use serde_json::Value;

/// What opens and closes a model's thoughts before its text.
const THOUGHTS: [(&str, &str); 7] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
];
/// What closes thoughts that the chat template opened, so that the answer has no opening.
const CLOSINGS: [&str; 3] = ["</think>", "[/THINK]", "◁/think▷"];
/// Channels of gpt-oss: what is before the last of these is its analysis.
const FINAL_CHANNEL: &str = "<|channel|>final<|message|>";
/// What stands around the texts of the channels before the final one.
const CHANNEL_MARKS: [&str; 5] = [
    "<|channel|>analysis<|message|>",
    "<|channel|>commentary<|message|>",
    "<|end|>",
    "<|start|>assistant",
    "<|channel|>analysis",
];
/// Special tokens that end turns or texts, which some servers do not leave out.
const ENDS: [&str; 14] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|return|>",
    "<|eos|>",
    "<eos>",
    "<end_of_turn>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
    "[EOS]",
    "</s>",
];
/// Maximum number of places of a text where JSON is looked for.
const MAX_PLACES: usize = 200;

/// The answer to a prompt, taken apart.
pub(crate) fn taken_apart(mut reply: Reply, prompt: &Prompt) -> Reply {
    let (thoughts, text) = without_thoughts(&reply.text);
    let mut text = without_ends(text);
    if matches!(prompt, Prompt::User(_)) {
        // A server that knows no stop strings goes on after the turn, and one turn of it is whole.
        let end = USER_STOPS.iter().filter_map(|stop| text.find(stop)).min();
        if let Some(end) = end {
            (text, reply.cut) = (text[..end].trim_end(), false);
        }
    }
    if !thoughts.is_empty() {
        let beside = reply.reasoning.take().unwrap_or_default();
        reply.reasoning = Some(beside + &thoughts).filter(|thoughts| !thoughts.trim().is_empty());
    }
    if text.len() != reply.text.len() {
        reply.text = text.to_owned();
    }
    reply
}

/// The thoughts at the start of a text, and what follows them. Thoughts that never end leave no text.
fn without_thoughts(text: &str) -> (String, &str) {
    if text.trim_start().starts_with("<|channel|>") {
        // Without a final channel there is no text.
        let (analysis, text) = text.rsplit_once(FINAL_CHANNEL).unwrap_or((text, ""));
        let marks = |analysis: String, mark: &&str| analysis.replace(mark, "");
        return (CHANNEL_MARKS.iter().fold(analysis.to_owned(), marks).trim().to_owned(), text);
    }
    let (mut thoughts, mut rest) = (String::new(), text);
    while let Some((open, close)) = THOUGHTS.iter().find(|(open, _)| rest.trim_start().starts_with(open)) {
        let inner = &rest.trim_start()[open.len()..];
        let (thought, after) = inner.split_once(close).unwrap_or((inner, ""));
        thoughts.push_str(thought.trim());
        rest = after.trim_start();
    }
    if thoughts.is_empty() && rest.len() == text.len() {
        let closing =
            CLOSINGS.iter().filter_map(|close| text.split_once(close)).min_by_key(|(before, _)| before.len());
        // A text about such tags names the opening, too.
        if let Some((thought, after)) = closing.filter(|(before, _)| !before.contains("<think")) {
            return (thought.trim().to_owned(), after.trim_start());
        }
    }
    (thoughts, rest)
}

fn without_ends(text: &str) -> &str {
    let mut text = text;
    let is_tag = |end: &str| end == "</s>" && text.contains("<s>");
    while let Some(shorter) =
        ENDS.iter().filter(|end| !is_tag(end)).find_map(|end| text.trim_end().strip_suffix(end))
    {
        text = shorter;
    }
    text
}

/// The JSON value in an answer: all of it, or else the first value in fences or prose that fits the schema, or the first
/// value. `None` if there is none.
pub(crate) fn json_in(text: &str, schema: &Value) -> Option<Value> {
    if let Ok(value) = serde_json::from_str::<Value>(text.trim()) {
        return Some(value);
    }
    // A schema that is none fits nothing.
    let validator = jsonschema::validator_for(schema).ok();
    let fits = |value: &Value| validator.as_ref().is_some_and(|validator| validator.is_valid(value));
    let (mut first, mut at) = (None, 0);
    for _ in 0..MAX_PLACES {
        let Some(place) = text[at..].find(['{', '[']) else { break };
        at += place;
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) if fits(&value) => return Some(value),
            Some(Ok(value)) => {
                at += values.byte_offset();
                first.get_or_insert(value);
            }
            _ => at += 1,
        }
    }
    first
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::json;

    fn apart(text: &str) -> (String, Option<String>) {
        let reply = Reply { text: text.to_owned(), ..Reply::default() };
        let reply = taken_apart(reply, &Prompt::Assistant(Vec::new()));
        (reply.text, reply.reasoning)
    }

    #[test]
    fn thoughts_are_no_part_of_the_text() {
        let hm = Some("Hm.".to_owned());
        for text in [
            "<think>\nHm.\n</think>\n\nYes.",
            "Hm.\n</think>\n\nYes.",
            "[THINK]Hm.[/THINK]Yes.",
            "<thinking>Hm.</thinking> Yes.",
            "<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>Yes.",
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
        ] {
            assert_eq!(apart(text), ("Yes.".to_owned(), hm.clone()), "{text}");
        }
        assert_eq!(apart("<think>\n\n</think>\n\nYes."), ("Yes.".to_owned(), None));
        let no_text = (String::new(), hm);
        assert_eq!(apart("<think>Hm."), no_text, "thoughts that were cut");
        assert_eq!(apart("<|channel|>analysis<|message|>Hm."), no_text, "no final channel");
        for text in ["Yes.", "The tag <think> opens and </think> closes.", "  Indented text"] {
            assert_eq!(apart(text), (text.to_owned(), None), "{text}");
        }
        let beside = Reply { text: "Yes.".into(), reasoning: Some("Hm.".into()), ..Reply::default() };
        assert_eq!(taken_apart(beside.clone(), &Prompt::Assistant(Vec::new())), beside);
    }

    #[test]
    fn special_tokens_at_the_end_are_left_out() {
        for text in ["Yes.<|im_end|>", "Yes.<|im_end|>\n<|endoftext|>", "Yes.</s>"] {
            assert_eq!(apart(text).0, "Yes.", "{text}");
        }
        for text in ["<s>old</s>", "The token <|im_end|> ends it.", "Yes."] {
            assert_eq!(apart(text).0, text);
        }
    }

    #[test]
    fn a_users_turn_ends_where_the_next_turn_begins() {
        let reply = Reply {
            text: "Why?<|im_end|>\n<|im_start|>assistant\nBecause".into(),
            cut: true,
            ..Reply::default()
        };
        let turn = taken_apart(reply, &Prompt::User(Vec::new()));
        assert_eq!((turn.text.as_str(), turn.cut), ("Why?", false));
    }

    #[test]
    fn json_is_found_in_fences_and_prose() {
        let schema = json!({"type": "object", "required": ["score"]});
        let expected = Some(json!({"score": 4}));
        for text in [
            "{\"score\": 4}",
            "```json\n{\"score\": 4}\n```",
            "Here is the JSON you asked for:\n```\n{\"score\": 4}\n```\nAnything else?",
            "As [1] says {it} is {\"other\": 1}: {\"score\": 4}.",
        ] {
            assert_eq!(json_in(text, &schema), expected, "{text}");
        }
        assert_eq!(
            json_in("It is {\"scor\": 4}", &schema),
            Some(json!({"scor": 4})),
            "the error can be shown"
        );
        for text in ["I think it is fine.", "{\"score\": ", ""] {
            assert_eq!(json_in(text, &schema), None, "{text}");
        }
        assert_eq!(json_in(&"[".repeat(100_000), &schema), None);
    }
}
