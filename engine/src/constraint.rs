//! Constrained decoding with llguidance: JSON schema, regular expression, choice or grammar.
//!
//! The token trie is built from the bytes of each id, so it works with any tokenizer. A schema is enforced as a whole
//! or refused: keywords that llguidance does not support are reported with their location before it compiles the
//! schema.

mod ahead;
mod bounds;
mod compile;
mod guide;
mod json_schema;
mod locate;
mod narrow;
mod schema_parts;

pub use guide::Guide;
pub use json_schema::check_schema;
pub use narrow::narrowed;

use crate::request::{Constraint, RequestError};
use checkpoint::Tokenizer;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of compiled constraints in the cache: the answers of a request share one, and so do repeated requests.
const CACHE_SIZE: usize = 8;

/// Maximum number of choices that are a grammar.
const FEW_CHOICES: usize = 500;

/// Compiles constraints for one tokenizer.
pub struct ConstraintCompiler {
    factory: Arc<ParserFactory>,
    /// Constraints compiled last, newest first, in their state before any token.
    cache: Mutex<VecDeque<(Constraint, Matcher)>>,
}

impl ConstraintCompiler {
    /// Builds the token trie. `stop_ids` are the tokens that may end an answer; every id of the tokenizer must be below
    /// `vocab_size`.
    ///
    /// # Errors
    /// If llguidance cannot use the vocabulary.
    pub fn new(tokenizer: &Tokenizer, vocab_size: usize, stop_ids: &[u32]) -> Result<Self, String> {
        let mut words: Vec<Vec<u8>> = tokenizer.token_bytes().as_ref().clone();
        words.resize(vocab_size, Vec::new());
        for &id in tokenizer.special_ids() {
            // The marker keeps special tokens from matching ordinary text.
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
        compile::limit(factory.limits_mut());
        Ok(Self { factory: Arc::new(factory), cache: Mutex::default() })
    }

    /// Compiles a constraint for one request, or copies it from the cache. Equal requests at the same time may each
    /// compile it. Size, depth and time are bounded.
    ///
    /// # Errors
    /// Names the part of the constraint that cannot be enforced, or the bound that it exceeds.
    pub fn guide(&self, constraint: Constraint) -> Result<Guide, RequestError> {
        // A deep clone: answers that share a lexer wait for each other in every step.
        if let Some((_, matcher)) = self.cache().iter().find(|(known, _)| *known == constraint) {
            return Ok(Guide::new(matcher));
        }
        bounds::check(&constraint)?;
        let compiled = compile::matcher(&self.factory, grammar(&constraint)?);
        let matcher = compiled.map_err(|error| self.located(&constraint, error))?;
        let guide = Guide::new(&matcher);
        let mut cache = self.cache();
        cache.truncate(CACHE_SIZE - 1);
        cache.push_front((constraint, matcher));
        Ok(guide)
    }

    /// The compiler's error with its place in the schema.
    fn located(&self, constraint: &Constraint, error: RequestError) -> RequestError {
        let (Constraint::JsonSchema(schema), RequestError::Constraint(reason)) = (constraint, &error) else {
            return error;
        };
        let reason_of = |part: Value| {
            let part = if let Value::Object(fields) = part { narrowed(fields) } else { part };
            match compile::matcher(&self.factory, TopLevelGrammar::from_json_schema(part)) {
                Err(RequestError::Constraint(reason)) => Some(reason),
                _ => None,
            }
        };
        let pointer = locate::pointer(schema, reason, reason_of);
        RequestError::Schema { pointer, reason: json_schema::remedy(reason) }
    }

    fn cache(&self) -> MutexGuard<'_, VecDeque<(Constraint, Matcher)>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the grammar that llguidance compiles.
fn grammar(constraint: &Constraint) -> Result<TopLevelGrammar, RequestError> {
    match constraint {
        Constraint::JsonSchema(schema) => {
            check_schema(schema)?;
            match schema {
                Value::Object(fields) => Ok(TopLevelGrammar::from_json_schema(narrowed(fields.clone()))),
                Value::Bool(true) => Ok(TopLevelGrammar::from_json_schema(narrowed(serde_json::Map::new()))),
                other => {
                    let reason = format!("a schema must be an object, not {other}");
                    Err(RequestError::Schema { pointer: String::new(), reason })
                }
            }
        }
        Constraint::Regex(pattern) => Ok(TopLevelGrammar::from_regex(pattern)),
        Constraint::Lark(source) => Ok(TopLevelGrammar::from_lark(source.clone())),
        Constraint::Choice(choices) if choices.is_empty() => {
            Err(RequestError::Constraint("`choice` has no entries; give at least one".to_owned()))
        }
        // As a grammar, each choice would be a rule to follow; as an expression, they are followed together.
        Constraint::Choice(choices) if choices.len() > FEW_CHOICES => {
            let escaped: Vec<String> = choices.iter().map(|choice| escape_regex(choice)).collect();
            Ok(TopLevelGrammar::from_regex(&escaped.join("|")))
        }
        Constraint::Choice(choices) => {
            let quoted: Vec<String> =
                choices.iter().map(|choice| Value::from(choice.as_str()).to_string()).collect();
            Ok(TopLevelGrammar::from_lark(format!("start: {}", quoted.join(" | "))))
        }
    }
}

/// An expression that matches a text alone.
fn escape_regex(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || !c.is_ascii();
    text.chars().map(|c| if is_plain(c) { c.to_string() } else { format!("\\u{{{:x}}}", c as u32) }).collect()
}

#[cfg(test)]
mod suite;
#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A compiler whose tokens are the bytes.
    pub(crate) fn compiler() -> ConstraintCompiler {
        let mut factory =
            ParserFactory::new_simple(&ApproximateTokEnv::single_byte_env()).expect("a factory");
        compile::limit(factory.limits_mut());
        factory.quiet();
        ConstraintCompiler { factory: Arc::new(factory), cache: Mutex::default() }
    }

    /// Whether a constraint allows a text as a whole answer.
    pub(crate) fn allows(constraint: Constraint, text: &str) -> bool {
        let guide = compiler().guide(constraint).unwrap_or_else(|error| panic!("{error}"));
        takes(guide, text)
    }

    /// Whether a guide takes a text as a whole answer.
    pub(crate) fn takes(mut guide: Guide, text: &str) -> bool {
        let mut takes = |byte: u8| {
            guide.allowed().is_ok_and(|mask| mask.is_allowed(byte.into()))
                && guide.advance(byte.into()).is_ok()
        };
        text.bytes().all(&mut takes) && guide.is_accepting()
    }

    #[test]
    fn errors_of_the_compiler_have_a_place_and_a_remedy() {
        for (schema, pointer, reason) in [
            (serde_json::json!({"properties": {"a": {"pattern": "(?=x)"}}}), "/properties/a", "look-around"),
            (
                serde_json::json!({"$defs": {"x": {"type": "string", "pattern": "("}}, "items": {"$ref": "#/$defs/x"}}),
                "/$defs/x",
                "unclosed group",
            ),
            (
                serde_json::json!({"items": {"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 2}]}}),
                "/items",
                "use `anyOf`",
            ),
            (serde_json::json!({"minimum": 3, "maximum": 1, "type": "integer"}), "", ""),
            (
                serde_json::json!({"type": "object", "properties": {"a": {"enum": []}}, "required": ["a"]}),
                "",
                "",
            ),
            (serde_json::json!({"anyOf": [{"minItems": -1}]}), "/anyOf/0", "minItems"),
            (serde_json::json!({"$ref": "http://example.org/none"}), "", ""),
            (serde_json::json!(false), "", "must be an object"),
        ] {
            match compiler().guide(Constraint::JsonSchema(schema.clone())) {
                Err(RequestError::Schema { pointer: found, reason: said }) => {
                    assert!(found == pointer && said.contains(reason), "{schema}: {found}: {said}");
                }
                other => panic!("{schema}: {:?}", other.err()),
            }
        }
    }

    #[test]
    fn compiled_constraints_are_cached() {
        let factory = ParserFactory::new_simple(&ApproximateTokEnv::single_byte_env()).expect("a factory");
        let compiler = ConstraintCompiler { factory: Arc::new(factory), cache: Mutex::default() };
        let guide = |word: &str| compiler.guide(Constraint::Regex(word.to_owned())).expect("a guide");
        let mut used = guide("ab");
        assert_eq!(used.advance(b'a'.into()), Ok(Some(false)));
        // The copy from the cache begins at the start.
        assert!(guide("ab").allowed().expect("a mask").is_allowed(b'a'.into()));
        assert_eq!(compiler.cache().len(), 1);
        for count in 0..2 * CACHE_SIZE {
            compiler.guide(Constraint::Regex("c".repeat(count))).expect("a guide");
        }
        assert_eq!(compiler.cache().len(), CACHE_SIZE);
        assert!(compiler.guide(Constraint::Regex("(".to_owned())).is_err());
        assert_eq!(compiler.cache().len(), CACHE_SIZE);
    }

    /// Follows a constraint with every byte of an accepted text, on a thread with an ordinary stack.
    fn follow(constraint: Constraint, text: &str) -> Result<(), String> {
        let mut guide = compiler().guide(constraint).map_err(|error| error.to_string())?;
        for byte in text.bytes() {
            assert!(guide.allowed()?.is_allowed(byte.into()), "{}", char::from(byte));
            guide.advance(byte.into())?;
        }
        Ok(())
    }

    #[test]
    fn chains_of_references_are_compiled_on_a_deep_stack() {
        for length in [1000, 4000] {
            let definitions: serde_json::Map<String, Value> = (0..length)
                .map(|index| {
                    let next = format!("#/$defs/d{}", index + 1);
                    (format!("d{index}"), serde_json::json!({"$ref": next}))
                })
                .chain([(format!("d{length}"), serde_json::json!({"type": "boolean"}))])
                .collect();
            let schema = serde_json::json!({"$defs": definitions, "$ref": "#/$defs/d0"});
            follow(Constraint::JsonSchema(schema), "true").expect("a chain of definitions");
            let rules: String = (0..length).map(|index| format!("r{index}: r{}\n", index + 1)).collect();
            let grammar = format!("start: r0\n{rules}r{length}: \"ab\"\n");
            follow(Constraint::Lark(grammar), "ab").expect("a chain of rules");
            let rules: String =
                (0..length).map(|index| format!("T{index}: \"x\" T{}\n", index + 1)).collect();
            let grammar = format!("start: T0\n{rules}T{length}: \"ab\"\n");
            let _ = follow(Constraint::Lark(grammar), "xxxx");
        }
    }

    #[test]
    fn large_constraints_are_refused_by_their_size() {
        let nested = |depth: usize| {
            (0..depth).fold(serde_json::json!({}), |inner, _| serde_json::json!({"items": inner}))
        };
        for (constraint, reason) in [
            (Constraint::Regex("a?b".repeat(100_000)), "size of the regular expression"),
            (Constraint::Regex(format!("{}a{}", "(".repeat(200), ")".repeat(200))), "depth of brackets"),
            (Constraint::Choice(vec!["a".to_owned(); 100_000]), "number of choices"),
            (Constraint::Choice(vec!["a".repeat(1 << 20)]), "size of the choices"),
            (Constraint::Lark("a: b\n".repeat(10_000)), "number of rules"),
            (Constraint::Lark("#".repeat(1 << 20)), "size of the grammar"),
            (Constraint::JsonSchema(nested(200)), "depth of the schema"),
        ] {
            let error = follow(constraint, "").expect_err(reason);
            assert!(error.contains(reason) && error.contains("expected at most"), "{error}");
        }
    }

    #[test]
    fn constraints_within_the_bounds_are_compiled_in_bounded_time() {
        let began = std::time::Instant::now();
        let choices: Vec<String> = (0..4096).map(|index| format!("choice. number {index}")).collect();
        follow(Constraint::Choice(choices.clone()), "choice. number 17").expect("one of many choices");
        let error = std::panic::catch_unwind(|| follow(Constraint::Choice(choices), "choicex"));
        assert!(error.is_err(), "a dot is a dot");
        for (pattern, text) in [
            ("a?b".repeat(5000), "abab"),
            ("(a|b|cd)*x?".repeat(1400), "abcd"),
            ("[a-z]{1,3}".repeat(1600), "abab"),
            ("(a{1,40}){1,40}".to_owned(), "aaaa"),
            ("((a{1,40}){1,40}){1,40}".to_owned(), "aaaa"),
            ("(((a?){1,40}){1,40}){1,40}".to_owned(), "aaaa"),
        ] {
            // Compiled and followed, or refused by the compiler's own limits.
            let _ = follow(Constraint::Regex(pattern), text);
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{:?}", began.elapsed());
    }
}
