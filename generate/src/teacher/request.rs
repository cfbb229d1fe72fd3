//! A call as the body of a request.

use super::call::{Call, Prompt};
use anyhow::{Context, Result};
use checkpoint::{ChatTemplate, Message, chat};
use openai::chat::ChatRequest;
use openai::completion::CompletionRequest;
use openai::format::{JsonSchemaType, NamedSchema, ResponseFormat, SchemaFormat};
use openai::message::{Content, Message as WireMessage};
use openai::request::{Input, Sampling, StopStrings};
use serde_json::Value;

/// Strings that end a user's turn which the teacher writes.
const USER_STOPS: [&str; 4] = ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|eot_id|>"];

/// The path below `/v1`, and the body.
pub(super) fn body(model: &str, template: &ChatTemplate, call: &Call) -> Result<(&'static str, Value)> {
    let sampling = Sampling {
        temperature: Some(call.temperature),
        top_p: Some(call.top_p),
        // Servers accept 31 bits.
        seed: Some((call.seed >> 33) as i64),
        ..Sampling::default()
    };
    let (model, max_tokens) = (model.to_owned(), Some(call.max_tokens as u64));
    Ok(match &call.prompt {
        Prompt::Assistant(messages) => {
            let messages = messages.iter().map(wire_message).collect::<Result<_>>()?;
            let response_format = call.schema.as_ref().map(response_format).transpose()?;
            let rest = ChatRequest::default();
            let request = ChatRequest { model, messages, sampling, max_tokens, response_format, ..rest };
            ("chat/completions", serde_json::to_value(request)?)
        }
        Prompt::User(messages) => {
            let prompt = Input::Text(chat::render_user_opening(template, messages)?);
            let stop = Some(StopStrings::Several(USER_STOPS.map(str::to_owned).into()));
            let (sampling, rest) = (Sampling { stop, ..sampling }, CompletionRequest::default());
            let request = CompletionRequest { model, prompt, sampling, max_tokens, ..rest };
            ("completions", serde_json::to_value(request)?)
        }
    })
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
    use serde_json::json;

    #[test]
    fn only_fields_with_a_value_are_sent() {
        let sampling = recipe::Sampling { temperature: 0.5, top_p: 1.0, max_tokens: 300 };
        let messages = vec![Message::new("user", "Hi")];
        let template = ChatTemplate::chatml();
        let mut call = Call::new(Prompt::Assistant(messages.clone()), sampling, 7 << 33);
        call.schema = Some(json!({"type": "object"}));
        let schema = json!({"name": "answer", "strict": true, "schema": {"type": "object"}});
        let expected = json!({
            "model": "m", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.5, "top_p": 1.0,
            "max_tokens": 300, "seed": 7, "response_format": {"type": "json_schema", "json_schema": schema},
        });
        assert_eq!(body("m", &template, &call).unwrap(), ("chat/completions", expected));
        let call = Call::new(Prompt::User(messages), sampling, 7 << 33);
        let expected = json!({
            "model": "m", "prompt": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>user\n", "temperature": 0.5,
            "top_p": 1.0, "max_tokens": 300, "seed": 7, "stop": USER_STOPS,
        });
        assert_eq!(body("m", &template, &call).unwrap(), ("completions", expected));
    }
}
