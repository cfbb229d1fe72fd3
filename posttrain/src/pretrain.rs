//! `posttrain pretrain`: from random weights or a checkpoint, on documents of several sources mixed by weight, in stages
//! that may change the mixture, the phase of the learning rate, the sequence length and the RoPE base.

use crate::checks::{refuse_long_warmup, refuse_nan, refuse_without_evaluation};
use crate::compute;
use crate::data::DataFlags;
use crate::examples::{Rules, TrainOn};
use crate::interventions;
use crate::monitoring::Monitoring;
use crate::recipe;
use crate::run::{Run, RunFolder, about, borrowed, report_finished};
use crate::samples::PromptForm;
use crate::schedule::interval;
use crate::settings::{TrainingFlags, check_flags, identity};
use crate::tokenize::default_cache;
use anyhow::{Result, bail, ensure};
use batches::EvaluationSizes;
use mixture::Mixture;
use origin::Origin;
use plan::{Common, Plan, Stage};
use serde_json::{Map, Value, json};
use settings::{PretrainFlags, PretrainSettings, SourceSettings};
use source::Source;
use std::path::{Path, PathBuf};
use training::memory::Lengths;
use training::{Batch, ComputeSettings, Learner, Totals};

mod batches;
mod mixture;
mod origin;
mod plan;
mod record;
mod settings;
mod source;

pub use settings::Settings;

/// Epochs of a source after which repetition starts to cost (Muennighoff et al., arXiv 2305.16264).
const MANY_EPOCHS: f64 = 4.0;

/// The command line of `posttrain pretrain`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Checkpoint to start from: a folder or a Hugging Face id
    #[arg(long, conflicts_with_all = ["init", "tokenizer"])]
    model: Option<String>,
    /// Sources of documents, instead of the recipe's `sources`: NAME=PATH, or a path, which is also the name
    #[arg(long, num_args = 1..)]
    data: Vec<String>,
    #[command(flatten)]
    folder: RunFolder,
    /// TOML file of settings, sources and stages; flags override it
    #[arg(long)]
    recipe: Option<PathBuf>,
    /// Folder of tokenized data; by default in the user's cache folder
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Write the token ids of every step's sequences to this file, a JSON line a step, and train nothing; with it another
    /// trainer can repeat the run
    #[arg(long)]
    record_order: Option<PathBuf>,
    #[command(flatten)]
    pretrain: PretrainFlags,
    #[command(flatten)]
    rows: DataFlags,
    #[command(flatten)]
    training: TrainingFlags,
}

impl Options {
    /// A run with nothing but a recipe, as `posttrain ablate` starts it.
    pub(crate) fn of_recipe(recipe: &Path, model: Option<&str>, out: &Path, cache: Option<&Path>) -> Self {
        Self {
            model: model.map(str::to_owned),
            data: Vec::new(),
            folder: RunFolder { out: out.to_owned(), restart: false, accept_changes: false, no_lock: false },
            recipe: Some(recipe.to_owned()),
            cache: cache.map(Path::to_owned),
            record_order: None,
            pretrain: PretrainFlags::default(),
            rows: DataFlags::default(),
            training: TrainingFlags::default(),
        }
    }
}

