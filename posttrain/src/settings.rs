//! The settings that all kinds of training share.
//!
//! `settings!` makes two structs from one list of fields: the settings themselves, read from TOML with their defaults,
//! and the command-line flags, all of them optional. So every key of a recipe is a flag, and neither list can drift.

use crate::device::{DeviceChoice, MicroBatch};
use crate::lora_modules::{ALL_LINEAR, BaseQuantization, MAX_RANK, modules};
use crate::schedule::{Schedule, ScheduleType};
use crate::time_limit::TimeLimit;
use anyhow::{Result, bail, ensure};
use serde::Serialize;
use training::OptimizerSettings;

/// Defines a struct of settings with defaults, and the struct of their command-line flags.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident, $flags:ident {
            $( $(#[doc = $doc:literal])+ $([$($argument:tt)+])? $field:ident: $type:ty = $default:expr, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        $vis struct $name { $( $(#[doc = $doc])+ $vis $field: $type, )+ }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        #[doc = concat!("The flags of `", stringify!($name), "`; an absent one leaves the recipe's value.")]
        #[derive(Clone, Debug, Default, clap::Args, serde::Serialize)]
        $vis struct $flags {
            $( $(#[doc = $doc])+ #[arg(long, $($($argument)+)?)]
               #[serde(skip_serializing_if = "Option::is_none")]
               $vis $field: Option<$type>, )+
        }
    };
}
pub(crate) use settings;

settings! {
    /// The settings of all training. Names are those of Hugging Face's TrainingArguments where the meaning is the same.
    pub(crate) struct TrainingSettings, TrainingFlags {
        /// Peak learning rate
        learning_rate: f64 = 2e-5,
        /// Learning-rate schedule after the warm-up
        lr_scheduler_type: ScheduleType = ScheduleType::Cosine,
        /// Share of the steps for the warm-up; `warmup_steps` overrides it
        warmup_ratio: f64 = 0.0,
        /// Steps of the warm-up; 0 means `warmup_ratio`
        warmup_steps: u64 = 0,
        /// Share of the steps, at the end, over which `wsd` decays
        decay_ratio: f64 = 0.1,
        /// Final learning rate of the schedule, as a share of the peak
        min_lr_ratio: f64 = 0.0,
        /// AdamW beta1
        adam_beta1: f64 = 0.9,
        /// AdamW beta2
        adam_beta2: f64 = 0.95,
        /// AdamW epsilon, for numerical stability
        adam_epsilon: f64 = 1e-8,
        /// Decoupled weight decay, of matrices only
        weight_decay: f64 = 0.01,
        /// Maximum global gradient norm, for clipping; 0 means no clipping
        max_grad_norm: f64 = 1.0,
        /// Device: auto (the first GPU if there is one), cpu, cuda or cuda:N. A run can resume on another one
        device: DeviceChoice = DeviceChoice::Auto,
        /// Tokens of a micro-batch; a larger step accumulates gradients. Changes speed and memory, not the result. auto:
        /// what fits into the GPU's memory, 4096 on the CPU
        [alias = "micro-batch"]
        micro_batch_tokens: MicroBatch = MicroBatch::Auto,
        /// Data type of activations and matrix products
        precision: Precision = Precision::Bf16,
        /// Recompute layers in the backward pass instead of keeping their activations
        [num_args = 0..=1, default_missing_value = "true"]
        layer_checkpointing: bool = false,
        /// Rank of a LoRA adapter, which is trained instead of the weights; 0 trains all weights
        lora_rank: usize = 0,
        /// Alpha of the adapter: what it adds is scaled by alpha / rank; 0 means twice the rank
        lora_alpha: f64 = 0.0,
        /// Share of the adapter's inputs that are dropped while it is trained
        lora_dropout: f64 = 0.0,
        /// Linear layers that are adapted, comma-separated: all-linear, or q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj,
        /// down_proj
        [value_delimiter = ',', num_args = 1..]
        lora_modules: Vec<String> = vec![ALL_LINEAR.to_owned()],
        /// Scale what the adapter adds by alpha / sqrt(rank), which suits large ranks
        [num_args = 0..=1, default_missing_value = "true"]
        lora_rslora: bool = false,
        /// Folder of an adapter to continue, instead of a new one; rank, alpha and modules are its own
        [value_name = "DIR"]
        lora_init: String = String::new(),
        /// Quantize the frozen linear layers under an adapter (QLoRA); those of a GGUF file always keep its bits
        quantize_base: BaseQuantization = BaseQuantization::None,
        /// Random seed for data order and weight initialization
        [value_parser = clap::value_parser!(u64).range(..1 << 63)]
        seed: u64 = 42,
        /// Steps between two lines of metrics
        logging_steps: u64 = 1,
        /// Steps between two evaluations; 0 means ten in a run
        eval_steps: u64 = 0,
        /// Benchmark tasks that score the model before the first step and while it trains, separated by commas; `smoleval
        /// tasks` lists them
        [value_delimiter = ',']
        eval_tasks: Vec<String> = Vec::new(),
        /// Datasets of `eval_tasks`: a folder of datasets, one data file or a hub id; without it the hub's cache, then the hub
        [value_name = "DIR"]
        eval_tasks_data: String = String::new(),
        /// Maximum number of documents of each of `eval_tasks`; 0 means all
        eval_limit: usize = 0,
        /// Steps between two scorings of `eval_tasks`; 0 means ten in a run
        eval_every: u64 = 0,
        /// Put the questions of `eval_tasks` in the model's chat template
        [num_args = 0..=1, default_missing_value = "true"]
        eval_chat_template: bool = false,
        /// Prompts that the model answers before the first step and while it trains, for a person to read: a text file with
        /// one in each line, or JSON Lines with `prompt` or `messages`
        [value_name = "FILE"]
        sample_prompts: String = String::new(),
        /// Steps between two rounds of `sample_prompts`; 0 means ten in a run
        sample_every: u64 = 0,
        /// Maximum number of tokens of a reply to `sample_prompts`
        sample_tokens: usize = 128,
        /// Steps between two checkpoints; 0 means ten in a run, fewer where saving would take more than a tenth of its time
        save_steps: u64 = 0,
        /// Maximum number of checkpoints to keep, in addition to the best
        save_total_limit: usize = 2,
        /// Weights that are the result of the run
        keep: Kept = Kept::Last,
        /// Evaluations in a row without a better loss after which the run ends; 0 means no end
        patience: u64 = 0,
        /// Time after which a checkpoint is saved and the program stops with exit code 124, such as 90s, 30min or 2h; the
        /// same command resumes
        time_limit: TimeLimit = TimeLimit::default(),
        /// Data type of the saved weights
        save_precision: SavedPrecision = SavedPrecision::Computed,
    }
}

/// Which weights are the result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kept {
    /// Those after the last step
    Last,
    /// Those of the best evaluation loss
    Best,
}

