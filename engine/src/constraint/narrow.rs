//! A schema as the compiler gets it: with the same meaning, or a narrower one where the compiler's own is too wide.
//!
//! llguidance 1.9.1 writes leap seconds in every minute, February 29th in every year, names of hosts and addresses of mail of
//! any length, none of which validators take. It writes integers of any number of digits, which a weak model never ends. It reads `2.0` as no integer, where JSON schemas make no difference, and `\s` as
//! Rust does, where they follow ECMAScript.

use super::json_schema::json_whitespace;
use super::schema_parts::{local_references, subschemas_mut};
use serde_json::{Map, Value, json};

/// A date of the years 1 to 9999: any day, or February 29th in a leap year.
const DATE: &str = "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-(0[13-9]|1[0-2]|02-([01]|2[0-8]))|\
                    ([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)-02-29";
/// Seconds from 0 to 59: validators take 60 only where it was a leap second.
const SECONDS: &str = "[0-9]{2}:[0-9]{2}:[0-5]";
/// Characters of the longest name of a host (RFC 1123), and of the longest address of mail (RFC 5321).
const LONGEST_HOST: u64 = 253;
const LONGEST_ADDRESS: u64 = 254;
/// Parts of an address of mail: up to 64 characters before the sign, up to 63 in each label.
const ADDRESS: &str = "^[^@]{1,64}@([^.]{1,63}\\.)*[^.]{1,63}$";
/// White space of ECMAScript, without U+FEFF, which other dialects do not count; and what none of them counts.
const SPACE: &str =
    "\\t\\n\\x0b\\x0c\\r \\u{a0}\\u{1680}\\u{2000}-\\u{200a}\\u{2028}\\u{2029}\\u{202f}\\u{205f}\\u{3000}";
const DOUBTFUL_SPACE: &str = "\\u{feff}\\u{85}\\u{1c}-\\u{1f}";
/// The integers that a schema without bounds allows: those of 64 bits, as far as a float says them exactly.
const LARGEST_INTEGER: i64 = 9_223_372_036_854_774_784;
/// Keywords whose value is a count.
const COUNTS: [&str; 6] =
    ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"];

/// The schema for the compiler. It also fixes the white space between JSON tokens: a small model that may write any amount of
/// it tends to write nothing else.
pub fn narrowed(schema: Map<String, Value>) -> Value {
    let mut schema = Value::Object(schema);
    narrow(&mut schema);
    for pointer in local_references(&schema) {
        // A reference may lead to a place that is no schema otherwise.
        if let Some(target) = schema.pointer_mut(&pointer) {
            narrow(target);
        }
    }
    if let Value::Object(fields) = &mut schema {
        fields.entry("x-guidance").or_insert_with(json_whitespace);
    }
    schema
}

/// Narrows a schema and those in it. What is narrowed twice stays the same.
fn narrow(schema: &mut Value) {
    let mut rest = vec![schema];
    while let Some(schema) = rest.pop() {
        let Value::Object(fields) = schema else { continue };
        for count in COUNTS {
            let whole = fields.get(count).and_then(Value::as_f64).filter(|number| number.fract() == 0.0);
            if let Some(number) = whole.filter(|number| (0.0..=9e15).contains(number)) {
                fields.insert(count.to_owned(), (number as u64).into());
            }
        }
        narrow_integers(fields);
        narrow_patterns(fields);
        narrow_format(fields);
        rest.extend(subschemas_mut(fields));
    }
}

/// Bounds the digits of integers where the schema does not.
fn narrow_integers(fields: &mut Map<String, Value>) {
    let kinds = match fields.get("type") {
        Some(Value::Array(kinds)) => kinds.as_slice(),
        Some(kind) => std::slice::from_ref(kind),
        None => &[],
    };
    let has = |name: &str| kinds.iter().any(|kind| kind == name);
    if !has("integer") || has("number") || ["enum", "const"].iter().any(|key| fields.contains_key(*key)) {
        return;
    }
    let bounds = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"];
    let own = bounds.map(|key| fields.get(key).and_then(Value::as_f64));
    let is_large = |bound: &f64| bound.abs() >= LARGEST_INTEGER as f64;
    if own.iter().flatten().any(is_large) {
        return;
    }
    if own[0].or(own[1]).is_none() {
        fields.insert("minimum".to_owned(), (-LARGEST_INTEGER).into());
    }
    if own[2].or(own[3]).is_none() {
        fields.insert("maximum".to_owned(), LARGEST_INTEGER.into());
    }
}

/// Writes out the classes of white space in regular expressions.
fn narrow_patterns(fields: &mut Map<String, Value>) {
    if let Some(Value::String(pattern)) = fields.get_mut("pattern") {
        *pattern = with_spaces(pattern);
    }
    if let Some(Value::Object(schemas)) = fields.get_mut("patternProperties") {
        *schemas =
            std::mem::take(schemas).into_iter().map(|(name, schema)| (with_spaces(&name), schema)).collect();
    }
}