/// Trains until the last step or a signal. Returns the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let mut settings = resolve(options)?;
    let origin = Origin::new(options.model.as_deref(), &settings.pretrain, &settings.training)?;
    let cache = options.cache.clone().unwrap_or_else(|| default_cache(&options.folder.out));
    let sources = open_sources(&settings, &origin, &cache)?;
    let sizes: Vec<(String, u64)> =
        sources.iter().map(|source| (source.name.clone(), source.tokens)).collect();
    if settings.pretrain.tokens == 0.0 {
        settings.pretrain.tokens = sizes.iter().map(|(_, tokens)| *tokens as f64).sum();
    }
    let common = Common {
        tokens: settings.pretrain.tokens,
        batch_tokens: settings.pretrain.batch_tokens,
        sequence_length: settings.pretrain.sequence_length,
        rope_theta: origin.parameters.config.rope_theta,
    };
    let mut plan = Plan::new(&settings.stages, &sizes, common, &settings.training)?;
    let ends = plan.ends();
    let interventions = if options.folder.restart {
        Vec::new()
    } else {
        interventions::of_run(&options.folder.out, options.folder.accept_changes)?
    };
    for change in &interventions {
        plan.intervene(change, &sizes)?;
    }
    if origin.parts.adapter.is_some() {
        refuse_other_positions(&plan, &origin)?;
    }
    if let Some(file) = &options.record_order {
        return record::write(file, settings.pretrain.intra_document, &plan, sources);
    }
    let mut configuration = identity(&settings)?;
    let hashes = sources.iter().map(|source| (source.name.clone(), json!(source.hashes())));
    configuration["shards"] = Value::Object(hashes.collect());
    configuration["weights"] = origin.sha256.clone().into();
    let data = Value::Object(sizes.iter().map(|(name, tokens)| (name.clone(), json!(tokens))).collect());
    configuration["model_config"] = origin.parameters.config.to_json();
    let mut about = about("pretrain", &origin.name, &data, &configuration, &origin.notes);
    about.insert("stage_ends".to_owned(), ends.into());
    if !interventions.is_empty() {
        about.insert("interventions".to_owned(), serde_json::to_value(&interventions)?);
    }
    let rows = sources.iter().map(|source| (source.name.clone(), json!(source.counts())));
    about.insert("rows".to_owned(), Value::Object(rows.collect()));
    let longest = plan.stages.iter().map(|stage| stage.sequence_length).max().unwrap_or_default();
    let lengths = Lengths { longest, step: settings.pretrain.batch_tokens };
    let compute = compute::resolve(&settings.training, origin.size(), lengths, &options.folder, &mut about)?;
    train(&settings, &compute, &plan, origin, sources, &options.folder, about)
}

fn train(
    settings: &Settings,
    compute: &ComputeSettings,
    plan: &Plan,
    origin: Origin,
    sources: Vec<Source>,
    folder: &RunFolder,
    mut about: Map<String, Value>,
) -> Result<u8> {
    let (training, total) = (&settings.training, plan.total());
    refuse_long_warmup(training, total)?;
    let monitoring = Monitoring::read(training, total, PromptForm::Text, &mut about)?;
    let positions = origin.positions;
    let run = Run::start(folder, about, origin.parameters, total, compute)?;
    let Some((mut run, state)) = run else { return Ok(report_finished(folder)) };
    interventions::refuse_other(&folder.out, &plan.interventions)?;
    plan.interventions.iter().for_each(|change| run.line(&change.note()));
    let mut mixture = Mixture { sources, state: run.progress.mixture.clone() };
    let (eval_every, save_every) =
        (interval(training.eval_steps, total), interval(training.save_steps, total));
    let length = plan.stage(run.progress.step).1.sequence_length;
    let mut learner = origin.frozen.learner(state, length, compute, training.optimizer())?;
    let mut window = Totals::default();
    // Also a run whose last step is done needs its last stage: it is still to be saved.
    let mut current = plan.stage(run.progress.step).0;
    enter(&mut learner, &plan.stages[current], positions)?;
    let config = learner.state().parameters.config.clone();
    run.mend(&mut learner, &origin.parts.outgoing(&config), training)?;
    run.monitor(&monitoring, &mut learner, &origin.parts.outgoing(&config), training)?;
    while run.has_steps(total, training)? {
        let step = run.progress.step;
        let (index, stage) = plan.stage(step);
        if current != index {
            enter(&mut learner, stage, positions)?;
            run.line(&stage.line());
            current = index;
        }
        let intra_document = settings.pretrain.intra_document;
        let batches = batches::draw(&mut mixture, stage, compute.micro_batch_tokens, intra_document);
        let config = learner.state().parameters.config.clone();
        let outgoing = origin.parts.outgoing(&config);
        let batches = run.rescued(batches, &mut learner, &outgoing, training)?;
        let trained: usize = batches.iter().map(|batch| batch.targets.len()).sum();
        ensure!(
            trained > 0,
            "step {}: there is no token to train on, because a source only has documents of one token; remove it",
            step + 1
        );
        let mut totals = Totals::default();
        for batch in &batches {
            totals.add(&learner.gradient(batch, 1.0 / trained as f32)?);
        }
        let grad_norm = refuse_nan(totals.mean_loss(), step).and_then(|()| learner.update(plan.rate(step)));
        let grad_norm = grad_norm.map_err(|error| run.diverged(error))?;
        run.progress.mixture = mixture.state.clone();
        let tokens = batches.iter().map(Batch::tokens).sum();
        let attended = batches.iter().map(|batch| batch.attended(&config.architecture)).sum();
        run.count_step(tokens, attended, trained);
        window.merge(&totals);
        let done = run.progress.step;
        let is_due = |every: u64| done.is_multiple_of(every) || done == total;
        let evaluation = EvaluationSizes {
            sequence_length: stage.sequence_length,
            tokens: settings.pretrain.eval_tokens,
            micro_batch_tokens: compute.micro_batch_tokens,
        };
        let is_best = is_due(eval_every) && {
            let is_best = evaluate(&mut run, &mut learner, &mixture, evaluation);
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
            log(&mut run, &window, plan.rate(step), grad_norm, &mixture);
            window = Totals::default();
        }
        if saves {
            run.save_step(&mut learner, &outgoing, training, (stop_code, total))?;
        }
        if let Some(code) = stop_code.filter(|_| done < total) {
            return Ok(run.stop(code));
        }
    }
    let config = learner.state().parameters.config.clone();
    run.finish(&mut learner, &origin.parts.outgoing(&config), training)
}

