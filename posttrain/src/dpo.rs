//! `posttrain dpo`: direct preference optimization on pairs of replies, with the losses TRL has.
//!
//! The reference is the model the run begins from. Its log-probabilities are computed once and cached under the
//! hash of weights, rows and arithmetic, so no second model is ever in memory.

use crate::device::{self, Lengths};
use crate::examples::{self, Kind, LossOn, Rules, TooLong, trainable};
use crate::learner::Learner;
use crate::model::Batch;
use crate::recipe::{self, Precision, Training, TrainingFlags, settings};
use crate::run::{Begun, Place, Run, about, interval, used};
use crate::schedule::Schedule;
use crate::sft::{already, fits, refuse_nan, refuse_two_evaluations};
use crate::tokens::Store;
use crate::vocabulary::{Holds, Start};
use anyhow::{Result, bail};
use half::bf16;
use kernels::Element;
use loss::{Loss, LossSettings};
use pairs::{Measured, evaluate, gradient};
use rows::Rows;
use serde_json::Value;
use smollm::Checkpoint;
use smollm::checkpoint::Outgoing;
use std::path::PathBuf;

pub mod loss;
mod pairs;
mod reference;
mod rows;

/// What `posttrain dpo` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The checkpoint to begin from, which is the reference too: a folder or a hub id
    #[arg(long)]
    model: String,
    /// Pairs to train on: files or folders of rows with chosen and rejected
    #[arg(long, required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// A TOML file of settings; flags override it
    #[arg(long)]
    recipe: Option<PathBuf>,
    /// Pairs to evaluate on, instead of a share of --data
    #[arg(long, num_args = 1..)]
    eval_data: Vec<PathBuf>,
    /// A Jinja chat template to train instead of the checkpoint's own
    #[arg(long)]
    chat_template: Option<PathBuf>,
    /// Special tokens to add to the tokenizer, comma-separated; those spelled <|...|> in the template add themselves
    #[arg(long, value_delimiter = ',')]
    special_tokens: Vec<String>,
    /// Where tokenized data and the reference's answers are kept; by default the user's cache folder
    #[arg(long)]
    cache: Option<PathBuf>,
    #[command(flatten)]
    dpo: DpoFlags,
    #[command(flatten)]
    training: TrainingFlags,
}

settings! {
    /// What preference optimization has beside the rest. Names as in TRL's DPOConfig.
    pub struct Dpo, DpoFlags {
        /// Times to go through the pairs; `steps` overrides it
        epochs: f64 = 1.0,
        /// Optimizer steps; 0: by `epochs`
        steps: u64 = 0,
        /// Pairs of an optimizer step
        batch_size: usize = 16,
        /// Most tokens of a prompt with a reply
        max_length: usize = 1024,
        /// What happens to longer pairs
        too_long: TooLong = TooLong::Cut,
        /// Losses to add up, comma-separated
        [value_delimiter = ',', num_args = 1.., value_enum]
        loss_type: Vec<Loss> = vec![Loss::Sigmoid],
        /// A weight for each loss, comma-separated; by default 1
        [value_delimiter = ',', num_args = 1..]
        loss_weights: Vec<f64> = Vec::new(),
        /// How strongly the model is held to the reference
        beta: f64 = 0.1,
        /// How many of the preferences may be wrong: of exo_pair, robust, aot and aot_unpaired
        label_smoothing: f64 = 0.0,
        /// DiscoPOP's temperature
        discopop_tau: f64 = 0.05,
        /// Another order every epoch; off: the pairs' own
        [num_args = 0..=1, default_missing_value = "true"]
        shuffle: bool = true,
        /// Share of the pairs kept aside for evaluation
        eval_split: f64 = 0.0,
    }
}

/// All settings of a run.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    #[serde(flatten)]
    dpo: Dpo,
    #[serde(flatten)]
    training: Training,
}

impl Default for Settings {
    fn default() -> Self {
        // TRL's default: preferences take far smaller steps than imitation.
        let training = Training { learning_rate: 1e-6, ..Training::default() };
        Self { dpo: Dpo::default(), training }
    }
}

