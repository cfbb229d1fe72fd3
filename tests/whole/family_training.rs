use crate::families::{NAMES, folder, open};
use crate::lora::{COMPUTE, OPTIMIZER};
use crate::programs::{killed_and_resumed, posttrain, refused, succeeds};
use crate::training::{assert_equal_runs, loads_with_transformers, write_expected, write_rows};
use checkpoint::adapter::{AdapterConfig, LinearModule};
use checkpoint::{Checkpoint, ModelConfig};
use half::bf16;
use kernels::Element;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;
use tests::golden;
use training::cpu::Model;
use training::{
    AdapterSettings, Base, Batch, Learner, Optimizer, OptimizerSettings, Parameters, Sequence, TrainingState,
};

/// As `make_family_goldens.py` has them.
const LENGTHS: [usize; 4] = [1, 7, 61, 100];
const VOCABULARY: usize = 67;

/// The numbers of the goldens by name.
fn goldens() -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(golden("families/gradients.safetensors")).unwrap();
    let parsed = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |data: &[u8]| data.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
    parsed.tensors().into_iter().map(|(name, view)| (name, floats(view.data()))).collect()
}

/// The sequences of the goldens, in one batch.
fn batch(lengths: &[usize]) -> Batch {
    Batch::new(lengths.iter().map(|length| {
        let ids: Vec<u32> = (0..*length).map(|index| ((index * 31 + length) % VOCABULARY) as u32).collect();
        let trained: Vec<bool> = (0..*length).map(|token| token % 3 > 0).collect();
        Sequence { ids: ids.into(), trained: trained.into() }
    }))
}

fn parameters(checkpoint: &Checkpoint) -> Parameters {
    Parameters::from_weights(&checkpoint.config, &checkpoint.weights)
}

/// Log-probabilities and the gradient of the mean loss, over all batches.
fn train<E: Element>(
    parameters: &Parameters,
    batches: &[Batch],
    checkpoint_layers: bool,
) -> (Vec<f32>, Vec<f32>) {
    let mut model = Model::<E>::new(&parameters.config, 256, checkpoint_layers);
    let (values, mut taken) = (&parameters.values, Vec::new());
    let mut gradients = vec![0.0; values.len()];
    let weight = 1.0 / batches.iter().map(|batch| batch.targets.len()).sum::<usize>() as f32;
    for batch in batches {
        model.forward(values, batch);
        let tokens = model.losses_and_gradient(values, &mut gradients, batch, |_, _| weight);
        model.backward(values, &mut gradients, batch);
        taken.extend(tokens.iter().map(|token| token.log_probability));
    }
    (taken, gradients)
}

/// |found - expected| / |expected|.
fn relative(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    norm(found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)))
        / norm(expected.iter().map(|value| f64::from(*value)))
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn log_probabilities_and_gradients_agree_with_transformers() {
    let goldens = goldens();
    for name in NAMES {
        let parameters = parameters(&open(folder(name).path()));
        let (found, gradients) = train::<f32>(&parameters, &[batch(&LENGTHS)], false);
        let expected = &goldens[&format!("{name}.log_probabilities")];
        let largest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(
            found.len() == expected.len() && largest < 1e-4,
            "{name}: log-probabilities off by {largest}"
        );
        let (mut worst, mut count) = ((0.0f64, ""), 0);
        for tensor in &parameters.layout.tensors {
            let gradient = &gradients[tensor.range.clone()];
            let expected = &goldens[&format!("{name}.sample.{}", tensor.name)];
            let sample: Vec<f32> =
                (0..expected.len()).map(|k| gradient[k * gradient.len() / expected.len()]).collect();
            let length = norm(gradient.iter().map(|value| f64::from(*value)));
            let of_norm = length / f64::from(goldens[&format!("{name}.norm.{}", tensor.name)][0]) - 1.0;
            let difference = relative(&sample, expected).max(of_norm.abs());
            if difference > worst.0 || difference.is_nan() {
                worst = (difference, &tensor.name);
            }
            count += 1;
        }
        println!(
            "{name}: log-probabilities within {largest:.1e}, gradients within {:.1e} ({})",
            worst.0, worst.1
        );
        assert!(worst.0 < 1e-4, "{name}: the gradient of {} differs by {}", worst.1, worst.0);
        let parts = goldens.keys().filter(|key| key.starts_with(&format!("{name}.norm."))).count();
        assert_eq!(count, parts, "{name}: every tensor has a gradient");
    }
}

