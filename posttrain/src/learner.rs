//! A model with its gradients and its optimizer: what the three loops call. A step is any number of
//! `gradient` calls, whose sums add up, then one `update`. Whether the CPU or a card computes is known here and
//! nowhere above.

#[cfg(feature = "_card")]
use crate::device::Device;
#[cfg(feature = "_card")]
use crate::gpu::{card::Card, trainer};
use crate::model::{Batch, Model, Parameters};
use crate::optimizer::{Optimizer, OptimizerSettings};
use crate::recipe::Training;
use anyhow::{Result, bail};
use kernels::Element;
use kernels::training::TokenLoss;

/// All that a step reads and changes.
#[derive(Debug)]
pub struct Learner<E> {
    /// The weights, f32; where a card computes, as `bring_home` last left them.
    pub parameters: Parameters,
    /// Moments, as the weights, and the steps done.
    pub optimizer: Optimizer,
    computes: Computes<E>,
    settings: OptimizerSettings,
}

/// What holds the gradients.
#[derive(Debug)]
enum Computes<E> {
    Cpu {
        model: Box<Model<E>>,
        gradients: Vec<f32>,
    },
    #[cfg(feature = "_card")]
    Card(Box<trainer::Trainer<E>>),
}

impl<E: Element> Learner<E> {
    /// A learner for sequences of up to `positions` tokens.
    ///
    /// # Errors
    /// When it does not fit into the card; names the part and what to change.
    pub fn new(
        parameters: Parameters,
        optimizer: Optimizer,
        positions: usize,
        training: &Training,
    ) -> Result<Self> {
        let settings = OptimizerSettings {
            beta1: training.adam_beta1 as f32,
            beta2: training.adam_beta2 as f32,
            epsilon: training.adam_epsilon as f32,
            weight_decay: training.weight_decay as f32,
            max_grad_norm: training.max_grad_norm as f32,
        };
        let computes = Computes::new(&parameters, &optimizer, positions, training)?;
        Ok(Self { parameters, optimizer, computes, settings })
    }

    /// Log-probabilities of the batch's trained tokens (N).
    ///
    /// # Errors
    /// When the card fails.
    pub fn losses(&mut self, batch: &Batch) -> Result<Vec<TokenLoss>> {
        match &mut self.computes {
            Computes::Cpu { model, .. } => {
                model.forward(&self.parameters.values, batch);
                Ok(model.losses(&self.parameters.values, batch))
            }
            #[cfg(feature = "_card")]
            Computes::Card(trainer) => trainer.losses(batch),
        }
    }

    /// As `losses`, and adds the gradient of -weight · Σ log-probability.
    ///
    /// # Errors
    /// When the card fails.
    pub fn gradient(&mut self, batch: &Batch, weight: f32) -> Result<Vec<TokenLoss>> {
        match &mut self.computes {
            Computes::Cpu { model, gradients } => {
                let weights = &self.parameters.values;
                model.forward(weights, batch);
                let losses = model.losses_and_gradient(weights, gradients, batch, |_, _| weight);
                model.backward(weights, gradients, batch);
                Ok(losses)
            }
            #[cfg(feature = "_card")]
            Computes::Card(trainer) => trainer.gradient(batch, weight),
        }
    }

    /// As `gradient`, each token with a weight of its own (N) that may depend on all log-probabilities: the
    /// head is computed twice, its logits still never whole.
    ///
    /// # Errors
    /// When the card fails.
    pub fn weighted_gradient(
        &mut self,
        batch: &Batch,
        weights_of: impl FnOnce(&[TokenLoss]) -> Vec<f32>,
    ) -> Result<Vec<TokenLoss>> {
        match &mut self.computes {
            Computes::Cpu { model, gradients } => {
                let weights = &self.parameters.values;
                model.forward(weights, batch);
                let losses = model.losses(weights, batch);
                let token_weights = weights_of(&losses);
                model.losses_and_gradient(weights, gradients, batch, |token, _| token_weights[token]);
                model.backward(weights, gradients, batch);
                Ok(losses)
            }
            #[cfg(feature = "_card")]
            Computes::Card(trainer) => trainer.weighted_gradient(batch, weights_of),
        }
    }

    /// One step of the optimizer; the gradients are 0 again. Returns their norm before clipping.
    ///
    /// # Errors
    /// When the gradients are not finite: nothing was changed. When the card fails.
    pub fn update(&mut self, learning_rate: f64) -> Result<f32> {
        let (parameters, optimizer, rate) = (&mut self.parameters, &mut self.optimizer, learning_rate as f32);
        let norm = match &mut self.computes {
            Computes::Cpu { gradients, .. } => {
                let layout = &parameters.layout;
                let norm = optimizer.step(&mut parameters.values, gradients, layout, self.settings, rate);
                gradients.fill(0.0);
                norm
            }
            #[cfg(feature = "_card")]
            Computes::Card(trainer) => {
                let norm = trainer.update(self.settings, rate, optimizer.step + 1)?;
                optimizer.step += u64::from(norm.is_finite());
                norm
            }
        };
        if !norm.is_finite() {
            bail!(
                "the gradients' norm is {norm} at step {}: nothing of this step was kept; lower learning_rate, lengthen the warm-up, or look at the rows of this step",
                optimizer.step + 1
            );
        }
        Ok(norm)
    }

