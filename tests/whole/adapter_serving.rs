use crate::clients::Served;
use crate::families::{NAMES, folder, open};
use crate::programs::{posttrain, program, succeeds, text_of};
use crate::serving::{answer_text, metric, send};
use checkpoint::adapter::{self, AdapterConfig, LinearModule};
use checkpoint::weights::{Precision, write};
use checkpoint::{Checkpoint, ModelConfig};
use engine::{
    Answer, CacheFormat, Chunk, Engine, KvCache, LogitPositions, Model, NativeEngine, Options, Request,
    Sampling, WeightFormat,
};
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use tests::shared_data;

/// What an adapter of random matrices is.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    rank: usize,
    /// How much it adds, as a multiple of what it reads.
    size: f64,
    modules: &'static [LinearModule],
    seed: u64,
}

/// All modules, and some of which one packed matrix has only a part.
pub(crate) const KINDS: [Kind; 3] = [
    Kind { rank: 5, size: 0.15, modules: &LinearModule::ALL, seed: 1 },
    Kind { rank: 16, size: 0.15, modules: &[LinearModule::Value, LinearModule::Up], seed: 2 },
    Kind {
        rank: 1,
        size: 0.15,
        modules: &[LinearModule::Query, LinearModule::Output, LinearModule::Down],
        seed: 3,
    },
];

/// Writes an adapter of random matrices, which change answers much and are no more than weights are.
pub(crate) fn write_adapter(into: &Path, base: &str, config: &ModelConfig, kind: Kind) -> AdapterConfig {
    std::fs::create_dir_all(into).unwrap();
    let adapter = AdapterConfig {
        base: base.to_owned(),
        rank: kind.rank,
        alpha: 2.0 * kind.rank as f64,
        dropout: 0.0,
        rslora: false,
        modules: kind.modules.to_vec(),
    };
    std::fs::write(into.join(adapter::CONFIG_FILE), adapter.to_json().to_string()).unwrap();
    let mut state = kind.seed;
    let mut values = |count: usize, size: f64| -> Vec<f32> {
        (0..count).map(|_| ((random::unit(random::next(&mut state)) * 2.0 - 1.0) * size) as f32).collect()
    };
    let mut tensors = Vec::new();
    for layer in 0..config.layers {
        for module in kind.modules {
            let [outputs, inputs] = module.shape(config);
            let (a, b) = (1.0 / (inputs as f64).sqrt(), kind.size / (kind.rank as f64).sqrt());
            tensors.push((module.tensor(layer, "A"), vec![kind.rank, inputs], values(kind.rank * inputs, a)));
            tensors.push((
                module.tensor(layer, "B"),
                vec![outputs, kind.rank],
                values(outputs * kind.rank, b),
            ));
        }
    }
    write(&into.join(adapter::WEIGHTS_FILE), &tensors, Precision::F32).unwrap();
    adapter
}

/// The small real model with an adapter of each kind.
struct Stories {
    folder: tempfile::TempDir,
    base: PathBuf,
}

impl Stories {
    fn new() -> Option<Self> {
        let stories =
            Self { base: shared_data()?.join("models/stories260k"), folder: tempfile::tempdir().unwrap() };
        let config = open(&stories.base).config;
        for (index, kind) in KINDS.into_iter().enumerate() {
            write_adapter(&stories.adapter(index), stories.base.to_str().unwrap(), &config, kind);
        }
        Some(stories)
    }

    fn adapter(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("adapter-{index}"))
    }

    fn adapters(&self) -> Vec<Checkpoint> {
        (0..KINDS.len()).map(|index| open(&self.adapter(index))).collect()
    }
}

/// The logits (T, V) of one sequence, in two chunks.
fn logits(model: &Model, ids: &[u32], adapter: Option<usize>) -> Vec<f32> {
    let mut cache = KvCache::new();
    let (first, second) = ids.split_at(ids.len() / 3);
    let mut run = |ids| {
        let chunk = Chunk { ids, cache: &mut cache, logits: LogitPositions::All, hidden_sum: None, adapter };
        model.forward(&mut [chunk])
    };
    [run(first), run(second)].concat()
}

/// The largest difference of rows (T, V), relative to the largest number of its row.
fn largest(found: &[f32], expected: &[f32], row: usize) -> f32 {
    assert_eq!(found.len(), expected.len());
    let of_row = |(found, expected): (&[f32], &[f32])| {
        let difference = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        difference / expected.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()))
    };
    found.chunks_exact(row).zip(expected.chunks_exact(row)).map(of_row).fold(0.0, f32::max)
}