/// Packing with windows and boundaries, layers that are computed again, and threads.
#[test]
fn how_a_step_is_computed_changes_nothing() {
    fn check<E: Element>(name: &str, parameters: &Parameters) {
        let packed = [batch(&LENGTHS)];
        let (losses, gradients) = train::<E>(parameters, &packed, false);
        let (again_losses, again) = train::<E>(parameters, &packed, true);
        assert!(bits(&losses) == bits(&again_losses) && bits(&gradients) == bits(&again), "{name}: again");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let (_, threaded) = pool.install(|| train::<E>(parameters, &packed, false));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let (_, alone) = pool.install(|| train::<E>(parameters, &packed, false));
        assert!(bits(&threaded) == bits(&alone), "{name}: threads");
    }
    for name in ["qwen2", "qwen3", "gemma3", "smollm3", "mistral"] {
        let parameters = parameters(&open(folder(name).path()));
        check::<f32>(name, &parameters);
        check::<bf16>(name, &parameters);
        let (_, packed) = train::<f32>(&parameters, &[batch(&LENGTHS)], false);
        let alone: Vec<Batch> = LENGTHS.iter().map(|length| batch(&[*length])).collect();
        let (_, alone) = train::<f32>(&parameters, &alone, false);
        assert!(relative(&alone, &packed) < 1e-5, "{name}: packed");
        let (_, rounded) = train::<bf16>(&parameters, &[batch(&LENGTHS)], false);
        let difference = relative(&rounded, &packed);
        println!("{name}: bf16 within {difference:.1e}");
        assert!(difference < 0.2, "{name}: bf16 is off by {difference}");
    }
}

/// (rows, inner) times (inner, columns), each row-major.
fn product(a: &[f32], b: &[f32], inner: usize, columns: usize) -> Vec<f32> {
    let cell = |row: &[f32], column: usize| (0..inner).map(|k| row[k] * b[k * columns + column]).sum();
    a.chunks_exact(inner).flat_map(|row| (0..columns).map(move |column| cell(row, column))).collect()
}

fn transposed(a: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| a.iter().skip(column).step_by(columns).copied()).collect()
}

