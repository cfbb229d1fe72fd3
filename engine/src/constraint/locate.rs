//! Where in a schema the compiler's error is: it reports the reason, not the place.
//!
//! The place is found by compiling the parts of the schema, each with the schema's definitions, and going into the first
//! one that fails for the same reason.

use super::schema_parts::subschemas;
use serde_json::{Map, Value};
use std::time::{Duration, Instant};

/// Keywords that a part needs of the whole schema.
const SHARED: [&str; 4] = ["$schema", "$defs", "definitions", "$id"];
/// How long the place is looked for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Maximum number of parts that are compiled.
const MAX_PARTS: usize = 256;

/// The JSON pointer of the smallest part for which `reason_of` returns `reason`; empty for the schema as a whole.
pub(super) fn pointer(schema: &Value, reason: &str, reason_of: impl Fn(Value) -> Option<String>) -> String {
    let (until, mut parts) = (Instant::now() + PATIENCE, 0);
    let (mut pointer, mut current) = (String::new(), schema);
    while let Value::Object(fields) = current {
        let mut fails = |part: &Value| {
            parts += 1;
            parts <= MAX_PARTS
                && Instant::now() < until
                && reason_of(with_definitions(part, schema)).as_deref() == Some(reason)
        };
        let Some((step, part)) = subschemas(fields).into_iter().find(|(_, part)| fails(part)) else { break };
        pointer.push_str(&step);
        current = part;
    }
    pointer
}

/// A part as a schema of its own.
fn with_definitions(part: &Value, schema: &Value) -> Value {
    let Value::Object(fields) = part else { return part.clone() };
    let shared =
        SHARED.iter().filter_map(|keyword| Some(((*keyword).to_owned(), schema.get(*keyword)?.clone())));
    let mut alone: Map<String, Value> = shared.collect();
    alone.extend(fields.clone());
    Value::Object(alone)
}
