//! Parameters of OpenAI's interface that are checked and have no effect here: those that only inform the server, and
//! those that it accepts only in a value that changes nothing.

use crate::error::ApiError;
use crate::fields::Fields;
use serde_json::{Value, json};

/// Parameters that these models or this server do not support: the values that change nothing, and the reason.
fn unsupported() -> Vec<(&'static str, Vec<Value>, &'static str)> {
    let text = "these models read and write text only";
    let kept = "prefixes are kept in memory";
    vec![
        ("modalities", vec![json!(["text"])], text),
        ("audio", vec![], text),
        ("store", vec![json!(false)], "nothing is stored"),
        ("service_tier", vec![json!("auto"), json!("default")], "there is one tier"),
        ("prediction", vec![], "predicted outputs are not used"),
        ("web_search_options", vec![], "there is no web search"),
        ("moderation", vec![], "there is no moderation"),
        ("reasoning_effort", vec![json!("none")], "these models do not reason before they answer"),
        ("verbosity", vec![json!("medium")], "these models were not trained for it"),
        ("prompt_cache_retention", vec![json!("in_memory"), json!("in-memory")], kept),
        ("prompt_cache_options", vec![json!({})], "prefixes are reused without options"),
        ("functions", vec![json!([])], "use `tools`"),
        ("function_call", vec![json!("none")], "use `tool_choice`"),
        ("chat_template_kwargs", vec![json!({})], "the template has no parameters"),
        ("chat_template", vec![], "the server chooses the template (--chat-template)"),
        ("documents", vec![json!([])], "the template takes no documents"),
        ("best_of", vec![json!(1)], "use `n`"),
    ]
}

/// Parameters that inform the server and do not change the answer.
const INFORMATION: [&str; 4] = ["user", "metadata", "safety_identifier", "prompt_cache_key"];

/// Takes the parameters that have no effect and refuses those that would need one.
pub(super) fn take(fields: &mut Fields) -> Result<(), ApiError> {
    for (field, accepted, why) in unsupported() {
        fields.neutral(field, &accepted, why)?;
    }
    for field in INFORMATION {
        match field {
            "metadata" => drop(fields.object(field)?),
            _ => drop(fields.text(field)?),
        }
    }
    Ok(())
}
