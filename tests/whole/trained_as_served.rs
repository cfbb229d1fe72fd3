//! What the trainer computes for a token is what `smolserve` returns for it, to the bit, for the same weights, data type and
//! instruction set: whatever sequences are packed together, whatever the engine's steps, batches and cache hold.

use crate::adapter_serving::{KINDS, write_adapter};
use crate::families::{NAMES, open};
use crate::family_training::trainable;
use crate::lora::{COMPUTE, OPTIMIZER};
use checkpoint::adapter::{self, AdapterConfig};
use checkpoint::{Checkpoint, ModelConfig};
use engine::{CacheFormat, Engine, NativeEngine, Options, Request, WeightFormat};
use half::bf16;
use kernels::Element;
use safetensors::SafeTensors;
use std::path::Path;
use tests::{real_model, shared_data};
use training::cpu::Model;
use training::{
    AdapterSettings, Base, Batch, ComputeSettings, Learner, Optimizer, Parameters, Precision, Sequence,
    TokenLoss, TrainingState,
};

/// Ids of a sequence, and which of them are trained.
struct Row {
    ids: Vec<u32>,
    trained: Vec<bool>,
}

impl Row {
    /// Of `ids` some are trained, the last one always; never the first one.
    fn new(ids: Vec<u32>, seed: usize) -> Self {
        let count = ids.len();
        let trained = (0..count).map(|token| (token + seed) % 5 > 1 || token + 1 == count).collect();
        Self { ids, trained }
    }

    fn sequence(&self) -> Sequence<'_> {
        Sequence { ids: (&self.ids).into(), trained: (&self.trained).into() }
    }
}

/// The arithmetic of a data type in both.
#[derive(Clone, Copy, Debug)]
struct Kind {
    weights: WeightFormat,
    /// As `smolserve` chooses it for these weights.
    cache: CacheFormat,
}

const F32: Kind = Kind { weights: WeightFormat::F32, cache: CacheFormat::F32 };
const BF16: Kind = Kind { weights: WeightFormat::Bf16, cache: CacheFormat::F16 };

/// The log-probabilities of the trained tokens of some rows, packed in this order.
fn trained<E: Element>(parameters: &Parameters, packed: &[&Row], keeps_layers: bool) -> Vec<Vec<f32>> {
    let longest = packed.iter().map(|row| row.ids.len()).max().unwrap();
    let mut model = Model::<E>::new(&parameters.config, longest, !keeps_layers);
    let batch = Batch::new(packed.iter().map(|row| row.sequence()));
    model.forward(&parameters.values, &batch);
    let mut gradients = vec![0.0; parameters.values.len()];
    let tokens = model.losses_and_gradient(&parameters.values, &mut gradients, &batch, |_, _| 1.0);
    of_rows(&tokens, &batch)
}

/// Of each row.
fn of_rows(tokens: &[TokenLoss], batch: &Batch) -> Vec<Vec<f32>> {
    let of_row =
        |pair: &[usize]| tokens[pair[0]..pair[1]].iter().map(|token| token.log_probability).collect();
    batch.target_starts.windows(2).map(of_row).collect()
}

fn options(kind: Kind, tokens_per_step: usize) -> Options {
    Options {
        weights: Some(kind.weights),
        cache: kind.cache,
        prompt_tokens_per_step: tokens_per_step,
        ..Options::default()
    }
}

/// The log-probabilities of the trained tokens of every row, as the engine returns those of a prompt.
fn served(checkpoint: &Checkpoint, rows: &[Row], kind: Kind, tokens_per_step: usize) -> Vec<Vec<f32>> {
    served_by(&NativeEngine::start(checkpoint, options(kind, tokens_per_step)).unwrap(), rows)
}

