//! Whole models on the card beside the CPU's: losses, every gradient, weights after some steps; and that a trainer made
//! from what another brought home goes on to the same bits.

use super::{Finding, note, relative};
use crate::gpu::card::Card;
use crate::gpu::trainer::{Scorer, Trainer};
use crate::model::{Batch, Model, Parameters, Sequence};
use crate::optimizer::{Optimizer, OptimizerSettings};
use crate::random::mix;
use anyhow::Result;
use half::bf16;
use kernels::Element;
use kernels::training::TokenLoss;
use smollm::ModelConfig;
use std::sync::Arc;

/// Small models of odd shapes, tied and not, grouped heads and not, of 64 numbers a head and of fewer.
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

/// Sequences of these lengths, two of three tokens trained.
fn batch(lengths: &[usize], vocabulary: usize, seed: u64) -> Batch {
    Batch::new(lengths.iter().enumerate().map(|(sequence, length)| {
        let place = |token: usize| mix(seed + sequence as u64, token as u64);
        let ids: Vec<u32> = (0..*length).map(|token| (place(token) % vocabulary as u64) as u32).collect();
        let trained: Vec<bool> = (0..*length).map(|token| place(token) / 1000 % 3 > 0).collect();
        Sequence { ids: ids.into(), trained: trained.into() }
    }))
}

/// Three steps of two micro-batches each, kept and checkpointed; limits of 1e-4 in f32, and in bf16 what activations
/// of 8 bits leave of a whole model's gradients.
///
/// # Errors
/// When the card fails.
pub fn models(card: &Arc<Card>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for config in configs() {
        for checkpointed in [false, true] {
            of_type::<f32>(card, &config, checkpointed, 1e-4, &mut findings)?;
            of_type::<bf16>(card, &config, checkpointed, 5e-2, &mut findings)?;
        }
        scored::<f32>(card, &config, 1e-4, &mut findings)?;
        scored::<bf16>(card, &config, 1e-2, &mut findings)?;
        resumed::<f32>(card, &config, &mut findings)?;
        resumed::<bf16>(card, &config, &mut findings)?;
    }
    Ok(findings)
}

/// The widths, heads and vocabulary that are trained for real, two layers of each, in bf16.
///
/// # Errors
/// When the card fails.
pub fn shapes(card: &Arc<Card>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for config in [ModelConfig::smollm2_135m(), ModelConfig::smollm2_360m(), ModelConfig::smollm2_1_7b()] {
        of_type::<bf16>(card, &ModelConfig { layers: 2, ..config }, false, 5e-2, &mut findings)?;
    }
    Ok(findings)
}

const SETTINGS: OptimizerSettings =
    OptimizerSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, max_grad_norm: 1.0 };

/// Log-probabilities of a model that only scores.
fn scored<E: Element>(
    card: &Arc<Card>,
    config: &ModelConfig,
    limit: f64,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let parameters = Parameters::random(config, 6, false);
    let batch = batch(&[40, 2, 130], config.vocab_size, 3);
    let mut model = Model::<E>::new(config, 256, false);
    model.forward(&parameters.values, &batch);
    let expected = losses(&model.losses(&parameters.values, &batch));
    let found = losses(&Scorer::<E>::new(Arc::clone(card), &parameters, 256, 64)?.losses(&batch)?);
    let what = format!("scorer of {} heads of {}, {}", config.heads, config.head_dim, name::<E>());
    note(findings, what, relative(&found, &expected), limit);
    Ok(())
}

