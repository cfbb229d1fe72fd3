//! Requests as clients in use send them: what means nothing here passes, what is left out is named, and nothing that
//! matters is dropped.

use super::behavior::{chat, error};
use super::client::{Reply, TestServer, settings, start};
use super::scripted::{Script, model, model_with_template, tokens};
use crate::model::Model;
use crate::state::ServerSettings;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";

/// A template that prints which variables it got.
const THINKING_TEMPLATE: &str = "{% for m in messages %}{{ m.role }}:{{ m.content }}{% if m.reasoning_content %}[{{ m.reasoning_content }}]{% endif %}|{% endfor %}{{ enable_thinking }},{{ reasoning_effort }}{% if add_generation_prompt %}<think>\n{% endif %}{# </think> #}";

async fn server() -> TestServer {
    start(settings(), Some(vec![model(Script::default()).0])).await
}

fn left_out(reply: &Reply) -> &str {
    reply.header("x-smolserve-left-out").unwrap_or_default()
}

fn text(reply: &Reply) -> String {
    reply.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_maximum_beyond_the_context_is_cut_and_said() {
    for (path, body, name) in [
        (CHAT, chat(json!({"max_tokens": 65535})), "max_tokens"),
        (CHAT, chat(json!({"max_completion_tokens": 40960})), "max_completion_tokens"),
        ("/v1/completions", json!({"model": "m", "prompt": ["a", "ab"], "max_tokens": 65535}), "max_tokens"),
        (RESPONSES, json!({"model": "m", "input": "a", "max_output_tokens": 65535}), "max_output_tokens"),
    ] {
        let (model, record) = model(Script::default());
        let server = start(settings(), Some(vec![model])).await;
        let reply = server.post(path, &body).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert!(left_out(&reply).starts_with(&format!("{name} (")), "{}", left_out(&reply));
        for request in record.requests.lock().unwrap().iter() {
            assert_eq!(request.max_tokens, 4096 - request.prompt.len());
        }
        let strict = ServerSettings { strict: true, ..settings() };
        let server = start(strict, Some(vec![super::scripted::model(Script::default()).0])).await;
        let refused = server.post(path, &body).await;
        assert_eq!(
            (refused.status, error(&refused)["param"].as_str()),
            (400, Some(name)),
            "{}",
            refused.body
        );
        assert_eq!(error(&refused)["code"], "max_tokens_too_large");
    }
    let reply = server().await.post(CHAT, &chat(json!({"max_tokens": -1}))).await;
    assert_eq!((reply.status, left_out(&reply)), (200, ""));
}

#[tokio::test]
async fn the_usage_so_far_is_in_every_chunk_that_asks_for_it() {
    let server = server().await;
    let options = json!({"include_usage": true, "continuous_usage_stats": true});
    for (path, body) in [
        (CHAT, chat(json!({"stream": true, "stream_options": options}))),
        ("/v1/completions", json!({"model": "m", "prompt": "a", "stream": true, "stream_options": options})),
    ] {
        let reply = server.post(path, &body).await;
        let events = reply.events();
        let counts: Vec<u64> = events[..events.len() - 1]
            .iter()
            .map(|event| {
                let chunk: Value = serde_json::from_str(event).unwrap();
                chunk["usage"]["completion_tokens"].as_u64().expect("each chunk has the usage")
            })
            .collect();
        assert!(counts.is_sorted() && counts.contains(&1) && counts.last() == Some(&12), "{counts:?}");
    }
}

#[tokio::test]
async fn harmless_defaults_of_other_servers_pass_and_their_features_are_refused() {
    let server = server().await;
    let guidellm = json!({"stream": true, "ignore_eos": true, "max_tokens": 5,
        "stream_options": {"include_usage": true, "continuous_usage_stats": true}});
    let vllm = json!({"skip_special_tokens": true, "spaces_between_special_tokens": true, "use_beam_search": false,
        "best_of": 1, "length_penalty": 1.0, "early_stopping": false, "include_stop_str_in_output": false,
        "echo": false, "add_special_tokens": false, "priority": 0, "prompt_logprobs": null,
        "guided_decoding_backend": "xgrammar", "include_reasoning": true, "bad_words": []});
    let llama_cpp = json!({"cache_prompt": true, "repeat_penalty": 1.0, "repeat_last_n": 64, "typical_p": 1.0,
        "mirostat": 0, "mirostat_tau": 5, "xtc_probability": 0, "dry_multiplier": 0.0, "n_predict": -1, "id_slot": -1,
        "timings_per_token": false, "lora": [], "grammar": "", "reasoning_format": "auto"});
    let others = json!({"stop": "", "tfs": 1, "do_sample": false, "transforms": [], "provider": {"order": []},
        "usage": {"include": true}, "messages": [{"role": "user", "content":
            [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}]});
    for more in [guidellm, vllm, llama_cpp, others, json!({"stop": [""]})] {
        let reply = server.post(CHAT, &chat(more)).await;
        assert_eq!((reply.status, left_out(&reply)), (200, ""), "{}", reply.body);
    }
    for (more, param) in [
        (json!({"use_beam_search": true}), "use_beam_search"),
        (json!({"repeat_penalty": 1.1}), "repeat_penalty"),
        (json!({"mirostat": 2}), "mirostat"),
        (json!({"prompt_logprobs": 1, "stream": true}), "prompt_logprobs"),
        (json!({"prompt_logprobs": 21}), "prompt_logprobs"),
        (json!({"bad_words": ["a"]}), "bad_words"),
        (json!({"tfs": 0.9}), "tfs"),
        (json!({"provider": {"order": ["other"]}}), "provider"),
    ] {
        let refused = server.post(CHAT, &chat(more)).await;
        assert_eq!(
            (refused.status, error(&refused)["param"].as_str()),
            (400, Some(param)),
            "{}",
            refused.body
        );
    }
}

#[tokio::test]
async fn without_sampling_an_answer_is_greedy_and_empty_stop_strings_are_none() {
    let (model, record) = model(Script::default());
    let server = start(settings(), Some(vec![model])).await;
    for (more, temperature) in [
        (json!({"do_sample": false, "stop": ["", "x"]}), 0.0),
        (json!({"do_sample": true}), 1.0),
        (json!({"do_sample": false, "temperature": 0.5}), 0.5),
    ] {
        let stops = more["stop"].is_array();
        assert_eq!(server.post(CHAT, &chat(more)).await.status, 200);
        let request = record.requests.lock().unwrap().pop().unwrap();
        assert_eq!(request.sampling.temperature, temperature);
        assert_eq!(request.stop_strings, if stops { vec!["x"] } else { vec![] });
    }
}

#[tokio::test]
async fn a_constraint_is_honored_or_refused_in_every_mode() {
    for lenient in [false, true] {
        let (model, record) = model(Script::default());
        let server = start(ServerSettings { lenient, ..settings() }, Some(vec![model])).await;
        for name in ["grammar", "structural_tag", "ebnf", "guided_whitespace_pattern", "guided_grammar"] {
            let refused = server.post(CHAT, &chat(json!({name: "root ::= \"a\" other"}))).await;
            assert_eq!(
                (refused.status, error(&refused)["param"].as_str()),
                (400, Some(name)),
                "lenient: {lenient}"
            );
        }
        assert!(record.requests.lock().unwrap().is_empty());
        for name in ["grammar", "ebnf", "guided_grammar"] {
            let reply = server.post(CHAT, &chat(json!({name: "root ::= \"a\" [0-9]+"}))).await;
            assert_eq!(reply.status, 200, "{}", reply.body);
            let constraint = record.requests.lock().unwrap().pop().unwrap().constraint;
            let lark = "start: T0\nT0: (\"a\" (/[0-9]/)+)\n".to_owned();
            assert_eq!(constraint, Some(engine::Constraint::Lark(lark)));
        }
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        for more in [
            json!({"json_schema": schema}),
            json!({"response_format": {"type": "json_object", "schema": schema}}),
            json!({"response_format": {"type": "json_schema", "schema": schema}}),
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}),
        ] {
            let reply = server.post(CHAT, &chat(more)).await;
            assert_eq!(reply.status, 200, "{}", reply.body);
            let constraint = record.requests.lock().unwrap().pop().unwrap().constraint;
            assert_eq!(constraint, Some(engine::Constraint::JsonSchema(schema.clone())));
        }
    }
}

