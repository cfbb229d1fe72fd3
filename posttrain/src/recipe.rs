//! What a run is told: defaults, then a recipe file, then flags, the later winning.
//!
//! `settings!` makes two structs from one list of fields: the resolved one, read from TOML with its defaults, and
//! the flags, where everything may be left out. So every recipe field is a flag and no list can drift.

use crate::device::{Device, MicroBatch};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// A settings struct with defaults, and beside it the struct of its command-line flags.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $name:ident, $flags:ident {
            $( $(#[doc = $doc:literal])+ $([$($argument:tt)+])? $field:ident: $type:ty = $default:expr, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name { $( $(#[doc = $doc])+ pub $field: $type, )+ }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        #[doc = concat!("The flags of `", stringify!($name), "`; what is left out comes from the recipe.")]
        #[derive(Clone, Debug, Default, clap::Args, serde::Serialize)]
        pub struct $flags {
            $( $(#[doc = $doc])+ #[arg(long, $($($argument)+)?)]
               #[serde(skip_serializing_if = "Option::is_none")]
               pub $field: Option<$type>, )+
        }
    };
}
pub(crate) use settings;

settings! {
    /// What all training has in common. Names as in Hugging Face's TrainingArguments where they mean the same.
    pub struct Training, TrainingFlags {
        /// Peak learning rate
        learning_rate: f64 = 2e-5,
        /// Shape of the learning rate after the warm-up
        lr_scheduler_type: crate::schedule::Shape = crate::schedule::Shape::Cosine,
        /// Share of the steps that warm up; `warmup_steps` overrides it
        warmup_ratio: f64 = 0.0,
        /// Steps that warm up; 0: by `warmup_ratio`
        warmup_steps: u64 = 0,
        /// Share of the steps that `wsd` decays over, at the end
        decay_ratio: f64 = 0.1,
        /// Where the decay ends, as a share of the peak
        min_lr_ratio: f64 = 0.0,
        /// AdamW's decay of the mean of gradients
        adam_beta1: f64 = 0.9,
        /// AdamW's decay of the mean of squares
        adam_beta2: f64 = 0.95,
        /// AdamW's addition to the root
        adam_epsilon: f64 = 1e-8,
        /// Decoupled weight decay, of matrices only
        weight_decay: f64 = 0.01,
        /// Largest global norm of the gradients; 0: no clipping
        max_grad_norm: f64 = 1.0,
        /// Where to compute: auto (a card if there is one), cpu, cuda or cuda:N. A run resumes on either
        device: Device = Device::Auto,
        /// Tokens computed at once; a step of more is accumulated. Changes speed and memory, not the result. auto: as
        /// many as the card's memory holds
        [alias = "micro-batch"]
        micro_batch_tokens: MicroBatch = MicroBatch::Tokens(4096),
        /// Arithmetic: f32, or bf16 with fp32 master weights, moments and sums
        precision: Precision = Precision::Bf16,
        /// Compute layers again in the backward pass instead of keeping them
        [num_args = 0..=1, default_missing_value = "true"]
        layer_checkpointing: bool = false,
        /// What the order of the data and fresh weights follow from
        [value_parser = clap::value_parser!(u64).range(..1 << 63)]
        seed: u64 = 42,
        /// Steps from one line of metrics to the next
        logging_steps: u64 = 1,
        /// Steps from one evaluation to the next; 0: ten in a run
        eval_steps: u64 = 0,
        /// Steps from one checkpoint to the next; 0: ten in a run
        save_steps: u64 = 0,
        /// Checkpoints kept, besides the best
        save_total_limit: usize = 2,
        /// Numbers in the saved weights
        save_precision: SavedAs = SavedAs::Computed,
    }
}

/// f32 or bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// bfloat16; where it computes, sums and master weights stay f32.
    Bf16,
}

/// What weights are saved as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavedAs {
    /// As `precision` computes.
    Computed,
    /// 32-bit floats.
    F32,
    /// bfloat16.
    Bf16,
}

