//! GGUF files as models: tokens by Hugging Face's tokenizers, logits by transformers, and every program that takes a
//! model. `make_gguf_goldens.py` made the goldens; `tests/real_model` fetches the real file.

use crate::programs::{program, refused};
use checkpoint::Checkpoint;
use checkpoint::gguf::ExportType;
use engine::{
    CacheFormat, Chunk, Engine, KvCache, LogitPositions, Model, NativeEngine, Options, Request, WeightFormat,
};
use serde_json::Value;
use tests::{golden, real_model, shared_data};

fn tiny() -> Checkpoint {
    Checkpoint::open(golden("gguf/tiny_llama.gguf").to_str().unwrap(), None).unwrap()
}

fn expected(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden("gguf").join(name)).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn last_logits(model: &Model, ids: &[u32]) -> Vec<f32> {
    let mut cache = KvCache::new();
    model.forward(&mut [Chunk { ids, cache: &mut cache, logits: LogitPositions::Last, hidden_sum: None }])
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn texts_become_the_ids_of_the_original_tokenizer() {
    let (checkpoint, golden) = (tiny(), expected("tiny_llama.json"));
    let texts = golden["texts"].as_array().unwrap();
    assert!(texts.len() >= 4);
    for (text, expected) in texts.iter().zip(golden["ids"].as_array().unwrap()) {
        let (text, expected) = (text.as_str().unwrap(), ids(expected));
        assert_eq!(checkpoint.tokenizer.encode(text).unwrap().ids, expected, "{text:?}");
        assert_eq!(checkpoint.tokenizer.decode(&expected, false).unwrap(), text);
    }
    assert_eq!((checkpoint.stop_ids.as_slice(), checkpoint.has_own_template), (&[2][..], true));
    assert_eq!(checkpoint.tokenizer.special_ids(), [0, 1, 2]);
    assert_eq!(checkpoint.tokenizer_config["eos_token"], "<|im_end|>");
    assert_eq!(checkpoint.config.eos_token_ids, [2]);
}

/// Every type, in f32, and as the file holds it: the blocks that products read, and f32 in place of the others.
#[test]
fn logits_of_every_type_agree_with_transformers() {
    let (checkpoint, golden) = (tiny(), expected("tiny_llama.json"));
    let wanted: Vec<f32> =
        golden["logits"].as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap() as f32).collect();
    let ids = ids(&golden["ids"][0]);
    let exact = Model::load(&checkpoint, WeightFormat::F32, CacheFormat::F32);
    let difference = largest_difference(&last_logits(&exact, &ids), &wanted);
    assert!(difference < 1e-4, "in f32 the largest difference is {difference}");
    // In their own bits, activations are rounded to 16 bits in the layers that are quantized.
    let own = Model::load(&checkpoint, None, CacheFormat::F32);
    let difference = largest_difference(&last_logits(&own, &ids), &wanted);
    assert!(difference < 2e-3 && difference > 0.0, "in its own bits the largest difference is {difference}");
    assert!(own.bytes_per_step() < exact.bytes_per_step());
    let note = engine::widened_types(&checkpoint.weights).unwrap();
    assert!(note.contains("Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL are held as f32"), "{note}");
}

#[test]
fn the_real_file_has_the_tokens_of_its_folder() {
    let Some(file) = real_model() else { return };
    let Some(data) = shared_data() else { return };
    let checkpoint = Checkpoint::open(file.to_str().unwrap(), None).unwrap();
    let rows = std::fs::read_to_string(data.join("goldens/smollm2_encodings.jsonl")).unwrap();
    assert!(rows.lines().count() > 10);
    for row in rows.lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let text = row["text"].as_str().unwrap();
        assert_eq!(checkpoint.tokenizer.encode(text).unwrap().ids, ids(&row["ids"]), "{text:?}");
    }
    let rows = std::fs::read_to_string(data.join("goldens/smollm2_chat_renders.jsonl")).unwrap();
    for row in rows.lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let generation = row["add_generation_prompt"].as_bool().unwrap();
        let text = checkpoint.template.render(&row["messages"], None, generation).unwrap();
        assert_eq!(text, row["text"].as_str().unwrap());
    }
    assert_eq!(checkpoint.stop_ids, [2]);
}

#[test]
fn the_real_file_in_f32_has_the_logits_of_its_dequantized_weights() {
    let Some(file) = real_model() else { return };
    let checkpoint = Checkpoint::open(file.to_str().unwrap(), None).unwrap();
    let model = Model::load(&checkpoint, WeightFormat::F32, CacheFormat::F32);
    for case in expected("smollm2_q4_1.json").as_array().unwrap() {
        let logits = last_logits(&model, &ids(&case["ids"]));
        for (id, logit) in ids(&case["best"]).into_iter().zip(case["logits"].as_array().unwrap()) {
            let difference = (f64::from(logits[id as usize]) - logit.as_f64().unwrap()).abs();
            assert!(difference < 1e-3, "the logit of {id} differs by {difference}");
        }
    }
}