/// Against weights to which the adapter is added when they are read.
fn check_logits(name: &str, base: &Checkpoint, adapters: &[Checkpoint], ids: &[u32], tolerance: f32) {
    let mut model = Model::load(base, WeightFormat::F32, CacheFormat::F32);
    let plain = logits(&model, ids, None);
    for adapter in adapters {
        model.add_adapter(base, adapter.weights.adapter().unwrap());
    }
    assert!(logits(&model, ids, None) == plain, "{name}: the model itself is changed");
    for (index, adapter) in adapters.iter().enumerate() {
        let merged = Model::load(adapter, WeightFormat::F32, CacheFormat::F32);
        let (merged, found) = (logits(&merged, ids, None), logits(&model, ids, Some(index)));
        let row = base.config.vocab_size;
        let (difference, change) = (largest(&found, &merged, row), largest(&plain, &merged, row));
        println!(
            "{name}, adapter {index}: changes logits by {change:.2}, equal to the merged model within {difference:.1e}"
        );
        assert!(change > 0.05, "{name}: the adapter {index} changes nothing");
        assert!(
            difference < tolerance,
            "{name}: the adapter {index} differs from the merged model by {difference}"
        );
    }
}

#[test]
fn logits_are_those_of_the_merged_model() {
    let Some(stories) = Stories::new() else { return };
    let ids: Vec<u32> = (1..150).map(|index| index * 37 % 512).collect();
    check_logits("stories260k", &open(&stories.base), &stories.adapters(), &ids, 1e-5);
}

/// Biases, norms of heads and of branches, another gate, windows.
#[test]
fn logits_of_every_family_are_those_of_the_merged_model() {
    for name in NAMES {
        let folder = folder(name);
        let base = open(folder.path());
        let adapters: Vec<Checkpoint> = KINDS
            .into_iter()
            .map(|kind| {
                let path = folder.path().join(format!("adapter-{}", kind.seed));
                // Random weights are less used to changes than trained ones.
                let kind = Kind { size: 0.05, ..kind };
                write_adapter(&path, folder.path().to_str().unwrap(), &base.config, kind);
                open(&path)
            })
            .collect();
        let ids: Vec<u32> = (0..100).map(|index| index * 31 % base.config.vocab_size as u32).collect();
        // What rounding alone does: an adapter that changes the last bits of some weights.
        let path = folder.path().join("rounding");
        write_adapter(&path, folder.path().to_str().unwrap(), &base.config, Kind { size: 1e-6, ..KINDS[0] });
        let [plain, rounded] = [&base, &open(&path)]
            .map(|one| logits(&Model::load(one, WeightFormat::F32, CacheFormat::F32), &ids, None));
        let noise = largest(&rounded, &plain, base.config.vocab_size);
        println!("{name}: rounding moves logits by {noise:.1e}");
        check_logits(name, &base, &adapters, &ids, 1e-5f32.max(4.0 * noise));
    }
}

/// Requests of different lengths and kinds; prompts of more than a block of the cache, that begin alike.
fn requests(base: &Checkpoint) -> Vec<Request> {
    let text = "Once upon a time there was a girl named Lily. She had a dog, and the dog had a ball. One day Lily and \
                the dog went to the park. The sun was warm, and they saw a big tree. Lily said: I want to climb it.";
    let prompt = base.tokenizer.encode_document(text).unwrap();
    assert!(prompt.len() > 70);
    let request = |index: usize| Request {
        prompt: prompt[..prompt.len() - 3 * (index % 4)].to_vec(),
        max_tokens: 12 + 5 * (index % 3),
        logprobs: Some(2),
        sampling: Sampling {
            temperature: if index.is_multiple_of(2) { 0.0 } else { 0.9 },
            seed: index as u64,
            ..Sampling::default()
        },
        ..Request::default()
    };
    (0..5).map(request).collect()
}

fn engines(base: &Checkpoint, adapters: &[Checkpoint], options: Options) -> Vec<NativeEngine> {
    let (engine, mut engines) = NativeEngine::start_with_adapters(base, adapters, options).unwrap();
    engines.insert(0, engine);
    engines
}

/// In every format of the weights: the bits of an answer, its log-probabilities included, among others of other adapters, with
/// what these left in the cache, are those of the answer alone.
#[test]
fn an_answer_does_not_depend_on_other_adapters() {
    let Some(stories) = Stories::new() else { return };
    let base = open(&stories.base);
    let adapters = stories.adapters();
    for format in [
        WeightFormat::F32,
        WeightFormat::Bf16,
        WeightFormat::Q8_0,
        WeightFormat::Q4_0,
        WeightFormat::Q4_1,
        WeightFormat::Q5_0,
    ] {
        let options = Options { weights: Some(format), prompt_tokens_per_step: 50, ..Options::default() };
        let lone = Options { max_sequences: 1, reuse_prefixes: false, guessed_tokens: 0, ..options };
        let answer = |engine: &NativeEngine, request| engine.submit(request).unwrap().collect_blocking();
        // Each adapter in an engine of its own.
        let mut alone: Vec<Vec<Answer>> = Vec::new();
        let plain = NativeEngine::start(&base, lone).unwrap();
        alone.push(requests(&base).into_iter().map(|request| answer(&plain, request)).collect());
        for adapter in &adapters {
            let only = engines(&base, std::slice::from_ref(adapter), lone).remove(1);
            alone.push(requests(&base).into_iter().map(|request| answer(&only, request)).collect());
        }
        assert!(
            (1..alone.len()).all(|one| !alone[..one].contains(&alone[one])),
            "{format:?}: adapters change nothing"
        );
        let together = engines(&base, &adapters, options);
        for round in 0..2 {
            let mut running = Vec::new();
            for (index, request) in requests(&base).into_iter().enumerate() {
                for (engine, alone) in together.iter().zip(&alone) {
                    running.push((engine.submit(request.clone()).unwrap(), &alone[index]));
                }
            }
            for (events, expected) in running {
                assert_eq!(&events.collect_blocking(), expected, "{format:?}, round {round}");
            }
        }
    }
}

