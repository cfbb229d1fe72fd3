//! mistral.rs compared with the native engine on one checkpoint: both must give the same answers.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::{Device, MistralOptions, OpenModel, open};
use crate::tests::stories_folder;
use checkpoint::Checkpoint;
use engine::{
    Answer, Constraint, Engine, Event, Events, Finish, NativeEngine, Options, Request, RequestError,
    Sampling, WeightFormat,
};
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

const PROMPTS: [&str; 4] =
    ["Once upon a time", "Lily", "The dog ran to the big red ball and", "One day, Tom saw a"];

fn options() -> MistralOptions {
    MistralOptions {
        max_sequences: NonZeroUsize::new(4).unwrap(),
        max_waiting: 64,
        weights: None,
        chat_template: None,
        device: Device::Cpu,
    }
}

fn opened(path: &Path) -> OpenModel {
    open("stories", path.to_str().unwrap(), &options()).unwrap()
}

fn native(folder: &Path) -> (Checkpoint, NativeEngine) {
    let checkpoint = Checkpoint::open(folder.to_str().unwrap(), None).unwrap();
    let engine = NativeEngine::start(&checkpoint, Options::default()).unwrap();
    (checkpoint, engine)
}

fn request(checkpoint: &Checkpoint, prompt: &str, max_tokens: usize) -> Request {
    Request {
        prompt: checkpoint.tokenizer.encode_document(prompt).unwrap(),
        max_tokens,
        stop_ids: checkpoint.stop_ids.clone(),
        ..Request::default()
    }
}

fn answer(engine: &dyn Engine, request: Request) -> Answer {
    engine.submit(request).unwrap().collect_blocking()
}

/// Waits until nothing runs and no memory is held, or fails.
fn idle(engine: &dyn Engine) {
    let began = Instant::now();
    while engine.status().running + engine.status().waiting + engine.status().cache_bytes > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "still {:?}", engine.status());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn assert_close(left: &engine::Logprobs, right: &engine::Logprobs) {
    assert!((left.logprob - right.logprob).abs() < 1e-3, "{left:?} against {right:?}");
    for ((left_id, left), (right_id, right)) in left.top.iter().zip(&right.top) {
        assert_eq!(left_id, right_id);
        assert!((left - right).abs() < 1e-3);
    }
}

#[test]
fn answers_equal_those_of_the_native_engine() {
    let Some(folder) = stories_folder() else { return };
    let (checkpoint, native) = native(&folder);
    let model = opened(&folder);
    assert_eq!(model.stop_ids, checkpoint.stop_ids);
    assert_eq!(model.engine.limits(), native.limits());
    let seeded = Sampling {
        temperature: 0.8,
        top_p: 0.9,
        top_k: 40,
        min_p: 0.01,
        repetition_penalty: 1.1,
        presence_penalty: 0.2,
        frequency_penalty: 0.1,
        logit_bias: vec![(300, -100.0), (301, 1.5)],
        seed: 7,
    };
    for prompt in PROMPTS {
        for sampling in [Sampling::default(), seeded.clone()] {
            let request = Request { sampling, ..request(&checkpoint, prompt, 60) };
            let expected = answer(&native, request.clone());
            let found = answer(&*model.engine, request);
            assert_eq!((found.ids, found.text, found.finish), (expected.ids, expected.text, expected.finish));
        }
    }
    idle(&*model.engine);
    // The whole context may be used, to its last position.
    let context = model.engine.limits().context;
    let mut whole = request(&checkpoint, PROMPTS[0], 0);
    whole.stop_ids.clear();
    whole.max_tokens = context - whole.prompt.len();
    assert_eq!(answer(&*model.engine, whole.clone()).ids, answer(&native, whole.clone()).ids);
    whole.max_tokens += 1;
    assert!(matches!(model.engine.submit(whole), Err(RequestError::TooLong { .. })));
}