/// What a model answers to the question.
fn capital_of_france(checkpoint: &Checkpoint) -> String {
    let options = Options { weights: None, cache: CacheFormat::F16, ..Options::default() };
    let engine = NativeEngine::start(checkpoint, options).unwrap();
    let messages = [checkpoint::Message::new("user", "What is the capital of France?")];
    let prompt =
        checkpoint::chat::render_prompt(&checkpoint.template, &checkpoint.tokenizer, &messages, None)
            .unwrap();
    let request =
        Request { prompt, max_tokens: 30, stop_ids: checkpoint.stop_ids.clone(), ..Request::default() };
    let answer = engine.submit(request).unwrap().collect_blocking();
    checkpoint.tokenizer.decode(&answer.ids, true).unwrap()
}

#[test]
fn the_real_file_in_its_own_bits_knows_the_capital_of_france() {
    let Some(file) = real_model() else { return };
    let checkpoint = Checkpoint::open(file.to_str().unwrap(), None).unwrap();
    let text = capital_of_france(&checkpoint);
    assert!(text.contains("Paris"), "{text}");
    assert_eq!(engine::widened_types(&checkpoint.weights), None);
}

const TEXTS: [&str; 5] = [
    "Once upon a time, there was a girl named Lily.",
    "  Two spaces,\n\ta tab, 1234567 and it's  fine!\r\n",
    "naïve Größe 東京 🙂 \u{1f468}\u{200d}\u{1f469}",
    "<|im_start|>user\nHi<|im_end|>\n",
    "fn main() { println!(\"{}\", 1 + 1); }",
];

/// The checkpoint as a GGUF file, opened.
fn exported(checkpoint: &Checkpoint, kind: ExportType) -> (tempfile::TempDir, Checkpoint) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let bytes = checkpoint::gguf::export(checkpoint, &path, kind).unwrap();
    assert_eq!(bytes, path.metadata().unwrap().len());
    let read = Checkpoint::open(path.to_str().unwrap(), None).unwrap();
    (folder, read)
}

/// The same ids, texts, template and ends; in f32 the same logits to the bit, in fewer bits similar ones.
fn is_the_same_model(checkpoint: &Checkpoint) {
    let exact = |checkpoint: &Checkpoint, ids: &[u32]| {
        last_logits(&Model::load(checkpoint, WeightFormat::F32, CacheFormat::F32), ids)
    };
    let ids = checkpoint.tokenizer.encode_document(TEXTS[0]).unwrap();
    let wanted = exact(checkpoint, &ids);
    let spread = wanted.iter().fold(0.0f32, |most, logit| most.max(logit.abs()));
    for (kind, most) in [
        (ExportType::F32, 0.0),
        (ExportType::Bf16, 0.05),
        (ExportType::F16, 0.01),
        (ExportType::Q8_0, 0.1),
        (ExportType::Q4_0, 1.0),
    ] {
        let (_folder, read) = exported(checkpoint, kind);
        let difference = largest_difference(&exact(&read, &ids), &wanted) / spread;
        assert!(difference <= most, "{kind:?}: {difference}");
        for text in TEXTS {
            let encode = |checkpoint: &Checkpoint| checkpoint.tokenizer.encode_document(text).unwrap();
            let ids = encode(checkpoint);
            assert_eq!(encode(&read), ids, "{text:?}");
            let decode = |checkpoint: &Checkpoint| checkpoint.tokenizer.decode(&ids, false).unwrap();
            assert_eq!(decode(&read), decode(checkpoint), "{text:?}");
        }
        assert_eq!(read.stop_ids, checkpoint.stop_ids);
        assert_eq!(read.has_own_template, checkpoint.has_own_template);
        assert_eq!(read.config.tie_word_embeddings, checkpoint.config.tie_word_embeddings);
    }
}

#[test]
fn an_exported_checkpoint_is_the_same_model() {
    is_the_same_model(&tiny());
    let Some(data) = shared_data() else { return };
    is_the_same_model(&Checkpoint::open(data.join("models/stories260k").to_str().unwrap(), None).unwrap());
}

#[test]
fn the_real_model_is_exported_and_knows_the_capital_of_france() {
    let Some(file) = real_model() else { return };
    let checkpoint = Checkpoint::open(file.to_str().unwrap(), None).unwrap();
    let (_folder, read) = exported(&checkpoint, ExportType::Q8_0);
    assert_eq!(read.template.source(), checkpoint.template.source());
    let text = capital_of_france(&read);
    assert!(text.contains("Paris"), "{text}");
}

#[test]
fn export_replaces_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let model = golden("gguf/tiny_llama.gguf");
    let export = |kind: &str| {
        let mut command = program("posttrain");
        command.arg("export").arg(&model).arg("--gguf").arg(&path).args(["--type", kind]);
        command
    };
    let printed = String::from_utf8(export("q4_0").output().unwrap().stdout).unwrap();
    assert!(printed.contains("model.gguf has "), "{printed}");
    let before = std::fs::read(&path).unwrap();
    refused(&mut export("f32"), "exists; remove it or give another name");
    assert!(std::fs::read(&path).unwrap() == before);
}
