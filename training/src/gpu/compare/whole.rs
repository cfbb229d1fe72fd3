//! Whole models on a GPU, compared with the CPU: losses, every gradient, weights after several steps; and a trainer made
//! from the state of another must continue to the same bits.

use super::comparison::{Comparison, gradients_of, record, relative, type_name};
use crate::backend::{Backend, Score, TrainingState};
use crate::base::ModelWeights;
use crate::batch::{Batch, Sequence};
use crate::cpu::Model;
use crate::gpu::device::Gpu;
use crate::gpu::trainer::{Scorer, Trainer};
use crate::optimizer::{Optimizer, OptimizerSettings};
use crate::parameters::Parameters;
use crate::settings::Kept;
use anyhow::Result;
use checkpoint::ModelConfig;
use half::bf16;
use kernels::Element;
use kernels::training::TokenLoss;
use random::mix;
use std::sync::Arc;

const SETTINGS: OptimizerSettings =
    OptimizerSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, max_grad_norm: 1.0 };

/// Returns small models of odd shapes: tied and not, with grouped heads and not, with a head dimension of 64 and smaller
/// ones.
fn configs() -> [ModelConfig; 3] {
    let tiny = |heads, kv_heads, head_dim, hidden_size, intermediate_size, vocab_size, tied| ModelConfig {
        layers: 2,
        heads,
        kv_heads,
        head_dim,
        hidden_size,
        intermediate_size,
        vocab_size,
        tie_word_embeddings: tied,
        initializer_range: 0.08,
        ..ModelConfig::smollm2_135m()
    };
    [tiny(3, 1, 8, 24, 40, 61, true), tiny(4, 2, 6, 20, 36, 53, false), tiny(3, 1, 64, 96, 72, 130, true)]
}

/// Returns sequences of these lengths with two of three tokens trained.
fn batch(lengths: &[usize], vocabulary: usize, seed: u64) -> Batch {
    Batch::new(lengths.iter().enumerate().map(|(sequence, length)| {
        let draw = |token: usize| mix(seed + sequence as u64, token as u64);
        let ids: Vec<u32> = (0..*length).map(|token| (draw(token) % vocabulary as u64) as u32).collect();
        let trained: Vec<bool> = (0..*length).map(|token| draw(token) / 1000 % 3 > 0).collect();
        Sequence { ids: ids.into(), trained: trained.into() }
    }))
}

fn state(config: &ModelConfig, seed: u64) -> TrainingState {
    let parameters = Parameters::random(config, seed, false);
    let optimizer = Optimizer::new(parameters.values.len());
    TrainingState { parameters, optimizer }
}

fn log_probabilities(tokens: &[TokenLoss]) -> Vec<f32> {
    tokens.iter().map(|token| token.log_probability).collect()
}

/// Compares three steps of two micro-batches each, with activations kept and with layers checkpointed. The limits are
/// 1e-4 in f32, and in bf16 what its 8 bits leave of the gradients of a whole model.
///
/// # Errors
/// When the GPU fails.
pub fn models(gpu: &Arc<Gpu>) -> Result<Vec<Comparison>> {
    let mut comparisons = Vec::new();
    for config in configs() {
        for kept in [Kept::Layers, Kept::Inputs] {
            train::<f32>(gpu, &config, kept, [1e-4; 2], &mut comparisons)?;
            train::<bf16>(gpu, &config, kept, [5e-2; 2], &mut comparisons)?;
        }
        keep_more::<f32>(gpu, &config, &mut comparisons)?;
        keep_more::<bf16>(gpu, &config, &mut comparisons)?;
        score::<f32>(gpu, &config, 1e-4, &mut comparisons)?;
        score::<bf16>(gpu, &config, 1e-2, &mut comparisons)?;
        resume::<f32>(gpu, &config, &mut comparisons)?;
        resume::<bf16>(gpu, &config, &mut comparisons)?;
    }
    Ok(comparisons)
}