#[tokio::test]
async fn variables_and_efforts_reach_templates_that_read_them() {
    let prompt = |more: Value, template: Option<&'static str>| async move {
        let model = match template {
            Some(source) => model_with_template(Script::default(), source).0,
            None => model(Script::default()).0,
        };
        let server = start(settings(), Some(vec![model])).await;
        let reply = server.post(CHAT, &chat(more.clone())).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        let note = left_out(&reply).to_owned();
        let mut applied = String::new();
        if more.get("reasoning_effort").is_none() {
            let reply = server.post("/apply-template", &chat(more)).await;
            applied = reply.json()["prompt"].as_str().unwrap().to_lowercase();
        }
        (note, applied)
    };
    let kwargs = json!({"chat_template_kwargs": {"enable_thinking": false}});
    let (note, text) = prompt(kwargs.clone(), Some(THINKING_TEMPLATE)).await;
    assert_eq!((note.as_str(), text.as_str()), ("", "user:hi|false,<think>\n"));
    let (note, _) = prompt(json!({"reasoning_effort": "high"}), Some(THINKING_TEMPLATE)).await;
    assert_eq!(note, "");
    let (note, _) = prompt(json!({"reasoning_effort": "none"}), None).await;
    assert_eq!(note, "");
    for (more, param) in [
        (kwargs, "chat_template_kwargs.enable_thinking ("),
        (json!({"reasoning_effort": "low"}), "reasoning_effort ("),
    ] {
        let (note, _) = prompt(more.clone(), None).await;
        assert!(note.starts_with(param), "{note}");
        let strict = ServerSettings { strict: true, ..settings() };
        let server = start(strict, Some(vec![model(Script::default()).0])).await;
        assert_eq!(server.post(CHAT, &chat(more)).await.status, 400);
    }
}

