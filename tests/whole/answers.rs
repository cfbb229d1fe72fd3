use checkpoint::Checkpoint;
use engine::{
    Answer, CacheFormat, Constraint, Engine, Finish, NativeEngine, Options, Request, Sampling, WeightFormat,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;
use tests::shared_data;

fn stories() -> Option<Checkpoint> {
    let folder = shared_data()?.join("models/stories260k");
    Some(Checkpoint::open(folder.to_str().unwrap(), None).unwrap())
}

fn prompt(checkpoint: &Checkpoint, text: &str) -> Vec<u32> {
    checkpoint.tokenizer.encode_document(text).unwrap()
}

fn answer(engine: &NativeEngine, request: Request) -> Answer {
    engine.submit(request).unwrap().collect_blocking()
}

/// Requests of different lengths and kinds, as a busy server sees them.
fn mixed(checkpoint: &Checkpoint) -> Vec<Request> {
    let texts =
        ["Once upon a time", "One day, Tom and his dog went to the park. The dog saw", "Lily", "The sun"];
    let request = |index: usize| Request {
        prompt: prompt(checkpoint, texts[index % texts.len()]),
        max_tokens: 20 + 7 * (index % 5),
        logprobs: Some(2),
        sampling: Sampling {
            temperature: if index.is_multiple_of(3) { 0.0 } else { 0.9 },
            top_k: 40 * (index % 2),
            top_p: 0.95,
            repetition_penalty: 1.0 + 0.1 * (index % 2) as f32,
            seed: index as u64,
            ..Sampling::default()
        },
        ..Request::default()
    };
    (0..12).map(request).collect()
}

#[test]
fn an_answer_does_not_depend_on_what_else_runs() {
    let Some(checkpoint) = stories() else { return };
    let alone = NativeEngine::start(&checkpoint, Options { max_sequences: 1, ..Options::default() }).unwrap();
    let crowded =
        NativeEngine::start(&checkpoint, Options { prompt_tokens_per_step: 5, ..Options::default() })
            .unwrap();
    let running: Vec<_> =
        mixed(&checkpoint).into_iter().map(|request| crowded.submit(request).unwrap()).collect();
    for (request, events) in mixed(&checkpoint).into_iter().zip(running) {
        // Bit-equal log-probabilities, not only equal ids; prompts were read 5 tokens at a time here.
        assert_eq!(answer(&alone, request), events.collect_blocking());
    }
}

#[test]
fn a_full_cache_pauses_answers_and_changes_none() {
    let Some(checkpoint) = stories() else { return };
    let alone = NativeEngine::start(&checkpoint, Options { max_sequences: 1, ..Options::default() }).unwrap();
    // A block of 64 positions of this model takes 163,840 bytes: six blocks for twelve answers of up to two.
    let cramped = Options { cache_bytes: 6 * 163_840, ..Options::default() };
    let cramped = NativeEngine::start(&checkpoint, cramped).unwrap();
    let longer = |request: Request| Request { max_tokens: 90, stop_ids: Vec::new(), ..request };
    let running: Vec<_> =
        mixed(&checkpoint).into_iter().map(|request| cramped.submit(longer(request)).unwrap()).collect();
    for (request, events) in mixed(&checkpoint).into_iter().zip(running) {
        assert_eq!(answer(&alone, longer(request)), events.collect_blocking());
    }
}

#[test]
fn a_pause_in_the_middle_of_a_prompt_counts_nothing_twice() {
    let Some(checkpoint) = stories() else { return };
    let alone = NativeEngine::start(&checkpoint, Options { max_sequences: 1, ..Options::default() }).unwrap();
    // Three prompts of 200 ids are read 16 ids a step, and only six blocks of 64 positions fit.
    let cramped = Options { cache_bytes: 6 * 163_840, prompt_tokens_per_step: 16, ..Options::default() };
    let cramped = NativeEngine::start(&checkpoint, cramped).unwrap();
    let ids = |first: u32| (0..200).map(|index| 3 + (first + index * 7) % 500).collect::<Vec<u32>>();
    let writing = Request { prompt: ids(0), max_tokens: 200, ..Request::default() };
    let scored = Request { prompt: ids(1), prompt_logprobs: Some(1), ..Request::default() };
    let embedded = Request { prompt: ids(2), embedding: true, ..Request::default() };
    let requests = [writing, scored, embedded];
    let running: Vec<_> = requests.iter().map(|request| cramped.submit(request.clone()).unwrap()).collect();
    for (request, events) in requests.into_iter().zip(running) {
        assert_eq!(answer(&alone, request), events.collect_blocking());
    }
}

#[test]
fn a_prompt_that_begins_alike_is_not_run_again_and_is_answered_the_same() {
    let Some(checkpoint) = stories() else { return };
    for (weights, cache) in [
        (WeightFormat::F32, CacheFormat::F32),
        (WeightFormat::Bf16, CacheFormat::F16),
        (WeightFormat::Q8_0, CacheFormat::Bf16),
    ] {
        let options = Options { weights: Some(weights), cache, ..Options::default() };
        let engine = NativeEngine::start(&checkpoint, options).unwrap();
        let forgetful =
            NativeEngine::start(&checkpoint, Options { reuse_prefixes: false, ..options }).unwrap();
        let first = Request {
            prompt: prompt(&checkpoint, "Once upon a time there was a girl named Lily. She had a dog."),
            max_tokens: 120,
            logprobs: Some(2),
            ..Request::default()
        };
        let said = answer(&engine, first.clone());
        assert_eq!(said, answer(&forgetful, first.clone()));
        // The next turn goes on from the answer, whose keys and values were made one at a time.
        let next = Request { prompt: [first.prompt.clone(), said.ids].concat(), max_tokens: 40, ..first };
        let cached = cached_tokens(&mut engine.submit(next.clone()).unwrap());
        assert!(cached >= 64, "only {cached} tokens were at hand");
        assert_eq!(answer(&engine, next.clone()), answer(&forgetful, next));
    }
}

/// Texts that repeat themselves, so that much is guessed; and constraints that leave no choice.
fn repeating(checkpoint: &Checkpoint) -> Vec<Request> {
    let text = "Tom had a red ball. Tom had a red ball. Tom had a blue ball. Tom had a red";
    let names = json!({
        "type": "object", "required": ["first name", "second name"], "additionalProperties": false,
        "properties": {"first name": {"enum": ["Tom", "Lily"]}, "second name": {"type": "string", "maxLength": 8}},
    });
    let request = |index: usize| Request {
        prompt: prompt(checkpoint, if index.is_multiple_of(3) { "Tom" } else { text }),
        max_tokens: 60 + index,
        logprobs: Some(2),
        min_tokens: 30 * (index % 2),
        stop_strings: if index == 4 { vec!["blue".to_owned()] } else { Vec::new() },
        sampling: Sampling {
            temperature: [0.0, 0.3, 0.8][index % 3],
            repetition_penalty: if index.is_multiple_of(4) { 1.2 } else { 1.0 },
            seed: index as u64,
            ..Sampling::default()
        },
        constraint: index.is_multiple_of(3).then(|| Constraint::JsonSchema(names.clone())),
        ..Request::default()
    };
    (0..9).map(request).collect()
}

#[test]
fn guessed_tokens_change_no_answer() {
    let Some(checkpoint) = stories() else { return };
    let exact = Options { guessed_tokens: 0, max_sequences: 1, ..Options::default() };
    for (weights, cache) in [(WeightFormat::F32, CacheFormat::F32), (WeightFormat::Q8_0, CacheFormat::Bf16)] {
        let exact = Options { weights: Some(weights), cache, ..exact };
        let without = NativeEngine::start(&checkpoint, exact).unwrap();
        let expected: Vec<Answer> =
            repeating(&checkpoint).into_iter().map(|request| answer(&without, request)).collect();
        assert_eq!(without.status().guessed, [0, 0]);
        // Alone, three together, and in a cache that pauses some of them in the middle of a guess.
        for (max_sequences, cache_bytes) in [(1, 1 << 30), (3, 1 << 30), (3, 4 * 163_840)] {
            let options = Options { guessed_tokens: 15, max_sequences, cache_bytes, ..exact };
            let engine = NativeEngine::start(&checkpoint, options).unwrap();
            let submit = |request: Request| engine.submit(request).unwrap();
            let running: Vec<_> = repeating(&checkpoint).into_iter().map(submit).collect();
            let answers: Vec<Answer> = running.into_iter().map(engine::Events::collect_blocking).collect();
            for (index, (answer, expected)) in answers.iter().zip(&expected).enumerate() {
                assert_eq!(answer, expected, "request {index}, {max_sequences} at a time");
            }
            // The status is that of the last step.
            answer(&engine, Request { prompt: vec![5], max_tokens: 1, ..Request::default() });
            let [guessed, right] = engine.status().guessed;
            assert!(right > 10 && guessed > right, "{right} of {guessed} guessed tokens were right");
        }
    }
}

/// How many of its prompt's tokens an answer did not compute.
fn cached_tokens(events: &mut engine::Events) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    loop {
        if let engine::Event::Done(done) = runtime.block_on(events.next()).unwrap() {
            return done.cached_tokens;
        }
    }
}

