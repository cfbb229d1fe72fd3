//! The parameters that the generating endpoints share: sampling, length, stops, constraint, streaming.

use super::constraint::{self, NamedConstraint};
use crate::error::ApiError;
use crate::fields::{Fields, integer, wrong};
use crate::ids;
use crate::model::Model;
use crate::tools::ToolPlan;
use engine::{Constraint, Request, Sampling};
use serde_json::Value;

/// How to generate, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Generation {
    /// Without the seed.
    pub(crate) sampling: Sampling,
    pub(crate) seed: Option<u64>,
    /// Number of answers to each prompt.
    pub(crate) n: usize,
    /// `None` is the endpoint's default.
    pub(crate) max_tokens: Option<usize>,
    pub(crate) min_tokens: usize,
    pub(crate) ignore_eos: bool,
    pub(crate) stop_strings: Vec<String>,
    pub(crate) stop_token_ids: Vec<u32>,
    pub(crate) constraint: Option<NamedConstraint>,
    pub(crate) logprobs: Option<usize>,
    /// How many of the likeliest tokens to report with each token of the prompt.
    pub(crate) prompt_logprobs: Option<usize>,
    pub(crate) stream: bool,
    pub(crate) usage: UsageOptions,
    /// Whether the ids of prompts and answers are returned.
    pub(crate) returns_ids: bool,
}

/// What of the usage a stream reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct UsageOptions {
    /// Whether the last event has the usage.
    pub(crate) is_included: bool,
    /// Whether every event has the usage so far.
    pub(crate) is_continuous: bool,
}

/// Maximum number of answers to one prompt.
const MAX_ANSWERS: usize = 128;
/// Bytes of the longest stop string, as in the engine.
const MAX_STOP_BYTES: usize = 1024;
/// Maximum number of stop strings.
const MAX_STOPS: usize = 16;
/// Maximum number of stop token ids: were every token one, nothing could be generated.
const MAX_STOP_IDS: usize = 128;

impl Generation {
    /// Takes the shared parameters. `max_tokens` and `logprobs` are left to the endpoints, which spell them differently.
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let stream = fields.boolean("stream")?.unwrap_or(false);
        let usage = stream_options(fields, stream)?;
        Ok(Self {
            sampling: sampling(fields)?,
            seed: seed(fields)?,
            n: fields.integer("n", 1..=MAX_ANSWERS)?.unwrap_or(1),
            max_tokens: None,
            min_tokens: fields.integer("min_tokens", 0..=usize::MAX)?.unwrap_or(0),
            ignore_eos: fields.boolean("ignore_eos")?.unwrap_or(false),
            stop_strings: stop_strings(fields)?,
            stop_token_ids: stop_token_ids(fields)?,
            constraint: constraint::take(fields)?,
            logprobs: None,
            prompt_logprobs: None,
            stream,
            usage,
            returns_ids: false,
        })
    }

    /// Takes `prompt_logprobs`, of the endpoints that report them.
    pub(super) fn take_prompt_logprobs(&mut self, fields: &mut Fields) -> Result<(), ApiError> {
        self.prompt_logprobs = fields.integer("prompt_logprobs", 0..=20)?;
        match self.prompt_logprobs {
            Some(_) if self.stream => Err(ApiError::invalid(
                "prompt_logprobs",
                "`prompt_logprobs` is not reported in a stream; remove it, or `stream`",
            )),
            _ => Ok(()),
        }
    }

    /// Adds the tools' constraint. Tools that must be called allow no other constraint. Where they may be called, the
    /// answer is calls or JSON that fits a schema; other constraints would leave no way to call.
    pub(super) fn constrain_to_tools(&mut self, tools: Option<&ToolPlan>) -> Result<(), ApiError> {
        let Some(plan) = tools else { return Ok(()) };
        let own = self.constraint.take();
        let schema = match &own {
            None => None,
            Some(NamedConstraint { param, constraint: Constraint::JsonSchema(Value::Object(schema)) })
                if !plan.is_forced() =>
            {
                engine::check_schema(&Value::Object(schema.clone()))
                    .map_err(|refused| ApiError { param: Some(param.clone()), ..refused.into() })?;
                Some(schema)
            }
            Some(NamedConstraint { param, .. }) => {
                let message = format!(
                    "`tools` and `{param}` both constrain the text; send one, or `tool_choice: none`"
                );
                return Err(ApiError::invalid(param, message));
            }
        };
        let constraint = plan.constraint(schema);
        let param = own.map_or_else(|| "tools".to_owned(), |own| own.param);
        self.constraint = constraint.map(|constraint| NamedConstraint { param, constraint });
        Ok(())
    }

    /// The engine's request for the first answer to a prompt, without the prompt.
    pub(crate) fn request(&self, model: &Model, max_tokens: usize) -> Request {
        let seed = self.seed.unwrap_or_else(ids::random);
        let eos = if self.ignore_eos { &[][..] } else { &model.stop_ids };
        Request {
            prompt: Vec::new(),
            sampling: Sampling { seed, ..self.sampling.clone() },
            constraint: self.constraint.as_ref().map(|named| named.constraint.clone()),
            max_tokens,
            stop_ids: eos.iter().chain(&self.stop_token_ids).copied().collect(),
            stop_strings: self.stop_strings.clone(),
            logprobs: self.logprobs,
            prompt_logprobs: self.prompt_logprobs,
            min_tokens: self.min_tokens,
            ..Request::default()
        }
    }
}

