use crate::programs::read_json;
use checkpoint::ModelConfig;
use checkpoint::adapter::{AdapterConfig, AdapterMatrices, CONFIG_FILE, LinearModule, WEIGHTS_FILE};
use checkpoint::weights::Weights;
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;
use tests::{golden, write_hashed_weights};
use training::{
    AdapterSettings, Base, Batch, ComputeSettings, Device, Learner, Optimizer, OptimizerSettings, Precision,
    Sequence, TrainingState, scorer_of_base,
};

pub(crate) const COMPUTE: ComputeSettings = ComputeSettings {
    device: Device::Cpu,
    precision: Precision::F32,
    micro_batch_tokens: 4096,
    layer_checkpointing: false,
    keep_norms: false,
};
pub(crate) const OPTIMIZER: OptimizerSettings =
    OptimizerSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, max_grad_norm: 0.1 };

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// The tensors of a golden by name, and its metadata.
fn read_golden(file: &str) -> (BTreeMap<String, Vec<u8>>, BTreeMap<String, String>) {
    let bytes = std::fs::read(golden("training").join(file)).unwrap();
    let parsed = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = parsed.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec()));
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    (tensors.collect(), metadata.metadata().clone().unwrap().into_iter().collect())
}

/// A model of the gradients' goldens: its shape, its weights, and all its sequences packed.
fn model(name: &str) -> (ModelConfig, Base, Batch) {
    let (tensors, metadata) = read_golden("gradients_tiny.safetensors");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), &metadata[&format!("config.{name}")]).unwrap();
    let config = ModelConfig::read(&folder.path().join("config.json")).unwrap();
    write_hashed_weights(folder.path(), &config);
    let base = Base::from_weights(&config, &Weights::open(folder.path(), &config).unwrap());
    let sequence = |index: usize| {
        let ids = floats(&tensors[&format!("{name}.ids{index}")]);
        let ids: Vec<u32> = ids.into_iter().map(f32::to_bits).collect();
        let trained = tensors[&format!("{name}.trained{index}")].iter().map(|byte| *byte > 0).collect();
        (ids, trained)
    };
    let sequences: Vec<(Vec<u32>, Vec<bool>)> = (0..5).map(sequence).collect();
    let batch = Batch::new(
        sequences.iter().map(|(ids, trained)| Sequence { ids: ids.into(), trained: trained.into() }),
    );
    (config, base, batch)
}

/// The configuration of a case of `make_lora_goldens.py`.
fn adapter_config(case: &Value) -> AdapterConfig {
    let modules = match case["target_modules"].as_array() {
        None => LinearModule::ALL.to_vec(),
        Some(names) => {
            let of_name = |name: &Value| LinearModule::of_name(name.as_str().unwrap()).unwrap();
            let mut modules: Vec<LinearModule> = names.iter().map(of_name).collect();
            modules.sort();
            modules
        }
    };
    AdapterConfig {
        base: String::new(),
        rank: case["r"].as_u64().unwrap() as usize,
        alpha: case["lora_alpha"].as_f64().unwrap(),
        dropout: 0.0,
        rslora: case["use_rslora"].as_bool().unwrap(),
        modules,
    }
}

fn learner(
    config: &ModelConfig,
    base: Base,
    adapter: &AdapterConfig,
    optimizer: OptimizerSettings,
) -> Learner {
    let settings = AdapterSettings::new(adapter, 1);
    let mut parameters = settings.start(config);
    for tensor in &parameters.layout.tensors {
        let values = random::hashed_values(&tensor.name, tensor.range.len());
        parameters.values[tensor.range.clone()].copy_from_slice(&values);
    }
    let moments = Optimizer::new(parameters.values.len());
    let state = TrainingState { parameters, optimizer: moments };
    Learner::of_adapter(base, state, settings, 1024, &COMPUTE, optimizer).unwrap()
}

fn mean_loss(tokens: &[kernels::training::TokenLoss]) -> f64 {
    -tokens.iter().map(|token| f64::from(token.log_probability)).sum::<f64>() / tokens.len() as f64
}

/// |found - expected| / |expected|.
fn relative(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let differences = &mut found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b));
    norm(differences) / norm(&mut expected.iter().map(|value| f64::from(*value)))
}

