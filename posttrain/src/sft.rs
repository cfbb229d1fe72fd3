//! `posttrain sft`: supervised fine-tuning on conversations, prompts with completions, and documents.

use crate::checks::{
    GIVE_EVALUATION, refuse_long_warmup, refuse_nan, refuse_two_evaluations, refuse_without_evaluation,
};
use crate::compute;
use crate::data::{DataFlags, located};
use crate::examples::{Kind, TokenIds};
use crate::monitoring::Monitoring;
use crate::recipe;
use crate::run::{Run, RunFolder, about, data_purposes, report_finished};
use crate::samples::PromptForm;
use crate::schedule::interval;
use crate::settings::{TrainingFlags, check_flags, identity};
use crate::tokenize::{default_cache, trainable};
use crate::vocabulary::{StartingPoint, row_kinds};
use anyhow::{Result, bail};
use checkpoint::Checkpoint;
use rows::{Rows, WeightedBatch};
use serde_json::{Map, Value};
use settings::SftFlags;
use std::path::PathBuf;
use sums::Sums;
use teacher::LoadedTeacher;
use training::{ComputeSettings, Learner};

mod rows;
mod settings;
mod sums;
mod teacher;

pub use settings::Settings;

/// The command line of `posttrain sft`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Checkpoint to start from: a folder or a Hugging Face id
    #[arg(long)]
    model: String,
    /// Rows to train on: files or folders
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
    /// Folder of tokenized data; by default in the user's cache folder
    #[arg(long)]
    cache: Option<PathBuf>,
    #[command(flatten)]
    sft: SftFlags,
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
        recipe::table_of(&options.sft)?,
        recipe::table_of(&options.rows)?,
        recipe::table_of(&options.training)?,
    ];
    let settings: Settings = recipe::resolve(options.recipe.as_deref(), &flags)?;
    settings.check()?;
    check_flags(&options.training, &settings.training)?;
    options.folder.look("sft")?;
    refuse_without_teacher(options, &settings)?;
    refuse_two_evaluations(&options.eval_data, settings.sft.eval_split)?;
    let checkpoint = Checkpoint::open(&options.model, options.chat_template.as_deref())?;
    checkpoint.check_trainable()?;
    let reading = settings.data.options();
    let [data, eval_data] = [located(&options.data, &reading)?, located(&options.eval_data, &reading)?];
    let mut start = StartingPoint::new(checkpoint, row_kinds(&data, &reading)?, &options.special_tokens)?
        .trained_by(&settings.training)?;
    let day = start.set_day(&options.folder)?;
    let teacher = teacher::open(&settings.sft, &mut start)?;
    let template_args = settings.data.template_args()?;
    let token_ids = settings.sft.stored_logprobs.then(|| TokenIds::new(&start.tokenizer));
    let rules = settings.rules(&start, &template_args, token_ids.as_ref())?;
    let cache = options.cache.clone().unwrap_or_else(|| default_cache(&options.folder.out));
    let data = trainable(&data, &reading, Kind::Sft, &rules, &cache)?;
    let eval = match eval_data.as_slice() {
        [] => None,
        paths => Some(trainable(paths, &reading, Kind::Sft, &rules, &cache)?),
    };
    let rows = Rows::new(data, eval, &settings)?;
    refuse_without_evaluation(&options.training, &settings.training, rows.has_eval(), GIVE_EVALUATION)?;
    let mut configuration = configuration(&settings, &rows, &start)?;
    teacher::identify(&mut configuration, teacher.as_ref())?;
    let data = data_purposes(&options.data, &options.eval_data);
    let mut about = about("sft", &options.model, &data, &configuration, &start.notes);
    about.insert("rows".to_owned(), serde_json::to_value(&rows.data.counts)?);
    about.extend(day.map(|day| ("day".to_owned(), day.into())));
    if let Some(eval) = &rows.eval {
        about.insert("eval_rows".to_owned(), serde_json::to_value(&eval.counts)?);
    }
    let (training, lengths) = (&settings.training, settings.lengths());
    let compute = compute::resolve(training, start.size(), lengths, &options.folder, &mut about)?;
    let teacher = LoadedTeacher::load(teacher.as_ref(), &settings.sft, &compute)?;
    train(&settings, &compute, &start, Data { rows, teacher }, &options.folder, about)
}

/// What a run learns from.
struct Data {
    rows: Rows,
    teacher: Option<LoadedTeacher>,
}

/// Refuses flags that have no effect without a teacher.
fn refuse_without_teacher(options: &Options, settings: &Settings) -> Result<()> {
    let flags = [
        ("--distill-beta", options.sft.distill_beta.is_some()),
        ("--distill-temperature", options.sft.distill_temperature.is_some()),
    ];
    let has_none = settings.sft.teacher.is_empty() && !settings.sft.stored_logprobs;
    match flags.into_iter().find(|(_, is_given)| *is_given && has_none) {
        Some((flag, _)) => bail!(
            "`{flag}` has no effect without `--teacher` or `--stored-logprobs`; give one of them or remove it"
        ),
        None => Ok(()),
    }
}

