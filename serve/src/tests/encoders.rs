//! `/v1/embeddings` of sentence encoders: vectors of transformers, beside a model that generates, and what is refused.

use super::client::{TestServer, settings, start, table};
use super::scripted::{Script, model};
use crate::model_source::ModelSource;
use crate::model_table::ModelTable;
use crate::served_encoder::ServedEncoder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

fn goldens(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../encoder/tests/goldens");
    folder.join(name).to_string_lossy().into_owned()
}

/// A model `scripted` that generates, an encoder `tiny`, and its other name `text-embedding-3-small`.
async fn server() -> TestServer {
    let server = start(settings(), None).await;
    let source = ModelSource { name: "tiny".to_owned(), location: goldens("tiny") };
    let encoders = vec![Arc::new(ServedEncoder::open(&source).unwrap())];
    let aliases = BTreeMap::from([("text-embedding-3-small".to_owned(), "tiny".to_owned())]);
    server.state.set_models(ModelTable { encoders, aliases, ..table(vec![model(Script::default()).0]) });
    server
}

fn vectors(reply: &Value) -> Vec<Vec<f64>> {
    let rows = reply["data"].as_array().unwrap_or_else(|| panic!("{reply}"));
    let numbers =
        |row: &Value| row["embedding"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    rows.iter().map(numbers).collect()
}

#[tokio::test]
async fn an_encoder_answers_with_the_vectors_of_transformers() {
    let server = server().await;
    let mut rows: Vec<Value> = serde_json::from_slice(&std::fs::read(goldens("tiny.json")).unwrap()).unwrap();
    let counter = encoder::Encoder::open(Path::new(&goldens("tiny"))).unwrap();
    rows.retain(|row| !counter.count(row["text"].as_str().unwrap()).unwrap().is_cut);
    assert!(rows.len() >= 5);
    // More texts than are computed in one turn.
    let texts: Vec<&Value> = rows.iter().map(|row| &row["text"]).cycle().take(40).collect();
    let body = json!({"model": "tiny", "input": texts, "normalize": false});
    let (reply, other) =
        tokio::join!(server.post("/v1/embeddings", &body), server.post("/v1/embeddings", &body));
    assert_eq!(reply.body, other.body);
    let reply = reply.json();
    let found = vectors(&reply);
    assert_eq!(found.len(), 40);
    for (row, vector) in rows.iter().cycle().zip(&found) {
        let expected: Vec<f64> = row["pooled"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        assert_eq!(vector.len(), expected.len());
        assert!(vector.iter().zip(&expected).all(|(one, other)| (one - other).abs() < 1e-5), "{row}");
    }
    assert_eq!(reply["model"], "tiny");
    assert!(reply["usage"]["prompt_tokens"].as_u64().unwrap() > 80, "{}", reply["usage"]);
    let short = json!({"model": "text-embedding-3-small", "input": "a", "dimensions": 5});
    let unit = server.post("/v1/embeddings", &short).await.json();
    let unit = &vectors(&unit)[0];
    assert_eq!(unit.len(), 5);
    assert!((unit.iter().map(|number| number * number).sum::<f64>() - 1.0).abs() < 1e-5);
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("smolserve_prompt_tokens_total{model_name=\"tiny\"}"), "{metrics}");
}

#[tokio::test]
async fn an_encoder_is_listed_and_says_what_it_cannot_do() {
    let server = server().await;
    let listed = server.get("/v1/models/tiny").await.json();
    assert_eq!((&listed["engine"], &listed["max_model_len"]), (&json!("encoder"), &json!(96)));
    let long = "word ".repeat(500);
    for (path, body, param, words) in [
        (
            "/v1/embeddings",
            json!({"input": ["short", long]}),
            "input",
            "`input[1]` has more than the 96 tokens",
        ),
        ("/v1/embeddings", json!({"input": [1, 2]}), "input", "takes texts"),
        ("/v1/embeddings", json!({"input": "a", "pooling": "mean"}), "pooling", "pools as it was trained to"),
        ("/v1/embeddings", json!({"input": "a", "dimensions": 25}), "dimensions", "at most 24"),
        (
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": "Hi"}]}),
            "model",
            "/v1/embeddings alone",
        ),
        ("/v1/completions", json!({"prompt": "Hi"}), "model", "/v1/embeddings alone"),
    ] {
        let mut body = body;
        body["model"] = json!("tiny");
        let reply = server.post(path, &body).await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.body);
        let error = &reply.json()["error"];
        assert_eq!(error["param"], param, "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
}
