//! The JSON-Schema-Test-Suite: nothing that a schema forbids is allowed, and what is refused is refused with a place.
//!
//! The suite is not part of this project: `tests/foreign/fetch FOLDER` gets it, and `SMOL_FOREIGN=FOLDER` names it. Each of its
//! instances is followed byte by byte; beside them, texts that the constraint allows are drawn at random and validated.
//! `tests/foreign/json_schema` does the same with the answers of a model and another validator.

use super::tests::{compiler, takes};
use super::{ConstraintCompiler, Guide};
use crate::request::{Constraint, RequestError};
use jsonschema::Draft;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Texts that are drawn for each schema, and bytes of the longest.
const DRAWN: usize = 24;
const LONGEST: usize = 240;

#[derive(Debug, Default)]
struct Counts {
    schemas: usize,
    refused: usize,
    forbidden: usize,
    valid: usize,
    valid_allowed: usize,
    drawn: usize,
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let parts = ["", "optional", "optional/format"];
    let entries = parts.iter().filter_map(|part| std::fs::read_dir(folder.join(part)).ok()).flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    // What is in a text with another encoding is an annotation here, as in later drafts.
    files.retain(|path| !path.ends_with("optional/content.json"));
    files.sort();
    files
}

/// JSON with the white space of the constraints.
fn spaced(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                format!("{}: {}", Value::from(name.as_str()), spaced(value))
            };
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A whole text that the guide allows, chosen byte by byte; what ends strings and brackets is preferred.
fn draw(mut guide: Guide, state: &mut u64) -> Option<String> {
    let mut below = |count: usize| (random::next(state) % count as u64) as usize;
    let mut text = Vec::new();
    while text.len() < LONGEST {
        if guide.is_accepting() && below(3) > 0 {
            return String::from_utf8(text).ok();
        }
        let mask = guide.allowed().ok()?;
        let weight = |byte: u8| match byte {
            b'"' | b'}' | b']' => 12,
            byte if byte.is_ascii_alphanumeric() => 3,
            _ => 1,
        };
        let bytes: Vec<u8> = (0..=255u8)
            .filter(|byte| mask.is_allowed(u32::from(*byte)))
            .flat_map(|byte| std::iter::repeat_n(byte, weight(byte)))
            .collect();
        if bytes.is_empty() {
            return guide.is_accepting().then(|| String::from_utf8(text).ok())?;
        }
        let byte = bytes[below(bytes.len())];
        guide.advance(byte.into()).ok()?;
        text.push(byte);
    }
    None
}

/// Whether a text has a number outside of what floats hold exactly, or what looks like one.
fn has_large_number(text: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let is_long = |start: usize| digits(&text[start..]) > 15;
    let has_exponent = |start: usize| {
        let rest = text[start + 1..].trim_start_matches(['+', '-']).trim_start_matches('0');
        text[..start].ends_with(|c: char| c.is_ascii_digit()) && digits(rest) > 2
    };
    text.char_indices().any(|(start, character)| match character {
        '0'..='9' => is_long(start),
        'e' | 'E' => has_exponent(start),
        _ => false,
    })
}

fn check(
    compiler: &ConstraintCompiler,
    draft: Draft,
    name: &str,
    schema: &Value,
    tests: &Value,
    counts: &mut Counts,
) -> Vec<String> {
    let guide = || compiler.guide(Constraint::JsonSchema(schema.clone()));
    counts.schemas += 1;
    let mut wrong = Vec::new();
    match guide() {
        Err(RequestError::Schema { .. } | RequestError::Keyword { .. }) => counts.refused += 1,
        Err(other) => wrong.push(format!("{name}: refused without a place: {other}")),
        Ok(_) => {
            for test in tests.as_array().into_iter().flatten() {
                let (text, is_valid) = (spaced(&test["data"]), test["valid"] == true);
                let is_allowed = takes(guide().expect("compiled before"), &text);
                counts.valid += usize::from(is_valid);
                counts.valid_allowed += usize::from(is_valid && is_allowed);
                counts.forbidden += usize::from(!is_valid);
                if is_allowed && !is_valid {
                    wrong.push(format!("{name}: {schema} allows {text}: {}", test["description"]));
                }
            }
            let validator =
                jsonschema::options().with_draft(draft).should_validate_formats(true).build(schema);
            let mut state = random::fnv1a(name);
            for _ in 0..DRAWN {
                let Some(text) = draw(guide().expect("compiled before"), &mut state) else { continue };
                // The validator reads numbers as floats.
                if has_large_number(&text) {
                    continue;
                }
                counts.drawn += 1;
                match (serde_json::from_str::<Value>(&text), &validator) {
                    (Err(error), _) => wrong.push(format!("{name}: {schema} allows {text:?}: {error}")),
                    (Ok(value), Ok(validator)) if !validator.is_valid(&value) => {
                        wrong.push(format!("{name}: {schema} allows {text}"));
                    }
                    _ => {}
                }
            }
        }
    }
    wrong
}

#[test]
fn the_test_suite_finds_no_violation() {
    let Some(folder) = std::env::var_os("SMOL_FOREIGN") else {
        return println!("skipped: SMOL_FOREIGN is not set (tests/foreign/fetch)");
    };
    let compiler = compiler();
    let mut wrong = Vec::new();
    for (folder_name, draft) in [("draft2020-12", Draft::Draft202012), ("draft7", Draft::Draft7)] {
        let folder = Path::new(&folder).join("json_schema/tests").join(folder_name);
        let mut counts = Counts::default();
        for path in files(&folder) {
            let cases: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
            for case in cases.as_array().expect("an array") {
                let mut schema = case["schema"].clone();
                if let (Draft::Draft7, Value::Object(fields)) = (draft, &mut schema) {
                    fields
                        .entry("$schema")
                        .or_insert_with(|| json!("http://json-schema.org/draft-07/schema#"));
                }
                let name = format!(
                    "{folder_name}/{}: {}",
                    path.file_stem().unwrap_or_default().display(),
                    case["description"]
                );
                wrong.extend(check(&compiler, draft, &name, &schema, &case["tests"], &mut counts));
            }
        }
        println!("{folder_name}: {counts:?}");
        assert!(counts.schemas > 100, "no suite in {}", folder.display());
    }
    assert!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), wrong.join("\n"));
}