/// Data type of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Precision {
    /// 32-bit floats
    F32,
    /// bfloat16, with f32 master weights, gradients, moments and sums
    Bf16,
}

impl From<Precision> for training::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

/// Data type of saved weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SavedPrecision {
    /// The value of `precision`
    Computed,
    /// 32-bit floats
    F32,
    /// bfloat16
    Bf16,
}

impl TrainingSettings {
    /// Refuses values that no run can use.
    ///
    /// # Errors
    /// Names the key and its value.
    pub(crate) fn check(&self) -> Result<()> {
        within("`learning_rate`", self.learning_rate, 0.0, 1e30)?;
        within("`warmup_ratio`", self.warmup_ratio, 0.0, 1.0)?;
        within("`decay_ratio`", self.decay_ratio, 0.0, 1.0)?;
        within("`min_lr_ratio`", self.min_lr_ratio, 0.0, 1.0)?;
        // AdamW computes in f32, where the next number below 1 is not far.
        let below_one = 1.0 - f64::from(f32::EPSILON);
        within("`adam_beta1`", self.adam_beta1, 0.0, below_one)?;
        within("`adam_beta2`", self.adam_beta2, 0.0, below_one)?;
        within("`adam_epsilon`", self.adam_epsilon, f64::from(f32::MIN_POSITIVE), f64::MAX)?;
        within("`weight_decay`", self.weight_decay, 0.0, f64::MAX)?;
        within("`max_grad_norm`", self.max_grad_norm, 0.0, f64::MAX)?;
        if let MicroBatch::Tokens(tokens) = self.micro_batch_tokens {
            at_least_one("`micro_batch_tokens`", tokens as u64)?;
        }
        self.check_lora()?;
        at_least_one("`logging_steps`", self.logging_steps)?;
        at_least_one("`sample_tokens`", self.sample_tokens as u64)?;
        at_least_one("`save_total_limit`", self.save_total_limit as u64)
    }

    /// Refuses values that no adapter can have.
    ///
    /// # Errors
    /// Names the key and its value.
    fn check_lora(&self) -> Result<()> {
        within("`lora_alpha`", self.lora_alpha, 0.0, f64::MAX)?;
        within("`lora_dropout`", self.lora_dropout, 0.0, 0.9)?;
        ensure!(self.lora_rank <= MAX_RANK, "`lora_rank` is {}; expected at most {MAX_RANK}", self.lora_rank);
        modules(&self.lora_modules).map(drop)
    }

