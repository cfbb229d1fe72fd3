//! `posttrain sft`: supervised fine-tuning on conversations, prompts with completions, and documents.

use crate::device::{self, Lengths};
use crate::examples::{self, Kind, LossOn, Rules, TooLong, trainable};
use crate::learner::{Learner, Totals};
use crate::model::Batch;
use crate::recipe::{self, Precision, Training, TrainingFlags, settings};
use crate::run::{Begun, Place, Run, about, interval, used};
use crate::schedule::Schedule;
use crate::vocabulary::{Start, holds};
use anyhow::{Result, bail};
use half::bf16;
use kernels::Element;
use rows::Rows;
use serde_json::Value;
use smollm::Checkpoint;
use smollm::checkpoint::Outgoing;
use std::path::PathBuf;

mod rows;

/// What `posttrain sft` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The checkpoint to begin from: a folder or a hub id
    #[arg(long)]
    model: String,
    /// Rows to train on: files or folders
    #[arg(long, required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// A TOML file of settings; flags override it
    #[arg(long)]
    recipe: Option<PathBuf>,
    /// Rows to evaluate on, instead of a share of --data
    #[arg(long, num_args = 1..)]
    eval_data: Vec<PathBuf>,
    /// A Jinja chat template to train instead of the checkpoint's own
    #[arg(long)]
    chat_template: Option<PathBuf>,
    /// Special tokens to add to the tokenizer, comma-separated; those spelled <|...|> in the template add themselves
    #[arg(long, value_delimiter = ',')]
    special_tokens: Vec<String>,
    /// Where tokenized data is kept; by default the user's cache folder
    #[arg(long)]
    cache: Option<PathBuf>,
    #[command(flatten)]
    sft: SftFlags,
    #[command(flatten)]
    training: TrainingFlags,
}

settings! {
    /// What supervised fine-tuning has beside the rest.
    pub struct Sft, SftFlags {
        /// Times to go through the data; `steps` overrides it
        epochs: f64 = 1.0,
        /// Optimizer steps; 0: by `epochs`
        steps: u64 = 0,
        /// Packs (rows, where `packing` is off) of an optimizer step
        batch_size: usize = 16,
        /// Most tokens of a row and of a pack
        max_length: usize = 1024,
        /// What happens to longer rows
        too_long: TooLong = TooLong::Cut,
        /// Which tokens add to the loss
        loss_on: LossOn = LossOn::Assistant,
        /// Fill packs of `max_length` tokens with whole rows that do not see each other
        [num_args = 0..=1, default_missing_value = "true"]
        packing: bool = true,
        /// Another order every epoch; off: the rows' own
        [num_args = 0..=1, default_missing_value = "true"]
        shuffle: bool = true,
        /// Share of the rows kept aside for evaluation
        eval_split: f64 = 0.0,
    }
}

/// All settings of a run.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    #[serde(flatten)]
    sft: Sft,
    #[serde(flatten)]
    training: Training,
}

/// Trains to the end or until it is told to stop; the number is the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let flags = [recipe::flags(&options.sft)?, recipe::flags(&options.training)?];
    let mut settings: Settings = recipe::resolve(options.recipe.as_deref(), &flags)?;
    settings.check()?;
    recipe::check_flags(&options.training, &settings.training)?;
    refuse_two_evaluations(&options.eval_data, settings.sft.eval_split)?;
    let checkpoint = Checkpoint::open(&options.model, options.chat_template.as_deref())?;
    let start = Start::new(checkpoint, holds(&options.data)?, &options.special_tokens)?;
    let rules = settings.rules(&start)?;
    let cache = options.cache.clone().unwrap_or_else(examples::default_cache);
    let data = trainable(&options.data, Kind::Sft, &rules, &cache)?;
    let eval = match options.eval_data.as_slice() {
        [] => None,
        paths => Some(trainable(paths, Kind::Sft, &rules, &cache)?),
    };
    let rows = Rows::new(data, eval, &settings)?;
    let configuration = settings.configuration(&rows, &start)?;
    let data = used(&options.data, &options.eval_data);
    let mut about = about("sft", &options.model, &data, &configuration, &start.notes);
    about.insert("rows".to_owned(), serde_json::to_value(&rows.data.counts)?);
    if let Some(eval) = &rows.eval {
        about.insert("eval_rows".to_owned(), serde_json::to_value(&eval.counts)?);
    }
    let lengths = settings.lengths();
    device::settle(&mut settings.training, &start.config, lengths, &options.place, &mut about)?;
    match settings.training.precision {
        Precision::F32 => train::<f32>(&settings, &start, rows, &options.place, about),
        Precision::Bf16 => train::<bf16>(&settings, &start, rows, &options.place, about),
    }
}