fn served_by(engine: &NativeEngine, rows: &[Row]) -> Vec<Vec<f32>> {
    let request = |row: &Row| Request {
        prompt: row.ids.clone(),
        prompt_logprobs: Some(0),
        max_tokens: 0,
        ..Request::default()
    };
    let events: Vec<_> = rows.iter().map(|row| engine.submit(request(row)).unwrap()).collect();
    let answers = events.into_iter().map(|events| events.collect_blocking().prompt_logprobs);
    answers
        .zip(rows)
        .map(|(logprobs, row)| {
            assert_eq!(logprobs.len(), row.ids.len());
            let of_trained = logprobs.into_iter().zip(&row.trained).skip(1).filter(|(_, trained)| **trained);
            of_trained.map(|(logprob, _)| logprob.unwrap().logprob).collect()
        })
        .collect()
}

/// How many tokens differ in a bit, and by how much at most.
#[track_caller]
fn assert_same(what: &str, trained: &[Vec<f32>], served: &[Vec<f32>]) {
    assert_eq!(trained.len(), served.len(), "{what}");
    let (mut count, mut different, mut largest) = (0, 0, 0.0f32);
    for (trained, served) in trained.iter().zip(served) {
        assert_eq!(trained.len(), served.len(), "{what}");
        for (trained, served) in trained.iter().zip(served) {
            count += 1;
            different += usize::from(trained.to_bits() != served.to_bits());
            largest = largest.max((trained - served).abs());
        }
    }
    println!("{what}: {different} of {count} tokens differ, by at most {largest:e}");
    assert!(
        count > 0 && different == 0,
        "{what}: {different} of {count} tokens differ, by at most {largest:e}"
    );
}

/// Rows packed in odd ways against the engine's steps of odd sizes.
fn check_type<E: Element>(name: &str, checkpoint: &Checkpoint, parameters: &Parameters, rows: &[Row]) {
    let kind = if E::BF16 { BF16 } else { F32 };
    let expected = served(checkpoint, rows, kind, 512);
    assert_same(&format!("{name} {kind:?} in steps of 37"), &served(checkpoint, rows, kind, 37), &expected);
    let all: Vec<&Row> = rows.iter().collect();
    assert_same(&format!("{name} {kind:?} packed"), &trained::<E>(parameters, &all, true), &expected);
    let reversed: Vec<&Row> = rows.iter().rev().collect();
    let mut found = trained::<E>(parameters, &reversed, false);
    found.reverse();
    assert_same(&format!("{name} {kind:?} reversed"), &found, &expected);
    let pairs = all.chunks(2).flat_map(|rows| trained::<E>(parameters, rows, true));
    assert_same(&format!("{name} {kind:?} in pairs"), &pairs.collect::<Vec<_>>(), &expected);
}

/// Random ids, of odd lengths and of whole blocks of the cache.
fn random_rows(config: &ModelConfig) -> Vec<Row> {
    [3, 64, 1, 65, 7, 200, 2, 129, 63, 311]
        .into_iter()
        .filter(|length| *length <= config.max_positions)
        .map(|length| {
            let id = |token: usize| random::mix(length as u64, token as u64) as usize % config.vocab_size;
            Row::new((0..length).map(|token| id(token) as u32).collect(), length)
        })
        .collect()
}

fn check(name: &str, folder: &Path) {
    let checkpoint = open(folder);
    let parameters = Parameters::from_weights(&checkpoint.config, &checkpoint.weights);
    let rows = random_rows(&checkpoint.config);
    check_type::<f32>(name, &checkpoint, &parameters, &rows);
    check_type::<bf16>(name, &checkpoint, &parameters, &rows);
}

