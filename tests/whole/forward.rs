use checkpoint::Checkpoint;
use engine::{
    CacheFormat, Chunk, Engine, KvCache, LogitPositions, Model, NativeEngine, Options, Request, WeightFormat,
};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use tests::{golden, shared_data, write_hashed_weights};

/// Goldens by transformers' Llama in f32; `make_engine_goldens.py` made them, their metadata says with
/// which versions.
pub(crate) struct Goldens(BTreeMap<String, Vec<f32>>);

impl Goldens {
    pub(crate) fn read(name: &str) -> Self {
        let bytes = std::fs::read(golden("engine").join(name)).unwrap();
        let parsed = SafeTensors::deserialize(&bytes).unwrap();
        let number = |dtype: safetensors::Dtype, chunk: &[u8; 4]| match dtype {
            safetensors::Dtype::F32 => f32::from_le_bytes(*chunk),
            // Ids are below 2^24, so they stay exact.
            _ => i32::from_le_bytes(*chunk) as f32,
        };
        let read = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
            let values = view.data().as_chunks::<4>().0.iter().map(|chunk| number(view.dtype(), chunk));
            (name, values.collect())
        };
        Self(parsed.tensors().into_iter().map(read).collect())
    }

    pub(crate) fn numbers(&self, name: &str) -> &[f32] {
        self.0.get(name).unwrap_or_else(|| panic!("the goldens hold {name}"))
    }

    pub(crate) fn ids(&self, name: &str) -> Vec<u32> {
        self.numbers(name).iter().map(|id| *id as u32).collect()
    }

    pub(crate) fn count(&self, suffix: &str) -> usize {
        self.0.keys().filter(|name| name.ends_with(suffix)).count()
    }
}

fn logits(model: &Model, ids: &[u32], wanted: LogitPositions) -> Vec<f32> {
    let mut cache = KvCache::new();
    model.forward(&mut [Chunk { ids, cache: &mut cache, logits: wanted, hidden_sum: None, adapter: None }])
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let largest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest < tolerance, "largest difference {largest}");
}

fn check_greedy(engine: &NativeEngine, goldens: &Goldens) {
    for index in 0..goldens.count(".prompt") {
        let prompt = goldens.ids(&format!("greedy{index}.prompt"));
        let request = Request { prompt, max_tokens: 60, ..Request::default() };
        let answer = engine.submit(request).unwrap().collect_blocking();
        assert_eq!(answer.ids, goldens.ids(&format!("greedy{index}.ids")), "greedy {index}");
    }
}

fn check_scores(engine: &NativeEngine, prompt: Vec<u32>, expected: &[f32]) {
    let request = Request { prompt, prompt_logprobs: Some(0), ..Request::default() };
    let answer = engine.submit(request).unwrap().collect_blocking();
    let found: Vec<f32> = answer.prompt_logprobs.iter().flatten().map(|entry| entry.logprob).collect();
    assert_close(&found, expected, 1e-4);
}

#[test]
fn stories260k_agrees_with_transformers() {
    let Some(data) = shared_data() else { return };
    let folder = data.join("models/stories260k");
    let checkpoint = Checkpoint::open(folder.to_str().unwrap(), None).unwrap();
    let goldens = Goldens::read("stories260k.safetensors");
    let model = Model::load(&checkpoint, WeightFormat::F32, CacheFormat::F32);
    assert!(goldens.count(".logits") >= 3);
    for index in 0..goldens.count(".logits") {
        let found = logits(&model, &goldens.ids(&format!("text{index}.ids")), LogitPositions::All);
        assert_close(&found, goldens.numbers(&format!("text{index}.logits")), 1e-4);
    }
    let engine = NativeEngine::start(&checkpoint, Options::default()).unwrap();
    check_greedy(&engine, &goldens);
    for index in 0..goldens.count(".logprobs") {
        let expected = goldens.numbers(&format!("score{index}.logprobs"));
        check_scores(&engine, goldens.ids(&format!("score{index}.ids")), expected);
    }
}

#[test]
fn a_135m_shape_model_agrees_with_transformers() {
    let Some(data) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let source = data.join("models/smollm2-tokenizer");
    std::fs::copy(source.join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    std::fs::copy(source.join("config-135M-instruct.json"), folder.path().join("config.json")).unwrap();
    let config = checkpoint::ModelConfig::read(&folder.path().join("config.json")).unwrap();
    write_hashed_weights(folder.path(), &config);
    let checkpoint = Checkpoint::open(folder.path().to_str().unwrap(), None).unwrap();
    let goldens = Goldens::read("random_135m.safetensors");
    let model = Model::load(&checkpoint, WeightFormat::F32, CacheFormat::F32);
    let sequences = goldens.0.keys().filter(|name| name.starts_with("last_logits")).count();
    assert!(sequences >= 3);
    for index in 0..sequences {
        let found = logits(&model, &goldens.ids(&format!("ids{index}")), LogitPositions::Last);
        assert_close(&found, goldens.numbers(&format!("last_logits{index}")), 1e-4);
    }
    drop(model);
    let engine = NativeEngine::start(&checkpoint, Options::default()).unwrap();
    check_greedy(&engine, &goldens);
    for index in 0..sequences {
        let expected = goldens.numbers(&format!("logprobs{index}"));
        check_scores(&engine, goldens.ids(&format!("ids{index}")), expected);
    }
}