/// Trains to the end or until it is told to stop; the number is the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let flags = [recipe::flags(&options.dpo)?, recipe::flags(&options.training)?];
    let mut settings: Settings = recipe::resolve(options.recipe.as_deref(), &flags)?;
    let losses = settings.check()?;
    recipe::check_flags(&options.training, &settings.training)?;
    refuse_two_evaluations(&options.eval_data, settings.dpo.eval_split)?;
    let checkpoint = Checkpoint::open(&options.model, options.chat_template.as_deref())?;
    let start =
        Start::new(checkpoint, Holds { conversations: true, documents: false }, &options.special_tokens)?;
    let rules = settings.rules(&start)?;
    let cache = options.cache.clone().unwrap_or_else(examples::default_cache);
    let data = trainable(&options.data, Kind::Preference, &rules, &cache)?;
    let eval = match options.eval_data.as_slice() {
        [] => None,
        paths => Some(trainable(paths, Kind::Preference, &rules, &cache)?),
    };
    let rows = Rows::new(data, eval, &settings)?;
    let configuration = settings.configuration(&rows, &start)?;
    let data = used(&options.data, &options.eval_data);
    let mut about = about("dpo", &options.model, &data, &configuration, &start.notes);
    about.insert("rows".to_owned(), serde_json::to_value(&rows.data.counts)?);
    if let Some(eval) = &rows.eval {
        about.insert("eval_rows".to_owned(), serde_json::to_value(&eval.counts)?);
    }
    let lengths = settings.lengths();
    device::settle(&mut settings.training, &start.config, lengths, &options.place, &mut about)?;
    let (place, cache) = (&options.place, cache.as_path());
    match settings.training.precision {
        Precision::F32 => train::<f32>(&settings, &losses, &start, rows, place, about, cache),
        Precision::Bf16 => train::<bf16>(&settings, &losses, &start, rows, place, about, cache),
    }
}

fn train<E: Element>(
    settings: &Settings,
    losses: &LossSettings,
    start: &Start,
    mut rows: Rows,
    place: &Place,
    about: serde_json::Map<String, Value>,
    cache: &std::path::Path,
) -> Result<u8> {
    let Settings { dpo, training } = settings;
    let total = rows.total_steps(dpo);
    let mut parameters = start.load();
    let stores = [Some(&rows.data), rows.eval.as_ref()];
    if Run::look(place, &about)? {
        return Ok(already(place));
    }
    let reference = reference::log_probabilities::<E>(&parameters, stores, training, dpo.max_length, cache)?;
    let begun = Run::begin(place, about, &mut parameters, total, training)?;
    let Begun::Train(mut run, optimizer) = begun else { return Ok(already(place)) };
    let outgoing = Outgoing {
        config: &start.config,
        tokenizer: &start.tokenizer,
        tokenizer_config: &start.tokenizer_config,
        template: start.saves_template.then_some(&start.template),
    };
    let schedule = Schedule::new(training, total);
    let (eval_every, save_every) =
        (interval(training.eval_steps, total), interval(training.save_steps, total));
    let mut learner = Learner::<E>::new(parameters, optimizer, dpo.max_length, training)?;
    let mut logged = Measured::default();
    while run.progress.step < total {
        let step = run.progress.step;
        let batches = rows.step(step, &reference[0], training.micro_batch());
        let measured = gradient(&mut learner, &batches, losses)?;
        let sane = refuse_nan(measured.mean_loss(), step);
        let grad_norm = sane.and_then(|()| learner.update(schedule.rate(step)));
        let grad_norm = grad_norm.map_err(|error| run.diverged(error))?;
        let sum = |count: fn(&Batch) -> usize| batches.iter().map(|pairs| count(&pairs.batch)).sum();
        let attended = batches.iter().map(|pairs| pairs.batch.attended()).sum();
        run.step_done(sum(Batch::tokens), attended, sum(|batch| batch.targets.len()));
        logged.merge(&measured);
        let done = run.progress.step;
        let due = |every: u64| done.is_multiple_of(every) || done == total;
        let mut best = false;
        if rows.has_eval() && due(eval_every) {
            let batches = rows.eval_batches(&reference, training.micro_batch());
            let measured = evaluate(&mut learner, &batches, losses)?;
            refuse_nan(measured.mean_loss(), done).map_err(|error| run.diverged(error))?;
            run.log(&borrowed(&measured.values("eval_")))?;
            best = run.evaluated(measured.mean_loss());
        }
        let stopped = run.interrupted();
        let saves = best || stopped.is_some() || due(save_every);
        // A checkpoint closes the window, so that a resumed run logs what the undisturbed one does.
        if saves || due(training.logging_steps) {
            let mut values = logged.values("");
            values.extend([
                ("learning_rate".into(), schedule.rate(step)),
                ("grad_norm".into(), f64::from(grad_norm)),
                ("epoch".into(), done as f64 / rows.order.steps_per_epoch() as f64),
            ]);
            run.log_training(&borrowed(&values))?;
            logged = Measured::default();
        }
        if saves {
            run.save(&mut learner, &outgoing, training)?;
        }
        if let Some(code) = stopped.filter(|_| done < total) {
            return run.stop(code);
        }
    }
    run.finish(&mut learner, &outgoing, training)
}

