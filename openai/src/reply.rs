//! What a client reads of the answers of servers that are not ours: the fields it needs, and no others, so that the
//! rest of an answer cannot break it.

mod body;
mod content;
mod end;

pub use body::{parse, unreadable};
pub use end::ReplyEnd;

use content::{reasoning, texts};
use serde_json::Value;

/// A chat completion or a completion.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionReply {
    /// The text of the first answer; empty where the server sent none.
    pub text: String,
    /// What the model thought before the text, where the server separates it; empty otherwise.
    pub reasoning: String,
    /// How the answer ended.
    pub end: ReplyEnd,
    /// Token counts.
    pub usage: ReplyUsage,
    /// The log-probabilities of the tokens of a chat completion as they came; null where there are none.
    pub logprobs: Value,
}

/// Token counts of one call; 0 where the server reports none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplyUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer that are billed, those of thinking included.
    pub completion_tokens: u64,
}

/// Why a body is no answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyFault {
    /// It is an error, whatever its status says.
    Error(ErrorReply),
    /// It has no answer in it; why.
    NoAnswer(String),
}

impl CompletionReply {
    /// Reads the first answer of a body.
    ///
    /// # Errors
    /// When the body is an error or has no answer.
    pub fn read(body: &Value) -> Result<Self, ReplyFault> {
        let choice = &body["choices"][0];
        // Gateways report an error beside an empty answer.
        for place in [choice, &choice["message"], body] {
            if let Some(error) = ErrorReply::beside(place) {
                return Err(ReplyFault::Error(error));
            }
        }
        if !choice.is_object() {
            return Err(match ErrorReply::read(body) {
                Some(error) => ReplyFault::Error(error),
                None => ReplyFault::NoAnswer("the response has no choices".to_owned()),
            });
        }
        let message = &choice["message"];
        let (content, thoughts) = texts(&message["content"]);
        let text = choice["text"].as_str().map_or(content, str::to_owned);
        let is_refused =
            text.is_empty() && message["refusal"].as_str().is_some_and(|refusal| !refusal.is_empty());
        let end =
            if is_refused { ReplyEnd::Filtered } else { ReplyEnd::of(choice["finish_reason"].as_str()) };
        let reasoning = thoughts + &reasoning(message);
        let logprobs = choice["logprobs"]["content"].clone();
        Ok(Self { text, reasoning, end, usage: ReplyUsage::read(&body["usage"]), logprobs })
    }
}

impl ReplyUsage {
    /// Reads token counts in any shape; what is no number counts as not reported.
    pub fn read(usage: &Value) -> Self {
        let count = |names: [&str; 2]| names.iter().find_map(|name| number(&usage[name])).unwrap_or(0);
        let prompt_tokens = count(["prompt_tokens", "input_tokens"]);
        let completion_tokens = count(["completion_tokens", "output_tokens"]);
        // Where thoughts are not in the answer's count, they are in the sum, and they are billed.
        let beyond_prompt = number(&usage["total_tokens"]).unwrap_or(0).saturating_sub(prompt_tokens);
        let is_counted = prompt_tokens > 0 && completion_tokens > 0;
        let completion_tokens =
            if is_counted { completion_tokens.max(beyond_prompt) } else { completion_tokens };
        Self { prompt_tokens, completion_tokens }
    }
}

/// A count that is written as an integer, a float or a text.
fn number(value: &Value) -> Option<u64> {
    let float = || value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    value.as_u64().or_else(|| float().filter(|count| *count >= 0.0).map(|count| count as u64))
}

/// An error that a server reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorReply {
    /// What is wrong, for people.
    pub message: String,
    /// The error for programs: a word, or a number as text.
    pub code: String,
    /// The kind of error.
    pub kind: String,
    /// The parameter of the request that is wrong.
    pub param: Option<String>,
}

