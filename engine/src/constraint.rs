//! Answers held to a language: JSON schema, regex, choice or grammar, by llguidance.
//!
//! The token trie is built from the bytes each id stands for, so it fits any tokenizer version. A schema is enforced
//! whole or refused: what llguidance leaves out is found before it is compiled, and named with its place.

use crate::request::{Constraint, Refused};
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Map, Value, json};
use smollm::Tokenizer;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Compiled constraints that are kept: all answers of a request share one, and so do clients that ask again.
const KEPT: usize = 8;

/// Compiles constraints for one tokenizer.
pub struct Compiler {
    factory: ParserFactory,
    /// What was compiled last, the newest first, as it is before any token.
    kept: Mutex<VecDeque<(Constraint, Matcher)>>,
}

/// One request's constraint, at its current position.
pub struct Guide {
    matcher: Matcher,
}

impl Compiler {
    /// `stop_ids` are the tokens an answer may end with; `vocab_size` holds every id of the tokenizer.
    ///
    /// # Errors
    /// When the vocabulary cannot be made into a trie.
    pub fn new(tokenizer: &Tokenizer, vocab_size: usize, stop_ids: &[u32]) -> Result<Self, String> {
        let mut words: Vec<Vec<u8>> = tokenizer.token_bytes().as_ref().clone();
        words.resize(vocab_size, Vec::new());
        for &id in tokenizer.special_ids() {
            // The trie must not spell ordinary text with a special token; this mark keeps them apart.
            words[id as usize].insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
        }
        let info = TokRxInfo::new(vocab_size as u32, llguidance::toktrie::INVALID_TOKEN);
        let mut trie = TokTrie::from(&info, &words);
        let ends: Vec<u32> = stop_ids.iter().copied().filter(|id| (*id as usize) < vocab_size).collect();
        if !ends.is_empty() {
            trie = trie.with_eos_tokens(&ends);
        }
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&environment).map_err(|error| format!("{error:#}"))?;
        factory.quiet();
        Ok(Self { factory, kept: Mutex::default() })
    }

    /// Prepares a constraint for one request. Of requests that ask alike at one time each may compile.
    ///
    /// # Errors
    /// Says what of the constraint cannot be enforced.
    pub fn guide(&self, constraint: Constraint) -> Result<Guide, Refused> {
        // A deep clone: answers that shared their lexer would wait for each other in every step.
        if let Some((_, matcher)) = self.kept().iter().find(|(known, _)| *known == constraint) {
            return Ok(Guide { matcher: matcher.deep_clone() });
        }
        let parser = self
            .factory
            .create_parser(grammar(&constraint)?)
            .map_err(|error| Refused::Constraint(first_line(&format!("{error:#}"))))?;
        let matcher = Matcher::new(Ok(parser));
        let guide = Guide { matcher: matcher.deep_clone() };
        let mut kept = self.kept();
        kept.truncate(KEPT - 1);
        kept.push_front((constraint, matcher));
        Ok(guide)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, VecDeque<(Constraint, Matcher)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guide {
    /// The ids that may come next.
    pub(crate) fn allowed(&mut self) -> Result<SimpleVob, String> {
        self.matcher.compute_mask_or_eos().map_err(|error| first_line(&format!("{error:#}")))
    }

    /// Moves past a chosen token; true when nothing may follow.
    pub(crate) fn advance(&mut self, id: u32) -> Result<bool, String> {
        self.matcher.consume_token(id).map_err(|error| first_line(&format!("{error:#}")))?;
        Ok(self.matcher.is_stopped())
    }
}

/// Keywords that restrict values and that llguidance 1.9.1 does not know (its `json/schema.rs` lists what it does).
/// Those of another draft than the schema's it would pass over in silence.
const UNENFORCED: [&str; 18] = [
    "not",
    "if",
    "then",
    "else",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "propertyNames",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
];

/// The formats it knows.
const FORMATS: [&str; 11] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri", "unknown"];

/// Whether every keyword of a JSON schema can be enforced. Compiling may still find a fault.
///
/// # Errors
/// Names the first keyword that cannot, and where it stands.
pub fn enforceable(schema: &Value) -> Result<(), Refused> {
    for option in ["lenient", "coerce_one_of"] {
        if schema["x-guidance"][option] == true {
            let reason = format!("{option} gives up part of the schema; leave it out");
            return Err(refuse_keyword("x-guidance", "", reason));
        }
    }
    check_keywords(schema, "")
}

/// Walks the places where a schema stands, and no others: a property may be called `not`.
fn check_keywords(schema: &Value, pointer: &str) -> Result<(), Refused> {
    let Value::Object(fields) = schema else { return Ok(()) };
    for (keyword, value) in fields {
        let keyword = keyword.as_str();
        if UNENFORCED.contains(&keyword) {
            let reason = "the constraint compiler does not know it; leave it out and check the answer for it";
            return Err(refuse_keyword(keyword, pointer, reason.to_owned()));
        }
        let unknown = value.as_str().filter(|format| !FORMATS.contains(format));
        if let Some(format) = unknown.filter(|_| keyword == "format" && may_be_string(fields)) {
            let reason = format!("{format} is none of {}; a pattern can say it", FORMATS[..10].join(", "));
            return Err(refuse_keyword(keyword, pointer, reason));
        }
        let here = format!("{pointer}/{}", escaped(keyword));
        match (keyword, value) {
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(schemas)) => {
                for (name, schema) in schemas {
                    check_keywords(schema, &format!("{here}/{}", escaped(name)))?;
                }
            }
            ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(schemas)) => {
                for (index, schema) in schemas.iter().enumerate() {
                    check_keywords(schema, &format!("{here}/{index}"))?;
                }
            }
            ("items" | "additionalItems" | "additionalProperties", schema) => check_keywords(schema, &here)?,
            _ => {}
        }
    }
    Ok(())
}