fn body(model: &str, prompt: &str) -> Value {
    json!({"model": model, "prompt": prompt, "max_tokens": 40, "temperature": 0})
}

fn get(address: &str, path: &str) -> Value {
    let mut text = String::new();
    send(address, path, None).read_to_string(&mut text).unwrap();
    serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// Greedy texts over HTTP are those of the merged models, the base is loaded once, and a list names the parents.
#[test]
fn adapters_are_served_beside_their_base() {
    let Some(stories) = Stories::new() else { return };
    let argument = |name: &str, path: &Path| format!("{name}={}", path.display());
    let (a, b) = (argument("a", &stories.adapter(0)), argument("b@stories", &stories.adapter(1)));
    let (merged_a, merged_b) =
        (argument("merged-a", &stories.adapter(0)), argument("merged-b", &stories.adapter(1)));
    let arguments =
        ["--model", &merged_a, "--model", &merged_b, "--adapter", &a, "--adapter", &b, "--dtype", "f32"];
    let served = Served::start(&stories.base, &arguments);
    let address = &served.address;
    let listed = get(address, "/v1/models");
    let models = listed["data"].as_array().unwrap();
    let of = |model: &Value| {
        (model["id"].as_str().unwrap().to_owned(), model["parent"].as_str().map(str::to_owned))
    };
    let expected = [
        ("stories", None),
        ("merged-a", None),
        ("merged-b", None),
        ("a", Some("stories")),
        ("b", Some("stories")),
    ];
    let expected = expected.map(|(name, parent)| (name.to_owned(), parent.map(str::to_owned)));
    assert_eq!(models.iter().map(of).collect::<Vec<_>>(), expected);
    let text =
        |model: &str, prompt: &str| answer_text(send(address, "/v1/completions", Some(&body(model, prompt))));
    for prompt in ["Once upon a time", "The dog", "Lily and Tom went to the park. They saw"] {
        let [plain, a, b] = ["stories", "a", "b"].map(|model| text(model, prompt));
        assert!(plain != a && plain != b && a != b, "{prompt}: {plain} / {a} / {b}");
        assert_eq!([a, b], ["merged-a", "merged-b"].map(|model| text(model, prompt)), "{prompt}");
    }
    // One engine for a model and its adapters: three have a line.
    let mut metrics = String::new();
    send(address, "/metrics", None).read_to_string(&mut metrics).unwrap();
    assert_eq!(metrics.lines().filter(|line| line.starts_with("smolserve_running{")).count(), 3, "{metrics}");
    assert_eq!(metric(address, "running"), 0.0);
    let health = get(address, "/health");
    assert_eq!(health["models"].as_array().unwrap().len(), 5);
}

/// Over another format of the base, over a base that nobody names, and what does not fit.
#[test]
fn an_adapter_is_served_over_the_base_that_is_named() {
    let Some(stories) = Stories::new() else { return };
    let gguf = stories.folder.path().join("small.gguf");
    let mut export = posttrain(stories.folder.path());
    succeeds(export.arg("export").arg(&stories.base).arg("--gguf").arg(&gguf).args(["--type", "f16"]));
    let check = |arguments: &[String]| program("smolserve").arg("--check").args(arguments).output().unwrap();
    let model = |name: &str, path: &Path| ["--model".to_owned(), format!("{name}={}", path.display())];
    let adapter = |name: &str, path: &Path| ["--adapter".to_owned(), format!("{name}={}", path.display())];
    let output = check(&[model("small", &gguf), adapter("a@small", &stories.adapter(0))].concat());
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(lines.contains("small: ok") && lines.contains("a: ok"), "{lines}{}", text_of(&output));
    let output = check(&adapter("a", &stories.adapter(0)));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(lines.starts_with("a: ok") && lines.lines().count() == 1, "{lines}{}", text_of(&output));
    // A model of another shape, and a module that adapters cannot change here.
    let other = folder("qwen3");
    let output = check(&[model("other", other.path()), adapter("a@other", &stories.adapter(0))].concat());
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot serve a from") && text.contains("this model"), "{text}");
    let head = stories.folder.path().join("head");
    write_adapter(&head, stories.base.to_str().unwrap(), &open(&stories.base).config, KINDS[2]);
    let config = open(&stories.base).config;
    let name = "base_model.model.lm_head.lora_A.weight".to_owned();
    let tensors = [(name, vec![1, config.hidden_size], vec![0.0; config.hidden_size])];
    write(&head.join(adapter::WEIGHTS_FILE), &tensors, Precision::F32).unwrap();
    let text = text_of(&check(&adapter("a", &head)));
    assert!(text.contains("lm_head.lora_A.weight; an adapter of this model has"), "{text}");
}