/// Four steps, and two with two more by a trainer made from the first one's weights and moments.
fn resumed<E: Element>(card: &Arc<Card>, config: &ModelConfig, findings: &mut Vec<Finding>) -> Result<()> {
    let step = |trainer: &mut Trainer<E>, step: u64| {
        trainer.gradient(&batch(&[30, 25], config.vocab_size, step), 0.01)?;
        trainer.update(SETTINGS, 1e-2, step)
    };
    let mut parameters = Parameters::random(config, 7, false);
    let mut optimizer = Optimizer::new(parameters.values.len());
    let made = |parameters: &Parameters, optimizer: &Optimizer| {
        Trainer::<E>::new(Arc::clone(card), parameters, optimizer, 256, false, 200)
    };
    let mut whole = made(&parameters, &optimizer)?;
    (1..=2).try_for_each(|number| step(&mut whole, number).map(|_| ()))?;
    whole.bring_home(&mut parameters, &mut optimizer)?;
    let mut torn = made(&parameters, &optimizer)?;
    for number in 3..=4 {
        step(&mut whole, number)?;
        step(&mut torn, number)?;
    }
    let (mut other, mut other_optimizer) = (parameters.clone(), optimizer.clone());
    whole.bring_home(&mut parameters, &mut optimizer)?;
    torn.bring_home(&mut other, &mut other_optimizer)?;
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let same = bits(&parameters.values) == bits(&other.values)
        && bits(&optimizer.mean) == bits(&other_optimizer.mean)
        && bits(&optimizer.square) == bits(&other_optimizer.square);
    let what = format!("resumed, {} heads of {}, {}", config.heads, config.head_dim, name::<E>());
    note(findings, what, if same { 0.0 } else { f64::NAN }, 0.0);
    Ok(())
}

fn name<E: Element>() -> &'static str {
    if E::BF16 { "bf16" } else { "f32" }
}

fn of_type<E: Element>(
    card: &Arc<Card>,
    config: &ModelConfig,
    checkpointed: bool,
    limit: f64,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let title = format!(
        "model of {} heads of {}{}, {}",
        config.heads,
        config.head_dim,
        if checkpointed { ", checkpointed" } else { "" },
        name::<E>()
    );
    let mut note =
        |what: &str, found: f64, limit: f64| note(findings, format!("{title}: {what}"), found, limit);
    let mut parameters = Parameters::random(config, 5, false);
    let mut optimizer = Optimizer::new(parameters.values.len());
    let mut trainer = Trainer::<E>::new(Arc::clone(card), &parameters, &optimizer, 256, checkpointed, 64)?;
    let mut model = Model::<E>::new(config, 256, checkpointed);
    let mut gradients = vec![0.0; parameters.values.len()];
    for step in 0..3 {
        // The first batch is larger than what was planned; a sequence of one token has nothing to learn.
        let batches =
            [batch(&[7, 150, 1, 33], config.vocab_size, step), batch(&[5], config.vocab_size, 9 + step)];
        for (index, batch) in batches.iter().enumerate() {
            // A weight for all, then one for each.
            let each: Vec<f32> =
                (0..batch.targets.len()).map(|token| 0.01 + 0.001 * (token % 7) as f32).collect();
            let weight = |token: usize| if index == 0 { 0.01 } else { each[token] };
            model.forward(&parameters.values, batch);
            let expected =
                model
                    .losses_and_gradient(&parameters.values, &mut gradients, batch, |token, _| weight(token));
            model.backward(&parameters.values, &mut gradients, batch);
            let found = match index {
                0 => trainer.gradient(batch, 0.01)?,
                _ => trainer.weighted_gradient(batch, |_| each.clone())?,
            };
            note("losses", relative(&losses(&found), &losses(&expected)), limit);
        }
        let found = trainer.gradients()?;
        for tensor in &parameters.layout.tensors {
            let range = tensor.range.clone();
            note(&tensor.name, relative(&found[range.clone()], &gradients[range]), limit);
        }
        let norm = optimizer.step(&mut parameters.values, &gradients, &parameters.layout, SETTINGS, 1e-3);
        let found = trainer.update(SETTINGS, 1e-3, step + 1)?;
        note("norm", f64::from((found - norm).abs() / norm), limit);
        gradients.fill(0.0);
    }
    let (mut home, mut moments) = (parameters.clone(), optimizer.clone());
    trainer.bring_home(&mut home, &mut moments)?;
    note("weights after three steps", relative(&home.values, &parameters.values), limit);
    note("mean after three steps", relative(&moments.mean, &optimizer.mean), limit);
    // Squares are twice as far apart as what is squared.
    note("square after three steps", relative(&moments.square, &optimizer.square), 2.0 * limit);
    Ok(())
}

fn losses(tokens: &[TokenLoss]) -> Vec<f32> {
    tokens.iter().map(|token| token.log_probability).collect()
}
