//! Why an answer ended, in whatever words a server has for it. Only a natural end makes a whole answer: what ran into a
//! limit, was filtered or broke off is half a sentence, and a word that is not known is not taken for an end.

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyEnd {
    /// The model ended it, or the server does not say how answers end.
    Natural,
    /// A limit of tokens or of the context was reached.
    Cut,
    /// A content filter removed it or its end.
    Filtered,
    /// It broke off because of an error; the server's word for it.
    Error(String),
    /// The server's word, which is not known.
    Unknown(String),
}

/// Words of servers for a natural end: OpenAI's, Anthropic's, Cohere's, Gemini's, TGI's, Ollama's, Bedrock's.
const NATURAL: [&str; 17] = [
    "stop",
    "eos",
    "eos_token",
    "end",
    "end_turn",
    "end_of_text",
    "endoftext",
    "end_of_turn",
    "stop_sequence",
    "stop_token",
    "stop_string",
    "complete",
    "completed",
    "finish",
    "finished",
    "done",
    "stopped",
];
/// Parts of words for a limit that was reached.
const CUT: [&str; 6] = ["length", "max_", "limit", "context", "truncat", "incomplete"];
/// Parts of words for a content filter.
const FILTERED: [&str; 10] = [
    "filter",
    "safety",
    "recitation",
    "blocklist",
    "prohibited",
    "spii",
    "refusal",
    "guardrail",
    "sensitive",
    "moderation",
];
/// Parts of words for an answer that broke off.
const ERROR: [&str; 7] = ["error", "abort", "cancel", "insufficient", "fail", "timeout", "exception"];

impl ReplyEnd {
    /// Reads a finish reason; without one the end counts as natural, because small servers name none.
    pub fn of(word: Option<&str>) -> Self {
        let Some(word) = word.filter(|word| !word.trim().is_empty()) else { return Self::Natural };
        let plain: String = word
            .trim()
            .chars()
            .map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
            .collect();
        let plain = plain.trim_start_matches("finish_reason_").trim_matches('_');
        let has = |parts: &[&str]| parts.iter().any(|part| plain.contains(part));
        // Before the limits: `insufficient_system_resource` and `content_filter_limit` are none.
        match plain {
            "null" | "none" | "unspecified" => Self::Natural,
            _ if NATURAL.contains(&plain) => Self::Natural,
            _ if has(&FILTERED) => Self::Filtered,
            _ if has(&ERROR) => Self::Error(word.to_owned()),
            _ if has(&CUT) => Self::Cut,
            _ => Self::Unknown(word.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_words_are_a_natural_end() {
        for word in ["stop", "STOP", "end_turn", "eos", "COMPLETE", "FINISH_REASON_STOP", "stop-sequence", ""]
        {
            assert_eq!(ReplyEnd::of(Some(word)), ReplyEnd::Natural, "{word}");
        }
        assert_eq!(ReplyEnd::of(None), ReplyEnd::Natural);
        for word in ["length", "max_tokens", "MAX_TOKENS", "model_length", "model_context_window_exceeded"] {
            assert_eq!(ReplyEnd::of(Some(word)), ReplyEnd::Cut, "{word}");
        }
        for word in ["content_filter", "SAFETY", "RECITATION", "refusal", "guardrail_intervened"] {
            assert_eq!(ReplyEnd::of(Some(word)), ReplyEnd::Filtered, "{word}");
        }
        for word in ["error", "abort", "insufficient_system_resource"] {
            assert_eq!(ReplyEnd::of(Some(word)), ReplyEnd::Error(word.to_owned()));
        }
        for word in ["tool_calls", "function_call", "pause_turn", "network"] {
            assert_eq!(ReplyEnd::of(Some(word)), ReplyEnd::Unknown(word.to_owned()));
        }
    }
}
