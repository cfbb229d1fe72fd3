//! The input of an engine. [`Request::check`] is the only validation: an engine runs only requests that passed it.

use serde_json::Value;

/// Maximum length of a stop string, in bytes: each new token is compared with every position of every stop string.
const LONGEST_STOP: usize = 1024;

/// One request: generate text, score the prompt, or both; or embed the prompt.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Token ids to continue (P), at least one.
    pub prompt: Vec<u32>,
    /// How tokens are sampled.
    pub sampling: Sampling,
    /// What the generated text must match.
    pub constraint: Option<Constraint>,
    /// Maximum number of generated tokens; 0 only scores the prompt.
    pub max_tokens: usize,
    /// Token ids that end the answer.
    pub stop_ids: Vec<u32>,
    /// Strings that end the answer. The text ends before them.
    pub stop_strings: Vec<String>,
    /// How many of the likeliest tokens to report with each generated token; `None` reports no log-probabilities.
    pub logprobs: Option<usize>,
    /// How many of the likeliest tokens to report with each prompt token; `None` reports no log-probabilities.
    pub prompt_logprobs: Option<usize>,
    /// Minimum number of tokens before a stop id or stop string may end the answer. A constraint may end it earlier.
    pub min_tokens: usize,
    /// Whether to return the prompt's last hidden states (C), after the final norm, as one vector. Nothing is generated
    /// then.
    pub embedding: bool,
    /// How the hidden states of an embedding become one vector.
    pub pooling: Pooling,
    /// Keys and values are reused only between requests of one scope.
    pub prefix_scope: u64,
    /// Who asks: requests of different clients take turns where some must wait.
    pub client: u64,
    /// Whether to deliver all tokens in one event at the end, for callers that do not stream. Waking the caller for
    /// each token, some thousand times per second, costs up to one core.
    pub deliver_at_end: bool,
}

/// How a token is sampled. The default is greedy, without penalties.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Divides the logits. 0 takes the likeliest token, and so does a value so small that logits would overflow.
    pub temperature: f32,
    /// Keeps the k likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the likeliest tokens up to this probability mass, in [0, 1], and always the first.
    pub top_p: f32,
    /// Drops tokens whose probability is below this fraction of the highest, in [0, 1].
    pub min_p: f32,
    /// Divides the positive and multiplies the negative logits of tokens in the prompt or the answer. At least 0.01; 1
    /// has no effect.
    pub repetition_penalty: f32,
    /// Subtracted once from the logits of tokens in the answer.
    pub presence_penalty: f32,
    /// Subtracted from the logits of tokens for each occurrence in the answer.
    pub frequency_penalty: f32,
    /// Token ids and what is added to their logits.
    pub logit_bias: Vec<(u32, f32)>,
    /// Random seed. The same seed gives the same answer, whatever else runs.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

/// How the hidden states of a prompt become one vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    #[default]
    Mean,
    /// That of the last position, which has seen all others.
    Last,
}

/// What the generated text must match.
#[derive(Debug, Clone, PartialEq)]
pub enum Constraint {
    /// JSON that validates against this schema.
    JsonSchema(Value),
    /// Text that matches this regular expression as a whole.
    Regex(String),
    /// One of these strings.
    Choice(Vec<String>),
    /// A grammar in the Lark notation of llguidance.
    Lark(String),
}

/// The limits of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of tokens of prompt and answer together.
    pub context: usize,
    /// Rows of the embedding (V); token ids are below it.
    pub vocab_size: usize,
}

/// Why an engine refuses a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Prompt and answer do not fit in the context.
    #[error(
        "this model's maximum context length is {context} tokens: a prompt of {prompt} tokens leaves no room for {max_tokens} more; shorten the prompt or request fewer tokens"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens to generate.
        max_tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// A value is out of range.
    #[error("`{parameter}` is {value}; expected {expected}")]
    Value {
        /// The name of the parameter.
        parameter: &'static str,
        /// The value that was given.
        value: String,
        /// The range of the parameter.
        expected: &'static str,
    },
    /// The constraint cannot be enforced.
    #[error("the constraint cannot be enforced: {0}")]
    Constraint(String),
    /// A part of a JSON schema cannot be enforced.
    #[error("the schema at {} cannot be enforced: {reason}", place(pointer))]
    Schema {
        /// The location of the part, as a JSON pointer into the schema; empty for the whole.
        pointer: String,
        /// The reason and the remedy.
        reason: String,
    },
    /// A keyword of a JSON schema cannot be enforced.
    #[error("the schema keyword `{keyword}` at {pointer} cannot be enforced: {reason}")]
    Keyword {
        /// The keyword, such as `not`.
        keyword: String,
        /// The location of the keyword, as a JSON pointer into the schema.
        pointer: String,
        /// The reason and the remedy.
        reason: String,
    },
    /// This engine does not support a parameter that others do.
    #[error("`{parameter}` is not supported by the {engine} engine: {reason}")]
    Unsupported {
        /// The name of the parameter in the API.
        parameter: &'static str,
        /// The name of the engine.
        engine: &'static str,
        /// The reason and the remedy.
        reason: &'static str,
    },
    /// The queue is full.
    #[error("the queue is full ({waiting} requests are waiting); try again in {retry_after} s")]
    Full {
        /// Requests in the queue.
        waiting: usize,
        /// Seconds to wait before the next attempt.
        retry_after: u64,
    },
    /// The thread of the engine has ended.
    #[error("the engine has stopped")]
    Stopped,
}