/// A format restricts strings only.
fn may_be_string(fields: &Map<String, Value>) -> bool {
    match fields.get("type") {
        Some(Value::String(kind)) => kind == "string",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "string"),
        _ => true,
    }
}

fn refuse_keyword(keyword: &str, pointer: &str, reason: String) -> Refused {
    Refused::Keyword {
        keyword: keyword.to_owned(),
        pointer: format!("{pointer}/{}", escaped(keyword)),
        reason,
    }
}

/// A name as a JSON pointer (RFC 6901) writes it.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn grammar(constraint: &Constraint) -> Result<TopLevelGrammar, Refused> {
    match constraint {
        Constraint::JsonSchema(schema) => {
            enforceable(schema)?;
            Ok(TopLevelGrammar::from_json_schema(compact(schema)?))
        }
        Constraint::Regex(pattern) => Ok(TopLevelGrammar::from_regex(pattern)),
        Constraint::Lark(source) => Ok(TopLevelGrammar::from_lark(source.clone())),
        Constraint::Choice(choices) if choices.is_empty() => {
            Err(Refused::Constraint("choice has no entries".to_owned()))
        }
        Constraint::Choice(choices) => {
            let quoted: Vec<String> =
                choices.iter().map(|choice| Value::from(choice.as_str()).to_string()).collect();
            Ok(TopLevelGrammar::from_lark(format!("start: {}", quoted.join(" | "))))
        }
    }
}

/// What `x-guidance` says of white space in every JSON that is forced here.
pub fn json_style() -> Value {
    json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "})
}

