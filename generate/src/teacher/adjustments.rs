//! What an endpoint does not take, learned from its refusals: a 400 that names a parameter leads to one more try without it
//! (or under its other name), and once that is answered, all further requests are sent like that.

mod context_length;

use super::call::Call;
use context_length::ContextError;
use openai::reply::ErrorReply;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How JSON is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum JsonRoad {
    /// By its schema, which constrains the answer.
    #[default]
    Schema,
    /// As any JSON object, with the schema in words.
    Object,
    /// By the schema in words alone.
    Words,
}

/// What is sent otherwise than the recipe says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Adjustments {
    left_out: BTreeSet<&'static str>,
    has_max_completion_tokens: bool,
    /// The most tokens that the model writes in one answer.
    max_tokens: Option<u64>,
    pub(super) road: JsonRoad,
    /// Whether limits (`minLength`, `maxItems`, `pattern`, ...) are left out of schemas.
    has_bare_schemas: bool,
}

/// Parameters that an answer can do without.
const OPTIONAL: [&str; 4] = ["top_p", "temperature", "seed", "stop"];
/// Keywords of schemas that our own check covers.
const LIMITS: [&str; 14] = [
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minProperties",
    "maxProperties",
];
/// Words of a refusal of a parameter that the endpoint does not have, and not of its value.
const UNKNOWN_WORDS: [&str; 10] = [
    "max_completion_tokens",
    "unsupported",
    "not supported",
    "unknown",
    "unrecognized",
    "not permitted",
    "not allowed",
    "unexpected",
    "deprecated",
    "extra ",
];
/// Words of a refusal that concerns how JSON is asked for.
const JSON_WORDS: [&str; 6] =
    ["response_format", "json_schema", "json schema", "invalid schema", "structured output", "guided"];

/// What to do after a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextTry {
    /// Requests of all calls change; in words.
    Adjusted(Adjustments, String),
    /// This call has room for this many tokens.
    Shorter(u64),
}

impl Adjustments {
    /// Changes the body of a call. The schema's words are added by the caller, where the road needs them.
    pub(super) fn apply(&self, body: &mut Value) {
        let Some(fields) = body.as_object_mut() else { return };
        fields.retain(|name, _| !self.left_out.contains(name.as_str()));
        if let (Some(most), Some(asked)) = (self.max_tokens, fields.get("max_tokens").and_then(Value::as_u64))
        {
            fields.insert("max_tokens".to_owned(), json!(asked.min(most)));
        }
        // Only chats have the newer name.
        if self.has_max_completion_tokens
            && fields.contains_key("messages")
            && let Some(asked) = fields.remove("max_tokens")
        {
            fields.insert("max_completion_tokens".to_owned(), asked);
        }
        match self.road {
            _ if !fields.contains_key("response_format") => {}
            JsonRoad::Schema if self.has_bare_schemas => {
                without_limits(&mut fields["response_format"]["json_schema"]["schema"]);
            }
            JsonRoad::Schema => {}
            JsonRoad::Object => {
                fields.insert("response_format".to_owned(), json!({"type": "json_object"}));
            }
            JsonRoad::Words => {
                fields.remove("response_format");
            }
        }
    }

    /// What may help after a refusal of this body; `None` if the refusal names nothing that can be changed.
    pub(super) fn after(
        &self,
        status: u16,
        refusal: &ErrorReply,
        call: &Call,
        body: &Value,
    ) -> Option<NextTry> {
        if !matches!(status, 400 | 404 | 413 | 422 | 501) {
            return None;
        }
        if let Some(error) = ContextError::read(&refusal.message) {
            return self.shorter(error, call, body);
        }
        if !matches!(status, 400 | 422) {
            return None;
        }
        let mut next = self.clone();
        let change = next.change(refusal, body)?;
        Some(NextTry::Adjusted(next, format!("{change} ({status}: {})", shown(&refusal.message))))
    }