#[tokio::test]
async fn thoughts_are_separated_whole_and_streamed() {
    let script = Script { tokens: tokens("So 1 < 2.\n</think>\n\nYes."), ..Script::default() };
    let (model, record) = model_with_template(script.clone(), THINKING_TEMPLATE);
    let server = start(settings(), Some(vec![model])).await;
    let whole = server.post(CHAT, &chat(json!({}))).await.json();
    let message = &whole["choices"][0]["message"];
    assert_eq!((&message["reasoning_content"], &message["content"]), (&json!("So 1 < 2."), &json!("Yes.")));
    let events = server.post(CHAT, &chat(json!({"stream": true, "logprobs": true}))).await.events();
    let joined = |field: &str| -> String {
        let chunks = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
        chunks.filter_map(|chunk| chunk["choices"][0]["delta"][field].as_str().map(str::to_owned)).collect()
    };
    assert_eq!((joined("reasoning_content"), joined("content")), ("So 1 < 2.".to_owned(), "Yes.".to_owned()));
    let unsplit = server.post(CHAT, &chat(json!({"reasoning_format": "none"}))).await;
    assert_eq!(text(&unsplit), "So 1 < 2.\n</think>\n\nYes.");
    let response = server.post(RESPONSES, &json!({"model": "m", "input": "hi"})).await.json();
    assert_eq!(response["output"][0]["type"], "reasoning");
    assert_eq!(response["output"][0]["content"][0]["text"], "So 1 < 2.");
    assert_eq!(response["output"][1]["content"][0]["text"], "Yes.");
    let events = server.post(RESPONSES, &json!({"model": "m", "input": "hi", "stream": true})).await.events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["response"]["output"][0]["content"], response["output"][0]["content"]);
    assert!(events.iter().any(|event| event.contains("response.reasoning_text.delta")));
    // What a client sends back reaches the template.
    let messages = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning_content": "c"},
        {"role": "user", "content": "d"}]);
    let applied = server.post("/apply-template", &chat(json!({"messages": messages}))).await.json();
    assert!(applied["prompt"].as_str().unwrap().starts_with("user:a|assistant:b[c]|user:d|"), "{applied}");
    assert!(!record.requests.lock().unwrap().is_empty());
    // A model that does not think answers as before.
    let plain = Script { tokens: tokens("<think>no</think> Yes."), ..Script::default() };
    let server = start(settings(), Some(vec![super::scripted::model(plain).0])).await;
    assert_eq!(text(&server.post(CHAT, &chat(json!({}))).await), "<think>no</think> Yes.");
}