/// Takes `stream_options`.
fn stream_options(fields: &mut Fields, stream: bool) -> Result<UsageOptions, ApiError> {
    let Some(mut options) = fields.object("stream_options")? else { return Ok(UsageOptions::default()) };
    if !stream {
        return Err(ApiError::invalid("stream_options", "`stream_options` requires `stream: true`"));
    }
    let is_included = options.boolean("include_usage")?.unwrap_or(false);
    let off = [Value::Bool(false)];
    options.neutral("include_obfuscation", &off, "chunks have no padding")?;
    let continuous = options.boolean("continuous_usage_stats")?.unwrap_or(false);
    options.finish(false)?;
    Ok(UsageOptions { is_included, is_continuous: is_included && continuous })
}

fn sampling(fields: &mut Fields) -> Result<Sampling, ApiError> {
    let top_k = match fields.take("top_k") {
        None => 0,
        // vLLM's value for "all".
        Some(value) if value == -1 => 0,
        Some(value) => {
            integer(&value).ok_or_else(|| wrong("top_k", &value, "an integer; 0 or -1 keeps all tokens"))?
        }
    };
    // Without sampling, as text-generation-inference and transformers say it.
    let is_greedy = fields.boolean("do_sample")? == Some(false);
    let default_temperature = if is_greedy { 0.0 } else { 1.0 };
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(default_temperature),
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

/// Takes any 64-bit integer; negative ones are read as large ones.
fn seed(fields: &mut Fields) -> Result<Option<u64>, ApiError> {
    let Some(value) = fields.take("seed") else { return Ok(None) };
    let number = value.as_u64().or_else(|| value.as_i64().map(|negative| negative as u64));
    number.map(Some).ok_or_else(|| wrong("seed", &value, "a 64-bit integer"))
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
        Some(Value::Array(items)) if items.len() <= MAX_STOPS => items,
        Some(Value::Array(items)) => {
            let message = format!("`stop` has {} strings; expected at most {MAX_STOPS}", items.len());
            return Err(ApiError::invalid("stop", message));
        }
        Some(one @ Value::String(_)) => vec![one],
        Some(other) => return Err(wrong("stop", &other, "a string or an array of strings")),
    };
    let text = |item: Value| match item {
        Value::String(text) if text.len() <= MAX_STOP_BYTES => Ok(text),
        other => Err(wrong("stop", &other, &format!("strings of at most {MAX_STOP_BYTES} bytes"))),
    };
    let texts = items.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
    // Forms send an empty field where no stop string is wanted.
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
}

fn stop_token_ids(fields: &mut Fields) -> Result<Vec<u32>, ApiError> {
    let items = fields.list("stop_token_ids")?.unwrap_or_default();
    if items.len() > MAX_STOP_IDS {
        let message = format!("`stop_token_ids` has {} ids; expected at most {MAX_STOP_IDS}", items.len());
        return Err(ApiError::invalid("stop_token_ids", message));
    }
    let id = |item: &Value| item.as_u64().and_then(|id| u32::try_from(id).ok());
    let read = |item: Value| id(&item).ok_or_else(|| wrong("stop_token_ids", &item, "token ids"));
    items.into_iter().map(read).collect()
}