/// An adapter's gradients are those of the merged weights W = W0 + s B A by the chain rule: dB = s dW Aᵀ, dA = s Bᵀ dW.
#[test]
fn gradients_of_an_adapter_follow_from_those_of_the_weights() {
    const RANK: usize = 4;
    for name in ["qwen2", "qwen3", "gemma3"] {
        let checkpoint = open(folder(name).path());
        let config = &checkpoint.config;
        let adapter = AdapterConfig {
            base: String::new(),
            rank: RANK,
            alpha: 2.0,
            dropout: 0.0,
            rslora: false,
            modules: LinearModule::ALL.to_vec(),
        };
        let (settings, scale) = (AdapterSettings::new(&adapter, 1), adapter.scale() as f32);
        let mut low_rank = settings.start(config);
        for tensor in &low_rank.layout.tensors {
            let values = random::hashed_values(&tensor.name, tensor.range.len());
            low_rank.values[tensor.range.clone()].copy_from_slice(&values);
        }
        let part = |values: &[f32], layer: usize, module: LinearModule, part: &str| {
            let name = module.tensor(layer, part);
            let tensor = low_rank.layout.tensors.iter().find(|tensor| tensor.name == name).unwrap();
            values[tensor.range.clone()].to_vec()
        };
        let weight = |parameters: &Parameters, layer: usize, module: LinearModule| {
            let name = format!("{}.weight", module.path(layer));
            parameters.layout.tensors.iter().find(|tensor| tensor.name == name).unwrap().range.clone()
        };
        let modules: Vec<(usize, LinearModule)> =
            (0..config.layers).flat_map(|layer| LinearModule::ALL.map(|module| (layer, module))).collect();
        let mut merged = parameters(&checkpoint);
        for (layer, module) in &modules {
            let [_, inputs] = module.shape(config);
            let (a, b) =
                (part(&low_rank.values, *layer, *module, "A"), part(&low_rank.values, *layer, *module, "B"));
            let range = weight(&merged, *layer, *module);
            let change = product(&b, &a, RANK, inputs);
            merged.values[range]
                .iter_mut()
                .zip(change)
                .for_each(|(weight, change)| *weight += scale * change);
        }
        let batch = batch(&LENGTHS);
        let (_, of_weights) = train::<f32>(&merged, std::slice::from_ref(&batch), false);

        // With beta1 = 0 and without clipping the mean of the gradients is the gradient.
        let bare = OptimizerSettings { beta1: 0.0, weight_decay: 0.0, max_grad_norm: 0.0, ..OPTIMIZER };
        let state =
            TrainingState { optimizer: Optimizer::new(low_rank.values.len()), parameters: low_rank.clone() };
        let base = Base::from_weights(config, &checkpoint.weights);
        let mut learner = Learner::of_adapter(base, state, settings, 256, &COMPUTE, bare).unwrap();
        learner.gradient(&batch, 1.0 / batch.targets.len() as f32).unwrap();
        learner.update(0.0).unwrap();
        let found = &learner.state().optimizer.mean;
        for (layer, module) in modules {
            let [outputs, inputs] = module.shape(config);
            let (a, b) =
                (part(&low_rank.values, layer, module, "A"), part(&low_rank.values, layer, module, "B"));
            let dw = &of_weights[weight(&merged, layer, module)];
            let scaled =
                |values: Vec<f32>| values.into_iter().map(|value| scale * value).collect::<Vec<f32>>();
            let db = scaled(product(dw, &transposed(&a, inputs), inputs, RANK));
            let da = scaled(product(&transposed(&b, RANK), dw, outputs, inputs));
            for (kind, expected) in [("A", da), ("B", db)] {
                let difference = relative(&part(found, layer, module, kind), &expected);
                assert!(difference < 1e-4, "{name} layer {layer} {module:?} {kind}: {difference:.1e}");
            }
        }
    }
}

/// A golden's folder with a tokenizer of single letters.
pub(crate) fn trainable(name: &str) -> TempDir {
    let folder = folder(name);
    let letters = ('a'..='z').chain('A'..='Z').chain('0'..='8').chain([' ', '.', ',']);
    let special = ["<unk>", "<s>", "<|endoftext|>"];
    let tokens = special.map(str::to_owned).into_iter().chain(letters.map(String::from));
    let vocabulary: serde_json::Map<String, Value> =
        tokens.zip(0..).map(|(token, id)| (token, id.into())).collect();
    assert_eq!(vocabulary.len(), VOCABULARY);
    let added = |(id, token): (usize, &str)| json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let added: Vec<Value> = special.into_iter().enumerate().map(added).collect();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": added,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "<unk>"}
    });
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let settings = json!({"eos_token": "<|endoftext|>", "tokenizer_class": "PreTrainedTokenizerFast"});
    std::fs::write(folder.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
    folder
}

/// Texts of more letters than the windows are wide.
pub(crate) fn texts() -> Vec<Value> {
    let text = |index: usize| json!({"text": format!("Row {index} says that the cat sat on the mat, and then it ran. ").repeat(1 + index % 3)});
    (0..8).map(text).collect()
}