/// Refuses stages that change what an adapter cannot store: its base model keeps its positions.
fn refuse_other_positions(plan: &Plan, origin: &Origin) -> Result<()> {
    let theta = origin.parameters.config.rope_theta;
    for stage in &plan.stages {
        ensure!(
            stage.rope_theta == theta && stage.sequence_length <= origin.positions,
            "stage {} has sequences of {} tokens and the RoPE base {}, but under an adapter the model keeps its {} positions and its base {theta}; change the stage, or train all weights",
            stage.name,
            stage.sequence_length,
            stage.rope_theta,
            origin.positions
        );
    }
    Ok(())
}

/// Sets the model up for a stage. `positions` are those of the checkpoint that the run started from.
fn enter(learner: &mut Learner, stage: &Stage, positions: usize) -> Result<()> {
    learner.set_rope(stage.rope_theta, stage.sequence_length)?;
    // A checkpoint that knows longer sequences keeps its positions.
    learner.set_max_positions(stage.sequence_length.max(positions));
    Ok(())
}

fn log(run: &mut Run, totals: &Totals, rate: f64, grad_norm: f32, mixture: &Mixture) {
    let mut values = vec![
        ("loss".to_owned(), totals.mean_loss()),
        ("learning_rate".to_owned(), rate),
        ("grad_norm".to_owned(), f64::from(grad_norm)),
        ("mean_token_accuracy".to_owned(), totals.accuracy()),
    ];
    for (name, epochs) in mixture.epochs() {
        values.push((format!("epochs/{name}"), epochs));
        if epochs > MANY_EPOCHS {
            run.note_once(&format!("source {name} was repeated for more than {MANY_EPOCHS} epochs"));
        }
    }
    run.log_training(&borrowed(&values));
}

/// Logs the loss of every source's held-out documents and that of all; returns whether the latter is the best so far.
fn evaluate(run: &mut Run, learner: &mut Learner, mixture: &Mixture, sizes: EvaluationSizes) -> Result<bool> {
    let (mut all, mut values) = (Totals::default(), Vec::new());
    for source in &mixture.sources {
        let mut totals = Totals::default();
        batches::held_out(source, sizes, |batch| {
            totals.add(&learner.losses(batch)?);
            Ok(())
        })?;
        if totals.tokens > 0 {
            values.push((format!("eval_loss/{}", source.name), totals.mean_loss()));
        }
        all.merge(&totals);
    }
    if all.tokens == 0 {
        return Ok(false);
    }
    refuse_nan(all.mean_loss(), run.progress.step).map_err(|error| run.diverged(error))?;
    values.insert(0, ("eval_loss".to_owned(), all.mean_loss()));
    run.log(&borrowed(&values));
    Ok(run.record_evaluation(all.mean_loss()))
}