fn train(
    settings: &Settings,
    compute: &ComputeSettings,
    start: &StartingPoint,
    Data { mut rows, mut teacher }: Data,
    folder: &RunFolder,
    mut about: Map<String, Value>,
) -> Result<u8> {
    let Settings { sft, training, .. } = settings;
    let place = folder.place(&mut rows.order);
    let total = rows.order.total_steps(sft.steps, sft.epochs);
    refuse_long_warmup(training, total)?;
    let monitoring = Monitoring::read(training, total, PromptForm::Chat, &mut about)?;
    let (parameters, frozen) = start.trained()?;
    let run = Run::start(folder, about, parameters, total, compute)?;
    let Some((mut run, state)) = run else { return Ok(report_finished(folder)) };
    run.take_place(&rows.order, place.as_deref())?;
    let (outgoing, schedule) = (start.outgoing(), training.schedule(total));
    let (eval_every, save_every) =
        (interval(training.eval_steps, total), interval(training.save_steps, total));
    let mut learner = frozen.learner(state, sft.max_length, compute, training.optimizer())?;
    run.mend(&mut learner, &outgoing, training)?;
    run.monitor(&monitoring, &mut learner, &outgoing, training)?;
    let mut window = Sums::default();
    while run.has_steps(total, training)? {
        let step = run.progress.step;
        let batches = rows.step(step, compute.micro_batch_tokens);
        let batches = run.rescued(batches, &mut learner, &outgoing, training)?;
        let trained: usize = batches.iter().map(|weighted| weighted.batch.targets.len()).sum();
        let sums = gradient(&mut learner, teacher.as_mut(), &batches)?;
        let grad_norm = refuse_nan(sums.mean_loss(), step).and_then(|()| learner.update(schedule.rate(step)));
        let grad_norm = grad_norm.map_err(|error| run.diverged(error))?;
        let tokens = batches.iter().map(|weighted| weighted.batch.tokens()).sum();
        let attended =
            batches.iter().map(|weighted| weighted.batch.attended(&start.config.architecture)).sum();
        run.count_step(tokens, attended, trained);
        run.count_rows(&rows.order);
        window.merge(&sums);
        let done = run.progress.step;
        let is_due = |every: u64| done.is_multiple_of(every) || done == total;
        let is_best = rows.has_eval() && is_due(eval_every) && {
            let is_best = evaluate(&mut run, &mut learner, teacher.as_mut(), &rows, compute);
            run.rescued(is_best, &mut learner, &outgoing, training)?
        };
        run.monitor(&monitoring, &mut learner, &outgoing, training)?;
        let stop_code = run.stop_code(training);
        let is_save_step = is_due(save_every);
        let saves = is_best
            || stop_code.is_some()
            || is_save_step && run.has_time_to_save(&learner, training, done == total);
        // A checkpoint ends the window of the means, so that a resumed run logs what an undisturbed one does.
        if saves || is_save_step || is_due(training.logging_steps) {
            let mut values = vec![
                ("loss", window.mean_loss()),
                ("learning_rate", schedule.rate(step)),
                ("grad_norm", f64::from(grad_norm)),
                ("mean_token_accuracy", window.totals.accuracy()),
                ("entropy", window.totals.mean_entropy()),
                ("epoch", rows.order.epochs(done)),
            ];
            values.extend(window.cross_entropy().map(|value| ("cross_entropy", value)));
            run.log_training(&values);
            window = Sums::default();
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

/// Adds the gradient of a step's mean loss, weighted where the rows have weights; returns its sums, without weights.
fn gradient(
    learner: &mut Learner,
    mut teacher: Option<&mut LoadedTeacher>,
    batches: &[WeightedBatch],
) -> Result<Sums> {
    // One denominator for the whole step, whatever its split into micro-batches: the sum of the weights.
    let total = batches.iter().map(WeightedBatch::weight).sum::<f64>() as f32;
    let mut sums = Sums::default();
    for weighted in batches {
        let WeightedBatch { batch, weights, .. } = weighted;
        let shares = || match weights {
            None => vec![1.0 / total; batch.targets.len()],
            Some(weights) => weights.iter().map(|weight| weight / total).collect(),
        };
        match (&mut teacher, weights) {
            (Some(teacher), _) => sums.add_distilled(&teacher.gradient(learner, weighted, &shares())?),
            (None, None) => sums.totals.add(&learner.gradient(batch, 1.0 / total)?),
            (None, Some(_)) => sums.totals.add(&learner.weighted_gradient(batch, |_| shares())?),
        }
    }
    Ok(sums)
}

/// Logs the loss of the evaluation rows; returns whether it is the best so far.
fn evaluate(
    run: &mut Run,
    learner: &mut Learner,
    mut teacher: Option<&mut LoadedTeacher>,
    rows: &Rows,
    compute: &ComputeSettings,
) -> Result<bool> {
    let mut sums = Sums::default();
    for batch in rows.eval_batches(compute.micro_batch_tokens)? {
        match &mut teacher {
            Some(teacher) => sums.add_distilled(&teacher.compare(learner, &batch)?),
            None => sums.totals.add(&learner.losses(&batch.batch)?),
        }
    }
    refuse_nan(sums.mean_loss(), run.progress.step).map_err(|error| run.diverged(error))?;
    let mut values =
        vec![("eval_loss", sums.mean_loss()), ("eval_mean_token_accuracy", sums.totals.accuracy())];
    values.extend(sums.cross_entropy().map(|value| ("eval_cross_entropy", value)));
    run.log(&values);
    Ok(run.record_evaluation(sums.mean_loss()))
}

/// Returns everything that decides the run's weights.
fn configuration(settings: &Settings, rows: &Rows, start: &StartingPoint) -> Result<Value> {
    let mut configuration = identity(settings)?;
    configuration["model_sha256"] = start.checkpoint.weights_sha256()?.into();
    configuration["data"] = rows.name().into();
    configuration["model_config"] = start.config.to_json();
    configuration["chat_template"] = start.template.source().into();
    Ok(configuration)
}