    /// Another base of the rotary angles or other positions from now on.
    ///
    /// # Errors
    /// When they do not fit into the card.
    pub fn set_rope(&mut self, theta: f32, positions: usize) -> Result<()> {
        self.parameters.config.rope_theta = theta;
        match &mut self.computes {
            Computes::Cpu { model, .. } => model.set_rope(theta, positions),
            #[cfg(feature = "_card")]
            Computes::Card(trainer) => trainer.set_rope(theta, positions)?,
        }
        Ok(())
    }

    /// Makes `parameters` and `optimizer` what they are after the last step: before they are saved.
    ///
    /// # Errors
    /// When the card fails.
    pub fn bring_home(&mut self) -> Result<()> {
        match &self.computes {
            Computes::Cpu { .. } => Ok(()),
            #[cfg(feature = "_card")]
            Computes::Card(trainer) => trainer.bring_home(&mut self.parameters, &mut self.optimizer),
        }
    }
}

impl<E: Element> Computes<E> {
    #[cfg_attr(not(feature = "_card"), allow(unused_variables, clippy::unnecessary_wraps))]
    fn new(
        parameters: &Parameters,
        optimizer: &Optimizer,
        positions: usize,
        training: &Training,
    ) -> Result<Self> {
        let checkpoints = training.layer_checkpointing;
        #[cfg(feature = "_card")]
        if let Device::Cuda(ordinal) = training.device {
            let (card, tokens) = (Card::open(ordinal)?, training.micro_batch());
            let trainer = trainer::Trainer::new(card, parameters, optimizer, positions, checkpoints, tokens)?;
            return Ok(Self::Card(Box::new(trainer)));
        }
        let model = Box::new(Model::new(&parameters.config, positions, checkpoints));
        Ok(Self::Cpu { model, gradients: vec![0.0; parameters.values.len()] })
    }
}

/// A model that only scores: no gradients, no moments.
#[derive(Debug)]
pub struct Scorer<'a, E>(Scores<'a, E>);

#[derive(Debug)]
enum Scores<'a, E> {
    Cpu {
        model: Box<Model<E>>,
        weights: &'a [f32],
    },
    #[cfg(feature = "_card")]
    Card(Box<trainer::Scorer<E>>),
}

impl<'a, E: Element> Scorer<'a, E> {
    /// A scorer for sequences of up to `positions` tokens.
    ///
    /// # Errors
    /// When it does not fit into the card.
    #[cfg_attr(not(feature = "_card"), allow(clippy::unnecessary_wraps))]
    pub fn new(parameters: &'a Parameters, positions: usize, training: &Training) -> Result<Self> {
        #[cfg(feature = "_card")]
        if let Device::Cuda(ordinal) = training.device {
            let (card, tokens) = (Card::open(ordinal)?, training.micro_batch());
            return Ok(Self(Scores::Card(Box::new(trainer::Scorer::new(
                card, parameters, positions, tokens,
            )?))));
        }
        let model = Box::new(Model::new(&parameters.config, positions, training.layer_checkpointing));
        Ok(Self(Scores::Cpu { model, weights: &parameters.values }))
    }

    /// Log-probabilities of the batch's trained tokens (N).
    ///
    /// # Errors
    /// When the card fails.
    pub fn losses(&mut self, batch: &Batch) -> Result<Vec<TokenLoss>> {
        match &mut self.0 {
            Scores::Cpu { model, weights } => {
                model.forward(weights, batch);
                Ok(model.losses(weights, batch))
            }
            #[cfg(feature = "_card")]
            Scores::Card(scorer) => scorer.losses(batch),
        }
    }
}

/// Sums over trained tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Σ -log-probability.
    pub loss: f64,
    /// Tokens.
    pub tokens: usize,
    /// Tokens that were the likeliest.
    pub best: usize,
    /// Σ entropy.
    pub entropy: f64,
}

impl Totals {
    /// Adds tokens.
    pub fn add(&mut self, tokens: &[TokenLoss]) {
        self.tokens += tokens.len();
        for token in tokens {
            self.loss -= f64::from(token.log_probability);
            self.best += usize::from(token.best);
            self.entropy += f64::from(token.entropy);
        }
    }

    /// Adds other sums.
    pub fn merge(&mut self, other: &Self) {
        self.loss += other.loss;
        self.tokens += other.tokens;
        self.best += other.best;
        self.entropy += other.entropy;
    }

    /// Mean loss in nats.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.tokens as f64
    }

    /// Share of tokens that were the likeliest.
    pub fn accuracy(&self) -> f64 {
        self.best as f64 / self.tokens as f64
    }

    /// Mean entropy in nats.
    pub fn mean_entropy(&self) -> f64 {
        self.entropy / self.tokens as f64
    }
}