/// The models that need no download: every family, and the demonstration's.
#[test]
fn small_models() {
    for name in NAMES {
        check(name, trainable(name).path());
    }
    check("pocket", &Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pocket-instruct"));
    if let Some(data) = shared_data() {
        check("stories260k", &data.join("models/stories260k"));
    }
}

/// An adapter in training against the same adapter over the weights of its base, where the server does not merge it; and
/// merged, where training goes on with all weights.
#[test]
fn adapters() {
    for name in NAMES {
        let folder = trainable(name);
        let base = open(folder.path());
        let rows = random_rows(&base.config);
        for kind in KINDS {
            let path = folder.path().join("adapter");
            let settings = write_adapter(&path, folder.path().to_str().unwrap(), &base.config, kind);
            let adapter = open(&path);
            let merged = Parameters::from_weights(&adapter.config, &adapter.weights);
            check_type::<f32>(&format!("{name} merged"), &adapter, &merged, &rows);
            for (kind, precision) in [(F32, Precision::F32), (BF16, Precision::Bf16)] {
                let mut learner = adapter_learner(&base, &path, &settings, precision);
                let batch = Batch::new(rows.iter().map(Row::sequence));
                let found = of_rows(&learner.losses(&batch).unwrap(), &batch);
                let adapters = std::slice::from_ref(&adapter);
                let (_, engines) =
                    NativeEngine::start_with_adapters(&base, adapters, options(kind, 50)).unwrap();
                assert_same(&format!("{name} unmerged {kind:?}"), &found, &served_by(&engines[0], &rows));
            }
        }
    }
}

/// What trains the adapter in a folder.
fn adapter_learner(
    base: &Checkpoint,
    folder: &Path,
    config: &AdapterConfig,
    precision: Precision,
) -> Learner {
    let settings = AdapterSettings::new(config, 1);
    let mut parameters = settings.start(&base.config);
    let bytes = std::fs::read(folder.join(adapter::WEIGHTS_FILE)).unwrap();
    let parsed = SafeTensors::deserialize(&bytes).unwrap();
    for tensor in &parameters.layout.tensors {
        let words = parsed.tensor(&tensor.name).unwrap().data().as_chunks::<4>().0.iter();
        let values: Vec<f32> = words.map(|word| f32::from_le_bytes(*word)).collect();
        parameters.values[tensor.range.clone()].copy_from_slice(&values);
    }
    let state = TrainingState { optimizer: Optimizer::new(parameters.values.len()), parameters };
    let compute = ComputeSettings { precision, ..COMPUTE };
    let frozen = Base::from_weights(&base.config, &base.weights);
    Learner::of_adapter(frozen, state, settings, 512, &compute, OPTIMIZER).unwrap()
}

/// The instruction set is chosen once in a process, so the test runs itself.
#[test]
fn small_models_on_other_instruction_sets() {
    for isa in ["avx2", "portable"] {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "trained_as_served::small_models", "--nocapture"]).env("SMOL_KERNELS", isa);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{isa}: {text}");
    }
}

/// Two hundred replies to real prompts, packed nine at a time.
#[test]
fn two_hundred_rows_on_the_real_model() {
    fn check<E: Element>(checkpoint: &Checkpoint, parameters: &Parameters, rows: &[Row]) {
        let kind = if E::BF16 { BF16 } else { F32 };
        let expected = served(checkpoint, rows, kind, 512);
        let all: Vec<&Row> = rows.iter().collect();
        let found: Vec<_> = all.chunks(9).flat_map(|rows| trained::<E>(parameters, rows, true)).collect();
        assert_same(&format!("the real model {kind:?}"), &found, &expected);
    }
    let (Some(file), Some(data)) = (real_model(), shared_data()) else { return };
    let checkpoint = open(&file);
    let parameters = Parameters::from_weights(&checkpoint.config, &checkpoint.weights);
    let read = |name: &str| std::fs::read_to_string(data.join("preference").join(name)).unwrap();
    let text = [read("eval_clean.jsonl"), read("train_clean.jsonl")].concat();
    let rows: Vec<Row> = text
        .lines()
        .enumerate()
        .map(|(index, line)| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let mut ids = checkpoint.tokenizer.ids(row["chosen"].as_str().unwrap()).unwrap();
            ids.truncate(40 + index * 7 % 100);
            Row::new(ids, index)
        })
        .filter(|row| row.ids.len() > 1)
        .take(200)
        .collect();
    assert_eq!(rows.len(), 200);
    check::<f32>(&checkpoint, &parameters, &rows);
    check::<bf16>(&checkpoint, &parameters, &rows);
}
