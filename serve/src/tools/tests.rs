//! The errors of a plan, and its grammar in the native engine with a real model.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::left_out::LeftOut;
use crate::tests::scripted::bytes_tokenizer;
use crate::tests::stories_folder;
use crate::traits::TemplateTraits;
use engine::{ConstraintCompiler, Decoder, Engine, NativeEngine, Options, Request, Sampling};
use serde_json::json;

fn tools() -> Value {
    json!([
        {"type": "function", "function": {"name": "weather", "description": "How it is outside.", "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 12},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
                "unit": {"$ref": "#/$defs/unit"},
            },
            "required": ["city", "days", "unit"],
            "$defs": {"unit": {"enum": ["C", "F"]}},
        }}},
        {"type": "function", "function": {"name": "now"}},
    ])
}

#[track_caller]
fn refused(tools: &Value, choice: &Value, param: &str) {
    let error = ToolPlan::new(Some(tools), Some(choice), true, false, &mut LeftOut::default()).unwrap_err();
    assert_eq!(error.param.as_deref(), Some(param), "{}", error.message);
}

#[test]
fn every_error_names_its_parameter() {
    let auto = json!("auto");
    let function = |function: Value| json!([tools()[1], {"type": "function", "function": function}]);
    refused(&json!({}), &auto, "tools");
    refused(&json!([{"function": {"name": "f"}}]), &auto, "tools[0].type");
    refused(&json!([{"type": "robot"}]), &auto, "tools[0].type");
    refused(&json!([7]), &auto, "tools[0]");
    refused(&json!([{"type": "function", "name": "f"}]), &auto, "tools[0].function");
    refused(&function(json!({})), &auto, "tools[1].function.name");
    refused(&function(json!({"name": "two words"})), &auto, "tools[1].function.name");
    refused(&function(json!({"name": "now"})), &auto, "tools[1].function.name");
    refused(&function(json!({"name": "f", "parameters": []})), &auto, "tools[1].function.parameters");
    refused(&function(json!({"name": "f", "strict": 1})), &auto, "tools[1].function.strict");
    let forced = |parameters: Value| function(json!({"name": "f", "parameters": parameters}));
    let parameters = "tools[1].function.parameters";
    refused(&forced(json!({"type": "string"})), &json!("required"), parameters);
    refused(&forced(json!({"type": "object", "not": {}})), &json!("required"), parameters);
    let strict = json!({"name": "f", "strict": true, "parameters": {"type": "object", "not": {}}});
    refused(&function(strict), &auto, parameters);
    refused(&tools(), &json!("always"), "tool_choice");
    refused(&tools(), &json!({"type": "function"}), "tool_choice");
    refused(&tools(), &json!({"type": "function", "function": {"name": "nowhere"}}), "tool_choice");
    refused(&json!([]), &json!("required"), "tool_choice");
}

#[test]
fn only_forced_calls_are_constrained() {
    let plan = |choice: Value| {
        ToolPlan::new(Some(&tools()), Some(&choice), true, false, &mut LeftOut::default()).unwrap()
    };
    assert!(plan(json!("none")).is_none());
    assert!(
        ToolPlan::new(None, Some(&json!("auto")), true, false, &mut LeftOut::default()).unwrap().is_none()
    );
    assert!(ToolPlan::new(Some(&json!([])), None, true, false, &mut LeftOut::default()).unwrap().is_none());
    assert!(plan(Value::Null).unwrap().constraint(None).is_none());
    assert!(plan(json!("required")).unwrap().constraint(None).is_some());
    let Some(Constraint::Lark(named)) =
        plan(json!({"type": "function", "name": "now"})).unwrap().constraint(None)
    else {
        panic!("a named choice has a grammar")
    };
    assert!(named.contains("now") && !named.contains("weather"));
}

#[test]
fn forced_calls_fit_their_schemas() {
    let Some(engine) = stories() else { return };
    let named = json!({"type": "function", "function": {"name": "weather"}});
    for (choice, parallel) in [(json!("required"), true), (json!("required"), false), (named, true)] {
        let plan = ToolPlan::new(Some(&tools()), Some(&choice), parallel, false, &mut LeftOut::default())
            .unwrap()
            .unwrap();
        for seed in 0..6 {
            let request = Request {
                prompt: vec![1],
                sampling: Sampling { temperature: 1.5, seed, ..Sampling::default() },
                constraint: plan.constraint(None),
                max_tokens: 400,
                ..Request::default()
            };
            let answer = engine.submit(request).unwrap().collect_blocking();
            let (text, mut calls) = split(&plan, &answer.text);
            if answer.finish == engine::Finish::Length {
                // Several calls may be longer than the model's context; then the last one breaks off.
                assert!(parallel && choice == "required" && calls.pop().is_some(), "{}", answer.text);
                assert!(calls.len() < 8, "{}", answer.text);
            } else {
                assert_eq!((answer.finish, text.as_str()), (engine::Finish::Stop, ""), "{}", answer.text);
            }
            assert!(!calls.is_empty() && (parallel || calls.len() == 1), "{}", answer.text);
            for (name, arguments) in calls {
                let arguments: Value = serde_json::from_str(&arguments).unwrap();
                let index = usize::from(name == "now");
                let none = json!({"type": "object", "maxProperties": 0});
                let schema = tools()[index]["function"].get("parameters").cloned().unwrap_or(none);
                assert!(jsonschema::is_valid(&schema, &arguments), "{name}: {arguments}");
                assert!(choice == "required" || name == "weather");
            }
        }
    }
}