impl ErrorReply {
    /// Reads the body of a response that is an error, in the shapes of OpenAI, vLLM, FastAPI, Google (a list of one) and
    /// gateways; `None` if it says nothing.
    pub fn read(body: &Value) -> Option<Self> {
        let body = body.get(0).unwrap_or(body);
        if let Some(error) = Self::beside(body) {
            return Some(error);
        }
        let detail = &body["detail"];
        let first = detail.get(0).unwrap_or(detail);
        let message = [&body["message"], &first["msg"], detail].into_iter().find_map(Value::as_str)?;
        let place = first["loc"].as_array().and_then(|place| place.iter().rev().find_map(Value::as_str));
        let mut error = Self::of(body, message);
        if let Some(place) = place {
            error.message = format!("{place}: {message}");
            error.param = Some(place.to_owned());
        }
        Some(error)
    }

    /// The error in the field `error`.
    fn beside(body: &Value) -> Option<Self> {
        match body.get("error")? {
            Value::String(message) if !message.is_empty() => Some(Self::of(body, message)),
            error @ Value::Object(_) => {
                // What a gateway was told by the provider behind it.
                let behind =
                    error["metadata"]["raw"].as_str().map(|raw| format!(" ({raw})")).unwrap_or_default();
                let message = error["message"].as_str().unwrap_or_default();
                Some(Self::of(error, &format!("{message}{behind}")))
            }
            _ => None,
        }
    }

