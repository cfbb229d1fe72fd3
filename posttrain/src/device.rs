//! Where a run computes, and how many tokens at once: what was asked for, and what that means on this machine.
//!
//! Neither is part of what a run is: a checkpoint resumes on either device, and `auto` may mean another size on
//! another card. What they came to stands in run.json under `machine`.

use crate::gpu::plan::{Estimate, Plan, fits};
use crate::recipe::Training;
use crate::run::Place;
#[cfg(not(any(feature = "cuda", feature = "emulated")))]
use anyhow::bail;
use anyhow::{Result, ensure};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};
use smollm::ModelConfig;
use std::fmt;
use std::str::FromStr;

/// Tokens of a micro-batch where nothing else is asked for.
const DEFAULT_TOKENS: usize = 4096;
/// Share of the card's free memory that a plan may fill: cuBLAS and the allocator take some, too.
const FILL: f64 = 0.94;

/// Where to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The first card if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The card of that number.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(ordinal) => write!(formatter, "cuda:{ordinal}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let card = |number: &str| number.parse().ok().map(Self::Cuda);
        let known = match text {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(card),
        };
        known.ok_or_else(|| format!("device is {text:?}; expected auto, cpu, cuda or cuda:N"))
    }
}

/// Tokens computed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MicroBatch {
    /// As many as the card's memory holds; 4096 on the CPU.
    Auto,
    /// So many.
    Tokens(usize),
}

impl fmt::Display for MicroBatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Tokens(tokens) => write!(formatter, "{tokens}"),
        }
    }
}

impl FromStr for MicroBatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text
                .parse()
                .map(Self::Tokens)
                .map_err(|_| format!("micro_batch_tokens is {text:?}; expected a number or auto")),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for MicroBatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Tokens(tokens) => serializer.serialize_u64(*tokens as u64),
        }
    }
}

impl<'de> Deserialize<'de> for MicroBatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Tokens(usize),
            Word(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Tokens(tokens) => Ok(Self::Tokens(tokens)),
            Written::Word(word) => word.parse().map_err(de::Error::custom),
        }
    }
}

/// How large the micro-batches of a run can be.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// Tokens of the longest unit that is never split: a row, a pair, a sequence.
    pub longest: usize,
    /// Tokens of an optimizer step: more at once is of no use.
    pub step: usize,
}

/// Puts what `device` and `micro_batch_tokens` mean here in their place, tells it in `about`, and refuses what does
/// not fit into the card.
///
/// # Errors
/// When a card is asked for and there is none, or its memory is too small; names the parts and what to change.
pub fn settle(
    training: &mut Training,
    config: &ModelConfig,
    lengths: Lengths,
    place: &Place,
    about: &mut Map<String, Value>,
) -> Result<()> {
    let earlier = recorded(place);
    let (device, name, memory) = found(training.device)?;
    let plan = Plan::new(config, training.precision, training.layer_checkpointing);
    let mut machine = about.remove("machine").unwrap_or_default();
    machine["device"] = name.clone().into();
    let tokens = match (training.micro_batch_tokens, memory) {
        (MicroBatch::Tokens(tokens), _) => tokens,
        (MicroBatch::Auto, None) => DEFAULT_TOKENS,
        (MicroBatch::Auto, Some(free)) => {
            let most = largest(&plan, lengths, free, &name)?;
            // What an interrupted run computed with, so that it ends with the same bits.
            earlier.filter(|earlier| *earlier <= most).unwrap_or(most)
        }
    };
    if let Some(free) = memory {
        let estimate = plan.estimate(tokens.max(lengths.longest));
        refuse_too_large(&estimate, tokens.max(lengths.longest), lengths, free, &name)?;
        eprintln!("{name}: {} of {} GiB free", estimate.line(), gib(free));
        machine["memory_estimate"] = estimate.to_json();
    }
    machine["micro_batch_tokens"] = tokens.into();
    about.insert("machine".to_owned(), machine);
    training.device = device;
    training.micro_batch_tokens = MicroBatch::Tokens(tokens);
    Ok(())
}

/// Tokens of a micro-batch that the run in this folder was given when it began.
fn recorded(place: &Place) -> Option<usize> {
    if place.restart {
        return None;
    }
    let text = std::fs::read(place.out.join("run.json")).ok()?;
    let run: Value = serde_json::from_slice(&text).ok()?;
    Some(run["machine"]["micro_batch_tokens"].as_u64()? as usize)
}

/// The largest micro-batch that fits into so much memory.
fn largest(plan: &Plan, lengths: Lengths, free: u64, name: &str) -> Result<usize> {
    let budget = (free as f64 * FILL) as u64;
    match fits(plan, budget) {
        Some(tokens) if tokens >= lengths.longest => Ok(tokens.min(lengths.step.max(lengths.longest))),
        _ => {
            refuse_too_large(&plan.estimate(lengths.longest), lengths.longest, lengths, free, name)?;
            Ok(lengths.longest)
        }
    }
}

fn refuse_too_large(
    estimate: &Estimate,
    tokens: usize,
    lengths: Lengths,
    free: u64,
    name: &str,
) -> Result<()> {
    let smaller = if tokens > lengths.longest {
        format!("--micro-batch-tokens {} or auto", lengths.longest)
    } else {
        "shorter sequences".to_owned()
    };
    ensure!(
        estimate.total() <= free,
        "{name} has {} GiB free, {tokens} tokens at once take {}: give {smaller}, --layer-checkpointing, or another card",
        gib(free),
        estimate.line()
    );
    Ok(())
}

/// Bytes as GiB, a digit after the point.
pub(crate) fn gib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / (1u64 << 30) as f64)
}

/// The device, its name, and the bytes that are free on it where it is a card.
#[cfg(any(feature = "cuda", feature = "emulated"))]
fn found(asked: Device) -> Result<(Device, String, Option<u64>)> {
    use crate::gpu::card::Card;
    let ordinal = match asked {
        Device::Cpu => return Ok((Device::Cpu, "cpu".to_owned(), None)),
        Device::Auto if Card::count().is_ok_and(|count| count > 0) => 0,
        Device::Auto => return Ok((Device::Cpu, "cpu".to_owned(), None)),
        Device::Cuda(ordinal) => ordinal,
    };
    let card = Card::open(ordinal)?;
    Ok((Device::Cuda(ordinal), format!("cuda:{ordinal} ({})", card.name()), Some(card.free()?)))
}

#[cfg(not(any(feature = "cuda", feature = "emulated")))]
fn found(asked: Device) -> Result<(Device, String, Option<u64>)> {
    match asked {
        Device::Auto | Device::Cpu => Ok((Device::Cpu, "cpu".to_owned(), None)),
        Device::Cuda(_) => bail!(
            "device is {asked}, and this posttrain was built without the feature cuda: cargo build --release -p posttrain --features cuda (it needs nvcc: posttrain/gpu/toolkit), or --device cpu"
        ),
    }
}