/// The text, and the calls as names with arguments.
fn split(plan: &ToolPlan, text: &str) -> (String, Vec<(String, String)>) {
    let mut reader = plan.reader(TemplateTraits::of(&checkpoint::ChatTemplate::chatml()));
    let mut pieces = reader.push(text);
    pieces.extend(reader.finish());
    let (mut whole, mut calls) = (String::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Text(text) => whole.push_str(&text),
            Piece::CallBegins { name, .. } => calls.push((name, String::new())),
            Piece::Arguments { index, text } => calls[index].1.push_str(&text),
        }
    }
    (whole, calls)
}

fn stories() -> Option<NativeEngine> {
    let checkpoint = checkpoint::Checkpoint::open(&stories_folder()?.to_string_lossy(), None).unwrap();
    Some(NativeEngine::start(&checkpoint, Options::default()).unwrap())
}

/// How much of a text a constraint allows, and whether the answer may end there. A token is a byte.
fn allowed(constraint: Constraint, text: &str) -> (&str, bool) {
    const END: u32 = 258;
    let tokenizer = bytes_tokenizer();
    let guide = ConstraintCompiler::new(&tokenizer, 259, &[END]).unwrap().guide(constraint).unwrap();
    let (sender, _receiver) = tokio::sync::mpsc::unbounded_channel();
    let request = Request { prompt: vec![1], max_tokens: 4000, stop_ids: vec![END], ..Request::default() };
    let mut decoder = Decoder::new(request, Some(guide), sender);
    let mut allows = |id: u32| {
        let mut logits = vec![0.0; 259];
        logits[id as usize] = 1.0;
        decoder.is_over() || decoder.choose(&mut logits, &tokenizer) == Some(id)
    };
    let count = text.bytes().take_while(|byte| allows(u32::from(*byte))).count();
    (&text[..count], count == text.len() && allows(END))
}

#[test]
fn optional_calls_leave_calls_or_the_schema() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
    let schema = schema.as_object().unwrap();
    let plan = ToolPlan::new(Some(&tools()), None, true, false, &mut LeftOut::default()).unwrap().unwrap();
    let constraint = || plan.constraint(Some(schema)).unwrap();
    let call = "<tool_call>[{\"name\": \"now\", \"arguments\": {\"any\": [1]}}]</tool_call>";
    for whole in ["{\"a\": 5}", call] {
        assert_eq!(allowed(constraint(), whole), (whole, true));
    }
    assert_eq!(allowed(constraint(), "Hello"), ("", false));
    assert_eq!(allowed(constraint(), "{\"a\": true}"), ("{\"a\": ", false));
}

#[test]
fn calls_of_strict_tools_fit_their_schemas_and_text_is_free() {
    let mut strict = tools();
    strict[0]["function"]["strict"] = true.into();
    let plan = ToolPlan::new(Some(&strict), None, true, false, &mut LeftOut::default()).unwrap().unwrap();
    let constraint = || plan.constraint(None).unwrap();
    let good = "{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\", \"days\": 2, \"unit\": \"C\"}}";
    let now = "{\"name\": \"now\", \"arguments\": {\"x\": 1}}";
    for free in [
        "",
        "It is <b>dry</b>: [1] é\n<tool_",
        &format!("<tool_call>[{good}, {now}]</tool_call>"),
        &format!("Let me see.\n<tool_call>[{good}]</tool_call>"),
    ] {
        assert_eq!(allowed(constraint(), free), (free, true));
    }
    let bad = "Well <tool_call>[{\"name\": \"weather\", \"arguments\": {\"city\": 7";
    assert_eq!(allowed(constraint(), bad).0, &bad[..bad.len() - 1]);
    let unknown = "<tool_call>[{\"name\": \"sing";
    assert_eq!(allowed(constraint(), unknown).0, &unknown[..unknown.len() - 4]);
}