    fn of(error: &Value, message: &str) -> Self {
        let word = |name: &str| match &error[name] {
            Value::String(word) => word.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let kind = if word("type").is_empty() { word("status") } else { word("type") };
        let param = Some(word("param")).filter(|param| !param.is_empty());
        Self { message: message.to_owned(), code: word("code"), kind, param }
    }

    /// The HTTP status that the error names in place of the response's own.
    pub fn status(&self) -> Option<u16> {
        self.code.parse().ok().filter(|status| (400..600).contains(status))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::FinishReason;
    use crate::chat::{AssistantMessage, ChatChoice, ChatCompletion};
    use crate::completion::{Completion, CompletionChoice};
    use crate::error::{ErrorBody, ErrorDetail};
    use crate::usage::{PromptTokensDetails, Usage};
    use serde_json::json;

    fn usage() -> Usage {
        let prompt_tokens_details = PromptTokensDetails { cached_tokens: 2 };
        Usage { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7, prompt_tokens_details }
    }

    #[test]
    fn a_client_reads_what_a_server_writes() {
        let message = AssistantMessage {
            reasoning_content: Some("Hm.".to_owned()),
            role: Default::default(),
            content: Some("Hi.".to_owned()),
            refusal: None,
            tool_calls: None,
        };
        let finish_reason = Some(FinishReason::Length);
        let chat = ChatCompletion {
            id: "chatcmpl-1".to_owned(),
            object: Default::default(),
            created: 1,
            model: "m".to_owned(),
            system_fingerprint: "f".to_owned(),
            choices: vec![ChatChoice { index: 0, message, logprobs: None, finish_reason, token_ids: None }],
            prompt_token_ids: None,
            prompt_logprobs: None,
            usage: usage(),
        };
        let text = "Hi.".to_owned();
        let completion = Completion {
            id: "cmpl-1".to_owned(),
            object: Default::default(),
            created: 1,
            model: "m".to_owned(),
            system_fingerprint: "f".to_owned(),
            choices: vec![CompletionChoice {
                index: 0,
                text,
                logprobs: None,
                finish_reason,
                token_ids: None,
                prompt_token_ids: None,
                prompt_logprobs: None,
            }],
            usage: Some(Some(usage())),
        };
        let bodies = [serde_json::to_value(chat).unwrap(), serde_json::to_value(completion).unwrap()];
        for (body, reasoning) in bodies.iter().zip(["Hm.", ""]) {
            let expected = CompletionReply {
                text: "Hi.".to_owned(),
                reasoning: reasoning.to_owned(),
                end: ReplyEnd::Cut,
                usage: ReplyUsage { prompt_tokens: 3, completion_tokens: 4 },
                logprobs: Value::Null,
            };
            assert_eq!(CompletionReply::read(body).unwrap(), expected);
        }
        let (message, kind) = ("no".to_owned(), "t".to_owned());
        let body =
            ErrorBody { error: ErrorDetail { message, kind, param: None, code: Some("c".to_owned()) } };
        let error = ErrorReply::read(&serde_json::to_value(body).unwrap()).unwrap();
        assert_eq!((error.message.as_str(), error.code.as_str(), error.kind.as_str()), ("no", "c", "t"));
    }

    fn of_message(message: &Value) -> CompletionReply {
        CompletionReply::read(&json!({"choices": [{"message": message, "finish_reason": "stop"}]})).unwrap()
    }

    #[test]
    fn little_is_required_of_a_server() {
        let body = json!({"choices": [{"message": {"content": null}}], "usage": null});
        let reply = CompletionReply::read(&body).unwrap();
        assert_eq!((reply.text.as_str(), reply.usage), ("", ReplyUsage::default()));
        for body in [json!({"usage": {}}), json!({"choices": []}), json!([]), json!("text"), Value::Null] {
            assert!(matches!(CompletionReply::read(&body), Err(ReplyFault::NoAnswer(_))), "{body}");
        }
    }

    #[test]
    fn parts_are_joined_and_thoughts_kept_apart() {
        let text = json!({"type": "text", "text": "One "});
        let thinking = json!({"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]});
        let reply =
            of_message(&json!({"content": [thinking, text, {"type": "output_text", "text": "two."}]}));
        assert_eq!((reply.text.as_str(), reply.reasoning.as_str()), ("One two.", "Hm."));
        for name in ["reasoning_content", "reasoning", "thinking"] {
            let reply = of_message(&json!({"content": "Two.", name: "Hm."}));
            assert_eq!((reply.text.as_str(), reply.reasoning.as_str()), ("Two.", "Hm."), "{name}");
        }
        let refused = of_message(&json!({"content": null, "refusal": "I cannot help with that."}));
        assert_eq!((refused.text.as_str(), refused.end), ("", ReplyEnd::Filtered));
    }

    #[test]
    fn counts_are_read_in_any_shape() {
        let count = |usage: Value| {
            let ReplyUsage { prompt_tokens, completion_tokens } = ReplyUsage::read(&usage);
            (prompt_tokens, completion_tokens)
        };
        assert_eq!(count(json!({"prompt_tokens": 50.0, "completion_tokens": "30"})), (50, 30));
        assert_eq!(
            count(json!({"prompt_tokens": 50, "completion_tokens": null, "total_tokens": null})),
            (50, 0)
        );
        assert_eq!(count(json!({"input_tokens": 5, "output_tokens": 3})), (5, 3));
        // Thoughts that only the sum has are billed.
        assert_eq!(
            count(json!({"prompt_tokens": 50, "completion_tokens": 30, "total_tokens": 950})),
            (50, 900)
        );
        assert_eq!(count(json!({"prompt_tokens": -1, "completion_tokens": 7, "total_tokens": 7})), (0, 7));
        assert_eq!(count(json!("none")), (0, 0));
    }

    #[test]
    fn errors_are_read_in_any_shape() {
        let read =
            |body: Value| ErrorReply::read(&body).map(|error| (error.message, error.code, error.param));
        let error = |message: &str, code: &str, param: Option<&str>| {
            Some((message.to_owned(), code.to_owned(), param.map(str::to_owned)))
        };
        assert_eq!(
            read(json!({"error": {"message": "m", "code": 7, "param": "p"}})),
            error("m", "7", Some("p"))
        );
        assert_eq!(read(json!([{"error": {"message": "m", "code": 400}}])), error("m", "400", None));
        assert_eq!(read(json!({"error": "m"})), error("m", "", None));
        assert_eq!(read(json!({"object": "error", "message": "m", "code": 404})), error("m", "404", None));
        assert_eq!(read(json!({"detail": "Not Found"})), error("Not Found", "", None));
        let detail =
            json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "not permitted"}]});
        assert_eq!(read(detail), error("seed: not permitted", "", Some("seed")));
        assert_eq!(read(json!({"error": null, "choices": []})), None);
        let behind = json!({"choices": [{"message": {"content": ""}, "error": {"code": 502, "message": "Upstream error"}}]});
        let Err(ReplyFault::Error(fault)) = CompletionReply::read(&behind) else {
            panic!("an error is no answer")
        };
        assert_eq!((fault.message.as_str(), fault.status()), ("Upstream error", Some(502)));
    }
}