#[tokio::test]
async fn a_request_of_codex_is_answered() {
    let function = json!({"type": "function", "name": "shell", "description": "Runs a command", "strict": false,
        "parameters": {"type": "object", "properties": {"command": {"type": "array", "items": {"type": "string"}}}}});
    let body = json!({
        "model": "m", "instructions": "You are a coding agent.", "tool_choice": "auto", "parallel_tool_calls": false,
        "store": false, "stream": true, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "x",
        "reasoning": {"effort": "medium", "summary": "auto"}, "max_output_tokens": 20000,
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "say hi"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]},
            {"type": "custom_tool_call", "id": "ctc_1", "status": "completed", "call_id": "call_1", "name": "apply_patch",
                "input": "*** Begin Patch"},
            {"type": "custom_tool_call_output", "call_id": "call_1", "output": "Success."},
            {"type": "local_shell_call", "call_id": "call_2", "status": "completed",
                "action": {"type": "exec", "command": ["ls"]}},
            {"type": "function_call_output", "call_id": "call_2", "output": "README.md"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "again"}]},
        ],
        "tools": [function, {"type": "web_search"}, {"type": "local_shell"},
            {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}}],
    });
    let (model, record) = model(Script::default());
    let server = start(settings(), Some(vec![model])).await;
    let reply = server.post(RESPONSES, &body).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert!(reply.events().last().unwrap().contains("\"response.completed\""));
    for part in
        ["tools[1] (", "tools[2] (", "tools[3] (", "input[1] (", "reasoning.effort (", "max_output_tokens ("]
    {
        assert!(left_out(&reply).contains(part), "{part}: {}", left_out(&reply));
    }
    let prompt = record.requests.lock().unwrap().remove(0).prompt;
    let prompt: String = prompt.iter().filter_map(|id| char::from_u32(*id)).collect();
    for part in ["Begin Patch", "Success.", "local_shell", "README.md"] {
        assert!(prompt.contains(part), "{part}: {prompt}");
    }
    let forced =
        json!({"model": "m", "input": "a", "tool_choice": "required", "tools": [{"type": "web_search"}]});
    let refused = server.post(RESPONSES, &forced).await;
    assert_eq!((refused.status, error(&refused)["param"].as_str()), (400, Some("tool_choice")));
    let misspelled = json!({"model": "m", "input": "a", "tools": [{"type": "functoin"}]});
    assert_eq!(server.post(RESPONSES, &misspelled).await.status, 400);
    let strict = ServerSettings { strict: true, ..settings() };
    let server = start(strict, Some(vec![super::scripted::model(Script::default()).0])).await;
    assert_eq!(server.post(RESPONSES, &body).await.status, 400);
}

#[tokio::test]
async fn models_paths_and_names_are_read_as_clients_write_them() {
    let server = server().await;
    let messages = json!([{"role": "user", "content": "hi"}]);
    let nameless = server.post(CHAT, &json!({"messages": messages})).await;
    assert_eq!((nameless.status, &nameless.json()["model"]), (200, &json!("m")));
    for path in ["/v1/models/", "/v1//models", "/v1/models"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    assert_eq!(server.post("/v1/chat/completions/", &chat(json!({}))).await.status, 200);
    assert_eq!(server.get("/v1/model").await.status, 404);
    for name in ["calendar.respondToEvent", "admin/tools", &"a".repeat(77)] {
        let tool = json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}});
        let reply = server.post(CHAT, &chat(json!({"tools": [tool]}))).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
    let strict = ServerSettings { strict: true, ..settings() };
    let strict = start(strict, Some(vec![model(Script::default()).0])).await;
    let refused = strict.post(CHAT, &json!({"messages": messages})).await;
    assert_eq!((refused.status, error(&refused)["param"].as_str()), (400, Some("model")));
}

