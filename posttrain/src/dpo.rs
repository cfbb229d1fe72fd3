//! `posttrain dpo`: direct preference optimization on pairs of replies, with the losses TRL has.
//!
//! The reference is the model the run begins from. Its log-probabilities are computed once and cached under the
//! hash of weights, rows and arithmetic, so no second model is ever in memory.

use crate::examples::{self, Kind, LossOn, Rules, TooLong, listed, tokenized};
use crate::learner::{Learner, Totals};
use crate::model::Batch;
use crate::order::{Order, micro_batches};
use crate::recipe::{self, Precision, Training, TrainingFlags, settings};
use crate::run::{Begun, Place, Run, about, interval};
use crate::schedule::Schedule;
use crate::sft::{already, fits, refuse_nan};
use crate::tokens::Store;
use crate::vocabulary::Start;
use anyhow::{Result, bail};
use half::bf16;
use kernels::Element;
use kernels::training::TokenLoss;
use loss::{Loss, LossSettings, Outcome, Pairs};
use serde_json::{Value, json};
use smollm::Checkpoint;
use smollm::checkpoint::Outgoing;
use std::path::PathBuf;

pub mod loss;
mod reference;

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
    /// A TOML file of settings; flags go before it
    #[arg(long)]
    recipe: Option<PathBuf>,
    /// Pairs to evaluate on, instead of a share of --data
    #[arg(long, num_args = 1..)]
    eval_data: Vec<PathBuf>,
    /// A Jinja chat template to train instead of the checkpoint's own
    #[arg(long)]
    chat_template: Option<PathBuf>,
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
        /// Times to go through the pairs; `steps` goes before it
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
        /// How many of the preferences may be wrong: cDPO, robust DPO, EXO
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
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    #[serde(flatten)]
    dpo: Dpo,
    #[serde(flatten)]
    training: Training,
}

/// Trains to the end or until it is told to stop; the number is the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let flags = [recipe::flags(&options.dpo)?, recipe::flags(&options.training)?];
    let settings: Settings = recipe::resolve(options.recipe.as_deref(), &flags)?;
    let losses = settings.check()?;
    let checkpoint = Checkpoint::open(&options.model, options.chat_template.as_deref())?;
    let start = Start::new(&checkpoint, true)?;
    let rules = settings.rules(&start)?;
    let cache = options.cache.clone().unwrap_or_else(examples::default_cache);
    let data = tokenized(&options.data, Kind::Preference, &rules, &cache)?;
    eprintln!("{}: {}", listed(&options.data), data.counts.line());
    let eval = match options.eval_data.as_slice() {
        [] => None,
        paths => Some(tokenized(paths, Kind::Preference, &rules, &cache)?),
    };
    let rows = Rows::new(data, eval, &settings)?;
    let configuration = settings.configuration(&checkpoint, &rows, &start)?;
    let data = json!({"train": listed(&options.data), "eval": listed(&options.eval_data)});
    let mut about = about("dpo", &options.model, data, configuration, &start.notes);
    about.insert("rows".to_owned(), serde_json::to_value(&rows.data.counts)?);
    let (place, cache) = (&options.place, cache.as_path());
    match settings.training.precision {
        Precision::F32 => train::<f32>(&settings, &losses, start, rows, place, about, cache),
        Precision::Bf16 => train::<bf16>(&settings, &losses, start, rows, place, about, cache),
    }
}