impl Training {
    /// Refuses what no run can do.
    ///
    /// # Errors
    /// Names the field and its value.
    pub fn check(&self) -> Result<()> {
        within("learning_rate", self.learning_rate, 0.0, 1e30)?;
        within("warmup_ratio", self.warmup_ratio, 0.0, 1.0)?;
        within("decay_ratio", self.decay_ratio, 0.0, 1.0)?;
        within("min_lr_ratio", self.min_lr_ratio, 0.0, 1.0)?;
        // Computed in f32, where the next number below 1 is not far.
        let below_one = 1.0 - f64::from(f32::EPSILON);
        within("adam_beta1", self.adam_beta1, 0.0, below_one)?;
        within("adam_beta2", self.adam_beta2, 0.0, below_one)?;
        within("adam_epsilon", self.adam_epsilon, f64::from(f32::MIN_POSITIVE), f64::MAX)?;
        within("weight_decay", self.weight_decay, 0.0, f64::MAX)?;
        within("max_grad_norm", self.max_grad_norm, 0.0, f64::MAX)?;
        if let MicroBatch::Tokens(tokens) = self.micro_batch_tokens {
            at_least_one("micro_batch_tokens", tokens as u64)?;
        }
        at_least_one("logging_steps", self.logging_steps)?;
        at_least_one("save_total_limit", self.save_total_limit as u64)
    }

    /// Steps of the warm-up in a run of `total`.
    pub fn warmup(&self, total: u64) -> u64 {
        match self.warmup_steps {
            0 => (total as f64 * self.warmup_ratio).ceil() as u64,
            steps => steps,
        }
    }

    /// Tokens computed at once.
    ///
    /// # Panics
    /// If `device::settle` has not said what `auto` means.
    pub fn micro_batch(&self) -> usize {
        match self.micro_batch_tokens {
            MicroBatch::Tokens(tokens) => tokens,
            MicroBatch::Auto => unreachable!("device::settle comes before the first micro-batch"),
        }
    }

    /// Whether a card computes, as `device::settle` decided.
    pub fn on_card(&self) -> bool {
        matches!(self.device, Device::Cuda(_))
    }

    /// What the weights are saved as.
    pub fn saved(&self) -> smollm::weights::Precision {
        match (self.save_precision, self.precision) {
            (SavedAs::F32, _) | (SavedAs::Computed, Precision::F32) => smollm::weights::Precision::F32,
            (SavedAs::Bf16, _) | (SavedAs::Computed, Precision::Bf16) => smollm::weights::Precision::Bf16,
        }
    }
}

/// The settings that decide what a run is. Where it computes does not: a checkpoint resumes on either device, in other
/// last bits.
///
/// # Errors
/// When a value has no JSON form; none of ours lacks one.
pub(crate) fn identity(settings: &impl Serialize) -> Result<serde_json::Value> {
    let mut value = serde_json::to_value(settings)?;
    if let Some(fields) = value.as_object_mut() {
        fields.remove("device");
    }
    Ok(value)
}

/// Refuses flags that nothing would read.
///
/// # Errors
/// Names the flag.
pub fn check_flags(typed: &TrainingFlags, training: &Training) -> Result<()> {
    if typed.decay_ratio.is_some() && training.lr_scheduler_type != crate::schedule::Shape::Wsd {
        bail!("--decay-ratio is of lr_scheduler_type wsd, which is {:?} here", training.lr_scheduler_type);
    }
    if typed.warmup_ratio.is_some() && training.warmup_steps > 0 {
        bail!("--warmup-ratio is given, but warmup_steps {} overrides it", training.warmup_steps);
    }
    Ok(())
}

/// Refuses a number outside a range, NaN included.
///
/// # Errors
/// Names the field, its value and the range.
pub fn within(name: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if !(low..=high).contains(&value) {
        let range = if high == f64::MAX { format!("at least {low}") } else { format!("{low} to {high}") };
        bail!("{name} is {value}; expected {range}");
    }
    Ok(())
}

/// Refuses 0.
///
/// # Errors
/// Names the field.
pub fn at_least_one(name: &str, value: u64) -> Result<()> {
    if value == 0 {
        bail!("{name} is 0; expected at least 1");
    }
    Ok(())
}

/// Settings from defaults, a recipe file and flags.
///
/// # Errors
/// Names the recipe and the field when one is unknown or of another type.
pub fn resolve<S: Serialize + DeserializeOwned + Default>(
    recipe: Option<&Path>,
    flags: &[toml::Table],
) -> Result<S> {
    let given = recipe.map_or_else(|| Ok(toml::Table::new()), read)?;
    let known = known_fields::<S>()?;
    if let Some(name) = given.keys().find(|name| !known.contains(name)) {
        let recipe = recipe.map(|path| path.display().to_string()).unwrap_or_default();
        bail!("{recipe}: unknown field {name:?}; known are {}", known.join(", "));
    }
    let place = || recipe.map_or_else(|| "flags".to_owned(), |path| path.display().to_string());
    // Defaults of the whole, which may differ from those of a part.
    let defaults = toml::Table::try_from(S::default())?;
    let mut table = defaults.clone();
    for given in std::iter::once(&given).chain(flags) {
        table.extend(given.clone());
    }
    let settings: Result<S, _> = toml::Value::Table(table.clone()).try_into();
    settings.with_context(|| match wrong_field::<S>(&defaults, &table) {
        Some(name) => format!("{}: {name}", place()),
        None => place(),
    })
}