    /// Returns the steps of the warm-up in a run of `total` steps.
    pub(crate) fn warmup(&self, total: u64) -> u64 {
        match self.warmup_steps {
            0 => (total as f64 * self.warmup_ratio).ceil() as u64,
            steps => steps,
        }
    }

    /// Returns the learning-rate schedule of a run of `total` steps.
    pub(crate) fn schedule(&self, total: u64) -> Schedule {
        Schedule {
            peak: self.learning_rate,
            floor: self.min_lr_ratio,
            schedule_type: self.lr_scheduler_type,
            warmup: self.warmup(total),
            decay: (total as f64 * self.decay_ratio).ceil() as u64,
            total,
        }
    }

    /// Returns the hyperparameters of AdamW and of clipping.
    pub(crate) fn optimizer(&self) -> OptimizerSettings {
        OptimizerSettings {
            beta1: self.adam_beta1 as f32,
            beta2: self.adam_beta2 as f32,
            epsilon: self.adam_epsilon as f32,
            weight_decay: self.weight_decay as f32,
            max_grad_norm: self.max_grad_norm as f32,
        }
    }

    /// Returns the data type of saved weights.
    pub(crate) fn saved_precision(&self) -> checkpoint::weights::Precision {
        match (self.save_precision, self.precision) {
            (SavedPrecision::F32, _) | (SavedPrecision::Computed, Precision::F32) => {
                checkpoint::weights::Precision::F32
            }
            (SavedPrecision::Bf16, _) | (SavedPrecision::Computed, Precision::Bf16) => {
                checkpoint::weights::Precision::Bf16
            }
        }
    }
}

/// Settings that decide nothing about a run's weights.
const UNRELATED: [&str; 10] = [
    "device",
    "eval_tasks",
    "eval_tasks_data",
    "eval_limit",
    "eval_every",
    "eval_chat_template",
    "sample_prompts",
    "sample_every",
    "sample_tokens",
    "time_limit",
];
/// Settings that came later: at their default, a run is recognized by what it was before.
const LATER: [&str; 9] = [
    "lora_rank",
    "lora_alpha",
    "lora_dropout",
    "lora_modules",
    "lora_rslora",
    "lora_init",
    "quantize_base",
    "keep",
    "patience",
];

/// Returns the settings by which a run is recognized. The device is not one of them: a checkpoint resumes on any device,
/// with other last bits. Nor are the benchmark tasks that score the model.
///
/// # Errors
/// When a value cannot be written as JSON; all of ours can.
pub(crate) fn identity(settings: &impl Serialize) -> Result<serde_json::Value> {
    let mut value = serde_json::to_value(settings)?;
    if let Some(fields) = value.as_object_mut() {
        UNRELATED.iter().for_each(|name| drop(fields.remove(*name)));
        let defaults = serde_json::to_value(TrainingSettings::default())?;
        let is_default = |name: &str, value: &serde_json::Value| defaults[name] == *value;
        fields.retain(|name, value| !LATER.contains(&name.as_str()) || !is_default(name, value));
    }
    Ok(value)
}

/// Refuses flags that would have no effect.
///
/// # Errors
/// Names the flag.
pub(crate) fn check_flags(flags: &TrainingFlags, settings: &TrainingSettings) -> Result<()> {
    if flags.decay_ratio.is_some() && settings.lr_scheduler_type != ScheduleType::Wsd {
        bail!(
            "`--decay-ratio` only applies to `lr_scheduler_type` `wsd`, but it is `{}`; remove one of them",
            settings.lr_scheduler_type
        );
    }
    if flags.warmup_ratio.is_some() && settings.warmup_steps > 0 {
        bail!(
            "`--warmup-ratio` has no effect, because `warmup_steps` is {}; remove one of them",
            settings.warmup_steps
        );
    }
    check_lora_flags(flags, settings)?;
    if settings.eval_tasks.is_empty() {
        let unused = [
            ("--eval-tasks-data", flags.eval_tasks_data.is_some()),
            ("--eval-limit", flags.eval_limit.is_some()),
            ("--eval-every", flags.eval_every.is_some()),
            ("--eval-chat-template", flags.eval_chat_template.is_some()),
        ];
        if let Some((flag, _)) = unused.into_iter().find(|(_, is_given)| *is_given) {
            bail!("`{flag}` has no effect without benchmark tasks; give `--eval-tasks` or remove it");
        }
    }
    if settings.sample_prompts.is_empty() {
        let unused = [
            ("--sample-every", flags.sample_every.is_some()),
            ("--sample-tokens", flags.sample_tokens.is_some()),
        ];
        if let Some((flag, _)) = unused.into_iter().find(|(_, is_given)| *is_given) {
            bail!("`{flag}` has no effect without prompts; give `--sample-prompts` or remove it");
        }
    }
    Ok(())
}

