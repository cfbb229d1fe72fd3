//! `posttrain kto`: Kahneman-Tversky optimization on single replies that are labeled as good or bad, with the losses of
//! TRL's KTOTrainer.
//!
//! The reference is the model that the run starts from, as in `dpo`. The divergence of the policy from it, to which gains and
//! losses are relative, is measured in every step on the step's prompts with other replies.

use crate::checks::{
    GIVE_EVALUATION, refuse_long_warmup, refuse_nan, refuse_two_evaluations, refuse_without_evaluation,
};
use crate::compute;
use crate::data::{DataFlags, located};
use crate::examples::{Kind, OTHER_LABEL};
use crate::monitoring::Monitoring;
use crate::recipe;
use crate::reference::{self, ReferenceModel};
use crate::run::{Run, RunFolder, about, borrowed, data_purposes, report_finished};
use crate::samples::PromptForm;
use crate::schedule::interval;
use crate::settings::{TrainingFlags, check_flags, identity};
use crate::tokenize::{default_cache, trainable};
use crate::tokens::Counts;
use crate::vocabulary::{RowKinds, StartingPoint};
use anyhow::Result;
use batch::{ReplyTotals, evaluate, gradient};
use checkpoint::Checkpoint;
use rows::{Labeled, Reference, Rows};
use serde_json::{Map, Value};
use settings::KtoFlags;
use std::path::{Path, PathBuf};
use training::{Batch, ComputeSettings};

mod batch;
mod loss;
mod rows;
mod settings;

pub use settings::Settings;

/// The command line of `posttrain kto`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Checkpoint to start from, which is also the reference: a folder or a Hugging Face id
    #[arg(long)]
    model: String,
    /// Rows to train on: files or folders of prompts with a reply and its `label`, true or false
    #[arg(long, required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    folder: RunFolder,
    /// TOML file of settings; flags override it
    #[arg(long)]
    recipe: Option<PathBuf>,
    /// Rows to evaluate on, instead of a share of `--data`: files or folders
    #[arg(long, num_args = 1..)]
    eval_data: Vec<PathBuf>,
    /// Jinja chat template to train, instead of the checkpoint's own
    #[arg(long)]
    chat_template: Option<PathBuf>,
    /// Special tokens to add to the tokenizer, comma-separated; those spelled <|...|> in the template are always added
    #[arg(long, value_delimiter = ',')]
    special_tokens: Vec<String>,
    /// Folder of tokenized data and of the reference's log-probabilities; by default in the user's cache folder
    #[arg(long)]
    cache: Option<PathBuf>,
    #[command(flatten)]
    kto: KtoFlags,
    #[command(flatten)]
    rows: DataFlags,
    #[command(flatten)]
    training: TrainingFlags,
}

/// Trains until the last step or a signal. Returns the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let flags = [
        recipe::table_of(&options.kto)?,
        recipe::table_of(&options.rows)?,
        recipe::table_of(&options.training)?,
    ];
    let settings: Settings = recipe::resolve(options.recipe.as_deref(), &flags)?;
    settings.check()?;
    check_flags(&options.training, &settings.training)?;
    options.folder.look("kto")?;
    refuse_two_evaluations(&options.eval_data, settings.kto.eval_split)?;
    let checkpoint = Checkpoint::open(&options.model, options.chat_template.as_deref())?;
    checkpoint.check_trainable()?;
    let kinds = RowKinds { conversations: true, documents: false };
    let reading = settings.data.options();
    let [data, eval_data] = [located(&options.data, &reading)?, located(&options.eval_data, &reading)?];
    let mut start =
        StartingPoint::new(checkpoint, kinds, &options.special_tokens)?.trained_by(&settings.training)?;
    let day = start.set_day(&options.folder)?;
    let template_args = settings.data.template_args()?;
    let rules = settings.rules(&start, &template_args)?;
    let cache = options.cache.clone().unwrap_or_else(|| default_cache(&options.folder.out));
    let labeled = |paths: &[PathBuf]| -> Result<Labeled> {
        let of = |kind: Kind| trainable(paths, &reading, kind, &rules, &cache);
        Ok(Labeled::new(of(Kind::Desirable)?, of(Kind::Undesirable)?, &settings))
    };
    let eval = if eval_data.is_empty() { None } else { Some(labeled(&eval_data)?) };
    let rows = Rows::new(labeled(&data)?, eval, &settings)?;
    refuse_without_evaluation(&options.training, &settings.training, rows.has_eval(), GIVE_EVALUATION)?;
    let configuration = configuration(&settings, &rows, &start)?;
    let data = data_purposes(&options.data, &options.eval_data);
    let mut about = about("kto", &options.model, &data, &configuration, &start.notes);
    about.insert("rows".to_owned(), counts(&rows.data)?);
    about.extend(day.map(|day| ("day".to_owned(), day.into())));
    if let Some(eval) = &rows.eval {
        about.insert("eval_rows".to_owned(), counts(eval)?);
    }
    let (training, lengths) = (&settings.training, settings.lengths());
    let compute = compute::resolve(training, start.size(), lengths, &options.folder, &mut about)?;
    train(&settings, &compute, &start, rows, &options.folder, about, &cache)
}