    fn shorter(&self, error: ContextError, call: &Call, body: &Value) -> Option<NextTry> {
        let asked = ["max_tokens", "max_completion_tokens"].iter().find_map(|name| body[name].as_u64());
        match error {
            ContextError::Room(room) if room < asked.unwrap_or(call.max_tokens as u64) => {
                Some(NextTry::Shorter(room))
            }
            ContextError::LongestAnswer(most) if asked.is_some_and(|asked| most < asked) => {
                let next = Self { max_tokens: Some(most), ..self.clone() };
                Some(NextTry::Adjusted(
                    next,
                    format!("`max_tokens` is lowered to {most}, the most that it takes"),
                ))
            }
            _ => None,
        }
    }

    /// Makes the one change that a refusal asks for; returns it in words.
    fn change(&mut self, refusal: &ErrorReply, body: &Value) -> Option<String> {
        let message = refusal.message.to_lowercase();
        let is_sent = |name: &str| body.get(name).is_some();
        let is_named = |name: &str| refusal.param.as_deref() == Some(name) || has_word(&message, name);
        let is_chat = is_sent("messages");
        let is_unknown = UNKNOWN_WORDS.iter().any(|word| message.contains(word));
        if is_chat
            && is_sent("max_tokens")
            && is_named("max_tokens")
            && is_unknown
            && !self.has_max_completion_tokens
        {
            self.has_max_completion_tokens = true;
            return Some("`max_tokens` is sent as `max_completion_tokens`".to_owned());
        }
        let is_json = refusal.param.as_deref().is_some_and(|param| param.starts_with("response_format"))
            || JSON_WORDS.iter().any(|word| message.contains(word));
        if is_sent("response_format") && (is_json || self.names_limit(&message)) {
            return self.next_road(&message);
        }
        let name = OPTIONAL.into_iter().find(|name| is_sent(name) && is_named(name))?;
        self.left_out.insert(name);
        Some(format!("`{name}` is left out"))
    }

    /// Whether a message names a keyword of a schema, which is sent.
    fn names_limit(&self, message: &str) -> bool {
        !self.has_bare_schemas && LIMITS.iter().any(|keyword| has_word(message, &keyword.to_lowercase()))
    }

    fn next_road(&mut self, message: &str) -> Option<String> {
        if self.road == JsonRoad::Schema && self.names_limit(message) {
            self.has_bare_schemas = true;
            return Some("limits are left out of JSON schemas and are checked here".to_owned());
        }
        let (road, words) = match self.road {
            JsonRoad::Schema => {
                (JsonRoad::Object, "JSON is asked for as `json_object`, with the schema in words")
            }
            JsonRoad::Object => (JsonRoad::Words, "JSON is asked for in words alone"),
            JsonRoad::Words => return None,
        };
        self.road = road;
        Some(words.to_owned())
    }

    /// Adds what another call has learned.
    pub(super) fn add(&mut self, other: &Self) {
        self.left_out.extend(&other.left_out);
        self.has_max_completion_tokens |= other.has_max_completion_tokens;
        self.max_tokens = self.max_tokens.into_iter().chain(other.max_tokens).min();
        self.road = self.road.max(other.road);
        self.has_bare_schemas |= other.has_bare_schemas;
    }
}

/// Whether a text has a word: not as a part of a longer name.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
}

/// Leaves the limits out of a schema and all schemas in it. Names of properties are no keywords.
fn without_limits(schema: &mut Value) {
    match schema {
        Value::Object(keywords) => {
            keywords.retain(|name, value| !LIMITS.contains(&name.as_str()) || value.is_object());
            for (name, value) in keywords {
                match (name.as_str(), value) {
                    ("properties" | "$defs", Value::Object(named)) => {
                        named.values_mut().for_each(without_limits);
                    }
                    ("enum" | "const" | "required", _) => {}
                    (_, value) => without_limits(value),
                }
            }
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(without_limits),
        _ => {}
    }
}

fn shown(message: &str) -> String {
    message.chars().take(160).collect()
}

#[cfg(test)]
mod tests;