#[test]
fn requests_that_arrive_together_compute_what_they_share_once() {
    let Some(checkpoint) = stories() else { return };
    // 16 ids a step: the others wait many steps for the first.
    let engine =
        NativeEngine::start(&checkpoint, Options { prompt_tokens_per_step: 16, ..Options::default() })
            .unwrap();
    let alone =
        NativeEngine::start(&checkpoint, Options { reuse_prefixes: false, ..Options::default() }).unwrap();
    let ids = |count: usize, last: u32| {
        let mut ids: Vec<u32> = (0..count as u32).map(|index| 3 + index * 7 % 500).collect();
        ids.push(last);
        ids
    };
    // Equal prompts; prompts that begin alike for 150 ids; one that begins otherwise; one of another client.
    let mut requests: Vec<Request> = Vec::new();
    for index in 0..8 {
        let sampling = Sampling { temperature: 1.0, seed: index, ..Sampling::default() };
        let request = Request { max_tokens: 150, logprobs: Some(1), sampling, ..Request::default() };
        let other = u32::try_from(index).unwrap() + 10;
        requests.push(Request { prompt: ids(190, 9), ..request.clone() });
        requests.push(Request { prompt: [ids(150, other), ids(20, 9)].concat(), ..request });
    }
    requests.push(Request { prompt: vec![5; 100], ..requests[0].clone() });
    requests.push(Request { prefix_scope: 1, ..requests[0].clone() });
    let submit = |request: &Request| engine.submit(request.clone()).unwrap();
    let cached: Vec<usize> =
        requests.iter().map(submit).collect::<Vec<_>>().iter_mut().map(cached_tokens).collect();
    let expected = |index: usize| match index {
        0 | 16 | 17 => 0,
        index if index.is_multiple_of(2) => 190,
        _ => 150,
    };
    assert_eq!(cached, (0..18).map(expected).collect::<Vec<_>>());
    let again: Vec<_> = requests.iter().map(submit).collect();
    for (request, events) in requests.iter().zip(again) {
        assert_eq!(answer(&alone, request.clone()), events.collect_blocking());
    }
}

