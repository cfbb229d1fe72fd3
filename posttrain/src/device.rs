//! Where a run computes, and how many tokens at once: what was asked for, and what that means on this machine.
//!
//! Neither is part of what a run is: a checkpoint resumes on either device, and `auto` may mean another size on
//! another card. What they came to stands in run.json under `machine`.

use crate::gpu::plan::{Estimate, Plan, fits};
use crate::recipe::Training;
use crate::run::Place;
#[cfg(not(feature = "_card"))]
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
            recorded(place, &name).filter(|earlier| *earlier <= most).unwrap_or(most)
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

/// What `auto` came to when the run in this folder last computed on such a card.
fn recorded(place: &Place, name: &str) -> Option<usize> {
    if place.restart {
        return None;
    }
    let text = std::fs::read(place.out.join("run.json")).ok()?;
    let run: Value = serde_json::from_slice(&text).ok()?;
    let same = run["configuration"]["micro_batch_tokens"] == "auto" && run["machine"]["device"] == name;
    Some(run["machine"]["micro_batch_tokens"].as_u64().filter(|_| same)? as usize)
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
#[cfg(feature = "_card")]
fn found(asked: Device) -> Result<(Device, String, Option<u64>)> {
    use crate::gpu::card::Card;
    let ordinal = match asked {
        Device::Cpu => return Ok((Device::Cpu, "cpu".to_owned(), None)),
        Device::Auto => match Card::count() {
            Ok(0) => return Ok((Device::Cpu, "cpu".to_owned(), None)),
            Ok(_) => 0,
            Err(error) => {
                eprintln!("no card can be used ({error:#}): the CPU computes");
                return Ok((Device::Cpu, "cpu".to_owned(), None));
            }
        },
        Device::Cuda(ordinal) => ordinal,
    };
    let card = Card::open(ordinal)?;
    Ok((Device::Cuda(ordinal), format!("cuda:{ordinal} ({})", card.name()), Some(card.free()?)))
}

#[cfg(not(feature = "_card"))]
fn found(asked: Device) -> Result<(Device, String, Option<u64>)> {
    match asked {
        Device::Auto | Device::Cpu => Ok((Device::Cpu, "cpu".to_owned(), None)),
        Device::Cuda(_) => bail!(
            "device is {asked}, and this posttrain was built without the feature cuda: cargo build --release -p posttrain --features cuda (it needs nvcc: posttrain/gpu/toolkit), or --device cpu"
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::recipe::{Precision, TrainingFlags, flags, identity, resolve};

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Settings {
        #[serde(flatten)]
        training: Training,
    }

    fn place(folder: &std::path::Path) -> Place {
        Place { out: folder.to_owned(), restart: false, accept_changes: false }
    }

    #[test]
    fn devices_and_sizes_are_read_from_flags_and_recipes() {
        for (text, device) in [
            ("auto", Device::Auto),
            ("cpu", Device::Cpu),
            ("cuda", Device::Cuda(0)),
            ("cuda:3", Device::Cuda(3)),
        ] {
            assert_eq!(text.parse(), Ok(device));
        }
        for text in ["gpu", "cuda:", "cuda:-1", "cuda:one", ""] {
            assert!(text.parse::<Device>().unwrap_err().contains("expected auto, cpu, cuda or cuda:N"));
        }
        let folder = tempfile::tempdir().unwrap();
        let recipe = folder.path().join("a.toml");
        std::fs::write(&recipe, "device = \"cuda:1\"\nmicro_batch_tokens = \"auto\"\n").unwrap();
        let settings: Settings = resolve(Some(&recipe), &[]).unwrap();
        let Training { device, micro_batch_tokens, .. } = settings.training;
        assert_eq!((device, micro_batch_tokens), (Device::Cuda(1), MicroBatch::Auto));
        let typed = TrainingFlags {
            device: Some(Device::Cpu),
            micro_batch_tokens: Some(MicroBatch::Tokens(99)),
            ..TrainingFlags::default()
        };
        let settings: Settings = resolve(Some(&recipe), &[flags(&typed).unwrap()]).unwrap();
        let Training { device, micro_batch_tokens, .. } = settings.training;
        assert_eq!((device, micro_batch_tokens), (Device::Cpu, MicroBatch::Tokens(99)));
    }

    /// A run that began on one device goes on on another; `auto` is what it was asked for, whatever it came to.
    #[test]
    fn the_device_is_no_part_of_what_a_run_is() {
        let on = |device, micro_batch_tokens| {
            let training = Training { device, micro_batch_tokens, ..Training::default() };
            identity(&Settings { training }).unwrap()
        };
        assert_eq!(on(Device::Cpu, MicroBatch::Auto), on(Device::Cuda(1), MicroBatch::Auto));
        assert_eq!(on(Device::Cpu, MicroBatch::Auto)["micro_batch_tokens"], "auto");
        assert_ne!(on(Device::Cpu, MicroBatch::Auto), on(Device::Cpu, MicroBatch::Tokens(4096)));
    }

    #[test]
    fn the_cpu_takes_what_is_asked_for_and_tells_it() {
        let folder = tempfile::tempdir().unwrap();
        let lengths = Lengths { longest: 1024, step: 16_384 };
        for (asked, expected) in [(MicroBatch::Auto, DEFAULT_TOKENS), (MicroBatch::Tokens(7), 7)] {
            let mut training =
                Training { device: Device::Cpu, micro_batch_tokens: asked, ..Training::default() };
            let mut about = Map::new();
            let config = ModelConfig::smollm2_135m();
            settle(&mut training, &config, lengths, &place(folder.path()), &mut about).unwrap();
            assert_eq!(training.micro_batch(), expected);
            assert_eq!((about["machine"]["device"].as_str(), training.on_card()), (Some("cpu"), false));
            assert_eq!(about["machine"]["micro_batch_tokens"], expected);
        }
    }

    #[cfg(not(feature = "_card"))]
    #[test]
    fn a_build_without_the_feature_says_how_to_get_it() {
        assert!(matches!(found(Device::Auto), Ok((Device::Cpu, _, None))));
        let error = found(Device::Cuda(0)).unwrap_err().to_string();
        assert!(error.contains("--features cuda") && error.contains("--device cpu"), "{error}");
    }

    #[test]
    fn a_card_takes_no_more_than_a_step_and_no_less_than_the_longest() {
        let plan = Plan::new(&ModelConfig::smollm2_1_7b(), Precision::Bf16, false);
        let of =
            |longest, step, gib: u64| largest(&plan, Lengths { longest, step }, gib << 30, "cuda:0 (a card)");
        assert_eq!(of(2048, 8192, 139).unwrap(), 8192);
        let most = of(8192, 1 << 21, 139).unwrap();
        assert!((32_768..80_000).contains(&most), "{most}");
        // It would fill more than its share of the card, and fits still.
        let tight = plan.estimate(8192).total().div_ceil(1 << 30);
        assert_eq!(of(8192, 1 << 21, tight).unwrap(), 8192);
        let error = of(8192, 1 << 21, 24).unwrap_err().to_string();
        for part in ["24.0 GiB free", "moments", "activations", "--layer-checkpointing", "shorter sequences"]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
        let lengths = Lengths { longest: 2048, step: 1 << 21 };
        let estimate = plan.estimate(65_536);
        let error = refuse_too_large(&estimate, 65_536, lengths, 80 << 30, "a card").unwrap_err().to_string();
        assert!(error.contains("--micro-batch-tokens 2048 or auto"), "{error}");
    }

    #[test]
    fn a_resumed_run_goes_on_with_the_size_it_had() {
        let folder = tempfile::tempdir().unwrap();
        let write = |asked: &str, device: &str| {
            let run = serde_json::json!({
                "configuration": {"micro_batch_tokens": asked},
                "machine": {"device": device, "micro_batch_tokens": 5120},
            });
            std::fs::write(folder.path().join("run.json"), run.to_string()).unwrap();
        };
        let recorded = || recorded(&place(folder.path()), "cuda:0 (a card)");
        assert_eq!(recorded(), None);
        write("auto", "cuda:0 (a card)");
        assert_eq!(recorded(), Some(5120));
        write("auto", "cpu");
        assert_eq!(recorded(), None);
        write("5120", "cuda:0 (a card)");
        assert_eq!(recorded(), None);
    }
}
