//! The server with a real model: stories260k, where the shared test data exists.

use super::client::{TestServer, settings, start};
use super::stories_folder;
use crate::model::{EngineKind, LoadOptions, open};
use crate::model_source::ModelSource;
use serde_json::{Value, json};

async fn stories() -> Option<TestServer> {
    let source =
        ModelSource { name: "stories".to_owned(), location: stories_folder()?.to_str().unwrap().to_owned() };
    let options = LoadOptions {
        engine: EngineKind::Native,
        weights: None,
        cache: None,
        cache_bytes: Some(64 << 20),
        default_cache_bytes: 0,
        max_sequences: 8,
        max_waiting: 256,
        threads: None,
        reuse_prefixes: true,
        guessed_tokens: 15,
        chat_template: None,
    };
    Some(start(settings(), Some(vec![open(&source, &options).unwrap()])).await)
}

fn texts(body: &Value) -> Vec<String> {
    let choices = body["choices"].as_array().unwrap();
    choices.iter().map(|choice| choice["text"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn streams_and_concurrent_requests_change_nothing() {
    let Some(server) = stories().await else { return };
    let body = |seed: u64, stream: bool| {
        json!({
            "model": "stories", "prompt": ["Once upon a time", "Lily"], "n": 2, "max_tokens": 40, "seed": seed,
            "stop": [" was", "."], "logprobs": 2, "echo": true, "stream": stream,
        })
    };
    let mut alone = Vec::new();
    for seed in 0..6 {
        alone.push(server.post("/v1/completions", &body(seed, false)).await.json());
    }
    let streamed = (0..6).map(|seed| {
        let body = body(seed, true);
        let server = &server;
        async move { server.post("/v1/completions", &body).await }
    });
    for (reply, alone) in futures::future::join_all(streamed).await.into_iter().zip(&alone) {
        let mut texts_streamed = vec![String::new(); 4];
        let mut tokens: Vec<Vec<Value>> = vec![Vec::new(); 4];
        for event in reply.events().iter().filter(|event| *event != "[DONE]") {
            let chunk: Value = serde_json::from_str(event).unwrap();
            let choice = &chunk["choices"][0];
            let index = choice["index"].as_u64().unwrap() as usize;
            texts_streamed[index].push_str(choice["text"].as_str().unwrap());
            tokens[index].extend(choice["logprobs"]["token_logprobs"].as_array().unwrap().iter().cloned());
        }
        assert_eq!(texts_streamed, texts(alone));
        for (index, tokens) in tokens.into_iter().enumerate() {
            assert_eq!(alone["choices"][index]["logprobs"]["token_logprobs"], json!(tokens));
        }
    }
    // The last answer ends a moment before its step.
    let engine = &server.state.models().unwrap().loaded[0].engine;
    for _ in 0..100 {
        let now = engine.status();
        if (now.running, now.waiting, now.cache_bytes) == (0, 0, 0) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the engine is not idle: {:?}", engine.status());
}

#[tokio::test]
async fn scoring_generates_no_token() {
    let Some(server) = stories().await else { return };
    let body = |max_tokens: usize| {
        json!({
            "model": "stories", "prompt": "Once upon a time", "max_tokens": max_tokens, "logprobs": 1,
            "echo": true, "temperature": 0,
        })
    };
    let scored = server.post("/v1/completions", &body(0)).await.json();
    let choice = &scored["choices"][0];
    assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!("Once upon a time"), &json!("length")));
    let logprobs = &choice["logprobs"];
    assert!(logprobs["token_logprobs"][0].is_null() && logprobs["top_logprobs"][0].is_null());
    assert_eq!(logprobs["tokens"].as_array().unwrap().len(), 5);
    assert_eq!(scored["usage"]["completion_tokens"], 0);
    let one = server.post("/v1/completions", &body(1)).await.json();
    let all = one["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap();
    assert_eq!(json!(all[..5]), logprobs["token_logprobs"]);
}

#[tokio::test]
async fn constraints_reach_the_engine_and_errors_name_the_parameter() {
    let Some(server) = stories().await else { return };
    let ask = |more: Value| {
        let mut body = json!({"model": "stories", "messages": [{"role": "user", "content": "Say"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let server = &server;
        async move { server.post("/v1/chat/completions", &body).await }
    };
    let chosen = ask(json!({"guided_choice": ["yes", "no"], "max_tokens": 20})).await.json();
    let text = chosen["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(text == "yes" || text == "no", "{chosen}");
    let schema = json!({"type": "array", "uniqueItems": true});
    for (more, param) in [
        (json!({"guided_json": schema}), "guided_json"),
        (
            json!({"guided_json": {"not": {}}, "tools": [{"type": "function", "function": {"name": "f"}}]}),
            "guided_json",
        ),
        (json!({"structured_outputs": {"regex": "("}}), "structured_outputs.regex"),
        (json!({"stop_token_ids": [512]}), "stop_token_ids"),
        (json!({"logit_bias": {"512": 1}}), "logit_bias"),
        (json!({"repetition_penalty": 0.001}), "repetition_penalty"),
    ] {
        let refused = ask(more).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["param"]),
            (400, &json!(param)),
            "{}",
            refused.body
        );
    }
    let long =
        ask(json!({"messages": [{"role": "user", "content": "Once upon a time. ".repeat(500)}]})).await;
    let error = &long.json()["error"];
    assert_eq!((&error["code"], &error["param"]), (&json!("context_length_exceeded"), &json!("messages")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constraints_that_nest_or_grow_end_no_server() {
    let Some(server) = stories().await else { return };
    let ask = |more: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "Say"}], "max_tokens": 4});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let server = &server;
        async move { server.post("/v1/chat/completions", &body).await }
    };
    let definitions: serde_json::Map<String, Value> = (0..1000)
        .map(|index| (format!("d{index}"), json!({"$ref": format!("#/$defs/d{}", index + 1)})))
        .chain([("d1000".to_owned(), json!({"type": "boolean"}))])
        .collect();
    let rules =
        |count: usize| (0..count).map(|index| format!("r{index}: r{}\n", index + 1)).collect::<String>();
    let terminals = (0..1000).map(|index| format!("T{index}: \"x\" T{}\n", index + 1)).collect::<String>();
    for (more, statuses) in [
        (json!({"guided_json": {"$defs": definitions, "$ref": "#/$defs/d0"}}), &[200][..]),
        (json!({"guided_grammar": format!("start: r0\n{}r700: \"ab\"\n", rules(700))}), &[200]),
        (json!({"guided_grammar": format!("start: T0\n{terminals}T1000: \"ab\"\n")}), &[200, 400]),
        (json!({"guided_grammar": format!("start: r0\n{}r9000: \"ab\"\n", rules(9000))}), &[400]),
        (json!({"guided_regex": "a?b".repeat(100_000)}), &[400]),
        (json!({"guided_regex": "(".repeat(10_000)}), &[400]),
        (json!({"guided_choice": (0..100_000).map(|index| format!("{index}")).collect::<Vec<_>>()}), &[400]),
        (json!({"guided_choice": (0..4000).map(|index| format!("{index}.")).collect::<Vec<_>>()}), &[200]),
    ] {
        let began = std::time::Instant::now();
        let reply = ask(more).await;
        assert!(statuses.contains(&reply.status), "{}", reply.body);
        assert!(began.elapsed() < std::time::Duration::from_secs(30), "{:?}", began.elapsed());
        assert_eq!(ask(json!({})).await.status, 200, "others are served");
    }
}

#[tokio::test]
async fn the_events_of_a_response_end_in_the_whole_response() {
    let Some(server) = stories().await else { return };
    let body = |stream: bool| {
        json!({
            "model": "stories", "input": "Once", "instructions": "Tell.", "max_output_tokens": 12, "temperature": 0,
            "include": ["message.output_text.logprobs"], "stream": stream, "metadata": {"a": "b"},
        })
    };
    let mut whole = server.post("/v1/responses", &body(false)).await.json();
    let events = server.post("/v1/responses", &body(true)).await.events();
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let numbers: Vec<Value> = events.iter().map(|event| event["sequence_number"].clone()).collect();
    assert_eq!(json!(numbers), json!((0..events.len()).collect::<Vec<_>>()));
    let text: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(whole["output"][0]["content"][0]["text"], text);
    assert_eq!(whole["output"][0]["content"][0]["logprobs"].as_array().unwrap().len(), 12);
    let mut last = events.last().unwrap()["response"].clone();
    assert_eq!(events.last().unwrap()["type"], "response.incomplete");
    for response in [&mut whole, &mut last] {
        for name in ["id", "created_at"] {
            response[name] = Value::Null;
        }
        response["output"][0]["id"] = Value::Null;
        // The second request reuses the prompt of the first one.
        response["usage"]["input_tokens_details"]["cached_tokens"] = Value::Null;
    }
    assert_eq!(whole, last);
    assert_eq!((&whole["metadata"]["a"], &whole["store"]), (&json!("b"), &json!(true)));
}

#[tokio::test]
async fn the_log_probabilities_of_a_prompt_are_those_of_its_echo() {
    let Some(server) = stories().await else { return };
    let text = "Once upon a time";
    let body = |more: Value| {
        let mut body = json!({"model": "stories", "prompt": text, "max_tokens": 1, "temperature": 0});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let echoed = server.post("/v1/completions", &body(json!({"echo": true, "logprobs": 2}))).await.json();
    let echoed = &echoed["choices"][0]["logprobs"]["token_logprobs"];
    let reply = server
        .post("/v1/completions", &body(json!({"prompt_logprobs": 2, "return_token_ids": true})))
        .await
        .json();
    let choice = &reply["choices"][0];
    let ids = choice["prompt_token_ids"].as_array().unwrap();
    let places = choice["prompt_logprobs"].as_array().unwrap();
    assert_eq!((places.len(), &places[0]), (ids.len(), &Value::Null));
    for (index, (place, id)) in places.iter().zip(ids).enumerate().skip(1) {
        let place = place.as_object().unwrap();
        assert!((2..=3).contains(&place.len()), "{place:?}");
        assert_eq!(place[&id.to_string()]["logprob"], echoed[index]);
        let ranks: Vec<u64> = place.values().filter_map(|entry| entry["rank"].as_u64()).collect();
        assert!(ranks.contains(&1) && ranks.contains(&2) && ranks.len() == 2, "{place:?}");
        assert!(place.values().all(|entry| entry["decoded_token"].is_string()));
    }
    // Beside an echo, and of a conversation.
    let both =
        server.post("/v1/completions", &body(json!({"echo": true, "prompt_logprobs": 2}))).await.json();
    assert_eq!(both["choices"][0]["prompt_logprobs"], choice["prompt_logprobs"]);
    assert!(both["choices"][0]["text"].as_str().unwrap().starts_with(text));
    let chat =
        json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "prompt_logprobs": 0});
    let chat = server.post("/v1/chat/completions", &chat).await.json();
    let count = chat["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(chat["prompt_logprobs"].as_array().unwrap().len() as u64, count);
    assert!(chat["prompt_logprobs"][1].as_object().unwrap().len() == 1, "{chat}");
}

#[tokio::test]
async fn embeddings_are_pooled_and_shortened_as_asked() {
    let Some(server) = stories().await else { return };
    let embed = |ids: Value, more: Value| {
        let mut body = json!({"model": "stories", "input": ids, "normalize": false});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let server = &server;
        async move {
            let reply = server.post("/v1/embeddings", &body).await.json();
            let vector = reply["data"][0]["embedding"].as_array().unwrap_or_else(|| panic!("{reply}"));
            vector.iter().map(|number| number.as_f64().unwrap()).collect::<Vec<f64>>()
        }
    };
    let length = |vector: &[f64]| vector.iter().map(|number| number * number).sum::<f64>().sqrt();
    let last = embed(json!([1, 30, 40]), json!({"pooling": "last"})).await;
    let (three, two) = (embed(json!([1, 30, 40]), json!({})).await, embed(json!([1, 30]), json!({})).await);
    for ((last, three), two) in last.iter().zip(&three).zip(&two) {
        assert!((last - (3.0 * three - 2.0 * two)).abs() < 1e-3, "{last} {three} {two}");
    }
    assert_eq!(
        embed(json!([7]), json!({"pooling": "last"})).await,
        embed(json!([7]), json!({"embd_normalize": -1})).await
    );
    let short = embed(json!([1, 30]), json!({"dimensions": 5})).await;
    assert_eq!(short, two[..5]);
    let unit = embed(json!([1, 30]), json!({"dimensions": 5, "normalize": true, "embd_normalize": 2})).await;
    assert!((length(&unit) - 1.0).abs() < 1e-6);
    assert!(unit.iter().zip(&short).all(|(unit, own)| (unit * length(&short) - own).abs() < 1e-5));
    for (more, param) in [
        (json!({"dimensions": two.len() + 1}), "dimensions"),
        (json!({"pooling": "cls"}), "pooling"),
        (json!({"normalize": true, "embd_normalize": -1}), "embd_normalize"),
        (json!({"embd_normalize": 1}), "embd_normalize"),
    ] {
        let mut body = json!({"model": "stories", "input": "a"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let refused = server.post("/v1/embeddings", &body).await;
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!(param)));
    }
}
