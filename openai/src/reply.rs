//! What a client reads of the answers of servers that are not ours: the fields it needs, and no others, so that the
//! rest of an answer cannot break it.

use serde::Deserialize;
use serde_json::Value;

/// A chat completion or a completion.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CompletionReply {
    /// One entry per answer.
    pub choices: Vec<ReplyChoice>,
    /// Token counts, where the server reports them.
    #[serde(default)]
    pub usage: Option<ReplyUsage>,
}

/// One answer: `message` of a chat completion, `text` of a completion.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReplyChoice {
    /// The assistant's message.
    pub message: Option<ReplyMessage>,
    /// The continued text.
    pub text: Option<String>,
    /// `stop`, `length` or another word of the server.
    pub finish_reason: Option<String>,
}

impl ReplyChoice {
    /// The text of the answer; empty where the server sent none.
    pub fn into_text(self) -> String {
        self.text.or_else(|| self.message.and_then(|message| message.content)).unwrap_or_default()
    }
}

/// The message of a chat completion.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ReplyMessage {
    /// The text; some servers send null.
    pub content: Option<String>,
}

/// Token counts of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReplyUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
}

/// An error's body.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct ErrorReply {
    /// The error.
    pub error: ErrorReplyDetail,
}

/// What is wrong.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ErrorReplyDetail {
    /// What is wrong, for people.
    pub message: String,
    /// The error for programs: a word, or a number.
    pub code: Option<Value>,
    /// The kind of error.
    #[serde(rename = "type")]
    pub kind: Option<String>,
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
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    fn read<T: DeserializeOwned>(written: &impl Serialize) -> T {
        serde_json::from_str(&serde_json::to_string(written).unwrap()).unwrap()
    }

    fn usage() -> Usage {
        let prompt_tokens_details = PromptTokensDetails { cached_tokens: 2 };
        Usage { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7, prompt_tokens_details }
    }

    #[test]
    fn a_client_reads_what_a_server_writes() {
        let message = AssistantMessage {
            reasoning_content: None,
            role: Default::default(),
            content: Some("Hi.".to_owned()),
            refusal: None,
            tool_calls: None,
        };
        let finish_reason = Some(FinishReason::Length);
        let chat: CompletionReply = read(&ChatCompletion {
            id: "chatcmpl-1".to_owned(),
            object: Default::default(),
            created: 1,
            model: "m".to_owned(),
            system_fingerprint: "f".to_owned(),
            choices: vec![ChatChoice { index: 0, message, logprobs: None, finish_reason, token_ids: None }],
            prompt_token_ids: None,
            usage: usage(),
        });
        let text = "Hi.".to_owned();
        let completion: CompletionReply = read(&Completion {
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
            }],
            usage: Some(Some(usage())),
        });
        for reply in [chat, completion] {
            assert_eq!(reply.usage, Some(ReplyUsage { prompt_tokens: 3, completion_tokens: 4 }));
            assert_eq!(reply.choices[0].finish_reason.as_deref(), Some("length"));
            assert_eq!(reply.choices[0].clone().into_text(), "Hi.");
        }
        let (message, kind) = ("no".to_owned(), "t".to_owned());
        let error: ErrorReply = read(&ErrorBody {
            error: ErrorDetail { message, kind, param: None, code: Some("c".to_owned()) },
        });
        assert_eq!((error.error.message.as_str(), error.error.code), ("no", Some("c".into())));
    }

    #[test]
    fn little_is_required_of_a_server() {
        let reply: CompletionReply =
            serde_json::from_str("{\"choices\": [{\"message\": {\"content\": null}, \"usage\": null}]}")
                .unwrap();
        assert_eq!((reply.choices[0].clone().into_text(), reply.usage), (String::new(), None));
        assert!(serde_json::from_str::<CompletionReply>("{\"usage\": {}}").is_err());
        let error: ErrorReply = serde_json::from_str("{\"error\": {\"code\": 7}}").unwrap();
        assert_eq!(error.error.code, Some(7.into()));
    }
}