/// A prompt that continues another request's prompt and answer does not wait for the whole answer.
#[test]
fn a_prompt_that_follows_an_answer_being_written_begins_at_once() {
    let Some(checkpoint) = stories() else { return };
    let engine = NativeEngine::start(&checkpoint, Options::default()).unwrap();
    let first = Request {
        prompt: prompt(&checkpoint, "Once upon a time there was a girl named Lily."),
        max_tokens: 400,
        ..Request::default()
    };
    let said = answer(&engine, first.clone());
    let next = Request { prompt: [first.prompt.clone(), said.ids].concat(), max_tokens: 1, ..first.clone() };
    let alone = answer(&engine, next.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    // A busy machine may wake this thread only after the first answer; an engine that waits for it is late every time.
    let begins_at_once = (0..5).any(|_| {
        // Another engine has nothing of either.
        let engine = NativeEngine::start(&checkpoint, Options::default()).unwrap();
        let mut writing = engine.submit(first.clone()).unwrap();
        assert_eq!(engine.submit(next.clone()).unwrap().collect_blocking(), alone);
        runtime.block_on(async {
            while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, writing.next()).await {
                if matches!(event, engine::Event::Done(_)) {
                    return false;
                }
            }
            true
        })
    });
    assert!(begins_at_once, "the second prompt waited for the whole first answer");
}

