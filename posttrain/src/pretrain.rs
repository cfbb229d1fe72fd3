//! `posttrain pretrain`: from random weights or a checkpoint, on documents of several sources mixed by weight, in
//! stages that may change the mixture, the learning rate's phase, the sequence length and the RoPE base.

use crate::device::{self, Lengths};
use crate::examples::{self, LossOn, Rules, TooLong};
use crate::learner::{Learner, Totals};
use crate::model::{Batch, Sequence};
use crate::recipe::{self, Precision, Training, TrainingFlags, settings};
use crate::run::{Begun, Place, Run, about, interval};
use crate::schedule::Shape;
use crate::sft::{already, refuse_nan};
use anyhow::{Result, bail, ensure};
use half::bf16;
use kernels::Element;
use mixture::Mixture;
use origin::Origin;
use plan::{Common, Plan, SourceSettings, StageSettings};
use serde_json::{Map, Value, json};
use smollm::checkpoint::Outgoing;
use source::Source;
use std::path::PathBuf;

mod mixture;
mod origin;
mod plan;
mod record;
mod source;

/// Epochs of one source past which repetition begins to cost (Muennighoff et al., arXiv 2305.16264).
const MANY_EPOCHS: f64 = 4.0;

/// What `posttrain pretrain` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A checkpoint to go on from: a folder or a hub id
    #[arg(long, conflicts_with_all = ["init", "tokenizer"])]
    model: Option<String>,
    /// Documents: NAME=PATH, or a path that is its own name; the recipe's [[sources]] otherwise
    #[arg(long, num_args = 1..)]
    data: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// A TOML file of settings, sources and stages; flags override it
    #[arg(long)]
    recipe: Option<PathBuf>,
    /// Where tokenized data is kept; by default the user's cache folder
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Write the token ids of every step's sequences here, a JSON line a step, and train nothing: what another
    /// trainer needs to repeat the run
    #[arg(long)]
    record_order: Option<PathBuf>,
    #[command(flatten)]
    pretrain: PretrainFlags,
    #[command(flatten)]
    training: TrainingFlags,
}

settings! {
    /// What pretraining has beside the rest.
    pub struct Pretrain, PretrainFlags {
        /// The shape of a fresh model: smollm2-135m, smollm2-360m, smollm2-1.7b or a config.json
        init: String = String::new(),
        /// The tokenizer of a fresh model: a folder, a tokenizer.json or a hub id
        tokenizer: String = String::new(),
        /// Fresh weights that write to the residual stream are smaller by sqrt(2 layers), as nanotron makes them
        [num_args = 0..=1, default_missing_value = "true"]
        scale_residual_init: bool = true,
        /// Tokens to train on, where there are no stages; 0: every source once
        tokens: f64 = 0.0,
        /// Tokens of an optimizer step
        batch_tokens: usize = 65_536,
        /// Tokens of a sequence
        sequence_length: usize = 1024,
        /// Documents of a sequence do not see each other; off: they do
        [num_args = 0..=1, default_missing_value = "true"]
        intra_document: bool = true,
        /// Share of each source of --data that only evaluates
        held_out: f64 = 0.001,
        /// Most held-out tokens of each source in an evaluation; 0: all
        eval_tokens: usize = 65_536,
    }
}

/// All settings of a run.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Settings {
    #[serde(flatten)]
    pretrain: Pretrain,
    #[serde(flatten)]
    training: Training,
    sources: Vec<SourceSettings>,
    stages: Vec<StageSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        let training = Training { lr_scheduler_type: Shape::Wsd, learning_rate: 5e-4, ..Training::default() };
        Self { pretrain: Pretrain::default(), training, sources: Vec::new(), stages: Vec::new() }
    }
}