/// The field that cannot be read: the error does not say it where structs are flattened.
fn wrong_field<S: DeserializeOwned>(defaults: &toml::Table, given: &toml::Table) -> Option<String> {
    let fails = |(name, value): &(&String, &toml::Value)| {
        let mut table = defaults.clone();
        table.insert((*name).clone(), (*value).clone());
        toml::Value::Table(table).try_into::<S>().is_err()
    };
    given.iter().find(fails).map(|(name, _)| name.clone())
}

/// Flags as the fields they set.
///
/// # Errors
/// When a value has no TOML form; none of ours lacks one.
pub fn flags(flags: &impl Serialize) -> Result<toml::Table> {
    Ok(toml::Table::try_from(flags)?)
}

/// The command with each setting's default in its help.
pub fn with_defaults<S: Serialize + Default>(mut command: clap::Command) -> clap::Command {
    let defaults = serde_json::to_value(S::default()).unwrap_or_default();
    for (name, value) in defaults.as_object().into_iter().flatten() {
        let known = command.get_arguments().any(|argument| argument.get_id() == name.as_str());
        let value = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(list) => list.iter().filter_map(|entry| entry.as_str()).collect(),
            other => other.to_string(),
        };
        if known && !value.is_empty() && value != "null" {
            command = command.mut_arg(name, |argument| {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                argument.help(format!("{help} [default: {value}]"))
            });
        }
    }
    command
}

fn read(path: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is not TOML", path.display()))
}

/// The fields of the settings, those without a default included: JSON has a word for nothing.
fn known_fields<S: Serialize + Default>() -> Result<Vec<String>> {
    let value = serde_json::to_value(S::default())?;
    Ok(value.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Both {
        #[serde(flatten)]
        training: Training,
        #[serde(default)]
        rows: usize,
    }

    #[test]
    fn flags_win_over_the_recipe_and_it_over_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, "learning_rate = 1\nwarmup_ratio = 0.5\nrows = 3\n").unwrap();
        let typed = TrainingFlags { warmup_ratio: Some(0.25), ..TrainingFlags::default() };
        let both: Both = resolve(Some(&path), &[flags(&typed).unwrap()]).unwrap();
        assert_eq!((both.training.learning_rate, both.training.warmup_ratio, both.rows), (1.0, 0.25, 3));
        assert_eq!(both.training.adam_beta1, Training::default().adam_beta1);
    }

    #[test]
    fn what_is_unknown_or_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let refused = |text: &str, expected: &str| {
            std::fs::write(&path, text).unwrap();
            let reason = format!("{:#}", resolve::<Both>(Some(&path), &[]).unwrap_err());
            assert!(reason.contains(expected), "{reason}");
        };
        refused("learning_rat = 1", "unknown field \"learning_rat\"");
        refused("learning_rate = \"fast\"", "learning_rate");
        refused("learning_rate = ", "not TOML");
        let odd = Training { warmup_ratio: 1.5, ..Training::default() };
        assert_eq!(odd.check().unwrap_err().to_string(), "warmup_ratio is 1.5; expected 0 to 1");
    }

    /// Every recipe that ships says what a run understands and accepts.
    #[test]
    fn the_recipes_resolve() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
        let names: Vec<String> = std::fs::read_dir(folder.clone())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".toml"))
            .collect();
        assert_eq!(names.len(), 9);
        for name in names {
            let path = Some(folder.join(&name));
            let path = path.as_deref();
            if name.ends_with("-sft.toml") {
                resolve::<crate::sft::Settings>(path, &[]).unwrap().check().unwrap();
            } else if name.ends_with("-dpo.toml") {
                resolve::<crate::dpo::Settings>(path, &[]).unwrap().check().unwrap();
            } else {
                crate::pretrain::check_recipe(path.unwrap()).unwrap();
            }
        }
    }
}
