//! GGUF files as models: tokens by Hugging Face's tokenizers, logits by transformers, and every program that takes a
//! model. `make_gguf_goldens.py` made the goldens; `tests/real_model` fetches the real file.

use crate::programs::{program, refused};
use checkpoint::gguf::ExportType;
use checkpoint::{Checkpoint, RopeScaling, Yarn};
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
    model.forward(&mut [Chunk {
        ids,
        cache: &mut cache,
        logits: LogitPositions::Last,
        hidden_sum: None,
        adapter: None,
    }])
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
    // In their own bits, activations are rounded to 16 bits.
    let own = Model::load(&checkpoint, None, CacheFormat::F32);
    let difference = largest_difference(&last_logits(&own, &ids), &wanted);
    assert!(difference < 2e-3 && difference > 0.0, "in its own bits the largest difference is {difference}");
    assert!(own.bytes_per_step() < exact.bytes_per_step());
    let note = engine::widened_types(&checkpoint).unwrap();
    // Of one matrix with alternating rows, two types are not packed.
    assert_eq!(note, "some weights in Q2_K, Q3_K are held as f32, which takes 1 MiB of memory");
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
    assert_eq!(engine::widened_types(&checkpoint), None);
}

/// How far llama.cpp's choice may be below ours: its activations have 8 bits, which moves logits by some tenths.
const NEAR_TIE: f32 = 0.4;

/// The greedy answers of llama.cpp, as `make_answer_goldens.py` recorded them, or another token where both are near.
fn answers_as_llama_cpp(file: &std::path::Path, name: &str) {
    let checkpoint = Checkpoint::open(file.to_str().unwrap(), None).unwrap();
    let model = Model::load(&checkpoint, None, CacheFormat::F16);
    let rows = std::fs::read(golden("answers").join(name)).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&rows).unwrap();
    assert_eq!(rows.len(), 20);
    let mut equal = 0;
    for row in &rows {
        let question = row["question"].as_str().unwrap();
        let messages = [checkpoint::Message::new("user", question)];
        let (template, tokenizer) = (&checkpoint.template, &checkpoint.tokenizer);
        let prompt = ids(&row["prompt"]);
        let rendered = checkpoint::chat::render_prompt(template, tokenizer, &messages, None).unwrap();
        // Without a template, llama.cpp begins with the token that begins documents; ours is the bare ChatML.
        assert!(prompt.ends_with(&rendered), "{question}: {rendered:?} where llama.cpp has {prompt:?}");
        assert_eq!(checkpoint.has_own_template, prompt.len() == rendered.len());
        let mut cache = KvCache::new();
        let mut chunk = prompt;
        let mut is_equal = true;
        for expected in ids(&row["answer"]) {
            let logits = LogitPositions::Last;
            let logits = model.forward(&mut [Chunk {
                ids: &chunk,
                cache: &mut cache,
                logits,
                hidden_sum: None,
                adapter: None,
            }]);
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            if best as u32 != expected {
                let margin = logits[best] - logits[expected as usize];
                println!("{name}: {question} {best} in place of {expected}, {margin} above it");
                assert!(margin < NEAR_TIE, "{question}: {best} is {margin} above {expected}");
                is_equal = false;
                break;
            }
            chunk = vec![expected];
        }
        equal += usize::from(is_equal);
    }
    println!("{name}: {equal} of 20 answers are equal");
    assert!(equal >= 8, "{name}: only {equal} of 20 answers are equal");
}

#[test]
fn real_files_answer_as_llama_cpp() {
    if let Some(file) = real_model() {
        answers_as_llama_cpp(&file, "smollm2_q4_1.json");
    }
    if let Some(file) = tests::gemma_model() {
        answers_as_llama_cpp(&file, "gemma3_q4_k_m.json");
        let checkpoint = Checkpoint::open(file.to_str().unwrap(), None).unwrap();
        assert_eq!(engine::widened_types(&checkpoint), None);
    }
}

#[test]
fn scaled_positions_survive_the_export() {
    let yarn = Yarn {
        factor: 4.0,
        original_positions: 32.0,
        beta_fast: 16.0,
        beta_slow: 2.0,
        has_whole_bounds: true,
        attention_factor: 1.25,
        theta: 10_000.0,
    };
    for scaling in [RopeScaling::None, RopeScaling::Linear { factor: 2.0 }, RopeScaling::Yarn(yarn)] {
        let mut checkpoint = tiny();
        checkpoint.config.architecture.rope_scaling = scaling.clone();
        let (_folder, read) = exported(&checkpoint, ExportType::F32);
        match (scaling, read.config.architecture.rope_scaling) {
            (RopeScaling::Yarn(written), RopeScaling::Yarn(read)) => {
                assert!((written.attention_factor - read.attention_factor).abs() < 1e-6);
                assert_eq!(Yarn { attention_factor: 1.25, ..read }, written);
            }
            (written, read) => assert_eq!(written, read),
        }
    }
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