#[test]
fn every_family_is_trained_and_loaded_by_transformers() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("texts.jsonl");
    write_rows(&data, &texts());
    let mut made = Vec::new();
    for name in NAMES {
        let (model, out) = (trainable(name), place.path().join(name));
        let mut command = posttrain(place.path());
        command.arg("sft").arg("--model").arg(model.path()).arg("--data").arg(&data).arg("--out").arg(&out);
        command.args(["--steps", "3", "--batch-size", "4", "--max-length", "200", "--learning-rate", "1e-3"]);
        succeeds(command.args(["--precision", "f32", "--save-precision", "f32"]));
        let (before, after) = (open(model.path()), open(&out));
        assert_eq!(before.config.architecture, after.config.architecture, "{name}");
        let tensors = checkpoint::weights::expected_tensors(&before.config);
        let same =
            tensors.iter().filter(|(name, _)| before.weights.tensor(name) == after.weights.tensor(name));
        assert_eq!(same.count(), 0, "{name}: every tensor was trained");
        write_expected(&out, None);
        made.push(out);
    }
    // An adapter over biases, norms of heads and of branches, as one checkpoint.
    for name in ["qwen2", "gemma3"] {
        let (model, out) = (trainable(name), place.path().join(format!("{name}-adapter")));
        let mut command = posttrain(place.path());
        command.arg("sft").arg("--model").arg(model.path()).arg("--data").arg(&data).arg("--out").arg(&out);
        command.args(["--steps", "3", "--batch-size", "4", "--max-length", "200", "--learning-rate", "1e-2"]);
        succeeds(command.args(["--precision", "f32", "--lora-rank", "4"]));
        let merged = place.path().join(format!("{name}-merged"));
        succeeds(
            posttrain(place.path())
                .arg("merge")
                .arg(&out)
                .arg("--out")
                .arg(&merged)
                .args(["--save-precision", "f32"]),
        );
        write_expected(&merged, None);
        made.push(merged);
    }
    loads_with_transformers(&made);
}

#[test]
fn a_killed_run_of_another_family_ends_with_the_same_bits() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("texts.jsonl");
    write_rows(&data, &texts());
    for name in ["qwen2", "gemma3", "smollm3"] {
        let model = trainable(name);
        let command = |out: &Path| {
            let mut command = posttrain(place.path());
            command
                .arg("sft")
                .arg("--model")
                .arg(model.path())
                .arg("--data")
                .arg(&data)
                .arg("--out")
                .arg(out);
            command.args(["--steps", "60", "--batch-size", "3", "--max-length", "200", "--save-steps", "7"]);
            command.args(["--learning-rate", "1e-3", "--save-precision", "f32", "--precision", "bf16"]);
            command
        };
        let (whole, torn) =
            (place.path().join(format!("{name}-whole")), place.path().join(format!("{name}-torn")));
        succeeds(&mut command(&whole));
        killed_and_resumed(|| command(&torn), &torn, 3);
        assert_equal_runs(&whole, &torn, &["step", "loss"]);
    }
}

#[test]
fn a_gpu_refuses_what_its_kernels_have_not() {
    let (model, place) = (trainable("gemma3"), tempfile::tempdir().unwrap());
    let data = place.path().join("texts.jsonl");
    write_rows(&data, &texts());
    let mut command = posttrain(place.path());
    command.arg("sft").arg("--model").arg(model.path()).arg("--data").arg(&data);
    command.arg("--out").arg(place.path().join("out")).args(["--max-length", "200", "--device", "cuda"]);
    refused(
        &mut command,
        "family \"gemma3_text\" has norms of queries and keys, norms after branches, a GELU gate, a scaled embedding, sliding windows, scaled rotary positions; give `--device cpu`",
    );
}

/// New weights of a family from its config.json: norms that change nothing, whatever is added to them.
#[test]
fn a_family_is_trained_from_random_weights() {
    let (model, place) = (trainable("gemma3"), tempfile::tempdir().unwrap());
    let data = place.path().join("texts.jsonl");
    write_rows(&data, &texts());
    let out = place.path().join("out");
    let mut command = posttrain(place.path());
    command
        .arg("pretrain")
        .arg("--init")
        .arg(model.path().join("config.json"))
        .arg("--tokenizer")
        .arg(model.path());
    command.arg("--data").arg(&data).arg("--out").arg(&out);
    command.args([
        "--tokens",
        "2048",
        "--batch-tokens",
        "512",
        "--sequence-length",
        "128",
        "--learning-rate",
        "1e-9",
    ]);
    succeeds(command.args(["--precision", "f32", "--save-precision", "f32", "--weight-decay", "0"]));
    let checkpoint = open(&out);
    let norm = checkpoint.weights.tensor("model.layers.3.post_feedforward_layernorm.weight");
    assert!(norm.iter().all(|weight| weight.abs() < 1e-6), "{norm:?}");
    let ModelConfig { layers, .. } = checkpoint.config;
    assert_eq!(layers, 7);
}