/// Returns the settings from recipe and flags, with the sources of `--data`.
fn resolve(options: &Options) -> Result<Settings> {
    let flags = [
        recipe::table_of(&options.pretrain)?,
        recipe::table_of(&options.rows)?,
        recipe::table_of(&options.training)?,
    ];
    let mut settings: Settings = recipe::resolve(options.recipe.as_deref(), &flags)?;
    settings.training.check()?;
    check_flags(&options.training, &settings.training)?;
    options.folder.look("pretrain")?;
    check_pretrain_flags(options, &settings)?;
    if !options.data.is_empty() {
        settings.sources =
            options.data.iter().map(|text| SourceSettings::parse(text, settings.pretrain.held_out)).collect();
    }
    settings.check_sources()?;
    let has_eval = settings.sources.iter().any(|source| source.held_out > 0.0);
    refuse_without_evaluation(&options.training, &settings.training, has_eval, "`--held-out 0.001`")?;
    Ok(settings)
}

/// Refuses flags that would have no effect, and steps of partial sequences.
fn check_pretrain_flags(options: &Options, settings: &Settings) -> Result<()> {
    let PretrainSettings { tokens, batch_tokens, sequence_length, .. } = settings.pretrain;
    if tokens > 0.0 && !settings.stages.is_empty() {
        bail!("`tokens` is {tokens}, but every stage of the recipe has its own; remove one of them");
    }
    if options.training.decay_ratio.is_some() && !settings.stages.is_empty() {
        bail!("`--decay-ratio` has no effect, because the stages of the recipe have phases; remove it");
    }
    if options.pretrain.held_out.is_some() && options.data.is_empty() {
        bail!(
            "`--held-out` requires `--data`; for the recipe's sources set `held_out` in each `[[sources]]`"
        );
    }
    let lengths = settings.stages.iter().map(|stage| stage.sequence_length.unwrap_or(sequence_length));
    for length in lengths.chain([sequence_length]).filter(|length| *length > 0 && *length <= batch_tokens) {
        ensure!(
            batch_tokens.is_multiple_of(length),
            "`batch_tokens` is {batch_tokens}, not a multiple of the sequence length {length}; give {}",
            batch_tokens / length * length
        );
    }
    Ok(())
}

fn open_sources(settings: &Settings, origin: &Origin, cache: &Path) -> Result<Vec<Source>> {
    let (template, tokenizer) = (&origin.parts.template, &origin.parts.tokenizer);
    let template_args = settings.data.template_args()?;
    let rules = Rules {
        document_end: origin.parts.document_end,
        train_on: TrainOn::All,
        fractions: false,
        ..Rules::new(template, tokenizer, usize::MAX)
    };
    let rules = settings.data.rules(rules, &template_args);
    let (seed, reading) = (settings.training.seed, settings.data.options());
    let open = |source: &SourceSettings| {
        Source::open(&source.name, (&source.paths, &reading), source.held_out, &rules, seed, cache)
    };
    settings.sources.iter().map(open).collect()
}

/// Checks what can be known of a recipe before its data is read: settings, sources and stages.
///
/// # Errors
/// Names what is wrong.
pub(crate) fn check_settings(path: &Path) -> Result<()> {
    planned(path).map(drop)
}

/// The settings of a recipe, and its plan over sources of any size.
fn planned(path: &Path) -> Result<(Settings, Plan)> {
    let settings: Settings = recipe::resolve(Some(path), &[])?;
    settings.training.check()?;
    settings.check_sources()?;
    let sizes: Vec<(String, u64)> = settings.sources.iter().map(|source| (source.name.clone(), 1)).collect();
    let PretrainSettings { tokens, batch_tokens, sequence_length, .. } = settings.pretrain;
    // Without a number, every source is read once; how many tokens that is follows from the data.
    let tokens = if tokens == 0.0 && settings.stages.is_empty() { 1e12 } else { tokens };
    let common = Common { tokens, batch_tokens, sequence_length, rope_theta: 1e4 };
    let plan = Plan::new(&settings.stages, &sizes, common, &settings.training)?;
    Ok((settings, plan))
}

/// Checks that a recipe resolves, that its stages make a plan, and that the rate ends at 0.
#[cfg(test)]
pub(crate) fn check_recipe(path: &Path) -> Result<()> {
    let (settings, plan) = planned(path)?;
    let last = plan.total() - 1;
    ensure!(
        plan.rate(last) < 1e-5 * settings.training.learning_rate,
        "the decay ends at {}",
        plan.rate(last)
    );
    Ok(())
}