/// A JSON pointer, or a word for the empty one.
fn place(pointer: &str) -> &str {
    if pointer.is_empty() { "its root" } else { pointer }
}

impl Request {
    /// Checks every value against the limits.
    ///
    /// # Errors
    /// Names the parameter, its value and its range.
    pub fn check(&self, limits: Limits) -> Result<(), RequestError> {
        self.check_prompt(&self.prompt, limits)?;
        self.check_parameters(limits)
    }

    /// The part of [`Request::check`] that concerns a prompt, for callers with several prompts per request.
    ///
    /// # Errors
    /// If the prompt is empty, has an id that does not exist, or leaves no room for the answer.
    pub fn check_prompt(&self, prompt: &[u32], limits: Limits) -> Result<(), RequestError> {
        if prompt.is_empty() {
            return out_of_range("prompt", &"empty", "at least one token");
        }
        if prompt.len() + self.max_tokens > limits.context {
            let (max_tokens, context) = (self.max_tokens, limits.context);
            return Err(RequestError::TooLong { prompt: prompt.len(), max_tokens, context });
        }
        match prompt.iter().find(|id| **id as usize >= limits.vocab_size) {
            Some(id) => {
                let value = format!("a list with the token id {id}");
                out_of_range("prompt", &value, "ids below the model's vocab_size")
            }
            None => Ok(()),
        }
    }

    /// The part of [`Request::check`] that concerns all other parameters.
    ///
    /// # Errors
    /// Names the parameter, its value and its range.
    pub fn check_parameters(&self, limits: Limits) -> Result<(), RequestError> {
        if self.embedding && self.max_tokens > 0 {
            return out_of_range("max_tokens", &self.max_tokens, "0 for an embedding");
        }
        if self.min_tokens > self.max_tokens {
            return out_of_range("min_tokens", &self.min_tokens, "at most max_tokens");
        }
        match self.stop_strings.iter().map(String::len).find(|length| !(1..=LONGEST_STOP).contains(length)) {
            Some(0) => return out_of_range("stop", &"an empty string", "strings of 1 to 1024 bytes"),
            Some(length) => {
                let value = format!("a string of {length} bytes");
                return out_of_range("stop", &value, "strings of 1 to 1024 bytes");
            }
            None => {}
        }
        self.sampling.check(limits)
    }
}

impl Sampling {
    fn check(&self, limits: Limits) -> Result<(), RequestError> {
        let ranges = [
            ("temperature", self.temperature, 0.0..=100.0, "0 to 100"),
            ("top_p", self.top_p, 0.0..=1.0, "0 to 1"),
            ("min_p", self.min_p, 0.0..=1.0, "0 to 1"),
            ("repetition_penalty", self.repetition_penalty, 0.01..=100.0, "0.01 to 100"),
            ("presence_penalty", self.presence_penalty, -100.0..=100.0, "-100 to 100"),
            ("frequency_penalty", self.frequency_penalty, -100.0..=100.0, "-100 to 100"),
        ];
        // A NaN is in no range.
        if let Some((parameter, value, _, expected)) =
            ranges.into_iter().find(|(_, value, range, _)| !range.contains(value))
        {
            return out_of_range(parameter, &value, expected);
        }
        // Minus infinity forbids a token; plus infinity has no probability.
        let is_wrong = |(id, bias): &&(u32, f32)| {
            *id as usize >= limits.vocab_size || bias.is_nan() || *bias == f32::INFINITY
        };
        match self.logit_bias.iter().find(is_wrong) {
            Some((id, bias)) => {
                let value = format!("{id}: {bias}");
                out_of_range("logit_bias", &value, "ids below vocab_size, finite numbers or -inf")
            }
            None => Ok(()),
        }
    }
}

fn out_of_range(
    parameter: &'static str,
    value: &dyn std::fmt::Display,
    expected: &'static str,
) -> Result<(), RequestError> {
    Err(RequestError::Value { parameter, value: value.to_string(), expected })
}
