//! The parameters that every endpoint that generates shares: sampling, length, stops, constraint, streaming.

use super::constraint;
pub(crate) use super::constraint::Held;
use super::fields::{Fields, whole, wrong};
use crate::error::ApiError;
use crate::identity;
use crate::model::Model;
use engine::{Request, Sampling};
use serde_json::Value;

/// How to answer, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Generation {
    /// All but the seed.
    pub(crate) sampling: Sampling,
    pub(crate) seed: Option<u64>,
    /// Answers to each prompt.
    pub(crate) n: usize,
    /// `None` leaves it to the endpoint.
    pub(crate) max_tokens: Option<usize>,
    pub(crate) min_tokens: usize,
    pub(crate) ignore_eos: bool,
    pub(crate) stop_strings: Vec<String>,
    pub(crate) stop_token_ids: Vec<u32>,
    pub(crate) held: Option<Held>,
    pub(crate) logprobs: Option<usize>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
}

/// The most answers to one prompt.
const MOST_ANSWERS: usize = 128;
/// Bytes of the longest stop string, as the engine has it.
const LONGEST_STOP: usize = 1024;
/// The most stop strings.
const MOST_STOPS: usize = 16;

impl Generation {
    /// Takes what the endpoints share; `max_tokens` and `logprobs` are theirs, because they are spelled differently.
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let stream = stream_flag(fields)?;
        let include_usage = stream_options(fields, stream)?;
        Ok(Self {
            sampling: sampling(fields)?,
            seed: seed(fields)?,
            n: fields.integer("n", 1..=MOST_ANSWERS)?.unwrap_or(1),
            max_tokens: None,
            min_tokens: fields.integer("min_tokens", 0..=usize::MAX)?.unwrap_or(0),
            ignore_eos: fields.boolean("ignore_eos")?.unwrap_or(false),
            stop_strings: stop_strings(fields)?,
            stop_token_ids: stop_token_ids(fields)?,
            held: constraint::take(fields)?,
            logprobs: None,
            stream,
            include_usage,
        })
    }

    /// The engine's request for the first answer to a prompt, without the prompt.
    pub(crate) fn request(&self, model: &Model, max_tokens: usize) -> Request {
        let seed = self.seed.unwrap_or_else(identity::random);
        let eos = if self.ignore_eos { &[][..] } else { &model.stop_ids };
        Request {
            prompt: Vec::new(),
            sampling: Sampling { seed, ..self.sampling.clone() },
            constraint: self.held.as_ref().map(|held| held.constraint.clone()),
            max_tokens,
            stop_ids: eos.iter().chain(&self.stop_token_ids).copied().collect(),
            stop_strings: self.stop_strings.clone(),
            logprobs: self.logprobs,
            prompt_logprobs: None,
            min_tokens: self.min_tokens,
            embedding: false,
            at_once: false,
        }
    }
}

/// Whether the answer is to be streamed.
fn stream_flag(fields: &mut Fields) -> Result<bool, ApiError> {
    Ok(fields.boolean("stream")?.unwrap_or(false))
}

fn stream_options(fields: &mut Fields, stream: bool) -> Result<bool, ApiError> {
    let Some(mut options) = fields.object("stream_options")? else { return Ok(false) };
    if !stream {
        let message = "`stream_options` is given without `stream: true`";
        return Err(ApiError::invalid("stream_options", message));
    }
    let include_usage = options.boolean("include_usage")?.unwrap_or(false);
    let nothing = [Value::Bool(false)];
    options.only("include_obfuscation", &nothing, "chunks carry no padding")?;
    options.only("continuous_usage_stats", &nothing, "usage comes once, at the end")?;
    options.finish(false)?;
    Ok(include_usage)
}

fn sampling(fields: &mut Fields) -> Result<Sampling, ApiError> {
    let top_k = match fields.take("top_k") {
        None => 0,
        // vLLM's word for "all".
        Some(value) if value == -1 => 0,
        Some(value) => {
            whole(&value).ok_or_else(|| wrong("top_k", &value, "a whole number; 0 or -1 keeps all"))?
        }
    };
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0),
        top_k,
        top_p: fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0),
        min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(0.0),
        repetition_penalty: fields.number("repetition_penalty", 0.01..=100.0)?.unwrap_or(1.0),
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
        logit_bias: logit_bias(fields)?,
        seed: 0,
    })
}

/// Any 64-bit integer: negative ones are the large ones.
fn seed(fields: &mut Fields) -> Result<Option<u64>, ApiError> {
    let Some(value) = fields.take("seed") else { return Ok(None) };
    let number = value.as_u64().or_else(|| value.as_i64().map(|negative| negative as u64));
    number.map(Some).ok_or_else(|| wrong("seed", &value, "a whole number of 64 bits"))
}

fn logit_bias(fields: &mut Fields) -> Result<Vec<(u32, f32)>, ApiError> {
    let entries = match fields.take("logit_bias") {
        None => return Ok(Vec::new()),
        Some(Value::Object(entries)) => entries,
        Some(other) => return Err(wrong("logit_bias", &other, "an object of token ids and numbers")),
    };
    let entry = |(id, bias): (String, Value)| {
        let number = bias.as_f64().filter(|number| (-100.0..=100.0).contains(number));
        match (id.parse::<u32>(), number) {
            (Ok(id), Some(number)) => Ok((id, number as f32)),
            (Err(_), _) => Err(wrong("logit_bias", &Value::from(id), "token ids as names")),
            (_, None) => Err(wrong(&format!("logit_bias.{id}"), &bias, "a number from -100 to 100")),
        }
    };
    entries.into_iter().map(entry).collect()
}

fn stop_strings(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let items = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= MOST_STOPS => items,
        Some(Value::Array(items)) => {
            let message = format!("`stop` holds {} strings; expected at most {MOST_STOPS}", items.len());
            return Err(ApiError::invalid("stop", message));
        }
        Some(one @ Value::String(_)) => vec![one],
        Some(other) => return Err(wrong("stop", &other, "a string or an array of strings")),
    };
    let text = |item: Value| match item {
        Value::String(text) if (1..=LONGEST_STOP).contains(&text.len()) => Ok(text),
        other => Err(wrong("stop", &other, &format!("strings of 1 to {LONGEST_STOP} bytes"))),
    };
    items.into_iter().map(text).collect()
}

fn stop_token_ids(fields: &mut Fields) -> Result<Vec<u32>, ApiError> {
    let items = fields.list("stop_token_ids")?.unwrap_or_default();
    let id = |item: &Value| item.as_u64().and_then(|id| u32::try_from(id).ok());
    let read = |item: Value| id(&item).ok_or_else(|| wrong("stop_token_ids", &item, "token ids"));
    items.into_iter().map(read).collect()
}