/// Trains to the end or until it is told to stop; the number is the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let mut settings = resolve(options)?;
    let origin = Origin::new(options.model.as_deref(), &settings.pretrain, settings.training.seed)?;
    let cache = options.cache.clone().unwrap_or_else(examples::default_cache);
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
    let plan = Plan::new(&settings.stages, &sizes, common, &settings.training)?;
    if let Some(file) = &options.record_order {
        return record::write(file, &settings, &plan, sources);
    }
    let mut configuration = recipe::identity(&settings)?;
    let hashes = sources.iter().map(|source| (source.name.clone(), json!(source.hashes())));
    configuration["shards"] = Value::Object(hashes.collect());
    configuration["weights"] = origin.sha256.clone().into();
    let data = Value::Object(sizes.iter().map(|(name, tokens)| (name.clone(), json!(tokens))).collect());
    configuration["model_config"] = origin.parameters.config.to_json();
    let mut about = about("pretrain", &origin.name, &data, &configuration, &origin.notes);
    let rows = sources.iter().map(|source| (source.name.clone(), json!(source.counts())));
    about.insert("rows".to_owned(), Value::Object(rows.collect()));
    let longest = plan.stages.iter().map(|stage| stage.sequence_length).max().unwrap_or_default();
    let lengths = Lengths { longest, step: settings.pretrain.batch_tokens };
    let config = &origin.parameters.config;
    device::settle(&mut settings.training, config, lengths, &options.place, &mut about)?;
    match settings.training.precision {
        Precision::F32 => train::<f32>(&settings, &plan, origin, sources, &options.place, about),
        Precision::Bf16 => train::<bf16>(&settings, &plan, origin, sources, &options.place, about),
    }
}

fn train<E: Element>(
    settings: &Settings,
    plan: &Plan,
    origin: Origin,
    sources: Vec<Source>,
    place: &Place,
    about: Map<String, Value>,
) -> Result<u8> {
    let training = &settings.training;
    let (total, mut parameters) = (plan.total(), origin.parameters);
    let begun = Run::begin(place, about, &mut parameters, total, training)?;
    let Begun::Train(mut run, optimizer) = begun else { return Ok(already(place)) };
    let mut mixture = Mixture { sources, drawn: run.progress.drawn.clone() };
    let (eval_every, save_every) =
        (interval(training.eval_steps, total), interval(training.save_steps, total));
    let mut learner =
        Learner::<E>::new(parameters, optimizer, plan.stage(run.progress.step).1.sequence_length, training)?;
    let mut logged = Totals::default();
    // A run whose last step is done still has to be saved as its last stage left it.
    let mut current = plan.stage(run.progress.step).0;
    enter(&mut learner, &plan.stages[current], origin.positions)?;
    while run.progress.step < total {
        let step = run.progress.step;
        let (index, stage) = plan.stage(step);
        if current != index {
            enter(&mut learner, stage, origin.positions)?;
            run.line(&stage.line());
            current = index;
        }
        let batches = draw(&mut mixture, stage, settings);
        let trained: usize = batches.iter().map(|batch| batch.targets.len()).sum();
        ensure!(
            trained > 0,
            "step {}: none of its tokens can be trained; a source holds only single tokens",
            step + 1
        );
        let mut totals = Totals::default();
        for batch in &batches {
            totals.add(&learner.gradient(batch, 1.0 / trained as f32)?);
        }
        let sane = refuse_nan(totals.mean_loss(), step);
        let grad_norm = sane.and_then(|()| learner.update(plan.rate(step)));
        let grad_norm = grad_norm.map_err(|error| run.diverged(error))?;
        run.progress.drawn = mixture.drawn.clone();
        let tokens = batches.iter().map(Batch::tokens).sum();
        run.step_done(tokens, batches.iter().map(Batch::attended).sum(), trained);
        logged.merge(&totals);
        let done = run.progress.step;
        let due = |every: u64| done.is_multiple_of(every) || done == total;
        let length = stage.sequence_length;
        let best = due(eval_every) && evaluate(&mut run, &mut learner, &mixture, settings, length)?;
        let stopped = run.interrupted();
        let saves = best || stopped.is_some() || due(save_every);
        // A checkpoint closes the window, so that a resumed run logs what the undisturbed one does.
        if saves || due(training.logging_steps) {
            log(&mut run, &logged, plan.rate(step), grad_norm, &mixture)?;
            logged = Totals::default();
        }
        if saves {
            let config = learner.parameters.config.clone();
            run.save(&mut learner, &origin.parts.outgoing(&config), training)?;
        }
        if let Some(code) = stopped.filter(|_| done < total) {
            return run.stop(code);
        }
    }
    let config = learner.parameters.config.clone();
    let outgoing: Outgoing<'_> = origin.parts.outgoing(&config);
    run.finish(&mut learner, &outgoing, training)
}