#[test]
fn seeds_decide_and_stop_strings_stay_out() {
    let Some(checkpoint) = stories() else { return };
    let engine = NativeEngine::start(&checkpoint, Options::default()).unwrap();
    let request = |seed| Request {
        prompt: prompt(&checkpoint, "Once upon a time"),
        max_tokens: 60,
        sampling: Sampling { temperature: 1.0, seed, ..Sampling::default() },
        ..Request::default()
    };
    let (first, again, other) =
        (answer(&engine, request(1)), answer(&engine, request(1)), answer(&engine, request(2)));
    assert_eq!(first, again);
    assert_ne!(first.ids, other.ids);
    assert_eq!(first.finish, Finish::Length);
    let stop = first.text.split_whitespace().nth(6).unwrap().to_owned();
    let stopped = answer(&engine, Request { stop_strings: vec![stop.clone()], ..request(1) });
    assert_eq!(stopped.finish, Finish::Stop);
    assert_eq!(stopped.text, first.text[..first.text.find(&stop).unwrap()]);
    let stop_id = first.ids[5];
    let stopped = answer(&engine, Request { stop_ids: vec![stop_id], ..request(1) });
    assert_eq!(stopped.finish, Finish::Stop);
    assert_eq!(stopped.ids.last(), Some(&stop_id));
}

#[test]
fn a_dropped_stream_frees_its_place() {
    let Some(checkpoint) = stories() else { return };
    let engine =
        NativeEngine::start(&checkpoint, Options { max_sequences: 1, ..Options::default() }).unwrap();
    let long = Request { prompt: prompt(&checkpoint, "Once"), max_tokens: 480, ..Request::default() };
    for _ in 0..50 {
        drop(engine.submit(long.clone()).unwrap());
    }
    let short = Request { max_tokens: 3, ..long };
    assert_eq!(answer(&engine, short).ids.len(), 3);
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let Some(checkpoint) = stories() else { return };
    let engine = NativeEngine::start(&checkpoint, Options::default()).unwrap();
    let good = Request { prompt: vec![1, 2, 3], max_tokens: 5, ..Request::default() };
    let refused = |request: Request, expected: &str| {
        let reason = engine.submit(request).unwrap_err().to_string();
        assert!(reason.contains(expected), "{reason}");
    };
    refused(Request { prompt: vec![], ..good.clone() }, "`prompt` is empty");
    refused(Request { prompt: vec![512], ..good.clone() }, "token id 512");
    refused(Request { max_tokens: 510, ..good.clone() }, "a prompt of 3 tokens leaves no room for 510");
    refused(Request { stop_strings: vec![String::new()], ..good.clone() }, "`stop` is an empty string");
    refused(Request { stop_strings: vec!["x".repeat(1025)], ..good.clone() }, "strings of 1 to 1024 bytes");
    let sampling = Sampling { top_p: 1.5, ..Sampling::default() };
    refused(Request { sampling, ..good.clone() }, "`top_p` is 1.5");
    let sampling = Sampling { repetition_penalty: 1e-30, ..Sampling::default() };
    refused(Request { sampling, ..good.clone() }, "`repetition_penalty` is");
    let sampling = Sampling { logit_bias: vec![(1, f32::INFINITY)], ..Sampling::default() };
    refused(Request { sampling, ..good.clone() }, "`logit_bias` is 1: inf");
    let constraint = Some(Constraint::JsonSchema(json!({"type": "array", "uniqueItems": true})));
    refused(Request { constraint, ..good.clone() }, "uniqueItems");
    refused(Request { constraint: Some(Constraint::Regex("(".to_owned())), ..good }, "constraint");
}

#[test]
fn regex_and_choice_hold() {
    let Some(checkpoint) = stories() else { return };
    let engine = NativeEngine::start(&checkpoint, Options::default()).unwrap();
    for seed in 0..20 {
        let request = |constraint| Request {
            prompt: prompt(&checkpoint, "Lily said"),
            max_tokens: 40,
            stop_ids: checkpoint.stop_ids.clone(),
            constraint: Some(constraint),
            sampling: Sampling { temperature: 1.5, seed, ..Sampling::default() },
            ..Request::default()
        };
        let chosen = answer(&engine, request(Constraint::Choice(vec!["yes".into(), "no \"really\"".into()])));
        assert!(chosen.text == "yes" || chosen.text == "no \"really\"", "{chosen:?}");
        let verdict = answer(&engine, request(Constraint::Regex("safe|unsafe\nS(1[0-4]|[1-9])".to_owned())));
        let holds = verdict.text == "safe"
            || verdict
                .text
                .strip_prefix("unsafe\nS")
                .is_some_and(|n| (1..=14).contains(&n.parse::<u8>().unwrap()));
        assert!(holds, "{verdict:?}");
        assert_eq!(verdict.finish, Finish::Stop);
    }
}