fn borrowed(values: &[(String, f64)]) -> Vec<(&str, f64)> {
    values.iter().map(|(name, value)| (name.as_str(), *value)).collect()
}

impl Settings {
    /// Refuses what no run can do; the losses with their weights.
    pub(crate) fn check(&self) -> Result<LossSettings> {
        let Dpo { loss_type, loss_weights, .. } = &self.dpo;
        self.training.check()?;
        recipe::within("epochs", self.dpo.epochs, f64::MIN_POSITIVE, f64::MAX)?;
        recipe::within("eval_split", self.dpo.eval_split, 0.0, 0.9)?;
        recipe::at_least_one("batch_size", self.dpo.batch_size as u64)?;
        if !loss_weights.is_empty() && loss_weights.len() != loss_type.len() {
            bail!("loss_weights has {} numbers for {} losses", loss_weights.len(), loss_type.len());
        }
        let weight = |index: usize| loss_weights.get(index).copied().unwrap_or(1.0);
        let losses = LossSettings {
            losses: loss_type.iter().enumerate().map(|(index, loss)| (*loss, weight(index))).collect(),
            beta: self.dpo.beta,
            label_smoothing: self.dpo.label_smoothing,
            discopop_tau: self.dpo.discopop_tau,
        };
        losses.check()?;
        Ok(losses)
    }

    fn rules<'a>(&self, start: &'a Start) -> Result<Rules<'a>> {
        fits(self.dpo.max_length, start)?;
        Ok(Rules {
            template: &start.template,
            tokenizer: &start.tokenizer,
            document_end: start.document_end,
            max_length: self.dpo.max_length,
            too_long: self.dpo.too_long,
            loss_on: LossOn::Assistant,
        })
    }

    /// How many tokens a pair and a step can have.
    fn lengths(&self) -> Lengths {
        let Dpo { max_length, batch_size, .. } = self.dpo;
        let longest = max_length.saturating_mul(2);
        Lengths { longest, step: longest.saturating_mul(batch_size) }
    }

    /// What decides the run's weights.
    fn configuration(&self, rows: &Rows, start: &Start) -> Result<Value> {
        let mut configuration = recipe::identity(self)?;
        configuration["model_sha256"] = start.checkpoint.weights.sha256().into();
        let stores = [Some(&rows.data), rows.eval.as_ref()];
        let names: Vec<String> = stores.into_iter().flatten().map(Store::name).collect();
        configuration["data"] = names.join("+").into();
        configuration["model_config"] = start.config.to_json();
        configuration["chat_template"] = start.template.source().into();
        Ok(configuration)
    }
}