#[tokio::test]
async fn overflow_is_worded_as_clients_look_for_it() {
    let server = server().await;
    let long = json!([{"role": "user", "content": "a".repeat(5000)}]);
    let refused = server.post(CHAT, &chat(json!({"messages": long}))).await;
    let error = error(&refused);
    // LiteLLM looks for the text, LangChain for the code.
    assert!(error["message"].as_str().unwrap().contains("this model's maximum context length is"));
    assert_eq!((&error["code"], &error["param"]), (&json!("context_length_exceeded"), &json!("messages")));
}

#[tokio::test]
async fn calls_of_a_model_family_are_read_and_its_ids_fit_its_template() {
    // The template of a Mistral model, as far as calls go.
    let template = "{% for m in messages %}{% if m.tool_calls %}[TOOL_CALLS]{% for c in m.tool_calls %}{% if c.id | length != 9 %}{{ raise_exception('nine characters') }}{% endif %}{{ c.function.name }}{{ c.id }}{% endfor %}{% elif m.role == 'tool' %}[RESULT {{ m.tool_call_id }}]{{ m.content }}{% else %}{{ m.content }}{% endif %}{% endfor %}{% for t in tools or [] %}{{ t.function.name }}{% endfor %}";
    let script =
        Script { tokens: tokens("[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]"), ..Script::default() };
    let (model, _) = model_with_template(script, template);
    let server = start(settings(), Some(vec![model])).await;
    let tool = json!({"type": "function", "function": {"name": "f"}});
    let reply = server.post(CHAT, &chat(json!({"tools": [tool]}))).await.json();
    let choice = &reply["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(call["function"], json!({"name": "f", "arguments": "{\"a\":1}"}));
    let id = call["id"].as_str().unwrap();
    assert_eq!(id.len(), 9);
    // The second turn, with the server's id and with one of another server.
    for id in [id, "call_0123456789abcdef01234567"] {
        let mut call = call.clone();
        call["id"] = id.into();
        let messages = json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": id, "content": "done"}]);
        let body = chat(json!({"messages": messages, "tools": [tool]}));
        let applied = server.post("/apply-template", &body).await;
        assert_eq!(applied.status, 200, "{}", applied.body);
        let prompt = applied.json()["prompt"].as_str().unwrap().to_owned();
        let short = &prompt[prompt.find("[RESULT ").unwrap() + 8..][..9];
        assert!(prompt.contains(&format!("f{short}[RESULT {short}]done")), "{prompt}");
        assert_eq!(server.post(CHAT, &body).await.status, 200);
    }
}

#[tokio::test]
async fn tags_of_calls_that_are_special_tokens_are_seen() {
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}{% for t in tools or [] %}{{ t.function.name }}{% endfor %}{# <|tool_call_start|> #}";
    let tag = |id: u32| (id, String::new());
    let script = Script {
        tokens: [tokens("I look."), vec![tag(259)], tokens("[f(a=1)]"), vec![tag(260)]].concat(),
        ..Script::default()
    };
    let (model, _) = model_with_template(script, template);
    let names = ["<|tool_call_start|>", "<|tool_call_end|>"].map(str::to_owned);
    let tokenizer = model.tokenizer.with_special(&names).unwrap();
    let server = start(settings(), Some(vec![Model { tokenizer, ..model }])).await;
    let tool = json!({"type": "function", "function": {"name": "f"}});
    let message =
        server.post(CHAT, &chat(json!({"tools": [tool]}))).await.json()["choices"][0]["message"].clone();
    assert_eq!(
        (&message["content"], &message["tool_calls"][0]["function"]["arguments"]),
        (&json!("I look."), &json!("{\"a\":1}"))
    );
    let events = server.post(CHAT, &chat(json!({"tools": [tool], "stream": true}))).await.events().join("\n");
    assert!(events.contains("{\\\"a\\\":1}") && !events.contains("tool_call_start"), "{events}");
    // Without tools there is no tag to see.
    assert_eq!(text(&server.post(CHAT, &chat(json!({}))).await), "I look.[f(a=1)]");
}
