//! What the server does around an answer: streams, refusals, closed connections, limits, keys.

use super::client::{Reply, settings, start, table};
use super::scripted::{Record, Script, model};
use crate::origins::Origins;
use crate::state::ServerSettings;
use engine::Finish;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// A chat request with more fields.
#[allow(clippy::needless_pass_by_value, reason = "callers write the value where they use it")]
pub(super) fn chat(more: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Waits until nothing runs, and fails if that takes long.
async fn idle(record: &Arc<Record>) {
    for _ in 0..500 {
        if record.running.load(Ordering::SeqCst) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a request still runs");
}

pub(super) fn error(reply: &Reply) -> Value {
    reply.json()["error"].clone()
}

#[tokio::test]
async fn a_stream_has_the_content_of_the_whole_answer() {
    let server = start(settings(), Some(vec![model(Script::default()).0])).await;
    let whole = server.post("/v1/chat/completions", &chat(json!({"n": 2, "logprobs": true}))).await;
    assert_eq!(whole.status, 200, "{}", whole.body);
    let whole = whole.json();
    assert_eq!(whole["choices"][1]["message"]["content"], "Hello, world");
    let usage = json!({"completion_tokens": 24, "cached": 2});
    assert_eq!(whole["usage"]["completion_tokens"], usage["completion_tokens"]);
    assert_eq!(whole["usage"]["prompt_tokens_details"]["cached_tokens"], usage["cached"]);
    let request = chat(json!({
        "n": 2, "logprobs": true, "stream": true, "stream_options": {"include_usage": true}
    }));
    let streamed = server.post("/v1/chat/completions", &request).await;
    assert!(streamed.header("content-type").unwrap().starts_with("text/event-stream"));
    let mut events = streamed.events();
    assert_eq!(events.pop().unwrap(), "[DONE]");
    let chunks: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let (last, chunks) = chunks.split_last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
    assert!(chunks.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
    for index in 0..2 {
        let own =
            || chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|choice| choice["index"] == index);
        assert_eq!(own().next().unwrap()["delta"], json!({"role": "assistant", "content": ""}));
        let text: String = own().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!(whole["choices"][index]["message"]["content"], text);
        let tokens: Vec<Value> =
            own().filter_map(|choice| choice["logprobs"]["content"].as_array()).flatten().cloned().collect();
        assert_eq!(whole["choices"][index]["logprobs"]["content"], json!(tokens));
        let finishes: Vec<&Value> =
            own().map(|choice| &choice["finish_reason"]).filter(|reason| !reason.is_null()).collect();
        assert_eq!(finishes, ["stop"]);
    }
}

/// All ids in the events of a stream: those of the prompt, and those of the answer with an index.
fn streamed_ids(events: &[Value], index: usize) -> [Vec<Value>; 2] {
    let choices =
        || events.iter().map(|event| &event["choices"][0]).filter(|choice| choice["index"] == index);
    let ids = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let prompt = events.iter().flat_map(|event| ids(&event["prompt_token_ids"]));
    let own_prompt = choices().flat_map(|choice| ids(&choice["prompt_token_ids"]));
    [prompt.chain(own_prompt).collect(), choices().flat_map(|choice| ids(&choice["token_ids"])).collect()]
}

#[tokio::test]
async fn ids_are_returned_to_those_who_ask() {
    let server = start(settings(), Some(vec![model(Script::default()).0])).await;
    let completion = json!({"model": "m", "prompt": "Hi", "max_tokens": 20});
    for (path, body) in [("/v1/chat/completions", chat(json!({}))), ("/v1/completions", completion)] {
        let with = |more: Value| {
            let mut body = body.clone();
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let plain = server.post(path, &body).await;
        assert!(!plain.body.contains("token_ids"), "{}", plain.body);
        let whole = server.post(path, &with(json!({"n": 2, "return_token_ids": true}))).await.json();
        let request = with(json!({"n": 2, "return_token_ids": true, "stream": true}));
        let mut events = server.post(path, &request).await.events();
        assert_eq!(events.pop().unwrap(), "[DONE]");
        let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        for index in 0..2 {
            let choice = &whole["choices"][index];
            let prompt = match path {
                "/v1/completions" => &choice["prompt_token_ids"],
                _ => &whole["prompt_token_ids"],
            };
            let tokens = whole["usage"]["completion_tokens"].as_u64().unwrap() / 2;
            assert_eq!(prompt.as_array().unwrap().len() as u64, whole["usage"]["prompt_tokens"], "{whole}");
            assert_eq!(choice["token_ids"].as_array().unwrap().len() as u64, tokens, "{whole}");
            let [streamed_prompt, streamed] = streamed_ids(&events, index);
            assert_eq!(
                (json!(streamed_prompt), json!(streamed)),
                (prompt.clone(), choice["token_ids"].clone())
            );
        }
    }
    let refused =
        server.post("/v1/responses", &json!({"model": "m", "input": "a", "return_token_ids": true})).await;
    assert_eq!(error(&refused)["param"], "return_token_ids");
}

#[tokio::test]
async fn held_text_keeps_its_tokens_and_bytes() {
    // The two bytes of é are two tokens; the last token is a stop token without text.
    let tokens = vec![(0xc3, String::new()), (0xa9, "é".to_owned()), (258, String::new())];
    let script = Script { tokens, rest: " end".to_owned(), ..Script::default() };
    let server = start(settings(), Some(vec![model(script).0])).await;
    let reply =
        server.post("/v1/chat/completions", &chat(json!({"logprobs": true, "top_logprobs": 1}))).await;
    let choice = reply.json()["choices"][0].clone();
    assert_eq!(choice["message"]["content"], "é end");
    let content = choice["logprobs"]["content"].as_array().unwrap().clone();
    assert_eq!(content.len(), 3);
    assert_eq!(content[0]["bytes"], json!([0xc3]));
    assert_eq!(content[2]["token"], "<|im_end|>");
    let body =
        json!({"model": "m", "prompt": "aé", "echo": true, "max_tokens": 5, "logprobs": 0, "stream": true});
    let raw = server.post("/v1/completions", &body).await;
    // The script scores no prompt, so the echo never comes; offsets still count from its end.
    let chunk: Value = serde_json::from_str(&raw.events()[0]).unwrap();
    let logprobs = &chunk["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["bytes:\\xc3", "bytes:\\xa9"]));
    assert_eq!(logprobs["text_offset"], json!([2, 2]));
}

#[tokio::test]
async fn a_closed_connection_cancels_its_answers() {
    let script = Script { delay: Duration::from_millis(20), ..Script::default() };
    let tokens = std::iter::repeat_n(script.tokens.clone(), 300).flatten().collect();
    let script = Script { tokens, ..script };
    let (model, record) = model(script);
    let server = start(settings(), Some(vec![model])).await;
    for (path, body) in [
        ("/v1/chat/completions", chat(json!({}))),
        ("/v1/chat/completions", chat(json!({"stream": true, "n": 3}))),
        ("/v1/completions", json!({"model": "m", "prompt": ["a", "b"], "max_tokens": 4000})),
        ("/v1/responses", json!({"model": "m", "input": "a", "stream": true})),
        ("/v1/responses", json!({"model": "m", "input": "a"})),
    ] {
        let connection = server.send("POST", path, "", body.to_string().as_bytes()).await;
        while record.running.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(connection);
        idle(&record).await;
    }
    assert_eq!(record.cancelled.load(Ordering::SeqCst), 1 + 3 + 2 + 1 + 1);
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("smolserve_cancelled_total{model_name=\"m\"} 8"), "{metrics}");
    assert!(metrics.contains("endpoint=\"/v1/chat/completions\",status=\"499\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_full_queue_is_an_error_and_a_large_request_waits() {
    let script = Script { delay: Duration::from_millis(5), max_requests: 2, ..Script::default() };
    let (model, record) = model(script);
    let server = start(settings(), Some(vec![model])).await;
    // Five answers where two may run: all are given.
    let many = server.post("/v1/chat/completions", &chat(json!({"n": 5}))).await;
    assert_eq!((many.status, many.json()["choices"].as_array().unwrap().len()), (200, 5));
    let body = chat(json!({"n": 2})).to_string();
    let _busy = server.send("POST", "/v1/chat/completions", "", body.as_bytes()).await;
    while record.running.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let refused = server.post("/v1/chat/completions", &chat(json!({}))).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("7")));
    assert_eq!(error(&refused)["code"], "queue_full");
}

#[tokio::test]
async fn a_failed_engine_is_an_error() {
    let script = Script { finish: Finish::Failed("no reason".to_owned()), ..Script::default() };
    let server = start(settings(), Some(vec![model(script).0])).await;
    let whole = server.post("/v1/chat/completions", &chat(json!({}))).await;
    assert_eq!((whole.status, error(&whole)["type"].as_str()), (500, Some("server_error")));
    let streamed = server.post("/v1/chat/completions", &chat(json!({"stream": true}))).await;
    let last: Value = serde_json::from_str(streamed.events().last().unwrap()).unwrap();
    assert_eq!(last["error"]["message"], "the engine failed: no reason");
    let script = Script { finish: Finish::ConstraintFailed("no token fits".to_owned()), ..Script::default() };
    let strict = start(settings(), Some(vec![model(script).0])).await;
    let unfit = strict.post("/v1/chat/completions", &chat(json!({"guided_regex": "a"}))).await;
    assert_eq!((unfit.status, &error(&unfit)["param"]), (400, &json!("guided_regex")), "{}", unfit.body);
    let events =
        server.post("/v1/responses", &json!({"model": "m", "input": "a", "stream": true})).await.events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
}

#[tokio::test]
async fn the_timeout_and_the_shutdown_end_answers() {
    let slow = || Script { delay: Duration::from_secs(60), ..Script::default() };
    let (model, _) = model(slow());
    let limit = ServerSettings { request_timeout: Some(Duration::from_millis(50)), ..settings() };
    let server = start(limit, Some(vec![model])).await;
    let late = server.post("/v1/chat/completions", &chat(json!({}))).await;
    assert_eq!((late.status, error(&late)["code"].as_str()), (408, Some("timeout")));
    let late = server.post("/v1/chat/completions", &chat(json!({"stream": true}))).await;
    assert!(late.events().last().unwrap().contains("\"timeout\""));

    let compile = Script { compile_time: Duration::from_millis(1500), ..Script::default() };
    let limit = ServerSettings { request_timeout: Some(Duration::from_millis(50)), ..settings() };
    let busy = start(limit, Some(vec![super::scripted::model(compile).0])).await;
    let began = std::time::Instant::now();
    let late = busy.post("/v1/chat/completions", &chat(json!({"guided_regex": "a"}))).await;
    assert_eq!((late.status, error(&late)["code"].as_str()), (408, Some("timeout")));
    assert!(began.elapsed() < Duration::from_secs(1), "the response waited for the compilation");

    let server = start(settings(), Some(vec![super::scripted::model(slow()).0])).await;
    let body = chat(json!({"stream": true})).to_string();
    let mut connection = server.send("POST", "/v1/chat/completions", "", body.as_bytes()).await;
    let mut first = [0; 64];
    connection.read_exact(&mut first).await.unwrap();
    server.state.close();
    let mut rest = String::new();
    connection.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("shutting_down"), "{rest}");
}

#[tokio::test]
async fn keys_ids_paths_and_sizes() {
    let locked = ServerSettings { api_keys: vec!["one".to_owned(), "two".to_owned()], ..settings() };
    let server = start(locked, Some(vec![model(Script::default()).0])).await;
    assert_eq!(server.get("/health").await.status, 200);
    for (header, status) in
        [("", 401), ("authorization: Bearer three\r\n", 401), ("authorization: Bearer two\r\n", 200)]
    {
        let reply = server.request("GET", "/v1/models", header, b"").await;
        assert_eq!(reply.status, status);
        assert!(status == 200 || error(&reply)["code"] == "invalid_api_key");
    }
    assert_eq!(server.get("/metrics").await.status, 401);

    let any = ServerSettings { origins: Origins::Any, ..settings() };
    let server = start(any, Some(vec![model(Script::default()).0])).await;
    let named = server.request("GET", "/nowhere", "x-request-id: abc-1\r\n", b"").await;
    assert_eq!((named.status, named.header("x-request-id")), (404, Some("abc-1")));
    assert_eq!(error(&named)["type"], "invalid_request_error");
    let unnamed = server.request("PUT", "/v1/models", "x-request-id: a b\r\n", b"").await;
    assert_eq!(unnamed.status, 405);
    assert!(unnamed.header("x-request-id").unwrap().starts_with("req_"));
    let large = server.request("POST", "/v1/completions", "", &vec![b' '; 3 << 20]).await;
    assert_eq!((large.status, error(&large)["code"].as_str()), (413, Some("body_too_large")));
    for (method, path, status) in [
        ("GET", "/v1/models/%FF", 400),
        ("POST", "/health", 405),
        ("POST", "/", 405),
        ("POST", "/openapi.json", 405),
    ] {
        let reply = server.request(method, path, "", b"").await;
        assert_eq!(
            (reply.status, &error(&reply)["type"]),
            (status, &json!("invalid_request_error")),
            "{path}"
        );
    }
    let preflight = "origin: http://a.b\r\naccess-control-request-method: POST\r\n";
    let preflight = server.request("OPTIONS", "/v1/chat/completions", preflight, b"").await;
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn only_shown_tokens_are_scored() {
    // The engine found the stop string "bc", which is not shown.
    let tokens = vec![(97, "a".to_owned()), (98, String::new()), (99, String::new())];
    let server = start(settings(), Some(vec![model(Script { tokens, ..Script::default() }).0])).await;
    let body = json!({"model": "m", "prompt": "x", "logprobs": 0, "stop": "bc", "echo": true});
    let choice = &server.post("/v1/completions", &body).await.json()["choices"][0];
    assert_eq!(
        (&choice["logprobs"]["tokens"], &choice["logprobs"]["text_offset"]),
        (&json!(["a"]), &json!([1]))
    );
    let body = json!({"model": "m", "input": "x", "temperature": 0.7, "top_p": 0.9});
    let response = server.post("/v1/responses", &body).await.json();
    assert_eq!((&response["temperature"], &response["top_p"]), (&json!(0.7), &json!(0.9)));
}

#[tokio::test]
async fn a_panic_is_an_error_and_refused_requests_are_not_timed() {
    let script = Script { panics: true, ..Script::default() };
    let any = ServerSettings { origins: Origins::Any, ..settings() };
    let server = start(any, Some(vec![model(script).0])).await;
    assert_eq!(
        server.post("/v1/chat/completions", &chat(json!({"stop_token_ids": [9999]}))).await.status,
        400
    );
    let body = chat(json!({})).to_string();
    let origin = "origin: http://a.b\r\n";
    let broken = server.request("POST", "/v1/chat/completions", origin, body.as_bytes()).await;
    assert_eq!((broken.status, broken.header("access-control-allow-origin")), (500, Some("*")));
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("endpoint=\"/v1/chat/completions\",status=\"500\"} 1"), "{metrics}");
    assert!(!metrics.contains("smolserve_e2e_request_latency_seconds_count"), "{metrics}");
}

#[tokio::test]
async fn health_reports_loading_stuck_and_stopped() {
    let server = start(settings(), None).await;
    assert_eq!(server.get("/health").await.status, 503);
    let early = server.post("/v1/chat/completions", &chat(json!({}))).await;
    assert_eq!((early.status, error(&early)["message"].as_str()), (503, Some("the model is loading")));
    assert_eq!(server.get("/v1/models").await.status, 503);
    let stuck = model(Script { step_milliseconds: Some(61_000), ..Script::default() }).0;
    server.state.set_models(table(vec![stuck]));
    let stuck = server.get("/health").await;
    assert_eq!((stuck.status, stuck.json()["status"].as_str()), (503, Some("stuck")));
    let dead = model(Script { stopped: true, ..Script::default() }).0;
    let dead = start(settings(), Some(vec![dead])).await.get("/health").await;
    assert_eq!((dead.status, dead.json()["status"].as_str()), (503, Some("stopped")));
}

#[tokio::test]
async fn the_engine_gets_the_parameters_of_the_request() {
    let (model, record) = model(Script::default());
    let server = start(settings(), Some(vec![model])).await;
    let body = chat(json!({
        "seed": 7, "n": 2, "temperature": 0.5, "top_p": 0.9, "top_k": 4, "min_p": 0.1, "stop": ["a", "b"],
        "stop_token_ids": [9], "max_completion_tokens": 30, "min_tokens": 2, "logit_bias": {"5": -3},
        "presence_penalty": 0.5, "frequency_penalty": 0.25, "repetition_penalty": 1.5, "guided_choice": ["x"],
    }));
    assert_eq!(server.post("/v1/chat/completions", &body).await.status, 200);
    assert_eq!(server.post("/v1/chat/completions", &chat(json!({"ignore_eos": true}))).await.status, 200);
    let requests = record.requests.lock().unwrap();
    let first = &requests[0];
    let sampling = engine::Sampling {
        temperature: 0.5,
        top_p: 0.9,
        top_k: 4,
        min_p: 0.1,
        seed: 7,
        repetition_penalty: 1.5,
        presence_penalty: 0.5,
        frequency_penalty: 0.25,
        logit_bias: vec![(5, -3.0)],
    };
    assert_eq!((&first.sampling, requests[1].sampling.seed), (&sampling, 8));
    assert_eq!((first.max_tokens, first.min_tokens, &first.stop_ids), (30, 2, &vec![258, 9]));
    assert_eq!(first.stop_strings, ["a", "b"]);
    assert_eq!(first.constraint, Some(engine::Constraint::Choice(vec!["x".to_owned()])));
    let free = &requests[2];
    assert_eq!((free.max_tokens, free.sampling.temperature), (4096 - free.prompt.len(), 1.0));
    assert!(free.stop_ids.is_empty());
}

#[tokio::test]
async fn embeddings_tokens_and_models() {
    let other = crate::model::Model { name: "a/b".to_owned(), ..model(Script::default()).0 };
    let unit = start(settings(), Some(vec![model(Script::default()).0])).await;
    let reply = unit.post("/v1/embeddings", &json!({"input": ["ab", "abc"]})).await.json();
    for entry in reply["data"].as_array().unwrap() {
        let vector = entry["embedding"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap());
        assert!((vector.map(|number| number * number).sum::<f64>() - 1.0).abs() < 1e-6, "{entry}");
    }
    let raw = ServerSettings { raw_embeddings: true, ..settings() };
    let server = start(raw, Some(vec![model(Script::default()).0, other])).await;
    let body = json!({"model": "m", "input": ["ab", "abc"], "dimensions": 2});
    let reply = server.post("/v1/embeddings", &body).await.json();
    assert_eq!(reply["data"][1], json!({"object": "embedding", "index": 1, "embedding": [0.5, 3.0]}));
    assert_eq!(reply["usage"], json!({"prompt_tokens": 5, "total_tokens": 5}));
    let body = json!({"model": "m", "input": [1, 2], "encoding_format": "base64"});
    let reply = server.post("/v1/embeddings", &body).await.json();
    assert_eq!(reply["data"][0]["embedding"], "AAAAPwAAAEA=");
    let refused = server.post("/v1/embeddings", &json!({"model": "m", "input": "a", "dimensions": 3})).await;
    assert_eq!((refused.status, &error(&refused)["param"]), (400, &json!("dimensions")));

    let tokens =
        server.post("/tokenize", &json!({"model": "m", "prompt": "hé", "return_token_strs": true})).await;
    let tokens = tokens.json();
    assert_eq!((&tokens["tokens"], &tokens["count"]), (&json!([104, 195, 169]), &json!(3)));
    let text = server.post("/detokenize", &json!({"model": "a/b", "tokens": [257, 104, 195, 169]})).await;
    assert_eq!(text.json()["prompt"], "<|im_start|>hé");
    let beyond = server.post("/detokenize", &json!({"model": "m", "tokens": [259]})).await;
    assert_eq!((beyond.status, &error(&beyond)["param"]), (400, &json!("tokens")));
    let conversation = json!({
        "model": "m", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b c"}],
        "continue_final_message": true,
    });
    let applied = server.post("/apply-template", &conversation).await.json();
    assert_eq!(applied["prompt"], "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb c");
    let counted = server.post("/tokenize", &conversation).await.json();
    assert_eq!(counted["tokens"], applied["tokens"]);
    let whole = server.post("/v1/chat/completions/input_tokens", &conversation).await.json();
    assert_eq!(whole, json!({"object": "response.input_tokens", "input_tokens": counted["count"]}));
    let listed = server.get("/v1/models").await.json();
    assert_eq!((&listed["data"][1]["id"], listed["data"].as_array().unwrap().len()), (&json!("a/b"), 2));
    assert_eq!(server.get("/v1/models/a/b").await.json()["id"], "a/b");
    let info = server.get("/tokenizer_info").await.json();
    assert_eq!((&info["eos_token"], &info["model_max_length"]), (&json!("<|im_end|>"), &json!(4096)));
    assert_eq!(server.get("/tokenizer_info?model=a/b").await.json()["model"], "a/b");
    let unknown = server.post("/v1/completions", &json!({"model": "c", "prompt": "a"})).await;
    assert_eq!((unknown.status, &error(&unknown)["code"]), (404, &json!("model_not_found")));
}
