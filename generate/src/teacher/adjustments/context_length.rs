//! What a refusal for the length of prompt and answer says: which part of it is the answer's, and can be made shorter.

/// Minimum number of tokens that are worth an answer.
const LEAST: u64 = 16;

/// A refusal that names numbers of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContextError {
    /// The prompt fits, and leaves room for this many tokens.
    Room(u64),
    /// The model writes at most this many tokens in one answer, whatever the prompt.
    LongestAnswer(u64),
    /// The prompt does not fit.
    TooLong,
}

impl ContextError {
    /// Reads the messages of OpenAI, vLLM, Anthropic and servers that repeat them; `None` for any other message.
    pub(super) fn read(message: &str) -> Option<Self> {
        let message = message.to_lowercase();
        if let Some(most) = longest_answer(&message) {
            return Some(Self::LongestAnswer(most)).filter(|_| most >= LEAST);
        }
        // "input length and `max_tokens` exceed context limit: 197202 + 21333 > 200000"
        if let Some((prompt, rest)) =
            message.split_once("exceed context limit: ").and_then(|(_, sum)| sum.split_once(" + "))
        {
            let context = rest.split_once("> ").map(|(_, context)| context)?;
            return Some(Self::of(first_number(context)?, first_number(prompt)?));
        }
        let context = [
            "maximum context length is ",
            "maximum context length of ",
            "max_model_len of ",
            "context size is ",
        ]
        .iter()
        .find_map(|words| message.split_once(words))
        .and_then(|(_, rest)| first_number(rest))?;
        // "(77 in the messages, 1024 in the completion)", "your request has 77 input tokens"
        let prompt =
            [" in the messages", " in the prompt", " in your prompt", " input tokens", " prompt tokens"]
                .iter()
                .find_map(|words| message.split_once(words))
                .and_then(|(before, _)| last_number(before));
        Some(prompt.map_or(Self::TooLong, |prompt| Self::of(context, prompt)))
    }

    fn of(context: u64, prompt: u64) -> Self {
        match context.checked_sub(prompt) {
            Some(room) if room >= LEAST => Self::Room(room),
            _ => Self::TooLong,
        }
    }
}

/// The most tokens of an answer that a message allows: "supports at most 16384 completion tokens", "the valid range of
/// max_tokens is [1, 8192]", "max_tokens must be less than or equal to 8192", "max_tokens: 32000 > 8192".
fn longest_answer(message: &str) -> Option<u64> {
    if let Some(most) = number_between(message, "at most ", " completion tokens") {
        return Some(most);
    }
    let (_, rest) =
        message.split_once("max_tokens").or_else(|| message.split_once("max_completion_tokens"))?;
    let range = rest.split_once("[1").map(|(_, rest)| rest.trim_start_matches([',', ' ']));
    let bound = ["less than or equal to ", "at most ", "<= "].iter().find_map(|words| rest.split_once(words));
    let bound = range.or(bound.map(|(_, bound)| bound));
    let bound = bound.or_else(|| {
        let (asked, bound) = rest.strip_prefix(": ")?.split_once(" > ")?;
        first_number(asked).map(|_| bound)
    });
    first_number(bound?.trim_start_matches('`'))
}

fn number_between(text: &str, before: &str, after: &str) -> Option<u64> {
    let (number, _) = text.split_once(before)?.1.split_once(after)?;
    number.replace(',', "").parse().ok()
}

fn first_number(text: &str) -> Option<u64> {
    let digits: String =
        text.chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn last_number(text: &str) -> Option<u64> {
    let start = text.rfind(|c: char| !c.is_ascii_digit() && c != ',').map_or(0, |at| at + 1);
    first_number(text.get(start..)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_that_a_prompt_leaves_is_read() {
        let read = |message: &str| ContextError::read(message);
        let vllm = "This model's maximum context length is 1024 tokens. However, you requested 1101 tokens (77 in the messages, 1024 in the completion). Please reduce the length of the messages or completion.";
        assert_eq!(read(vllm), Some(ContextError::Room(947)));
        let newer = "'max_tokens' or 'max_completion_tokens' is too large: 1024. This model's maximum context length is 1024 tokens and your request has 77 input tokens (1024 > 1024 - 77).";
        assert_eq!(read(newer), Some(ContextError::Room(947)));
        let anthropic = "input length and `max_tokens` exceed context limit: 197202 + 21333 > 200000, decrease input length or `max_tokens` and try again";
        assert_eq!(read(anthropic), Some(ContextError::Room(2798)));
        let cap = "max_tokens is too large: 32768. This model supports at most 16,384 completion tokens, whereas you provided 32768.";
        assert_eq!(read(cap), Some(ContextError::LongestAnswer(16384)));
        for message in [
            "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
            "Range of max_tokens should be [1, 8192]",
            "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens`",
            "max_tokens: 32000 > 8192, which is the maximum allowed number of output tokens for this model",
        ] {
            assert_eq!(read(message), Some(ContextError::LongestAnswer(8192)), "{message}");
        }
        let long = "This model's maximum context length is 1024 tokens. However, your messages resulted in 2000 tokens.";
        assert_eq!(read(long), Some(ContextError::TooLong));
        let full = "maximum context length is 1024 tokens. However, you requested 2044 tokens (1020 in the messages, 1024 in the completion)";
        assert_eq!(read(full), Some(ContextError::TooLong), "4 tokens are no answer");
        assert_eq!(read("Unsupported parameter: 'max_tokens'"), None);
    }
}