fn train<E: Element>(
    settings: &Settings,
    start: &Start,
    mut rows: Rows,
    place: &Place,
    about: serde_json::Map<String, Value>,
) -> Result<u8> {
    let Settings { sft, training } = settings;
    let total = rows.total_steps(sft);
    let mut parameters = start.load();
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
    let mut learner = Learner::<E>::new(parameters, optimizer, sft.max_length, training)?;
    let mut logged = Totals::default();
    while run.progress.step < total {
        let step = run.progress.step;
        let batches = rows.step(step, training.micro_batch());
        // One denominator for the whole step, whatever its split into micro-batches.
        let trained: usize = batches.iter().map(|batch| batch.targets.len()).sum();
        let mut totals = Totals::default();
        for batch in &batches {
            totals.add(&learner.gradient(batch, 1.0 / trained as f32)?);
        }
        let sane = refuse_nan(totals.mean_loss(), step);
        let grad_norm = sane.and_then(|()| learner.update(schedule.rate(step)));
        let grad_norm = grad_norm.map_err(|error| run.diverged(error))?;
        let tokens = batches.iter().map(Batch::tokens).sum();
        run.step_done(tokens, batches.iter().map(Batch::attended).sum(), trained);
        logged.merge(&totals);
        let done = run.progress.step;
        let due = |every: u64| done.is_multiple_of(every) || done == total;
        let best = rows.has_eval() && due(eval_every) && evaluate(&mut run, &mut learner, &rows, training)?;
        let stopped = run.interrupted();
        let saves = best || stopped.is_some() || due(save_every);
        // A checkpoint closes the window, so that a resumed run logs what the undisturbed one does.
        if saves || due(training.logging_steps) {
            run.log_training(&[
                ("loss", logged.mean_loss()),
                ("learning_rate", schedule.rate(step)),
                ("grad_norm", f64::from(grad_norm)),
                ("mean_token_accuracy", logged.accuracy()),
                ("entropy", logged.mean_entropy()),
                ("epoch", done as f64 / rows.order.steps_per_epoch() as f64),
            ])?;
            logged = Totals::default();
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

/// Logs the loss of the rows kept aside; whether it is the best so far.
fn evaluate<E: Element>(
    run: &mut Run,
    learner: &mut Learner<E>,
    rows: &Rows,
    training: &Training,
) -> Result<bool> {
    let mut totals = Totals::default();
    for batch in rows.eval_batches(training.micro_batch()) {
        totals.add(&learner.losses(&batch)?);
    }
    refuse_nan(totals.mean_loss(), run.progress.step).map_err(|error| run.diverged(error))?;
    run.log(&[("eval_loss", totals.mean_loss()), ("eval_mean_token_accuracy", totals.accuracy())])?;
    Ok(run.evaluated(totals.mean_loss()))
}

/// Refuses two answers to what is evaluated.
pub(crate) fn refuse_two_evaluations(eval_data: &[PathBuf], eval_split: f64) -> Result<()> {
    if !eval_data.is_empty() && eval_split > 0.0 {
        bail!(
            "eval_split is {eval_split} and --eval-data is given: only one of them can say what is evaluated"
        );
    }
    Ok(())
}

/// Says that there is nothing left to do.
pub(crate) fn already(place: &Place) -> u8 {
    eprintln!("this run has finished: its model is {}; --restart trains it anew", place.out.display());
    0
}

/// Refuses a loss that is no number.
pub(crate) fn refuse_nan(loss: f64, step: u64) -> Result<()> {
    if !loss.is_finite() {
        bail!(
            "the loss after step {step} is {loss}: nothing of what followed was kept; lower learning_rate or lengthen the warm-up"
        );
    }
    Ok(())
}

impl Settings {
    /// Refuses what no run can do.
    pub(crate) fn check(&self) -> Result<()> {
        self.training.check()?;
        recipe::within("epochs", self.sft.epochs, f64::MIN_POSITIVE, f64::MAX)?;
        recipe::within("eval_split", self.sft.eval_split, 0.0, 0.9)?;
        recipe::at_least_one("batch_size", self.sft.batch_size as u64)?;
        if self.sft.max_length < 2 {
            bail!(
                "max_length is {}; expected at least 2: the first token is never trained",
                self.sft.max_length
            );
        }
        Ok(())
    }

    fn rules<'a>(&self, start: &'a Start) -> Result<Rules<'a>> {
        fits(self.sft.max_length, start)?;
        Ok(Rules {
            template: &start.template,
            tokenizer: &start.tokenizer,
            document_end: start.document_end,
            max_length: self.sft.max_length,
            too_long: self.sft.too_long,
            loss_on: self.sft.loss_on,
        })
    }

    /// How many tokens a unit and a step can have.
    fn lengths(&self) -> Lengths {
        let Sft { max_length, batch_size, .. } = self.sft;
        Lengths { longest: max_length, step: max_length.saturating_mul(batch_size) }
    }

    /// What decides the run's weights.
    fn configuration(&self, rows: &Rows, start: &Start) -> Result<Value> {
        let mut configuration = recipe::identity(self)?;
        configuration["model_sha256"] = start.checkpoint.weights.sha256().into();
        configuration["data"] = rows.name().into();
        configuration["model_config"] = start.config.to_json();
        configuration["chat_template"] = start.template.source().into();
        Ok(configuration)
    }
}

/// Refuses sequences that the model has no positions for.
pub(crate) fn fits(max_length: usize, start: &Start) -> Result<()> {
    let positions = start.config.max_positions;
    if max_length > positions {
        bail!(
            "max_length is {max_length}, the model has {positions} positions: give --max-length {positions}"
        );
    }
    Ok(())
}