/// Compares two layers with the widths, heads and vocabulary of each SmolLM2 model, in bf16. Only the first step has a limit:
/// AdamW's first updates are ± the rate whatever a gradient's size, so that later steps amplify rounding.
///
/// # Errors
/// When the GPU fails.
pub fn shapes(gpu: &Arc<Gpu>) -> Result<Vec<Comparison>> {
    let mut comparisons = Vec::new();
    for config in [ModelConfig::smollm2_135m(), ModelConfig::smollm2_360m(), ModelConfig::smollm2_1_7b()] {
        let config = ModelConfig { layers: 2, ..config };
        train::<bf16>(gpu, &config, Kept::Layers, [5e-2, f64::INFINITY], &mut comparisons)?;
    }
    Ok(comparisons)
}

/// Compares the log-probabilities of a scorer.
fn score<E: Element>(
    gpu: &Arc<Gpu>,
    config: &ModelConfig,
    limit: f64,
    comparisons: &mut Vec<Comparison>,
) -> Result<()> {
    let parameters = Parameters::random(config, 6, false);
    let batch = batch(&[40, 2, 130], config.vocab_size, 3);
    let mut model = Model::<E>::new(config, 256, false);
    model.forward(&parameters.values, &batch);
    let expected = log_probabilities(&model.losses(ModelWeights::of_all(&parameters.values), &batch));
    let mut scorer = Scorer::<E>::new(Arc::clone(gpu), &parameters, 256, 64)?;
    let actual = log_probabilities(&scorer.losses(&batch)?);
    let what = format!("scorer of {} heads of {}, {}", config.heads, config.head_dim, type_name::<E>());
    record(comparisons, what, relative(&actual, &expected), limit);
    Ok(())
}

/// Compares four steps with two and two more by a trainer made from the state after the first two; and with those of a
/// trainer that was given that state.
fn resume<E: Element>(gpu: &Arc<Gpu>, config: &ModelConfig, comparisons: &mut Vec<Comparison>) -> Result<()> {
    let step = |trainer: &mut Trainer<E>, step: u64| {
        trainer.gradient(&batch(&[30, 25], config.vocab_size, step), 0.01)?;
        trainer.update(SETTINGS, 1e-2)
    };
    let trainer = |state: TrainingState| Trainer::<E>::new(Arc::clone(gpu), state, 256, Kept::Layers, 200);
    let mut whole = trainer(state(config, 7))?;
    (1..=2).try_for_each(|number| step(&mut whole, number).map(|_| ()))?;
    whole.sync_to_host()?;
    let mut resumed = trainer(whole.state().clone())?;
    let mut replaced = trainer(state(config, 8))?;
    *replaced.state_mut() = whole.state().clone();
    replaced.sync_to_device()?;
    for number in 3..=4 {
        for trainer in [&mut whole, &mut resumed, &mut replaced] {
            step(trainer, number)?;
        }
    }
    let bits = |trainer: &mut Trainer<E>| {
        trainer.sync_to_host()?;
        let TrainingState { parameters, optimizer } = trainer.state();
        let all = [&parameters.values, &optimizer.mean, &optimizer.square];
        anyhow::Ok(all.map(|values| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>()))
    };
    let expected = bits(&mut whole)?;
    for (name, trainer) in [("resumed", &mut resumed), ("given the state of another", &mut replaced)] {
        let difference = if bits(trainer)? == expected { 0.0 } else { f64::NAN };
        let what = format!("{name}, {} heads of {}, {}", config.heads, config.head_dim, type_name::<E>());
        record(comparisons, what, difference, 0.0);
    }
    Ok(())
}

/// Compares the bits of gradients whose backward pass found more or less of the forward pass.
fn keep_more<E: Element>(
    gpu: &Arc<Gpu>,
    config: &ModelConfig,
    comparisons: &mut Vec<Comparison>,
) -> Result<()> {
    let gradients = |kept: Kept| {
        let mut trainer = Trainer::<E>::new(Arc::clone(gpu), state(config, 9), 256, kept, 200)?;
        trainer.gradient(&batch(&[3, 140, 20], config.vocab_size, 4), 0.01)?;
        let bits = gradients_of(&mut trainer)?.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        anyhow::Ok(bits)
    };
    let expected = gradients(Kept::Layers)?;
    for kept in [Kept::Inputs, Kept::LayersAndNorms] {
        let difference = if gradients(kept)? == expected { 0.0 } else { f64::NAN };
        let what =
            format!("{kept:?} kept, {} heads of {}, {}", config.heads, config.head_dim, type_name::<E>());
        record(comparisons, what, difference, 0.0);
    }
    Ok(())
}