/// Gradients of every matrix to 1e-4, the losses of four steps of AdamW with clipping to 1e-5.
#[test]
fn gradients_and_steps_equal_pefts() {
    let (tensors, metadata) = read_golden("lora.safetensors");
    let settings: Value = serde_json::from_str(&metadata["settings"]).unwrap();
    for name in ["tied", "untied"] {
        for (case, fields) in settings["cases"].as_object().unwrap() {
            let adapter = adapter_config(fields);
            // With beta1 = 0 and without clipping the mean of the gradients is the gradient.
            let bare = OptimizerSettings { beta1: 0.0, weight_decay: 0.0, max_grad_norm: 0.0, ..OPTIMIZER };
            let (config, base, batch) = model(name);
            let mut one = learner(&config, base, &adapter, bare);
            let weight = 1.0 / batch.targets.len() as f32;
            one.gradient(&batch, weight).unwrap();
            one.update(0.0).unwrap();
            let prefix = format!("{name}.{case}.gradient.");
            let count = tensors.keys().filter(|key| key.starts_with(&prefix)).count();
            let layout = &one.state().parameters.layout;
            assert_eq!(layout.tensors.len(), count, "{name} {case}");
            for tensor in &layout.tensors {
                let expected = floats(&tensors[&format!("{prefix}{}", tensor.name)]);
                let difference = relative(&one.state().optimizer.mean[tensor.range.clone()], &expected);
                assert!(difference < 1e-4, "{name} {case} {}: {difference:.1e}", tensor.name);
            }

            let (config, base, batch) = model(name);
            let mut many = learner(&config, base, &adapter, OPTIMIZER);
            for (step, expected) in floats(&tensors[&format!("{name}.{case}.losses")]).into_iter().enumerate()
            {
                let loss = mean_loss(&many.gradient(&batch, weight).unwrap());
                let difference = (loss / f64::from(expected) - 1.0).abs();
                assert!(difference < 1e-5, "{name} {case} step {step}: {loss}, not {expected}");
                many.update(1e-2).unwrap();
            }
        }
    }
}

/// What PEFT saved is read as PEFT applies it, and what we write is what PEFT writes.
#[test]
fn an_adapter_of_peft_is_read_and_written() {
    let (tensors, _) = read_golden("lora.safetensors");
    let folder = golden("training").join("lora_tied_all");
    let (config, _, batch) = model("tied");
    let adapter = AdapterConfig::read(&folder).unwrap();
    let base = tempfile::tempdir().unwrap();
    write_hashed_weights(base.path(), &config);
    let matrices = AdapterMatrices::open(&folder, &adapter, &config).unwrap();
    let weights = Weights::open(base.path(), &config).unwrap().with_adapter(matrices);
    let merged = Base::from_weights(&config, &weights);
    let loss = mean_loss(&scorer_of_base(&merged, 1024, &COMPUTE).unwrap().losses(&batch).unwrap());
    let expected = f64::from(floats(&tensors["tied.all.losses"])[0]);
    assert!((loss / expected - 1.0).abs() < 1e-6, "{loss}, not {expected}");

    let theirs = read_json(&folder.join(CONFIG_FILE));
    for (name, value) in adapter.to_json().as_object().unwrap() {
        let known = theirs.get(name).unwrap_or_else(|| panic!("PEFT has no `{name}`"));
        match name.as_str() {
            // PEFT names every layer.
            "target_modules" => assert_eq!(value.as_array().unwrap().len(), 7),
            "base_model_name_or_path" => {}
            _ => assert_eq!(value, known, "{name}"),
        }
    }
    let bytes = std::fs::read(folder.join(WEIGHTS_FILE)).unwrap();
    let parsed = SafeTensors::deserialize(&bytes).unwrap();
    let layout = AdapterSettings::new(&adapter, 1).start(&config).layout;
    assert_eq!(parsed.names().len(), layout.tensors.len());
    for tensor in &layout.tensors {
        assert_eq!(parsed.tensor(&tensor.name).unwrap().shape(), tensor.shape, "{}", tensor.name);
    }
}
