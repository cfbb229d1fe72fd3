//! A recipe whose prompts are filled from the columns of a file of seeds, of any layout.

use crate::local_http::serve;
use crate::programs::{program, text_of};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

const RECIPE: &str = r#"
about = "Questions about topics"
row_key = "topics"
source = "topics"
source_columns = ["topic", "level"]
columns = ["topic"]

[[step]]
name = "reply"

[[message]]
role = "user"
content = "Explain {{ topic }}."

[[message]]
role = "assistant"
content = "{{ reply }}"

[sampling.assistant]
temperature = 1.0
top_p = 1.0
max_tokens = 60
"#;

/// A teacher that repeats what it is asked.
async fn answer(Json(body): Json<Value>) -> Json<Value> {
    let text = body["messages"].as_array().unwrap().last().unwrap()["content"].clone();
    let choice =
        json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
    Json(json!({"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}))
}

fn generate(folder: &Path, teacher: &str, more: &[&str]) -> Output {
    let mut command = program("smoltalk");
    command.current_dir(folder).args(["gen", "--rows", "3", "--format", "jsonl", "--teacher", teacher]);
    command.args(["--recipe", "topics/recipe.toml", "--source", "seeds.csv", "--out", "out"]);
    command.args(more).output().unwrap()
}

#[test]
fn columns_of_seeds_are_variables_of_prompts_and_of_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("topics")).unwrap();
    std::fs::write(path("topics/recipe.toml"), RECIPE).unwrap();
    std::fs::write(path("topics/reply.jinja"), "{{ topic }} for level {{ level }}, please").unwrap();
    std::fs::write(path("seeds.csv"), "topic,level\nrain,1\n,2\nsnow,3\nwind,4\n").unwrap();
    let app = Router::new()
        .route("/v1/models", get(async || Json(json!({"data": []}))))
        .route("/v1/chat/completions", post(answer));
    let teacher = format!("{}/v1#echo", serve(app));
    let refused = generate(folder.path(), &teacher, &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text_of(&refused).contains("line 3: has no `topic`, which the recipe's `source_columns` names"));
    let output = generate(folder.path(), &teacher, &["--skip-invalid"]);
    assert!(output.status.success(), "{}", text_of(&output));
    let run = std::fs::read_to_string(path("out/run.json")).unwrap();
    assert!(run.contains("source_rows_left_out") && run.contains("line 3: has no `topic`"), "{run}");
    let rows = datasets::read(&path("out/data/topics")).unwrap().map(|row| match row.unwrap().row {
        datasets::Row::Chat(row) => {
            (row.metadata["topic"].clone(), row.messages[0].content.clone(), row.messages[1].content.clone())
        }
        other => panic!("{other:?}"),
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|row| row.1.clone());
    let row = |topic: &str, level: u32| {
        (json!(topic), format!("Explain {topic}."), format!("{topic} for level {level}, please"))
    };
    assert_eq!(rows, [row("rain", 1), row("snow", 3), row("wind", 4)]);
}
