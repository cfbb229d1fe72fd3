//! Chat templates of published models: what this project's Jinja prints for them, compared with transformers to the byte.
//!
//! The templates belong to others and are not part of this project: `tests/foreign/fetch FOLDER` gets them, and
//! `SMOL_FOREIGN=FOLDER` names them. Without it the test passes and says so.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use checkpoint::ChatTemplate;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Templates that raise an exception in Python where ours prints: they iterate over tools that are none, or over a
/// generator. Those who serve them want the text.
const RAISES_IN_PYTHON: [&str; 4] = [
    "CohereForAI-c4ai-command-r-plus-tool_use.jinja",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja",
    "llama-cpp-deepseek-r1.jinja",
];

/// Its tools' descriptions are printed as HTML (`&lt;`) by Python, because it adds texts to a string that it marks as safe;
/// ours prints the descriptions.
const ESCAPES_IN_PYTHON: &str = "meetkai-functionary-medium-v3.1.jinja";

#[test]
fn public_templates_print_what_transformers_prints() {
    let (Some(python), Some(foreign)) = (std::env::var_os("SMOL_PYTHON"), std::env::var_os("SMOL_FOREIGN"))
    else {
        return println!("skipped: SMOL_PYTHON or SMOL_FOREIGN is not set (tests/foreign/fetch)");
    };
    let folder = Path::new(&foreign).join("templates");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/foreign/render_templates.py");
    let output = Command::new(python).arg(script).arg(&folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(rows.len() > 700, "{} renders", rows.len());
    let wrong: Vec<String> = rows.iter().filter_map(|row| difference(&folder, row)).collect();
    println!("{} of {} renders agree", rows.len() - wrong.len(), rows.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How a render differs from transformers'; `None` if it is the same, or both raise an error, or the reason is known.
fn difference(folder: &Path, row: &Value) -> Option<String> {
    let field = |name: &str| row[name].as_str().unwrap();
    let (name, conversation) = (field("template"), field("conversation"));
    let template = ChatTemplate::read(&folder.join(name), "<s>", "</s>");
    let tools = Some(&row["tools"]).filter(|tools| !tools.is_null());
    let variables = row["variables"].as_object().unwrap();
    let rendered = template.and_then(|template| {
        template.render_with(&row["messages"], tools, row["generation"].as_bool().unwrap(), variables)
    });
    let (found, expected) = (rendered.map_err(|error| error.to_string()), row["text"].as_str());
    let difference = match (&found, expected) {
        (Ok(found), Some(expected)) if found == expected => None,
        (Err(_), None) => None,
        (Ok(found), Some(expected)) => {
            let same = found.bytes().zip(expected.bytes()).take_while(|(a, b)| a == b).count();
            let around = |text: &str| {
                let bytes = &text.as_bytes()[same.saturating_sub(40)..(same + 80).min(text.len())];
                String::from_utf8_lossy(bytes).into_owned()
            };
            Some(format!("ours {:?}, transformers {:?}", around(found), around(expected)))
        }
        (Ok(found), None) => Some(format!(
            "ours {:?}, transformers {}",
            found.chars().take(80).collect::<String>(),
            row["error"]
        )),
        (Err(error), Some(_)) => Some(format!("ours: {error}")),
    };
    let is_explained = match expected {
        Some(expected) => name == ESCAPES_IN_PYTHON && expected.contains("&lt;"),
        None => RAISES_IN_PYTHON.contains(&name),
    };
    difference.filter(|_| !is_explained).map(|difference| format!("{name} [{conversation}]: {difference}"))
}