/// Refuses flags that would have no effect.
///
/// # Errors
/// Names the flag.
fn check_lora_flags(flags: &TrainingFlags, settings: &TrainingSettings) -> Result<()> {
    let of_new = [
        ("--lora-alpha", flags.lora_alpha.is_some()),
        ("--lora-modules", flags.lora_modules.is_some()),
        ("--lora-rslora", flags.lora_rslora.is_some()),
    ];
    let given =
        |flags: &[(&'static str, bool)]| flags.iter().find(|(_, is_given)| *is_given).map(|flag| flag.0);
    if !settings.lora_init.is_empty() {
        let rank = ("--lora-rank", flags.lora_rank.is_some());
        if let Some(flag) = given(&[&of_new[..], &[rank]].concat()) {
            bail!("`{flag}` has no effect with `--lora-init`, whose adapter has its own; remove one of them");
        }
    } else if settings.lora_rank == 0 {
        let others = [
            ("--lora-dropout", flags.lora_dropout.is_some()),
            ("--quantize-base", settings.quantize_base != BaseQuantization::None),
        ];
        if let Some(flag) = given(&[&of_new[..], &others].concat()) {
            bail!("`{flag}` has no effect without an adapter; give `--lora-rank 16` or remove it");
        }
    }
    Ok(())
}

/// Refuses a number outside a range, NaN included.
///
/// # Errors
/// Names what it is, its value and the range.
pub(crate) fn within(name: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if !(low..=high).contains(&value) {
        let range = match (low == f64::MIN_POSITIVE, high == f64::MAX) {
            (true, true) => "a number above 0".to_owned(),
            (true, false) => format!("above 0 and at most {}", short(high)),
            (false, true) => format!("at least {}", short(low)),
            (false, false) => format!("{} to {}", short(low), short(high)),
        };
        bail!("{name} is {}; expected {range}", short(value));
    }
    Ok(())
}

/// A number without the hundreds of zeros that very large and very small ones have.
fn short(value: f64) -> String {
    let is_plain = value == 0.0 || (1e-5..1e16).contains(&value.abs()) || !value.is_finite();
    if is_plain { value.to_string() } else { format!("{value:e}") }
}

/// Refuses 0.
///
/// # Errors
/// Names what it is.
pub(crate) fn at_least_one(name: &str, value: u64) -> Result<()> {
    if value == 0 {
        bail!("{name} is 0; expected at least 1");
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_range_is_named() {
        let odd = TrainingSettings { warmup_ratio: 1.5, ..TrainingSettings::default() };
        assert_eq!(odd.check().unwrap_err().to_string(), "`warmup_ratio` is 1.5; expected 0 to 1");
        let refused = |low: f64, high: f64| within("`x`", -1.0, low, high).unwrap_err().to_string();
        assert_eq!(refused(f64::MIN_POSITIVE, f64::MAX), "`x` is -1; expected a number above 0");
        assert_eq!(refused(0.0, 1e30), "`x` is -1; expected 0 to 1e30");
        assert_eq!(
            refused(f64::from(f32::MIN_POSITIVE), f64::MAX),
            "`x` is -1; expected at least 1.1754943508222875e-38"
        );
        assert!(within("`x`", 1e-9, f64::MIN_POSITIVE, f64::MAX).is_ok());
    }

    /// A run that was started on one device resumes on another; `auto` is recorded as such, whatever it was resolved to.
    #[test]
    fn the_device_and_the_benchmarks_are_no_part_of_a_runs_identity() {
        let identity_on = |device, micro_batch_tokens| {
            identity(&TrainingSettings { device, micro_batch_tokens, ..TrainingSettings::default() }).unwrap()
        };
        let (cpu, cuda) = (DeviceChoice::Cpu, DeviceChoice::Cuda(1));
        assert_eq!(identity_on(cpu, MicroBatch::Auto), identity_on(cuda, MicroBatch::Auto));
        assert_eq!(identity_on(cpu, MicroBatch::Auto)["micro_batch_tokens"], "auto");
        assert_ne!(identity_on(cpu, MicroBatch::Auto), identity_on(cpu, MicroBatch::Tokens(4096)));
        let scored = TrainingSettings {
            eval_tasks: vec!["arc_easy".to_owned()],
            eval_tasks_data: "data".to_owned(),
            eval_limit: 5,
            eval_every: 2,
            eval_chat_template: true,
            sample_prompts: "prompts.txt".to_owned(),
            sample_every: 2,
            sample_tokens: 5,
            ..TrainingSettings::default()
        };
        assert_eq!(identity(&scored).unwrap(), identity(&TrainingSettings::default()).unwrap());
    }
}
