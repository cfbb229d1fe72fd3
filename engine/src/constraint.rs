//! Answers held to a language: JSON schema, regex, choice or grammar, by llguidance.
//!
//! The token trie is built from the bytes each id stands for, so it fits any tokenizer version.

use crate::request::{Constraint, Refused};
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use smollm::Tokenizer;
use std::sync::Arc;

/// Compiles constraints for one tokenizer.
pub(crate) struct Compiler {
    factory: ParserFactory,
}

/// One request's constraint, at its current position.
pub(crate) struct Guide {
    matcher: Matcher,
}

impl Compiler {
    /// `stop_id` is the token an answer may end with.
    pub(crate) fn new(
        tokenizer: &Tokenizer,
        vocab_size: usize,
        stop_id: Option<u32>,
    ) -> Result<Self, String> {
        let mut words: Vec<Vec<u8>> = tokenizer.token_bytes().as_ref().clone();
        words.resize(vocab_size, Vec::new());
        for &id in tokenizer.special_ids() {
            // The trie must not spell ordinary text with a special token; this mark keeps them apart.
            words[id as usize].insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
        }
        let end = stop_id.unwrap_or(llguidance::toktrie::INVALID_TOKEN);
        let trie = TokTrie::from(&TokRxInfo::new(vocab_size as u32, end), &words);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&environment).map_err(|error| format!("{error:#}"))?;
        factory.quiet();
        Ok(Self { factory })
    }

    /// Prepares a constraint for one request.
    pub(crate) fn guide(&self, constraint: &Constraint) -> Result<Guide, Refused> {
        let grammar = grammar(constraint)?;
        let parser = self
            .factory
            .create_parser(grammar)
            .map_err(|error| Refused::Constraint(first_line(&format!("{error:#}"))))?;
        Ok(Guide { matcher: Matcher::new(Ok(parser)) })
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

fn grammar(constraint: &Constraint) -> Result<TopLevelGrammar, Refused> {
    match constraint {
        Constraint::JsonSchema(schema) => Ok(TopLevelGrammar::from_json_schema(compact(schema)?)),
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

/// Fixes where white space goes between JSON tokens: a small model that may write any amount of it
/// easily writes nothing else.
fn compact(schema: &Value) -> Result<Value, Refused> {
    let style = json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "});
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
