//! What training loops call: a step is any number of gradients, whose sums add up, then one update. Which device
//! computes in which precision is decided here and known nowhere above.

use crate::adapter::AdapterSettings;
use crate::backend::{Backend, Distillation, DistilledTokens, Score, Teacher, TrainingState};
use crate::base::{Base, BaseValues, ModelWeights};
use crate::batch::Batch;
use crate::cpu;
use crate::device::check_architecture;
#[cfg(not(feature = "_gpu"))]
use crate::device::without_cuda;
#[cfg(feature = "_gpu")]
use crate::gpu::{device::Gpu, trainer};
use crate::optimizer::OptimizerSettings;
use crate::parameters::Parameters;
use crate::settings::{ComputeSettings, Device, Precision};
use anyhow::{Result, bail};
use half::bf16;
use kernels::Element;
use kernels::training::TokenLoss;

/// A model in training: a backend, and the settings of its optimizer.
pub struct Learner {
    backend: Box<dyn Backend>,
    settings: OptimizerSettings,
}

impl Learner {
    /// Returns a learner for sequences of up to `positions` tokens on the device of `compute`.
    ///
    /// # Errors
    /// When the device has no kernels for the model's family, or the state or the buffers do not fit into its memory; names
    /// the part and what to change.
    pub fn new(
        state: TrainingState,
        positions: usize,
        compute: &ComputeSettings,
        settings: OptimizerSettings,
    ) -> Result<Self> {
        let backend = match compute.precision {
            Precision::F32 => backend::<f32>(state, positions, compute),
            Precision::Bf16 => backend::<bf16>(state, positions, compute),
        };
        Ok(Self::with_backend(backend?, settings))
    }

    /// Returns a learner of an adapter over a frozen base: `state` is the adapter's.
    ///
    /// # Errors
    /// When the device is not the CPU.
    pub fn of_adapter(
        base: Base,
        state: TrainingState,
        adapter: AdapterSettings,
        positions: usize,
        compute: &ComputeSettings,
        settings: OptimizerSettings,
    ) -> Result<Self> {
        refuse_adapter_on(compute.device)?;
        let backend = match compute.precision {
            Precision::F32 => adapter_backend::<f32>(base, state, adapter, positions, compute),
            Precision::Bf16 => adapter_backend::<bf16>(base, state, adapter, positions, compute),
        };
        Ok(Self::with_backend(backend, settings))
    }

    /// Returns a learner that computes with the given backend.
    pub fn with_backend(backend: Box<dyn Backend>, settings: OptimizerSettings) -> Self {
        Self { backend, settings }
    }

    /// Returns the log-probabilities of the batch's trained tokens (N).
    ///
    /// # Errors
    /// When the device fails.
    pub fn losses(&mut self, batch: &Batch) -> Result<Vec<TokenLoss>> {
        self.backend.losses(batch)
    }

    /// Adds the gradient of -weight · Σ log-probability, and returns what `losses` returns.
    ///
    /// # Errors
    /// When the device fails.
    pub fn gradient(&mut self, batch: &Batch, weight: f32) -> Result<Vec<TokenLoss>> {
        self.backend.gradient(batch, weight)
    }

    /// As `gradient`, with a weight for each token (N) that may depend on all log-probabilities: the head is computed
    /// twice.
    ///
    /// # Errors
    /// When the device fails.
    pub fn weighted_gradient(
        &mut self,
        batch: &Batch,
        mut weights_of: impl FnMut(&[TokenLoss]) -> Vec<f32>,
    ) -> Result<Vec<TokenLoss>> {
        self.backend.weighted_gradient(batch, &mut weights_of)
    }

    /// Adds the gradient of Σ weight · divergence from a teacher, if `gradient` is set; returns the divergences.
    ///
    /// # Errors
    /// When the device does not compute it, or fails.
    pub fn distill(
        &mut self,
        batch: &Batch,
        teacher: &mut dyn Teacher,
        target: Distillation<'_>,
        gradient: bool,
    ) -> Result<DistilledTokens> {
        self.backend.distill(batch, teacher, target, gradient)
    }

