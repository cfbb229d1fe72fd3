//! A call as the body of a request.

use super::adjustments::{Adjustments, JsonRoad};
use super::call::{Call, Correction, Prompt};
use super::endpoint_settings::UserTurns;
use super::request_settings::RequestSettings;
use anyhow::{Context, Result};
use checkpoint::{ChatTemplate, Message, chat};
use openai::chat::ChatRequest;
use openai::completion::CompletionRequest;
use openai::format::{JsonSchemaType, NamedSchema, ResponseFormat, SchemaFormat};
use openai::message::{Content, Message as WireMessage};
use openai::request::{Input, Sampling, StopStrings};
use serde_json::{Value, json};

/// Strings that end a user's turn which the teacher writes.
pub(crate) const USER_STOPS: [&str; 4] = ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|eot_id|>"];
/// Maximum number of characters of an answer that the teacher is shown again.
const MAX_SHOWN: usize = 4000;
/// Asks a chat model for a user's turn, after the assistant's instructions and the conversation so far.
const USER_TURN: &str = "Write what the user says next to this assistant. Write as a user would: one message, in the \
                         user's own words, without quotation marks, a name, a greeting to me or anything before or \
                         after it. Do not answer it.";

/// How a teacher's requests are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire<'a> {
    pub(super) model: &'a str,
    pub(super) template: &'a ChatTemplate,
    pub(super) user_turns: UserTurns,
    pub(super) adjustments: &'a Adjustments,
    pub(super) settings: &'a RequestSettings,
}

/// The path below `/v1`, and the body.
pub(super) fn body(
    wire: Wire<'_>,
    call: &Call,
    correction: Option<&Correction>,
) -> Result<(&'static str, Value)> {
    let (path, mut body) = plain_body(wire, call)?;
    if let (Some(schema), Some(messages)) =
        (&call.schema, body.get_mut("messages").and_then(Value::as_array_mut))
    {
        let in_words = wire.adjustments.road != JsonRoad::Schema || correction.is_some();
        say_what_is_wrong(messages, correction);
        if in_words && let Some(last) = messages.last_mut() {
            let text = last["content"].as_str().unwrap_or_default();
            last["content"] = json!(format!(
                "{text}\n\nAnswer with one JSON value that fits this JSON schema, and with nothing else:\n{schema}"
            ));
        }
    }
    // As decimals are written, not as the nearest 64-bit number to a 32-bit one: some servers check their length.
    for name in ["temperature", "top_p"] {
        if let Some(number) = body[name].as_f64() {
            body[name] = serde_json::from_str(&format!("{:?}", number as f32))?;
        }
    }
    wire.adjustments.apply(&mut body);
    wire.settings.apply(&mut body);
    Ok((path, body))
}

fn plain_body(wire: Wire<'_>, call: &Call) -> Result<(&'static str, Value)> {
    let sampling = Sampling {
        temperature: Some(call.temperature),
        top_p: Some(call.top_p),
        // Servers accept 31 bits.
        seed: Some((call.seed >> 33) as i64),
        ..Sampling::default()
    };
    let (model, max_tokens) = (wire.model.to_owned(), Some(call.max_tokens as u64));
    let messages = match (&call.prompt, wire.user_turns) {
        (Prompt::Assistant(messages), _) => messages.clone(),
        (Prompt::User(messages), UserTurns::Chat) => asked_for_user_turn(messages),
        (Prompt::User(messages), UserTurns::Raw) => {
            let prompt = Input::Text(chat::render_user_opening(wire.template, messages)?);
            let stop = Some(StopStrings::Several(USER_STOPS.map(str::to_owned).into()));
            let (sampling, rest) = (Sampling { stop, ..sampling }, CompletionRequest::default());
            let request = CompletionRequest { model, prompt, sampling, max_tokens, ..rest };
            return Ok(("completions", serde_json::to_value(request)?));
        }
    };
    let messages = messages.iter().map(wire_message).collect::<Result<_>>()?;
    let response_format = call.schema.as_ref().map(response_format).transpose()?;
    let rest = ChatRequest::default();
    let top_logprobs = call.top_logprobs.map(u64::from);
    let logprobs = top_logprobs.map(|_| true);
    let request = ChatRequest {
        model,
        messages,
        sampling,
        max_tokens,
        response_format,
        logprobs,
        top_logprobs,
        ..rest
    };
    Ok(("chat/completions", serde_json::to_value(request)?))
}

/// The conversation that asks for a user's turn: the one so far is quoted, because the teacher is not its assistant.
fn asked_for_user_turn(messages: &[Message]) -> Vec<Message> {
    let mut text = String::new();
    for message in messages {
        let name = match message.role.as_str() {
            "system" => "The assistant has these instructions",
            "user" => "The user said",
            _ => "The assistant said",
        };
        text.push_str(&format!("{name}:\n{}\n\n", message.content));
    }
    vec![Message::new("user", text + USER_TURN)]
}