#[test]
fn log_probabilities_equal_those_of_the_native_engine() {
    let Some(folder) = stories_folder() else { return };
    let (checkpoint, native) = native(&folder);
    let model = opened(&folder);
    for (max_tokens, temperature) in [(12, 0.0), (12, 1.3), (0, 0.0), (1, 0.0)] {
        let request = Request {
            logprobs: Some(5),
            prompt_logprobs: Some(3),
            sampling: Sampling { temperature, seed: 3, ..Sampling::default() },
            ..request(&checkpoint, PROMPTS[2], max_tokens)
        };
        let expected = answer(&native, request.clone());
        let found = answer(&*model.engine, request);
        assert_eq!((&found.ids, found.finish), (&expected.ids, expected.finish));
        assert_eq!(found.logprobs.len(), max_tokens);
        for (found, expected) in found.logprobs.iter().zip(&expected.logprobs) {
            assert_close(found, expected);
        }
        assert_eq!(found.prompt_logprobs.len(), expected.prompt_logprobs.len());
        assert_eq!(found.prompt_logprobs[0], None);
        for (found, expected) in found.prompt_logprobs.iter().zip(&expected.prompt_logprobs).skip(1) {
            assert_close(found.as_ref().unwrap(), expected.as_ref().unwrap());
        }
    }
    let nothing = answer(&*model.engine, request(&checkpoint, PROMPTS[0], 0));
    assert_eq!((nothing.ids.len(), nothing.finish), (0, Finish::Length));
    idle(&*model.engine);
}

#[test]
fn a_dropped_request_does_not_change_the_others() {
    let Some(folder) = stories_folder() else { return };
    let (checkpoint, _) = native(&folder);
    let model = opened(&folder);
    let engine = &*model.engine;
    let requests: Vec<Request> = PROMPTS.iter().map(|prompt| request(&checkpoint, prompt, 80)).collect();
    let alone: Vec<Answer> = requests.iter().map(|request| answer(engine, request.clone())).collect();
    for dropped in 0..requests.len() {
        let submit = |request: &Request| engine.submit(request.clone()).unwrap();
        let mut events: Vec<Option<Events>> = requests.iter().map(submit).map(Some).collect();
        // Two with the lengths of others, whose logits mistral.rs must not mix up; one is dropped before its turn.
        let queued = submit(&requests[0]);
        drop(submit(&requests[1]));
        let mut dropped_events = events[dropped].take().unwrap();
        for _ in 0..5 * dropped {
            assert!(matches!(futures::executor::block_on(dropped_events.next()), Some(Event::Token(_))));
        }
        drop(dropped_events);
        for (events, alone) in events.into_iter().zip(&alone) {
            if let Some(events) = events {
                assert_eq!(&events.collect_blocking(), alone);
            }
        }
        assert_eq!(&queued.collect_blocking(), &alone[0]);
        idle(engine);
        assert_eq!(engine.status().cancelled, 2 * (dropped as u64 + 1));
    }
}

