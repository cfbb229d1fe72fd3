//! An engine that follows a test's script and counts the requests that were cancelled.

use crate::model::Model;
use crate::traits::TemplateTraits;
use checkpoint::{ChatTemplate, Tokenizer};
use engine::{Done, Engine, Event, Events, Finish, Limits, Logprobs, Request, RequestError, Status, Token};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::unbounded_channel;

/// What the engine does.
#[derive(Debug, Clone)]
pub(super) struct Script {
    /// The tokens of every answer: ids, and the text that is certain with each.
    pub(super) tokens: Vec<(u32, String)>,
    /// Text that is held back until the end.
    pub(super) rest: String,
    pub(super) finish: Finish,
    /// The pause before each token.
    pub(super) delay: Duration,
    /// Maximum number of requests; further requests are refused.
    pub(super) max_requests: usize,
    pub(super) step_milliseconds: Option<u64>,
    pub(super) stopped: bool,
    /// How long a constraint takes to compile.
    pub(super) compile_time: Duration,
    /// Whether a submission panics.
    pub(super) panics: bool,
    /// How many requests of others wait.
    pub(super) waiting: usize,
    /// Positions of the context. A token is a byte.
    pub(super) context: usize,
}

impl Default for Script {
    fn default() -> Self {
        let tokens = "Hello, world".bytes().map(|byte| (u32::from(byte), char::from(byte).to_string()));
        Self {
            tokens: tokens.collect(),
            rest: String::new(),
            finish: Finish::Stop,
            delay: Duration::ZERO,
            max_requests: usize::MAX,
            step_milliseconds: None,
            stopped: false,
            compile_time: Duration::ZERO,
            panics: false,
            waiting: 0,
            context: 4096,
        }
    }
}

/// What happened to the requests.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) running: AtomicUsize,
    pub(super) cancelled: AtomicU64,
    pub(super) requests: Mutex<Vec<Request>>,
}

struct Scripted {
    script: Script,
    record: Arc<Record>,
}

impl Engine for Scripted {
    fn limits(&self) -> Limits {
        Limits { context: self.script.context, vocab_size: 259 }
    }

    fn submit(&self, request: Request) -> Result<Events, RequestError> {
        request.check(self.limits())?;
        assert!(!self.script.panics, "the script panics");
        if request.constraint.is_some() {
            std::thread::sleep(self.script.compile_time);
        }
        if self.record.running.load(Ordering::SeqCst) >= self.script.max_requests {
            return Err(RequestError::Full { waiting: self.script.max_requests, retry_after: 7 });
        }
        self.record.running.fetch_add(1, Ordering::SeqCst);
        self.record.requests.lock().unwrap().push(request.clone());
        let (sender, receiver) = unbounded_channel();
        let (script, record) = (self.script.clone(), Arc::clone(&self.record));
        tokio::spawn(async move {
            if request.embedding {
                record.running.fetch_sub(1, Ordering::SeqCst);
                let _ = sender.send(Event::Embedding(vec![0.5, request.prompt.len() as f32]));
                let done = Done {
                    finish: Finish::Length,
                    text: String::new(),
                    completion_tokens: 0,
                    cached_tokens: 0,
                    queued: Duration::ZERO,
                };
                let _ = sender.send(Event::Done(done));
                return;
            }
            let count = script.tokens.len();
            for (id, text) in script.tokens {
                tokio::time::sleep(script.delay).await;
                let top = vec![(id, -0.5)];
                let logprobs = request.logprobs.map(|_| Logprobs { logprob: -0.5, top });
                if sender.send(Event::Token(Token { id, text, logprobs })).is_err() {
                    record.cancelled.fetch_add(1, Ordering::SeqCst);
                    record.running.fetch_sub(1, Ordering::SeqCst);
                    return;
                }
            }
            record.running.fetch_sub(1, Ordering::SeqCst);
            let (text, completion_tokens) = (script.rest, count);
            let finish = script.finish;
            let queued = Duration::from_millis(7);
            let _ =
                sender.send(Event::Done(Done { finish, text, completion_tokens, cached_tokens: 2, queued }));
        });
        Ok(receiver.into())
    }

    fn status(&self) -> Status {
        Status {
            running: self.record.running.load(Ordering::SeqCst),
            cancelled: self.record.cancelled.load(Ordering::SeqCst),
            waiting: self.script.waiting,
            step_milliseconds: self.script.step_milliseconds,
            stopped: self.script.stopped,
            ..Status::default()
        }
    }
}

/// A model with that engine, named `m`: one token per byte, and ChatML.
pub(super) fn model(script: Script) -> (Model, Arc<Record>) {
    let record = Arc::new(Record::default());
    let model = Model {
        name: "m".to_owned(),
        parent: None,
        tokenizer: bytes_tokenizer(),
        longest_token: 13,
        traits: TemplateTraits::of(&ChatTemplate::chatml()),
        template: ChatTemplate::chatml(),
        stop_ids: vec![258],
        engine: Box::new(Scripted { script, record: Arc::clone(&record) }),
        created: 0,
        engine_name: "scripted",
        warnings: Vec::new(),
    };
    (model, record)
}

/// A model with another template.
pub(super) fn model_with_template(script: Script, source: &str) -> (Model, Arc<Record>) {
    let (model, record) = model(script);
    let template = ChatTemplate::new(source, "<|im_start|>", "<|im_end|>").unwrap();
    (Model { traits: TemplateTraits::of(&template), template, ..model }, record)
}

/// The tokens of a text, one per byte of ASCII.
pub(super) fn tokens(text: &str) -> Vec<(u32, String)> {
    text.bytes().map(|byte| (u32::from(byte), char::from(byte).to_string())).collect()
}

/// Ids 0 to 255 are bytes; 256 to 258 are special.
pub(crate) fn bytes_tokenizer() -> Tokenizer {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut moved = 256..;
    let mut vocab = Map::new();
    for byte in 0..256u32 {
        let code = if printable(byte) { byte } else { moved.next().unwrap() };
        vocab.insert(char::from_u32(code).unwrap().to_string(), byte.into());
    }
    let added = |(index, name): (usize, &&str)| {
        json!({
            "id": 256 + index, "content": name, "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false,
        })
    };
    let names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
    let level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": names.iter().enumerate().map(added).collect::<Vec<Value>>(),
        "pre_tokenizer": level, "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    let path: PathBuf = std::env::temp_dir().join(format!("{}.json", crate::ids::id("smolserve-test-")));
    std::fs::write(&path, file.to_string()).unwrap();
    let tokenizer = Tokenizer::open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    tokenizer
}