/// Makes the model ready for a stage.
fn enter<E: Element>(learner: &mut Learner<E>, stage: &plan::Stage, known: usize) -> Result<()> {
    learner.set_rope(stage.rope_theta, stage.sequence_length)?;
    // A checkpoint's longer context is not forgotten.
    learner.parameters.config.max_positions = stage.sequence_length.max(known);
    Ok(())
}

/// The micro-batches of a step.
fn draw(mixture: &mut Mixture, stage: &plan::Stage, settings: &Settings) -> Vec<Batch> {
    let together = (settings.training.micro_batch() / stage.sequence_length).max(1);
    let sequences: Vec<Vec<Sequence<'static>>> =
        (0..stage.sequences_per_step).map(|_| mixture.next(stage)).collect();
    let pieces = |pieces: &Vec<Sequence<'static>>| match settings.pretrain.intra_document {
        true => pieces.clone(),
        false => vec![joined(pieces)],
    };
    sequences.chunks(together).map(|sequences| Batch::new(sequences.iter().flat_map(pieces))).collect()
}

/// Pieces of documents as one sequence, in which they see each other.
fn joined(pieces: &[Sequence<'static>]) -> Sequence<'static> {
    let ids: Vec<u32> = pieces.iter().flat_map(|piece| piece.ids.iter().copied()).collect();
    let trained = vec![true; ids.len()];
    Sequence { ids: ids.into(), trained: trained.into() }
}

fn log(run: &mut Run, totals: &Totals, rate: f64, grad_norm: f32, mixture: &Mixture) -> Result<()> {
    let mut values = vec![
        ("loss".to_owned(), totals.mean_loss()),
        ("learning_rate".to_owned(), rate),
        ("grad_norm".to_owned(), f64::from(grad_norm)),
        ("mean_token_accuracy".to_owned(), totals.accuracy()),
    ];
    for (name, epochs) in mixture.epochs() {
        values.push((format!("epochs/{name}"), epochs));
        if epochs > MANY_EPOCHS {
            run.note_once(&format!("source {name} was gone through more than {MANY_EPOCHS} times"));
        }
    }
    run.log_training(&values.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>())
}

/// Logs the loss of every source's held-out documents; whether that of all is the best so far.
fn evaluate<E: Element>(
    run: &mut Run,
    learner: &mut Learner<E>,
    mixture: &Mixture,
    settings: &Settings,
    length: usize,
) -> Result<bool> {
    let (mut all, mut values) = (Totals::default(), Vec::new());
    for source in &mixture.sources {
        let mut totals = Totals::default();
        let mut waiting: Vec<Sequence<'static>> = Vec::new();
        let (mut tokens, mut seen) = (0, 0);
        let limit = settings.pretrain.eval_tokens;
        for sequence in source.held(length) {
            if limit > 0 && seen >= limit {
                break;
            }
            seen += sequence.ids.len();
            if tokens + sequence.ids.len() > settings.training.micro_batch() && !waiting.is_empty() {
                totals.add(&learner.losses(&Batch::new(waiting.drain(..)))?);
                tokens = 0;
            }
            tokens += sequence.ids.len();
            waiting.push(sequence);
        }
        if !waiting.is_empty() {
            totals.add(&learner.losses(&Batch::new(waiting))?);
        }
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
    run.log(&values.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>())?;
    Ok(run.evaluated(all.mean_loss()))
}

/// Settings from recipe and flags, with the sources that --data names.
fn resolve(options: &Options) -> Result<Settings> {
    let flags = [recipe::flags(&options.pretrain)?, recipe::flags(&options.training)?];
    let mut settings: Settings = recipe::resolve(options.recipe.as_deref(), &flags)?;
    settings.training.check()?;
    recipe::check_flags(&options.training, &settings.training)?;
    check_flags(options, &settings)?;
    if !options.data.is_empty() {
        settings.sources = options.data.iter().map(|text| named(text, settings.pretrain.held_out)).collect();
    }
    recipe::within("held_out", settings.pretrain.held_out, 0.0, 0.9)?;
    for source in &settings.sources {
        recipe::within(&format!("source {}: held_out", source.name), source.held_out, 0.0, 0.9)?;
    }
    for (index, source) in settings.sources.iter().enumerate() {
        let twins = settings.sources[..index].iter().any(|other| other.name == source.name);
        ensure!(!twins, "two sources are called {:?}: name them apart, --data NAME=PATH", source.name);
    }
    if settings.sources.is_empty() {
        bail!("nothing to train on: give --data NAME=PATH or [[sources]] in the recipe");
    }
    Ok(settings)
}

/// Refuses flags that nothing would read.
fn check_flags(options: &Options, settings: &Settings) -> Result<()> {
    let Pretrain { tokens, batch_tokens, sequence_length, .. } = settings.pretrain;
    if tokens > 0.0 && !settings.stages.is_empty() {
        bail!("tokens is {tokens}, but the recipe's stages say how many they take");
    }
    if options.training.decay_ratio.is_some() && !settings.stages.is_empty() {
        bail!("--decay-ratio is given, but the recipe's stages say when they decay");
    }
    if options.pretrain.held_out.is_some() && options.data.is_empty() {
        bail!("--held-out is of --data; the recipe's sources say their own");
    }
    let lengths = settings.stages.iter().map(|stage| stage.sequence_length.unwrap_or(sequence_length));
    for length in lengths.chain([sequence_length]).filter(|length| *length > 0 && *length <= batch_tokens) {
        ensure!(
            batch_tokens.is_multiple_of(length),
            "batch_tokens {batch_tokens} is not whole sequences of {length}; the nearest is {}",
            batch_tokens / length * length
        );
    }
    Ok(())
}

fn named(text: &str, held_out: f64) -> SourceSettings {
    let (name, path) = text.split_once('=').unwrap_or_else(|| {
        let stem = std::path::Path::new(text).file_stem().and_then(|stem| stem.to_str());
        (stem.unwrap_or(text), text)
    });
    SourceSettings { name: name.to_owned(), paths: vec![path.into()], held_out }
}

fn open_sources(settings: &Settings, origin: &Origin, cache: &std::path::Path) -> Result<Vec<Source>> {
    let rules = Rules {
        template: &origin.parts.template,
        tokenizer: &origin.parts.tokenizer,
        document_end: origin.parts.document_end,
        max_length: usize::MAX,
        too_long: TooLong::Cut,
        loss_on: LossOn::All,
    };
    let seed = settings.training.seed;
    let open = |source: &SourceSettings| {
        Source::open(&source.name, &source.paths, source.held_out, &rules, seed, cache)
    };
    settings.sources.iter().map(open).collect()
}

/// Whether a recipe resolves, and its stages make a plan over sources of any size.
#[cfg(test)]
pub(crate) fn check_recipe(recipe: &std::path::Path) -> Result<()> {
    let settings: Settings = recipe::resolve(Some(recipe), &[])?;
    settings.training.check()?;
    let sizes: Vec<(String, u64)> = settings.sources.iter().map(|source| (source.name.clone(), 1)).collect();
    let Pretrain { tokens, batch_tokens, sequence_length, .. } = settings.pretrain;
    let common = Common { tokens, batch_tokens, sequence_length, rope_theta: 1e4 };
    let plan = Plan::new(&settings.stages, &sizes, common, &settings.training)?;
    let last = plan.total() - 1;
    ensure!(
        plan.rate(last) < 1e-5 * settings.training.learning_rate,
        "the decay ends at {}",
        plan.rate(last)
    );
    Ok(())
}
