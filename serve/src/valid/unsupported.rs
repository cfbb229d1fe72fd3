//! Parameters of OpenAI's interface that are checked and have no effect here: those that only inform the server, and
//! those that it accepts only in a value that changes nothing. The same for the parameters of vLLM and llama.cpp, whose
//! clients send the defaults of those servers.

use crate::error::ApiError;
use crate::fields::Fields;
use serde_json::{Value, json};

/// Parameters that these models or this server do not support: the values that change nothing, and the reason.
pub(super) fn unsupported() -> Vec<(&'static str, Vec<Value>, &'static str)> {
    let text = "these models read and write text only";
    let kept = "prefixes are kept in memory";
    vec![
        ("modalities", vec![json!(["text"])], text),
        ("audio", vec![], text),
        ("service_tier", vec![json!("auto"), json!("default")], "there is one tier"),
        ("prediction", vec![], "predicted outputs are not used"),
        ("web_search_options", vec![], "there is no web search"),
        ("moderation", vec![], "there is no moderation"),
        ("verbosity", vec![json!("medium")], "these models were not trained for it"),
        ("prompt_cache_retention", vec![json!("in_memory"), json!("in-memory")], kept),
        ("prompt_cache_options", vec![json!({})], "prefixes are reused without options"),
        ("functions", vec![json!([])], "use `tools`"),
        ("function_call", vec![json!("none")], "use `tool_choice`"),
        ("chat_template", vec![], "the server chooses the template (--chat-template)"),
        ("documents", vec![json!([])], "the template takes no documents"),
        ("best_of", vec![json!(1)], "use `n`"),
    ]
}

/// Parameters of vLLM and llama.cpp: the values that change nothing there and here.
pub(super) fn engine_defaults() -> Vec<(&'static str, Vec<Value>)> {
    let (off, on, zero, one) =
        (|| vec![json!(false)], || vec![json!(true)], || vec![json!(0)], || vec![json!(1)]);
    vec![
        // vLLM.
        ("use_beam_search", off()),
        ("length_penalty", one()),
        ("early_stopping", off()),
        ("skip_special_tokens", on()),
        ("spaces_between_special_tokens", on()),
        ("include_stop_str_in_output", off()),
        ("detokenize", on()),
        ("truncate_prompt_tokens", vec![]),
        ("allowed_token_ids", vec![json!([])]),
        ("bad_words", vec![json!([])]),
        ("logits_processors", vec![json!([])]),
        ("return_tokens_as_token_ids", off()),
        ("priority", zero()),
        ("mm_processor_kwargs", vec![json!({})]),
        ("kv_transfer_params", vec![json!({})]),
        ("vllm_xargs", vec![json!({})]),
        // llama.cpp.
        ("cache_prompt", vec![json!(true), json!(false)]),
        ("n_predict", vec![json!(-1)]),
        ("n_discard", zero()),
        ("n_probs", zero()),
        ("min_keep", zero()),
        ("repeat_penalty", one()),
        ("typical_p", one()),
        ("tfs_z", one()),
        ("top_a", zero()),
        ("top_n_sigma", vec![json!(-1), json!(0)]),
        ("mirostat", zero()),
        ("dynatemp_range", zero()),
        ("xtc_probability", zero()),
        ("dry_multiplier", zero()),
        ("penalize_nl", off()),
        ("t_max_predict_ms", vec![json!(0), json!(-1)]),
        ("id_slot", vec![json!(-1)]),
        ("lora", vec![json!([])]),
        ("return_tokens", off()),
        ("return_progress", off()),
        ("timings_per_token", off()),
        ("post_sampling_probs", off()),
        ("response_fields", vec![json!([])]),
        ("parse_tool_calls", on()),
        ("thinking_forced_open", off()),
        // text-generation-webui, and OpenRouter; the usage is always reported.
        ("tfs", one()),
        ("transforms", vec![json!([])]),
        ("provider", vec![json!({}), json!({"order": []})]),
        ("usage", vec![json!({"include": true}), json!({"include": false})]),
    ]
}

/// Parameters of vLLM and llama.cpp that change nothing without another one, or nothing at all.
pub(super) const ENGINE_IGNORED: [&str; 14] = [
    "request_id",
    "guided_decoding_backend",
    "keep_alive",
    "client_metadata",
    "repeat_last_n",
    "n_keep",
    "mirostat_tau",
    "mirostat_eta",
    "dynatemp_exponent",
    "xtc_threshold",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
];

/// Takes the parameters of vLLM and llama.cpp.
pub(super) fn take_engine_defaults(fields: &mut Fields) -> Result<(), ApiError> {
    for (field, accepted) in engine_defaults() {
        fields.neutral(field, &accepted, "only the value that changes nothing is accepted")?;
    }
    for field in ENGINE_IGNORED {
        fields.take(field);
    }
    Ok(())
}

/// Parameters that inform the server and do not change the answer.
pub(super) const INFORMATION: [&str; 5] =
    ["user", "metadata", "safety_identifier", "prompt_cache_key", "store"];

/// Takes the parameters that have no effect and refuses those that would need one.
pub(super) fn take(fields: &mut Fields) -> Result<(), ApiError> {
    for (field, accepted, why) in unsupported() {
        fields.neutral(field, &accepted, why)?;
    }
    for field in INFORMATION {
        match field {
            "metadata" => drop(fields.object(field)?),
            // Of chat completions and completions, for reports that OpenAI makes.
            "store" => drop(fields.boolean(field)?),
            _ => drop(fields.text(field)?),
        }
    }
    Ok(())
}