    /// Does one optimizer step and sets the gradients to 0. Returns their norm before clipping.
    ///
    /// # Errors
    /// When the norm is not finite: weights and moments were not changed. When the device fails.
    pub fn update(&mut self, learning_rate: f64) -> Result<f32> {
        let norm = self.backend.update(self.settings, learning_rate as f32)?;
        if !norm.is_finite() {
            bail!(
                "the gradient norm is {norm} at step {}, so the step was not applied; lower `learning_rate`, lengthen the warm-up, or check the rows of this step",
                self.state().optimizer.step + 1
            );
        }
        Ok(norm)
    }

    /// Sets the base of the rotary position embedding, and the longest sequence.
    ///
    /// # Errors
    /// When the tables do not fit into the device's memory.
    pub fn set_rope(&mut self, theta: f32, positions: usize) -> Result<()> {
        self.backend.set_rope(theta, positions)
    }

    /// Returns weights, moments and configuration; weights and moments are those of the last `sync_to_host`.
    pub fn state(&self) -> &TrainingState {
        self.backend.state()
    }

    /// Sets the number of positions that the configuration of a saved model names.
    pub fn set_max_positions(&mut self, positions: usize) {
        self.backend.state_mut().parameters.config.max_positions = positions;
    }

    /// Brings `state` up to date with the last step.
    ///
    /// # Errors
    /// When the device fails.
    pub fn sync_to_host(&mut self) -> Result<()> {
        self.backend.sync_to_host()
    }
}

/// Refuses to train an adapter on a GPU.
fn refuse_adapter_on(device: Device) -> Result<()> {
    match device {
        Device::Cpu => Ok(()),
        device @ Device::Cuda(_) => bail!(
            "the device is {device}, but adapters (`--lora-rank`) are only trained on the CPU; give `--device cpu`, or train all weights"
        ),
    }
}

fn adapter_backend<E: Element>(
    base: Base,
    state: TrainingState,
    adapter: AdapterSettings,
    positions: usize,
    compute: &ComputeSettings,
) -> Box<dyn Backend> {
    let (config, checkpointing) = (&base.config, compute.layer_checkpointing);
    match base.values {
        BaseValues::F32(values) => Box::new(cpu::AdapterTrainer::<E, f32>::new(
            (config, values),
            state,
            adapter,
            positions,
            checkpointing,
        )),
        BaseValues::Bf16(values) => Box::new(cpu::AdapterTrainer::<E, bf16>::new(
            (config, values),
            state,
            adapter,
            positions,
            checkpointing,
        )),
    }
}

fn backend<E: Element>(
    state: TrainingState,
    positions: usize,
    compute: &ComputeSettings,
) -> Result<Box<dyn Backend>> {
    check_architecture(compute.device, &state.parameters.config)?;
    match compute.device {
        Device::Cpu => Ok(Box::new(cpu::Trainer::<E>::new(state, positions, compute.layer_checkpointing))),
        #[cfg(feature = "_gpu")]
        Device::Cuda(ordinal) => {
            let (gpu, tokens) = (Gpu::open(ordinal)?, compute.micro_batch_tokens);
            Ok(Box::new(trainer::Trainer::<E>::new(gpu, state, positions, compute.kept(), tokens)?))
        }
        #[cfg(not(feature = "_gpu"))]
        device @ Device::Cuda(_) => Err(without_cuda(device)),
    }
}

/// Returns what only computes log-probabilities, without gradients and moments, for sequences of up to `positions`
/// tokens.
///
/// # Errors
/// When the weights or the buffers do not fit into the device's memory.
pub fn scorer<'a>(
    parameters: &'a Parameters,
    positions: usize,
    compute: &ComputeSettings,
) -> Result<Box<dyn Score + 'a>> {
    match compute.precision {
        Precision::F32 => scorer_of::<f32>(parameters, positions, compute),
        Precision::Bf16 => scorer_of::<bf16>(parameters, positions, compute),
    }
}

