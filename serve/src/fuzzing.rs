//! What the fuzz targets call: readers of requests, grammars and answers. Built with the feature `fuzzing` only.

use crate::families::{self, Parsed};
use crate::fields::Fields;
use crate::valid::{
    ChatRequest, CompletionRequest, DetokenizeRequest, EmbeddingRequest, ResponseRequest, TemplateRequest,
    TokenizeRequest,
};
use std::collections::HashMap;

/// Reads the body of a request: `endpoint` modulo 7 chooses whose, and its lowest bit whether unknown fields are left out.
pub fn request(endpoint: u8, body: &[u8]) {
    let Ok(fields) = Fields::parse(body) else { return };
    let lenient = endpoint & 1 == 0;
    match endpoint % 7 {
        0 => drop(ChatRequest::new(fields, lenient)),
        1 => drop(CompletionRequest::new(fields, lenient)),
        2 => drop(ResponseRequest::new(fields, lenient)),
        3 => drop(EmbeddingRequest::new(fields, lenient)),
        4 => drop(TokenizeRequest::new(fields, lenient)),
        5 => drop(DetokenizeRequest::new(fields, lenient)),
        _ => drop(TemplateRequest::new(fields, lenient)),
    }
}

/// Translates a GBNF grammar to Lark notation; `None` where it is refused.
pub fn lark_of_gbnf(source: &str) -> Option<String> {
    crate::gbnf::to_lark(source).ok()
}

/// Reads an answer to its end as the model families' readers of calls do; `family` modulo their number chooses one.
///
/// # Panics
/// When a reader makes no progress, or reads beyond the text.
pub fn answer(family: u8, text: &str) {
    let family = families::FAMILIES[usize::from(family) % families::FAMILIES.len()];
    let tools = HashMap::from([("find".to_owned(), None), ("get_weather".to_owned(), None)]);
    let mut rest = text;
    while !rest.is_empty() {
        let _ = families::parse(family, rest, &tools, false);
        let length = match families::parse(family, rest, &tools, true) {
            Parsed::Incomplete => panic!("a finished answer cannot be incomplete"),
            Parsed::Text(length) | Parsed::Calls { length, .. } => length,
        };
        assert!(length > 0, "no progress");
        rest = &rest[length..];
    }
}