/// Fixes where white space goes between JSON tokens: a small model that may write any amount of it
/// easily writes nothing else.
fn compact(schema: &Value) -> Result<Value, Refused> {
    let style = json_style();
    match schema {
        Value::Object(fields) => {
            let mut fields = fields.clone();
            fields.entry("x-guidance").or_insert(style);
            Ok(Value::Object(fields))
        }
        Value::Bool(true) => Ok(json!({"x-guidance": style})),
        other => Err(Refused::Constraint(format!("a JSON schema is an object, not {other}"))),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(schema: &Value, expected: &str) {
        match grammar(&Constraint::JsonSchema(schema.clone())) {
            Err(Refused::Keyword { pointer, .. }) => assert_eq!(pointer, expected),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{schema} was taken"),
        }
    }

    #[test]
    fn keywords_that_cannot_be_enforced_are_named_with_their_place() {
        refused(&json!({"not": {}}), "/not");
        refused(&json!({"type": "array", "items": {"uniqueItems": true}}), "/items/uniqueItems");
        refused(&json!({"properties": {"a/b~c": {"if": {}, "then": {}}}}), "/properties/a~1b~0c/if");
        refused(&json!({"anyOf": [{}, {"contains": {}}]}), "/anyOf/1/contains");
        refused(&json!({"items": [{}, {"then": {}}]}), "/items/1/then");
        refused(
            &json!({"additionalProperties": {"propertyNames": {}}}),
            "/additionalProperties/propertyNames",
        );
        refused(
            &json!({"$defs": {"x": {"dependentRequired": {}}}, "$ref": "#/$defs/x"}),
            "/$defs/x/dependentRequired",
        );
        refused(&json!({"unevaluatedProperties": false, "type": "object"}), "/unevaluatedProperties");
        refused(&json!({"type": "string", "format": "regex"}), "/format");
        refused(&json!({"type": ["string", "null"], "format": "idn-email"}), "/format");
        refused(&json!({"x-guidance": {"lenient": true}, "not": {}}), "/x-guidance");
        // A keyword that this draft does not have would be passed over.
        let draft = "http://json-schema.org/draft-04/schema#";
        refused(&json!({"$schema": draft, "type": "object", "if": {"type": "object"}}), "/if");
    }

    #[test]
    fn names_values_and_annotations_are_no_keywords() {
        for schema in [
            json!({"properties": {"not": {"type": "string"}, "if": {"const": {"not": 1}}}, "required": ["not"]}),
            json!({"enum": [{"uniqueItems": true}], "default": {"not": 1}, "examples": [{"contains": 1}]}),
            json!({"title": "t", "description": "d", "$comment": "c", "$id": "x", "type": "integer", "format": "int32"}),
            json!({"type": "string", "format": "date-time"}),
            json!({"$defs": {"not": {"type": "null"}}, "$ref": "#/$defs/not"}),
            json!(true),
        ] {
            assert!(grammar(&Constraint::JsonSchema(schema.clone())).is_ok(), "{schema}");
        }
    }

    #[test]
    fn what_was_compiled_last_is_kept() {
        let factory = ParserFactory::new_simple(&ApproximateTokEnv::single_byte_env()).expect("a factory");
        let compiler = Compiler { factory, kept: Mutex::default() };
        let guide = |word: &str| compiler.guide(Constraint::Regex(word.to_owned())).expect("a guide");
        let mut used = guide("ab");
        assert!(!used.advance(b'a'.into()).expect("an a"));
        // The copy begins anew.
        assert!(guide("ab").allowed().expect("a mask").is_allowed(b'a'.into()));
        assert_eq!(compiler.kept().len(), 1);
        for count in 0..2 * KEPT {
            compiler.guide(Constraint::Regex("c".repeat(count))).expect("a guide");
        }
        assert_eq!(compiler.kept().len(), KEPT);
        assert!(compiler.guide(Constraint::Regex("(".to_owned())).is_err());
        assert_eq!(compiler.kept().len(), KEPT);
    }

    #[test]
    fn the_lists_are_what_the_compiler_knows() {
        let compiles = |schema: Value| {
            let environment = ApproximateTokEnv::single_byte_env();
            let mut factory = ParserFactory::new_simple(&environment).expect("a factory");
            factory.quiet();
            factory
                .create_parser(TopLevelGrammar::from_json_schema(schema))
                .map_err(|error| format!("{error:#}"))
        };
        for format in FORMATS {
            assert!(compiles(json!({"type": "string", "format": format})).is_ok(), "{format}");
        }
        for keyword in
            UNENFORCED.iter().filter(|keyword| **keyword != "$recursiveRef" && !keyword.contains("Anchor"))
        {
            let value = if *keyword == "$dynamicRef" { json!("#") } else { json!({}) };
            let error = compiles(json!({*keyword: value, "type": "object"})).err().unwrap_or_default();
            assert!(error.contains("Unimplemented keys"), "{keyword}: {error}");
        }
    }
}