fn scorer_of<'a, E: Element>(
    parameters: &'a Parameters,
    positions: usize,
    compute: &ComputeSettings,
) -> Result<Box<dyn Score + 'a>> {
    check_architecture(compute.device, &parameters.config)?;
    let checkpointing = compute.layer_checkpointing;
    match compute.device {
        Device::Cpu => {
            let Parameters { config, values, .. } = parameters;
            Ok(Box::new(cpu::Scorer::<E, f32>::new(
                config,
                ModelWeights::of_all(values),
                positions,
                checkpointing,
            )))
        }
        #[cfg(feature = "_gpu")]
        Device::Cuda(ordinal) => {
            let (gpu, tokens) = (Gpu::open(ordinal)?, compute.micro_batch_tokens);
            Ok(Box::new(trainer::Scorer::<E>::new(gpu, parameters, positions, tokens)?))
        }
        #[cfg(not(feature = "_gpu"))]
        device @ Device::Cuda(_) => Err(without_cuda(device)),
    }
}

/// As `scorer`, of the frozen base of an adapter, without the adapter.
///
/// # Errors
/// When the device is not the CPU.
pub fn scorer_of_base<'a>(
    base: &'a Base,
    positions: usize,
    compute: &ComputeSettings,
) -> Result<Box<dyn Score + 'a>> {
    refuse_adapter_on(compute.device)?;
    Ok(match compute.precision {
        Precision::F32 => base_scorer::<f32>(base, positions, compute.layer_checkpointing),
        Precision::Bf16 => base_scorer::<bf16>(base, positions, compute.layer_checkpointing),
    })
}

fn base_scorer<E: Element>(base: &Base, positions: usize, checkpointing: bool) -> Box<dyn Score + '_> {
    let config = &base.config;
    match &base.values {
        BaseValues::F32(values) => {
            Box::new(cpu::Scorer::<E, f32>::new(config, values.view(), positions, checkpointing))
        }
        BaseValues::Bf16(values) => {
            Box::new(cpu::Scorer::<E, bf16>::new(config, values.view(), positions, checkpointing))
        }
    }
}

/// Returns a frozen model as a teacher, for sequences of up to `positions` tokens.
///
/// # Errors
/// When the device is not the CPU.
pub fn teacher(base: Base, positions: usize, compute: &ComputeSettings) -> Result<Box<dyn Teacher>> {
    if let device @ Device::Cuda(_) = compute.device {
        bail!("the device is {device}, but models only learn from a teacher on the CPU; give `--device cpu`");
    }
    Ok(match compute.precision {
        Precision::F32 => teacher_of::<f32>(base, positions),
        Precision::Bf16 => teacher_of::<bf16>(base, positions),
    })
}