fn train<E: Element>(
    settings: &Settings,
    losses: &LossSettings,
    start: Start,
    mut rows: Rows,
    place: &Place,
    about: serde_json::Map<String, Value>,
    cache: &std::path::Path,
) -> Result<u8> {
    let Settings { dpo, training } = settings;
    let total = rows.total_steps(dpo);
    let mut parameters = start.parameters;
    let stores = [Some(&rows.data), rows.eval.as_ref()];
    let reference = reference::log_probabilities::<E>(&parameters, stores, training, dpo.max_length, cache)?;
    let begun = Run::begin(place, about, &mut parameters, total, training)?;
    let Begun::Train(mut run, optimizer) = begun else { return Ok(already(place)) };
    let config = parameters.config.clone();
    let outgoing = Outgoing {
        config: &config,
        tokenizer: &start.tokenizer,
        tokenizer_config: &start.tokenizer_config,
        template: Some(&start.template),
    };
    let schedule = Schedule::new(training, total);
    let (eval_every, save_every) =
        (interval(training.eval_steps, total), interval(training.save_steps, total));
    let mut learner = Learner::<E>::new(parameters, optimizer, dpo.max_length, training);
    let mut logged = Measured::default();
    while run.progress.step < total {
        let step = run.progress.step;
        let batches = rows.step(step, &reference[0], training.micro_batch_tokens);
        let measured = gradient(&mut learner, &batches, losses);
        refuse_nan(measured.loss / measured.pairs as f64, step)?;
        let grad_norm = learner.update(schedule.rate(step))?;
        let tokens = batches.iter().map(|pairs| pairs.batch.tokens()).sum();
        run.step_done(tokens, batches.iter().map(|pairs| pairs.batch.attended()).sum());
        logged.merge(&measured);
        let done = run.progress.step;
        if done.is_multiple_of(training.logging_steps) || done == total {
            let mut values = logged.values("");
            values.extend([
                ("learning_rate".into(), schedule.rate(step)),
                ("grad_norm".into(), f64::from(grad_norm)),
                ("epoch".into(), done as f64 / rows.order.steps_per_epoch() as f64),
            ]);
            run.log_training(&borrowed(&values))?;
            logged = Measured::default();
        }
        let mut best = false;
        if rows.has_eval() && (done.is_multiple_of(eval_every) || done == total) {
            let batches = rows.eval_batches(&reference, training.micro_batch_tokens);
            let measured = evaluate(&mut learner, &batches, losses);
            run.log(&borrowed(&measured.values("eval_")))?;
            best = run.evaluated(measured.loss / measured.pairs as f64);
        }
        let stopped = run.interrupted();
        if best || stopped.is_some() || done.is_multiple_of(save_every) || done == total {
            run.save(&learner, &outgoing, training)?;
        }
        if let Some(code) = stopped.filter(|_| done < total) {
            return run.stop(code);
        }
    }
    run.finish(&learner, &outgoing, training)
}

/// Adds the gradient of a step's mean loss.
fn gradient<E: Element>(learner: &mut Learner<E>, batches: &[PairBatch], losses: &LossSettings) -> Measured {
    let step = Step::of(batches);
    let mut measured = Measured::default();
    if losses.couples_pairs() && batches.len() > 1 {
        // Every pair's loss needs all others first: the step is computed once more.
        let tokens: Vec<Vec<TokenLoss>> = batches.iter().map(|pairs| learner.losses(&pairs.batch)).collect();
        let outcome = step.outcome(batches, &tokens, losses);
        let mut first = 0;
        for pairs in batches {
            let own = first..first + pairs.len();
            learner
                .weighted_gradient(&pairs.batch, |_| pairs.token_weights(&outcome, own.clone(), step.pairs));
            first = own.end;
        }
        measured.add(batches, &tokens, &outcome, losses.beta);
        return measured;
    }
    for pairs in batches {
        let mut outcome = None;
        let tokens = learner.weighted_gradient(&pairs.batch, |tokens| {
            let made = step.outcome(std::slice::from_ref(pairs), &[tokens.to_vec()], losses);
            let weights = pairs.token_weights(&made, 0..pairs.len(), step.pairs);
            outcome = Some(made);
            weights
        });
        let outcome = outcome.expect("the gradient asked for the weights");
        measured.add(std::slice::from_ref(pairs), &[tokens], &outcome, losses.beta);
    }
    measured
}

fn evaluate<E: Element>(learner: &mut Learner<E>, batches: &[PairBatch], losses: &LossSettings) -> Measured {
    let step = Step::of(batches);
    let tokens: Vec<Vec<TokenLoss>> = batches.iter().map(|pairs| learner.losses(&pairs.batch)).collect();
    let outcome = step.outcome(batches, &tokens, losses);
    let mut measured = Measured::default();
    measured.add(batches, &tokens, &outcome, losses.beta);
    measured
}

/// What all micro-batches of a step share.
#[derive(Debug, Clone, Copy)]
struct Step {
    pairs: usize,
    mean_chosen_tokens: f64,
}

impl Step {
    fn of(batches: &[PairBatch]) -> Self {
        let pairs = batches.iter().map(PairBatch::len).sum();
        let tokens: usize = batches
            .iter()
            .map(|pairs| (0..pairs.len()).map(|pair| pairs.tokens(2 * pair)).sum::<usize>())
            .sum();
        Self { pairs, mean_chosen_tokens: tokens as f64 / pairs as f64 }
    }

