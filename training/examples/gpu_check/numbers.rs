//! The numbers of one step whose weights and tokens follow from a formula, for `torch_step.py --numbers`, which computes
//! the same step in PyTorch.

use crate::results::line;
use crate::steps::Run;
use anyhow::Result;
use half::bf16;
use std::sync::Arc;
use training::gpu::device::Gpu;
use training::gpu::trainer::Trainer;
use training::{Backend, Layout, Optimizer, Parameters, TrainingState};

/// Prints the loss, the norm of all gradients, and those of a few tensors: the first and the last ones of the backward pass,
/// and between them one behind attention.
pub(crate) fn numbers(gpu: &Arc<Gpu>, run: &Run) -> Result<bool> {
    let free = gpu.free()?;
    let run = run.fit(free)?;
    let layout = Layout::new(&run.config);
    let tensors = layout.tensors.iter();
    let values: Vec<f32> =
        tensors.flat_map(|tensor| random::hashed_values(&tensor.name, tensor.range.len())).collect();
    let parameters = Parameters { config: run.config.clone(), layout: layout.clone(), values: values.into() };
    let optimizer = Optimizer::new(parameters.values.len());
    let state = TrainingState { parameters, optimizer };
    let mut trainer =
        Trainer::<bf16>::new(Arc::clone(gpu), state, run.length, run.plan(free).kept(), run.tokens)?;
    let batch = run.batch();
    let weight = 1.0 / batch.targets.len() as f32;
    let losses = trainer.gradient(&batch, weight)?;
    let loss: f64 = losses.iter().map(|token| f64::from(-token.log_probability * weight)).sum();
    let print =
        |what: &str, value: f64| line(&format!("{}: {what}", run.title()), &format!("{value:.8e}"), "-", "-");
    print("loss", loss);
    trainer.edit_gradients(&mut |gradients| {
        let norm = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        print("gradient", norm(gradients));
        let last = run.config.layers - 1;
        let names = [
            "model.norm.weight".to_owned(),
            format!("model.layers.{last}.mlp.down_proj.weight"),
            "model.layers.0.self_attn.q_proj.weight".to_owned(),
            "model.layers.0.self_attn.k_proj.weight".to_owned(),
            "model.embed_tokens.weight".to_owned(),
        ];
        for tensor in layout.tensors.iter().filter(|tensor| names.contains(&tensor.name)) {
            print(&tensor.name, norm(&gradients[tensor.range.clone()]));
        }
        Ok(())
    })?;
    Ok(true)
}
