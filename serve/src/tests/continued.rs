//! Responses that continue others by `previous_response_id`.

use super::behavior::error;
use super::client::{settings, start};
use super::scripted::{Record, Script, model, tokens};
use crate::state::ServerSettings;
use serde_json::{Value, json};

const RESPONSES: &str = "/v1/responses";

/// The text of the last prompt; a token is a byte, and those above are the template's marks.
fn last_prompt(record: &Record) -> String {
    let requests = record.requests.lock().unwrap();
    let ids = requests.last().unwrap().prompt.iter();
    ids.map(|id| u8::try_from(*id).map_or('|', char::from)).collect()
}

#[tokio::test]
async fn a_response_continues_what_was_said_without_its_instructions() {
    let (model, record) = model(Script { tokens: tokens("Hello."), ..Script::default() });
    let server = start(settings(), Some(vec![model])).await;
    let first = json!({"input": "First.", "instructions": "Be brief."});
    let first = server.post(RESPONSES, &first).await.json();
    assert_eq!((&first["store"], &first["previous_response_id"]), (&json!(true), &Value::Null));
    let more = json!({"input": "Second.", "instructions": "Be loud.", "previous_response_id": first["id"], "stream": true});
    let streamed = server.post(RESPONSES, &more).await;
    let events = streamed.events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["response"]["previous_response_id"], first["id"]);
    assert_eq!(
        last_prompt(&record),
        "|system\nBe loud.|\n|user\nFirst.|\n|assistant\nHello.|\n|user\nSecond.|\n|assistant\n"
    );
    let mut counted = more.clone();
    counted.as_object_mut().unwrap().remove("stream");
    let counted = server.post("/v1/responses/input_tokens", &counted).await.json();
    assert_eq!(counted["input_tokens"], last["response"]["usage"]["input_tokens"]);
    assert_eq!(record.requests.lock().unwrap().len(), 2, "nothing was computed to count");
    // A streamed response is stored, too, and one that is not stored cannot be continued.
    let third = json!({"input": "Third.", "previous_response_id": last["response"]["id"], "store": false});
    let third = server.post(RESPONSES, &third).await.json();
    assert!(last_prompt(&record).contains("user\nSecond.|\n|assistant\nHello.|\n|user\nThird."));
    assert_eq!(third["store"], false);
    let fourth = json!({"input": "Fourth.", "previous_response_id": third["id"]});
    let refused = server.post(RESPONSES, &fourth).await;
    assert_eq!(
        (refused.status, error(&refused)["code"].as_str()),
        (400, Some("previous_response_not_found"))
    );
    assert_eq!(error(&refused)["param"], "previous_response_id");
}

#[tokio::test]
async fn results_of_tools_continue_the_calls() {
    let text = "<tool_call>{\"name\": \"look\", \"arguments\": {\"a\": 1}}</tool_call>";
    let (model, record) = model(Script { tokens: tokens(text), ..Script::default() });
    let server = start(settings(), Some(vec![model])).await;
    let tools = json!([{"type": "function", "name": "look", "parameters": {"type": "object"}}]);
    let first = server.post(RESPONSES, &json!({"input": "Look.", "tools": tools})).await.json();
    let call = &first["output"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("look")), "{first}");
    let result = json!([{"type": "function_call_output", "call_id": call["call_id"], "output": "a cat"}]);
    let more = json!({"input": result, "tools": tools, "previous_response_id": first["id"]});
    assert_eq!(server.post(RESPONSES, &more).await.status, 200);
    let prompt = last_prompt(&record);
    let (call, result) = (prompt.rfind("\"arguments\": {\"a\": 1}").unwrap(), prompt.rfind("a cat").unwrap());
    assert!(call < result, "{prompt}");
}

#[tokio::test]
async fn a_response_is_continued_by_its_own_key_alone() {
    let keyed = ServerSettings { api_keys: vec!["one".to_owned(), "two".to_owned()], ..settings() };
    let keyed = ServerSettings { share_prefixes: true, ..keyed };
    let server = start(keyed, Some(vec![model(Script::default()).0])).await;
    let post = |key: &'static str, body: Value| {
        let server = &server;
        async move {
            let headers = format!("authorization: Bearer {key}\r\n");
            server.request("POST", RESPONSES, &headers, body.to_string().as_bytes()).await
        }
    };
    let first = post("one", json!({"input": "A secret."})).await.json();
    let more = json!({"input": "What?", "previous_response_id": first["id"]});
    assert_eq!(post("one", more.clone()).await.status, 200);
    let refused = post("two", more.clone()).await;
    assert_eq!(
        (refused.status, error(&refused)["code"].as_str()),
        (400, Some("previous_response_not_found"))
    );
    let off = ServerSettings { responses_memory: 0, ..settings() };
    let server = start(off, Some(vec![model(Script::default()).0])).await;
    let first = server.post(RESPONSES, &json!({"input": "a", "store": true})).await.json();
    assert_eq!(first["store"], false);
    let refused = server.post(RESPONSES, &more).await;
    assert!(
        error(&refused)["message"].as_str().unwrap().contains("--responses-memory 0"),
        "{}",
        refused.body
    );
}