    /// The losses of these micro-batches' pairs, in order.
    fn outcome(&self, batches: &[PairBatch], tokens: &[Vec<TokenLoss>], losses: &LossSettings) -> Outcome {
        let mut sides = [(Vec::new(), Vec::new(), Vec::new()), (Vec::new(), Vec::new(), Vec::new())];
        for (pairs, tokens) in batches.iter().zip(tokens) {
            for (sequence, log_probability) in pairs.sums(tokens).into_iter().enumerate() {
                let (sums, references, counts) = &mut sides[sequence % 2];
                sums.push(log_probability);
                references.push(pairs.reference[sequence]);
                counts.push(pairs.tokens(sequence));
            }
        }
        let [(chosen, reference_chosen, chosen_tokens), (rejected, reference_rejected, rejected_tokens)] =
            &sides;
        let pairs =
            Pairs { chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens };
        loss::evaluate(&pairs, losses, self.mean_chosen_tokens)
    }
}

/// A micro-batch of pairs: chosen and rejected in turn, with the reference's log-probabilities.
#[derive(Debug)]
struct PairBatch {
    batch: Batch,
    reference: Vec<f64>,
}

impl PairBatch {
    fn len(&self) -> usize {
        self.reference.len() / 2
    }

    /// Trained tokens of a sequence.
    fn tokens(&self, sequence: usize) -> usize {
        self.batch.target_starts[sequence + 1] - self.batch.target_starts[sequence]
    }

    /// Σ log-probability of every sequence.
    fn sums(&self, tokens: &[TokenLoss]) -> Vec<f64> {
        let sum = |range: &[usize]| {
            tokens[range[0]..range[1]].iter().map(|token| f64::from(token.log_probability)).sum()
        };
        self.batch.target_starts.windows(2).map(sum).collect()
    }

    /// The weight of every token in -Σ weight · log-probability whose gradient is that of the mean loss.
    fn token_weights(&self, outcome: &Outcome, own: std::ops::Range<usize>, pairs: usize) -> Vec<f32> {
        let sides = outcome.dchosen[own.clone()].iter().zip(&outcome.drejected[own]);
        let derivatives = sides.flat_map(|(chosen, rejected)| [*chosen, *rejected]);
        derivatives
            .enumerate()
            .flat_map(|(sequence, derivative)| {
                std::iter::repeat_n((-derivative / pairs as f64) as f32, self.tokens(sequence))
            })
            .collect()
    }
}

/// Sums over pairs and their tokens.
#[derive(Debug, Default)]
struct Measured {
    pairs: usize,
    loss: f64,
    rewards: [f64; 2],
    log_probabilities: [f64; 2],
    right: f64,
    tokens: Totals,
}