/// A model and its state on the CPU, and the trainer that it is compared with.
struct Pair<E> {
    model: Model<E>,
    state: TrainingState,
    gradients: Vec<f32>,
    trainer: Trainer<E>,
}

impl<E: Element> Pair<E> {
    /// Adds the gradients of a batch on both sides: with one weight for all tokens, or with one for each. Returns the
    /// log-probabilities of GPU and CPU.
    fn gradient(&mut self, batch: &Batch, same_weight: bool) -> Result<[Vec<f32>; 2]> {
        let each: Vec<f32> =
            (0..batch.targets.len()).map(|token| 0.01 + 0.001 * (token % 7) as f32).collect();
        let weight = |token: usize| if same_weight { 0.01 } else { each[token] };
        let Self { model, state, gradients, trainer } = self;
        let weights = &state.parameters.values;
        model.forward(weights, batch);
        let expected = model.losses_and_gradient(weights, gradients, batch, |token, _| weight(token));
        model.backward(weights, gradients, batch);
        let actual = match same_weight {
            true => trainer.gradient(batch, 0.01)?,
            false => trainer.weighted_gradient(batch, &mut |_| each.clone())?,
        };
        Ok([log_probabilities(&actual), log_probabilities(&expected)])
    }

    /// Does an optimizer step on both sides. Returns the norms of GPU and CPU.
    fn update(&mut self) -> Result<[f32; 2]> {
        let TrainingState { parameters, optimizer } = &mut self.state;
        let Parameters { values, layout, .. } = parameters;
        let expected = optimizer.step(values, &self.gradients, layout, SETTINGS, 1e-3);
        self.gradients.fill(0.0);
        Ok([self.trainer.update(SETTINGS, 1e-3)?, expected])
    }
}

/// `first` is the limit of the first step, `later` of the others and of what they leave.
fn train<E: Element>(
    gpu: &Arc<Gpu>,
    config: &ModelConfig,
    kept: Kept,
    [first, later]: [f64; 2],
    comparisons: &mut Vec<Comparison>,
) -> Result<()> {
    let mode = if kept == Kept::Inputs { ", checkpointed" } else { "" };
    let title = format!("model of {} heads of {}{mode}, {}", config.heads, config.head_dim, type_name::<E>());
    let mut record = |what: &str, difference: f64, limit: f64| {
        record(comparisons, format!("{title}: {what}"), difference, limit);
    };
    let state = state(config, 5);
    let trainer = Trainer::<E>::new(Arc::clone(gpu), state.clone(), 256, kept, 64)?;
    let gradients = vec![0.0; state.parameters.values.len()];
    let mut pair =
        Pair { model: Model::<E>::new(config, 256, kept == Kept::Inputs), state, gradients, trainer };
    for step in 0..3 {
        let limit = if step == 0 { first } else { later };
        // The first batch is larger than the planned 64 tokens, and one of its sequences has nothing to learn.
        let large = batch(&[7, 150, 1, 33], config.vocab_size, step);
        let [actual, expected] = pair.gradient(&large, true)?;
        record("losses", relative(&actual, &expected), limit);
        let [actual, expected] = pair.gradient(&batch(&[5], config.vocab_size, 9 + step), false)?;
        record("losses", relative(&actual, &expected), limit);
        let actual = gradients_of(&mut pair.trainer)?;
        for tensor in &pair.state.parameters.layout.tensors {
            let range = tensor.range.clone();
            record(&tensor.name, relative(&actual[range.clone()], &pair.gradients[range]), limit);
        }
        let [actual, expected] = pair.update()?;
        record("norm", f64::from((actual - expected).abs() / expected), limit);
    }
    pair.trainer.sync_to_host()?;
    let (actual, expected) = (pair.trainer.state(), &pair.state);
    let weights = relative(&actual.parameters.values, &expected.parameters.values);
    record("weights after three steps", weights, later);
    record("mean after three steps", relative(&actual.optimizer.mean, &expected.optimizer.mean), later);
    // Relative differences of squares are twice those of what is squared.
    let square = relative(&actual.optimizer.square, &expected.optimizer.square);
    record("square after three steps", square, 2.0 * later);
    Ok(())
}