#[test]
fn stops_and_constraints_are_kept() {
    let Some(folder) = stories_folder() else { return };
    let (checkpoint, _) = native(&folder);
    let model = opened(&folder);
    let engine = &*model.engine;
    let constrained = |constraint: Constraint, max_tokens: usize| {
        answer(
            engine,
            Request { constraint: Some(constraint), ..request(&checkpoint, PROMPTS[0], max_tokens) },
        )
    };
    let choices = ["red balloon".to_owned(), "blue".to_owned()];
    let chosen = constrained(Constraint::Choice(choices.to_vec()), 40);
    assert!(choices.contains(&chosen.text) && chosen.finish == Finish::Stop, "{chosen:?}");
    let matched = constrained(Constraint::Regex("[a-c]{3}-[0-9]{2}".to_owned()), 40);
    assert!(matched.text.len() == 6 && matched.text.as_bytes()[3] == b'-', "{matched:?}");
    let schema = json!({
        "type": "object",
        "properties": {"size": {"enum": ["big", "small"]}, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["size", "count"],
        "additionalProperties": false
    });
    let written = constrained(Constraint::JsonSchema(schema), 100);
    let value: Value = serde_json::from_str(&written.text).unwrap();
    assert!(value["size"].is_string() && value["count"].is_i64(), "{value}");
    let spelled = constrained(Constraint::Lark("start: \"yes\" | \"no\"".to_owned()), 40);
    assert!(["yes", "no"].contains(&spelled.text.as_str()), "{spelled:?}");
    let bad = Constraint::Regex("(".to_owned());
    let bad = Request { constraint: Some(bad), ..request(&checkpoint, PROMPTS[0], 4) };
    assert!(matches!(engine.submit(bad), Err(RequestError::Constraint(_))));

    let free = answer(engine, request(&checkpoint, PROMPTS[0], 60));
    let word = free.text.split_whitespace().nth(6).unwrap().to_owned();
    let stopped = Request { stop_strings: vec![word.clone()], ..request(&checkpoint, PROMPTS[0], 60) };
    let short = answer(engine, stopped.clone());
    assert_eq!((short.text.as_str(), short.finish), (free.text.split_once(&word).unwrap().0, Finish::Stop));
    let least = answer(engine, Request { min_tokens: 50, ..stopped });
    assert!(least.ids.len() >= 50 && least.text.contains(&word), "{least:?}");
    // A stop id of the caller ends an answer; without stop ids, the model's own end does not.
    let own = Request { stop_ids: vec![free.ids[9]], ..request(&checkpoint, PROMPTS[0], 60) };
    assert_eq!(answer(engine, own).finish, Finish::Stop);
    let endless = Request { stop_ids: Vec::new(), ..request(&checkpoint, PROMPTS[0], 400) };
    assert_eq!(answer(engine, endless).ids.len(), 400);
    idle(engine);
}

#[test]
fn requests_that_cannot_run_are_refused() {
    let Some(folder) = stories_folder() else { return };
    let (checkpoint, _) = native(&folder);
    let few = MistralOptions { max_sequences: NonZeroUsize::MIN, max_waiting: 2, ..options() };
    let model = open("stories", folder.to_str().unwrap(), &few).unwrap();
    let engine = &*model.engine;
    let embedding = Request { embedding: true, ..request(&checkpoint, PROMPTS[0], 0) };
    assert!(matches!(engine.submit(embedding), Err(RequestError::Unsupported { parameter: "input", .. })));
    let long = request(&checkpoint, PROMPTS[0], 300);
    let kept: Vec<_> = (0..20).map(|_| engine.submit(long.clone())).collect();
    let refused = kept.iter().filter(|events| matches!(events, Err(RequestError::Full { waiting: 2, .. })));
    assert!(refused.count() >= 16);
    drop(kept);
    idle(engine);
    let bf16 = MistralOptions { weights: Some(WeightFormat::Bf16), ..options() };
    assert!(open("stories", folder.to_str().unwrap(), &bf16).is_err());
    let nowhere = open("stories", "no/such/folder", &options()).err().unwrap();
    assert!(nowhere.to_string().contains("no/such/folder"), "{nowhere:#}");
}

#[test]
fn a_checkpoint_of_transformers_5_loads_and_quantizes() {
    let Some(folder) = stories_folder() else { return };
    let (checkpoint, native) = native(&folder);
    let written = tempfile::tempdir().unwrap();
    for name in ["model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(folder.join(name), written.path().join(name)).unwrap();
    }
    let mut config: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("config.json")).unwrap()).unwrap();
    let fields = config.as_object_mut().unwrap();
    let theta = fields.remove("rope_theta").unwrap();
    fields.remove("rope_scaling");
    fields.remove("torch_dtype");
    fields.insert("dtype".to_owned(), json!("float32"));
    fields.insert("rope_parameters".to_owned(), json!({"rope_theta": theta, "rope_type": "default"}));
    std::fs::write(written.path().join("config.json"), config.to_string()).unwrap();
    let request = request(&checkpoint, PROMPTS[0], 60);
    let expected = answer(&native, request.clone()).text;
    assert_eq!(answer(&*opened(written.path()).engine, request.clone()).text, expected);
    for weights in [WeightFormat::Q8_0, WeightFormat::Q4_0] {
        let options = MistralOptions { weights: Some(weights), ..options() };
        let model = open("stories", written.path().to_str().unwrap(), &options).unwrap();
        assert_eq!(answer(&*model.engine, request.clone()).ids.len(), 60);
    }
}