fn with_spaces(pattern: &str) -> String {
    let mut written = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match (character, if character == '\\' { characters.next() } else { None }) {
            (_, Some('s')) => written.extend(["[", SPACE, "]"]),
            (_, Some('S')) => written.extend(["[^", SPACE, DOUBTFUL_SPACE, "]"]),
            (_, escaped) => {
                written.push(character);
                written.extend(escaped);
            }
        }
    }
    written
}

fn narrow_format(fields: &mut Map<String, Value>) {
    let pattern = match fields.get("format").and_then(Value::as_str) {
        Some("date") => format!("^({DATE})"),
        Some("time") => format!("^{SECONDS}"),
        Some("date-time") => format!("^({DATE}).*[Tt]{SECONDS}"),
        Some("hostname") => return shorten(fields, LONGEST_HOST),
        Some("email") => {
            shorten(fields, LONGEST_ADDRESS);
            ADDRESS.to_owned()
        }
        _ => return,
    };
    match fields.get("pattern") {
        None => drop(fields.insert("pattern".to_owned(), pattern.into())),
        Some(own) if own == pattern.as_str() => {}
        Some(_) => {
            let more = json!({"pattern": pattern});
            let all = fields.entry("allOf").or_insert_with(|| json!([]));
            if let Some(all) = all.as_array_mut().filter(|all| !all.contains(&more)) {
                all.push(more);
            }
        }
    }
}

fn shorten(fields: &mut Map<String, Value>, longest: u64) {
    let own = fields.get("maxLength").and_then(Value::as_u64).unwrap_or(longest);
    fields.insert("maxLength".to_owned(), own.min(longest).into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::tests::allows;
    use crate::request::Constraint;

    fn string(schema: Value, text: &str) -> bool {
        allows(Constraint::JsonSchema(schema), &Value::from(text).to_string())
    }

    #[test]
    fn dates_and_times_are_those_of_the_calendar() {
        for (format, good, bad) in [
            (
                "date",
                &["2024-02-29", "2000-02-29", "1999-12-31", "0001-02-28"][..],
                &["2023-02-29", "1900-02-29", "0000-01-01"][..],
            ),
            ("time", &["23:59:59Z", "00:00:00.5+01:00"], &["10:00:60.2-12:55"]),
            (
                "date-time",
                &["2024-02-29T23:59:59Z", "1999-12-31t00:00:00.25+01:00"],
                &["2023-02-29T10:00:00Z", "2024-02-28T10:00:60Z"],
            ),
        ] {
            let schema = json!({"type": "string", "format": format});
            for text in good {
                assert!(string(schema.clone(), text), "{format}: {text}");
            }
            for text in bad {
                assert!(!string(schema.clone(), text), "{format}: {text}");
                let more = json!({"type": "string", "format": format, "pattern": "[0-9]", "allOf": [{"minLength": 1.0}]});
                assert!(!string(more, text), "{format} with a pattern: {text}");
            }
        }
        let referenced = json!({"x": {"type": "string", "format": "time"}, "$ref": "#/x"});
        assert!(string(referenced.clone(), "10:00:59Z") && !string(referenced, "10:00:60Z"));
    }

    #[test]
    fn integers_have_a_bounded_number_of_digits() {
        let number = |schema: Value, text: &str| allows(Constraint::JsonSchema(schema), text);
        for schema in [json!({"type": "integer"}), json!({"type": ["integer", "null"], "minimum": -5})] {
            for good in ["0", "-5", "1460323737035677698"] {
                assert!(number(schema.clone(), good), "{schema}: {good}");
            }
            assert!(!number(schema.clone(), &"1".repeat(20)), "{schema}");
        }
        assert!(number(json!({"type": "number"}), &"1".repeat(25)));
        let own = json!({"type": "integer", "exclusiveMinimum": 4, "maximum": 6});
        assert!(number(own.clone(), "5") && !number(own.clone(), "4") && !number(own, "7"));
    }

    #[test]
    fn names_of_hosts_are_of_bounded_length_and_counts_may_have_a_point() {
        let schema = json!({"type": "string", "format": "hostname"});
        let name = |labels: usize| vec!["a".repeat(49); labels].join(".");
        assert!(string(schema.clone(), &name(5)) && !string(schema, &name(6)));
        let schema = json!({"type": "string", "format": "email"});
        let address =
            |before: usize, label: usize| format!("{}@{}.org", "a".repeat(before), "b".repeat(label));
        assert!(string(schema.clone(), &address(64, 63)));
        assert!(!string(schema.clone(), &address(65, 9)) && !string(schema, &address(9, 64)));
        for (pattern, good, bad) in
            [("^[\\s]$", "\u{2028}", "\u{feff}"), ("^\\S$", "a", "\u{feff}"), ("^\\\\s$", "\\s", " ")]
        {
            let schema = json!({"type": "string", "pattern": pattern});
            assert!(string(schema.clone(), good) && !string(schema, bad), "{pattern}");
        }
        let schema = json!({"type": "string", "minLength": 2.0, "maxLength": 3.0});
        assert!(string(schema.clone(), "abc") && !string(schema.clone(), "a") && !string(schema, "abcd"));
    }
}