#[test]
fn any_of_several_stop_ids_ends_a_constrained_answer() {
    let Some(mut checkpoint) = stories() else { return };
    // As of a chat model whose base ends with the lower one.
    checkpoint.stop_ids = vec![0, 2];
    let engine = NativeEngine::start(&checkpoint, Options::default()).unwrap();
    for end in [0, 2] {
        let request = Request {
            prompt: prompt(&checkpoint, "Lily said"),
            max_tokens: 40,
            stop_ids: checkpoint.stop_ids.clone(),
            constraint: Some(Constraint::Regex("[a-z ]*".to_owned())),
            sampling: Sampling { logit_bias: vec![(end, 100.0)], ..Sampling::default() },
            ..Request::default()
        };
        let said = answer(&engine, request);
        assert_eq!((said.ids, said.finish), (vec![end], Finish::Stop));
    }
}

#[test]
fn a_constraint_without_a_way_on_is_no_fault_of_the_engine() {
    let Some(checkpoint) = stories() else { return };
    let engine = NativeEngine::start(&checkpoint, Options::default()).unwrap();
    let request = |choice: &str| Request {
        prompt: prompt(&checkpoint, "Lily said"),
        max_tokens: 40,
        stop_ids: checkpoint.stop_ids.clone(),
        constraint: Some(Constraint::Choice(vec![choice.to_owned()])),
        ..Request::default()
    };
    // Nothing but the end may follow: it comes, however many tokens were to come before.
    let empty = answer(&engine, Request { min_tokens: 3, ..request("") });
    assert_eq!(
        (empty.ids, empty.text.as_str(), empty.finish),
        (checkpoint.stop_ids.clone(), "", Finish::Stop)
    );
    let forbidden = (0..512).map(|id| (id, f32::NEG_INFINITY)).collect();
    let sampling = Sampling { logit_bias: forbidden, ..Sampling::default() };
    let stuck = answer(&engine, Request { sampling: sampling.clone(), ..request("yes") });
    assert!(matches!(stuck.finish, Finish::ConstraintFailed(_)), "{stuck:?}");
    let broken = answer(&engine, Request { sampling, constraint: None, ..request("yes") });
    assert!(matches!(broken.finish, Finish::Failed(_)), "{broken:?}");
}

/// Schemas within what the engine enforces, small enough that an answer ends.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "null"})),
        (0..5i64, 0..50i64)
            .prop_map(|(low, more)| json!({"type": "integer", "minimum": low, "maximum": low + more})),
        (1..12u32).prop_map(|length| json!({"type": "string", "maxLength": length})),
        proptest::collection::btree_set("[a-zA-Z é\"]{1,8}", 1..4).prop_map(|words| json!({"enum": words})),
        "[a-c]{1,3}"
            .prop_map(|pattern| json!({"type": "string", "pattern": format!("^({pattern}){{1,2}}$")})),
        Just(json!({"const": {"kind": [1, null, "x"]}})),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            (inner.clone(), 0..2usize, 0..3usize).prop_map(|(items, least, more)| json!({
                "type": "array", "items": items, "minItems": least, "maxItems": least + more
            })),
            proptest::collection::btree_map("[a-z]{1,6}", inner.clone(), 1..4).prop_map(|properties| {
                let required: Vec<String> = properties.keys().take(1 + properties.len() / 2).cloned().collect();
                json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
            }),
            (inner.clone(), inner).prop_map(|(a, b)| json!({"anyOf": [a, b]})),
        ]
    })
}

#[test]
fn constrained_json_always_parses_and_validates() {
    let Some(checkpoint) = stories() else { return };
    let engine = NativeEngine::start(&checkpoint, Options::default()).unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(150));
    let check = |(schema, seed): (Value, u64)| {
        let request = Request {
            prompt: prompt(&checkpoint, "Tom"),
            max_tokens: 480,
            stop_ids: checkpoint.stop_ids.clone(),
            constraint: Some(Constraint::JsonSchema(schema.clone())),
            sampling: Sampling { temperature: 1.0, seed, ..Sampling::default() },
            ..Request::default()
        };
        let answer = answer(&engine, request);
        prop_assert_eq!(&answer.finish, &Finish::Stop, "{}", answer.text);
        let value: Value = serde_json::from_str(&answer.text)
            .map_err(|error| TestCaseError::fail(format!("{error}: {}", answer.text)))?;
        prop_assert!(jsonschema::is_valid(&schema, &value), "{} against {}", value, schema);
        Ok(())
    };
    runner.run(&(schema(), any::<u64>()), check).unwrap();
}