fn train(
    settings: &Settings,
    compute: &ComputeSettings,
    start: &StartingPoint,
    mut rows: Rows,
    folder: &RunFolder,
    mut about: Map<String, Value>,
    cache: &Path,
) -> Result<u8> {
    let (Settings { kto, training, .. }, loss) = (settings, settings.loss());
    let place = folder.place(&mut rows.order);
    let (total, micro_batch_tokens) =
        (rows.order.total_steps(kto.steps, kto.epochs), compute.micro_batch_tokens);
    refuse_long_warmup(training, total)?;
    if Run::has_finished(folder, &about)? {
        return Ok(report_finished(folder));
    }
    let monitoring = Monitoring::read(training, total, PromptForm::Chat, &mut about)?;
    let (parameters, frozen) = start.trained()?;
    let model = frozen.base().map_or(ReferenceModel::Weights(&parameters), ReferenceModel::Base);
    let mut references = Vec::new();
    for labeled in std::iter::once(&rows.data).chain(&rows.eval) {
        let (parts, precision) = (labeled.parts(loss.needs_divergence())?, training.precision);
        let sums = reference::log_probabilities(model, &parts, precision, compute, kto.max_length, cache)?;
        references.push(Reference::new(sums.into_iter(), loss.needs_divergence()));
    }
    let run = Run::start(folder, about, parameters, total, compute)?;
    let Some((mut run, state)) = run else { return Ok(report_finished(folder)) };
    run.take_place(&rows.order, place.as_deref())?;
    let (outgoing, schedule) = (start.outgoing(), training.schedule(total));
    let (eval_every, save_every) =
        (interval(training.eval_steps, total), interval(training.save_steps, total));
    let mut learner = frozen.learner(state, kto.max_length, compute, training.optimizer())?;
    run.mend(&mut learner, &outgoing, training)?;
    run.monitor(&monitoring, &mut learner, &outgoing, training)?;
    let mut window = ReplyTotals::default();
    while run.has_steps(total, training)? {
        let step = run.progress.step;
        let batches = rows.step(step, &references[0], micro_batch_tokens);
        let batches = run.rescued(batches, &mut learner, &outgoing, training)?;
        let totals = gradient(&mut learner, &batches, &loss)?;
        // An adapter that is continued is not the reference.
        if step == 0 && training.lora_init.is_empty() {
            reference::refuse_other(totals.largest_difference(), cache)?;
        }
        let grad_norm =
            refuse_nan(totals.mean_loss(), step).and_then(|()| learner.update(schedule.rate(step)));
        let grad_norm = grad_norm.map_err(|error| run.diverged(error))?;
        let sum = |count: fn(&Batch) -> usize| batches.iter().map(|replies| count(&replies.batch)).sum();
        let attended = batches.iter().map(|replies| replies.batch.attended(&start.config.architecture)).sum();
        run.count_step(sum(Batch::tokens), attended, sum(|batch| batch.targets.len()));
        run.count_rows(&rows.order);
        window.merge(&totals);
        let done = run.progress.step;
        let is_due = |every: u64| done.is_multiple_of(every) || done == total;
        let mut is_best = false;
        if rows.has_eval() && is_due(eval_every) {
            let batches = rows.eval_batches(&references, micro_batch_tokens);
            let batches = run.rescued(batches, &mut learner, &outgoing, training)?;
            let totals = evaluate(&mut learner, &batches, &loss)?;
            refuse_nan(totals.mean_loss(), done).map_err(|error| run.diverged(error))?;
            run.log(&borrowed(&totals.values("eval_")));
            is_best = run.record_evaluation(totals.mean_loss());
        }
        run.monitor(&monitoring, &mut learner, &outgoing, training)?;
        let stop_code = run.stop_code(training);
        let is_save_step = is_due(save_every);
        let saves = is_best
            || stop_code.is_some()
            || is_save_step && run.has_time_to_save(&learner, training, done == total);
        // A checkpoint ends the window of the means, so that a resumed run logs what an undisturbed one does.
        if saves || is_save_step || is_due(training.logging_steps) {
            let mut values = window.values("");
            values.extend([
                ("learning_rate".into(), schedule.rate(step)),
                ("grad_norm".into(), f64::from(grad_norm)),
                ("epoch".into(), rows.order.epochs(done)),
            ]);
            run.log_training(&borrowed(&values));
            window = ReplyTotals::default();
        }
        if saves {
            run.save_step(&mut learner, &outgoing, training, (stop_code, total))?;
        }
        if let Some(code) = stop_code.filter(|_| done < total) {
            return Ok(run.stop(code));
        }
    }
    run.finish(&mut learner, &outgoing, training)
}

/// Returns the counts of the rows of both labels; those that the other label takes are not dropped.
fn counts(labeled: &Labeled) -> Result<Value> {
    let mut counts = Counts::default();
    [&labeled.good, &labeled.bad].iter().for_each(|store| counts.add(&store.counts));
    counts.dropped.remove(OTHER_LABEL);
    counts.rows /= 2;
    Ok(serde_json::to_value(counts)?)
}

/// Returns everything that decides the run's weights.
fn configuration(settings: &Settings, rows: &Rows, start: &StartingPoint) -> Result<Value> {
    let mut configuration = identity(settings)?;
    configuration["model_sha256"] = start.checkpoint.weights_sha256()?.into();
    let names: Vec<String> = std::iter::once(&rows.data).chain(&rows.eval).map(Labeled::name).collect();
    configuration["data"] = names.join("+").into();
    configuration["model_config"] = start.config.to_json();
    configuration["chat_template"] = start.template.source().into();
    Ok(configuration)
}