impl Measured {
    fn add(&mut self, batches: &[PairBatch], tokens: &[Vec<TokenLoss>], outcome: &Outcome, beta: f64) {
        self.loss += outcome.losses.iter().sum::<f64>();
        for (pairs, tokens) in batches.iter().zip(tokens) {
            self.tokens.add(tokens);
            self.pairs += pairs.len();
            let sums = pairs.sums(tokens);
            for (sums, reference) in sums.chunks_exact(2).zip(pairs.reference.chunks_exact(2)) {
                let rewards = [beta * (sums[0] - reference[0]), beta * (sums[1] - reference[1])];
                for side in 0..2 {
                    self.rewards[side] += rewards[side];
                    self.log_probabilities[side] += sums[side];
                }
                self.right += f64::from(u8::from(rewards[0] > rewards[1]));
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.loss += other.loss;
        self.right += other.right;
        self.tokens.merge(&other.tokens);
        for side in 0..2 {
            self.rewards[side] += other.rewards[side];
            self.log_probabilities[side] += other.log_probabilities[side];
        }
    }

    /// The means, named as TRL names them.
    fn values(&self, prefix: &str) -> Vec<(String, f64)> {
        let pairs = self.pairs as f64;
        [
            ("loss", self.loss / pairs),
            ("rewards/chosen", self.rewards[0] / pairs),
            ("rewards/rejected", self.rewards[1] / pairs),
            ("rewards/margins", (self.rewards[0] - self.rewards[1]) / pairs),
            ("rewards/accuracies", self.right / pairs),
            ("logps/chosen", self.log_probabilities[0] / pairs),
            ("logps/rejected", self.log_probabilities[1] / pairs),
            ("mean_token_accuracy", self.tokens.accuracy()),
            ("entropy", self.tokens.mean_entropy()),
        ]
        .map(|(name, value)| (format!("{prefix}{name}"), value))
        .to_vec()
    }
}

fn borrowed(values: &[(String, f64)]) -> Vec<(&str, f64)> {
    values.iter().map(|(name, value)| (name.as_str(), *value)).collect()
}

impl Settings {
    /// Refuses what no run can do; the losses with their weights.
    fn check(&self) -> Result<LossSettings> {
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

    /// What decides the run's weights.
    fn configuration(&self, checkpoint: &Checkpoint, rows: &Rows, start: &Start) -> Result<Value> {
        let mut configuration = serde_json::to_value(self)?;
        configuration["model_sha256"] = checkpoint.weights.sha256().into();
        let stores = [Some(&rows.data), rows.eval.as_ref()];
        let names: Vec<String> = stores.into_iter().flatten().map(Store::name).collect();
        configuration["data"] = names.join("+").into();
        configuration["chat_template"] = start.template.source().into();
        Ok(configuration)
    }
}

/// The pairs of a run; pair p of a store is its sequences 2p and 2p + 1.
#[derive(Debug)]
struct Rows {
    data: Store,
    eval: Option<Store>,
    /// Pairs of `data` to train on, and those kept aside.
    pairs: Vec<u32>,
    held: Vec<u32>,
    order: Order,
}

impl Rows {
    fn new(data: Store, eval: Option<Store>, settings: &Settings) -> Result<Self> {
        let Dpo { eval_split, batch_size, shuffle, .. } = settings.dpo;
        let (seed, count) = (settings.training.seed, data.len() / 2);
        let held = if eval.is_some() { 0 } else { (count as f64 * eval_split).round() as usize };
        let mut pairs = crate::random::permutation(crate::random::mix(seed, 0xe7a1), count);
        let mut held = pairs.split_off(count - held);
        pairs.sort_unstable();
        held.sort_unstable();
        if pairs.is_empty() {
            bail!("eval_split {eval_split} keeps all {count} pairs aside: nothing is left to train on");
        }
        let order = Order::new(pairs.len(), batch_size, seed, shuffle);
        Ok(Self { data, eval, pairs, held, order })
    }

    fn total_steps(&self, dpo: &Dpo) -> u64 {
        match dpo.steps {
            0 => (dpo.epochs * self.order.steps_per_epoch() as f64).ceil() as u64,
            steps => steps,
        }
    }

    /// The micro-batches of a step.
    fn step(&mut self, step: u64, reference: &[f64], micro_batch_tokens: usize) -> Vec<PairBatch> {
        let pairs: Vec<u32> = self.order.step(step).iter().map(|unit| self.pairs[*unit as usize]).collect();
        batches(&self.data, &pairs, reference, micro_batch_tokens)
    }

    fn has_eval(&self) -> bool {
        self.eval.is_some() || !self.held.is_empty()
    }

    fn eval_batches(&self, reference: &[Vec<f64>], micro_batch_tokens: usize) -> Vec<PairBatch> {
        match &self.eval {
            Some(eval) => {
                let all: Vec<u32> = (0..eval.len() as u32 / 2).collect();
                batches(eval, &all, &reference[1], micro_batch_tokens)
            }
            None => batches(&self.data, &self.held, &reference[0], micro_batch_tokens),
        }
    }
}

fn batches(store: &Store, pairs: &[u32], reference: &[f64], micro_batch_tokens: usize) -> Vec<PairBatch> {
    let length = |pair: u32| store.length(2 * pair as usize) + store.length(2 * pair as usize + 1);
    let batch = |pairs: Vec<u32>| {
        let sequences = pairs.iter().flat_map(|pair| [2 * *pair as usize, 2 * *pair as usize + 1]);
        let sequences: Vec<usize> = sequences.collect();
        PairBatch {
            batch: Batch::new(sequences.iter().map(|sequence| store.sequence(*sequence))),
            reference: sequences.iter().map(|sequence| reference[*sequence]).collect(),
        }
    };
    micro_batches(pairs, length, micro_batch_tokens).into_iter().map(batch).collect()
}