fn teacher_of<E: Element>(base: Base, positions: usize) -> Box<dyn Teacher> {
    match base.values {
        BaseValues::F32(values) => {
            Box::new(cpu::FrozenTeacher::<E, f32>::new(&base.config, values, positions))
        }
        BaseValues::Bf16(values) => {
            Box::new(cpu::FrozenTeacher::<E, bf16>::new(&base.config, values, positions))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::backend::WeightsOf;
    use crate::batch::Sequence;
    use crate::optimizer::Optimizer;
    use checkpoint::ModelConfig;

    const SETTINGS: OptimizerSettings =
        OptimizerSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, max_grad_norm: 1.0 };
    const COMPUTE: ComputeSettings = ComputeSettings {
        device: Device::Cpu,
        precision: Precision::F32,
        micro_batch_tokens: 64,
        layer_checkpointing: false,
        keep_norms: false,
    };

    fn state() -> TrainingState {
        let config = ModelConfig {
            layers: 2,
            hidden_size: 24,
            heads: 3,
            kv_heads: 1,
            head_dim: 8,
            intermediate_size: 40,
            vocab_size: 61,
            initializer_range: 0.1,
            ..ModelConfig::smollm2_135m()
        };
        let parameters = Parameters::random(&config, 1, false);
        let optimizer = Optimizer::new(parameters.values.len());
        TrainingState { parameters, optimizer }
    }

    fn batch(seed: u32) -> Batch {
        let ids: Vec<u32> = (0..20).map(|token| (token * 7 + seed * 11) % 61).collect();
        Batch::new([Sequence { trained: vec![true; ids.len()].into(), ids: ids.into() }])
    }

    /// Two processes in one: each batch goes to the next of two backends, and both apply the sum of their gradients.
    struct DataParallel {
        ranks: [Box<dyn Backend>; 2],
        next: usize,
    }

    impl DataParallel {
        fn rank(&mut self) -> &mut dyn Backend {
            self.next = 1 - self.next;
            self.ranks[self.next].as_mut()
        }

        fn all_reduce(&mut self) -> Result<()> {
            let mut sums = Vec::new();
            for rank in &mut self.ranks {
                rank.edit_gradients(&mut |gradients| {
                    sums.resize(gradients.len(), 0.0f32);
                    sums.iter_mut().zip(gradients).for_each(|(sum, gradient)| *sum += *gradient);
                    Ok(())
                })?;
            }
            for rank in &mut self.ranks {
                rank.edit_gradients(&mut |gradients| {
                    gradients.copy_from_slice(&sums);
                    Ok(())
                })?;
            }
            Ok(())
        }
    }

    impl Score for DataParallel {
        fn losses(&mut self, batch: &Batch) -> Result<Vec<TokenLoss>> {
            self.rank().losses(batch)
        }
    }

    impl Backend for DataParallel {
        fn gradient(&mut self, batch: &Batch, weight: f32) -> Result<Vec<TokenLoss>> {
            self.rank().gradient(batch, weight)
        }

        fn weighted_gradient(
            &mut self,
            batch: &Batch,
            weights: &mut WeightsOf<'_>,
        ) -> Result<Vec<TokenLoss>> {
            self.rank().weighted_gradient(batch, weights)
        }

        fn edit_gradients(&mut self, edit: &mut dyn FnMut(&mut [f32]) -> Result<()>) -> Result<()> {
            self.rank().edit_gradients(edit)
        }

        fn update(&mut self, settings: OptimizerSettings, learning_rate: f32) -> Result<f32> {
            self.all_reduce()?;
            let [first, second] = &mut self.ranks;
            first.update(settings, learning_rate)?;
            second.update(settings, learning_rate)
        }

        fn set_rope(&mut self, theta: f32, positions: usize) -> Result<()> {
            self.ranks.iter_mut().try_for_each(|rank| rank.set_rope(theta, positions))
        }

        fn state(&self) -> &TrainingState {
            self.ranks[0].state()
        }

        fn state_mut(&mut self) -> &mut TrainingState {
            self.ranks[0].state_mut()
        }

        fn sync_to_host(&mut self) -> Result<()> {
            self.ranks[0].sync_to_host()
        }

        fn sync_to_device(&mut self) -> Result<()> {
            self.ranks.iter_mut().try_for_each(|rank| rank.sync_to_device())
        }
    }

    /// Several processes are a wrapper: two that share a step's batches train what one trains.
    #[test]
    fn a_wrapper_of_backends_is_a_backend() {
        let ranks = [(); 2].map(|()| backend::<f32>(state(), 32, &COMPUTE).unwrap());
        let wrapper = Box::new(DataParallel { ranks, next: 0 });
        let learners = [
            Learner::new(state(), 32, &COMPUTE, SETTINGS).unwrap(),
            Learner::with_backend(wrapper, SETTINGS),
        ];
        let [one, two] = learners.map(|mut learner| {
            for step in 0..4 {
                learner.gradient(&batch(2 * step), 0.05).unwrap();
                learner.weighted_gradient(&batch(2 * step + 1), |tokens| vec![0.05; tokens.len()]).unwrap();
                learner.update(1e-2).unwrap();
            }
            learner.sync_to_host().unwrap();
            learner.state().parameters.values.to_vec()
        });
        assert_ne!(one[..], state().parameters.values[..]);
        assert!(one.iter().zip(&two).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + a.abs())));
    }

    #[test]
    fn a_step_whose_gradients_are_not_finite_is_refused() {
        let mut learner = Learner::new(state(), 32, &COMPUTE, SETTINGS).unwrap();
        learner.gradient(&batch(0), f32::INFINITY).unwrap();
        let error = learner.update(1e-2).unwrap_err().to_string();
        assert!(error.contains("at step 1, so the step was not applied"), "{error}");
        assert_eq!(learner.state().optimizer.step, 0);
        assert_eq!(learner.state().parameters.values, state().parameters.values);
    }
}