/// Adds the answer that could not be used, and why, so that the teacher can mend it.
fn say_what_is_wrong(messages: &mut Vec<Value>, correction: Option<&Correction>) {
    let Some(Correction { answer, error }) = correction else { return };
    let shown = |text: &str| text.chars().take(MAX_SHOWN).collect::<String>();
    let words = format!("That answer cannot be used: {}. Write it again, whole and right.", shown(error));
    // An empty turn is refused by many servers, and so are two turns of one role in a row.
    let answer = if answer.trim().is_empty() { "(nothing)".to_owned() } else { shown(answer) };
    messages.push(json!({"role": "assistant", "content": answer}));
    messages.push(json!({"role": "user", "content": words}));
}

fn wire_message(message: &Message) -> Result<WireMessage> {
    let calls = message.tool_calls.clone().map(serde_json::from_value).transpose();
    Ok(WireMessage {
        role: message.role.clone(),
        content: Some(Content::Text(message.content.clone())),
        name: message.name.clone(),
        tool_calls: calls.context("the prompt has tool calls that are not in OpenAI's shape")?,
        tool_call_id: message.tool_call_id.clone(),
        ..WireMessage::default()
    })
}

fn response_format(schema: &Value) -> Result<ResponseFormat> {
    let schema = schema.as_object().context("the step's schema is not an object")?.clone();
    let json_schema =
        NamedSchema { name: "answer".to_owned(), strict: Some(true), description: None, schema };
    Ok(ResponseFormat::Schema(SchemaFormat { kind: JsonSchemaType::default(), json_schema }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::recipe;

    fn call(prompt: Prompt) -> Call {
        let sampling = recipe::Sampling { temperature: 0.2, top_p: 0.95, max_tokens: 300 };
        Call::new(prompt, sampling, 7 << 33)
    }

    /// The request for a call, after refusals that these adjustments follow from.
    fn sent(call: &Call, user_turns: UserTurns, correction: Option<&Correction>) -> (&'static str, Value) {
        let wire = Wire {
            model: "m",
            template: &ChatTemplate::chatml(),
            user_turns,
            adjustments: &Adjustments::default(),
            settings: &RequestSettings::default(),
        };
        body(wire, call, correction).unwrap()
    }

    /// Numbers are as they were written: an f32 that is sent as an f64 is 0.20000000298023224.
    #[test]
    fn only_fields_with_a_value_are_sent() {
        let messages = vec![Message::new("user", "Hi")];
        let mut asked = call(Prompt::Assistant(messages.clone()));
        asked.schema = Some(json!({"type": "object"}));
        let schema = json!({"name": "answer", "strict": true, "schema": {"type": "object"}});
        let expected = json!({
            "model": "m", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.2, "top_p": 0.95,
            "max_tokens": 300, "seed": 7, "response_format": {"type": "json_schema", "json_schema": schema},
        });
        let (path, body) = sent(&asked, UserTurns::Raw, None);
        assert_eq!((path, body), ("chat/completions", expected));
        let expected = json!({
            "model": "m", "prompt": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>user\n", "temperature": 0.2,
            "top_p": 0.95, "max_tokens": 300, "seed": 7, "stop": USER_STOPS,
        });
        assert_eq!(sent(&call(Prompt::User(messages)), UserTurns::Raw, None), ("completions", expected));
    }

    #[test]
    fn log_probabilities_are_asked_for_where_they_are_kept() {
        let mut asked = call(Prompt::Assistant(vec![Message::new("user", "Hi")]));
        let plain = sent(&asked, UserTurns::Raw, None).1;
        asked.top_logprobs = Some(5);
        let body = sent(&asked, UserTurns::Raw, None).1;
        assert_eq!(
            (plain.get("logprobs"), &body["logprobs"], &body["top_logprobs"]),
            (None, &json!(true), &json!(5))
        );
    }

    #[test]
    fn a_chat_model_is_asked_for_the_users_turn() {
        let system = Message::new("system", "You help.");
        let messages = vec![system, Message::new("user", "Hi"), Message::new("assistant", "Hello.")];
        let (path, body) = sent(&call(Prompt::User(messages)), UserTurns::Chat, None);
        let text = body["messages"][0]["content"].as_str().unwrap();
        assert_eq!((path, body["messages"].as_array().unwrap().len()), ("chat/completions", 1));
        assert!(
            text.starts_with("The assistant has these instructions:\nYou help.\n\nThe user said:\nHi\n"),
            "{text}"
        );
        assert!(text.ends_with(USER_TURN) && body.get("stop").is_none());
    }

    #[test]
    fn a_second_ask_shows_the_answer_its_error_and_the_schema() {
        let mut asked = call(Prompt::Assistant(vec![Message::new("user", "Rate it.")]));
        asked.schema = Some(json!({"type": "object"}));
        let correction = Correction { answer: "Fine.".to_owned(), error: "not JSON".to_owned() };
        let (_, body) = sent(&asked, UserTurns::Raw, Some(&correction));
        let roles: Vec<&str> =
            body["messages"].as_array().unwrap().iter().map(|one| one["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["user", "assistant", "user"]);
        let last = body["messages"][2]["content"].as_str().unwrap();
        assert!(
            last.contains("cannot be used: not JSON.")
                && last.ends_with("nothing else:\n{\"type\":\"object\"}"),
            "{last}"
        );
        assert!(body.get("response_format").is_some());
    }
}
