//! JSON schemas of the types, for an OpenAPI document.

use crate::chat::{ChatCompletion, ChatCompletionChunk, ChatRequest};
use crate::completion::{Completion, CompletionRequest};
use crate::embedding::{EmbeddingList, EmbeddingRequest};
use crate::error::ErrorBody;
use crate::model::{Model, ModelList};
use crate::response::Response;
use crate::response_event::ResponseEvent;
use crate::response_request::ResponseRequest;
use crate::tokenize::{
    Conversation, DetokenizeRequest, InputTokens, RenderedPrompt, Text, TokenizeRequest, TokenizerInfo,
    Tokens,
};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// The schemas of all bodies and of the types within them, by type name. They refer to each other as
/// `#/components/schemas/NAME`.
pub fn components() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let settings = settings.with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    macro_rules! add {
        ($($body:ty),* $(,)?) => { $( generator.subschema_for::<$body>(); )* };
    }
    add!(ChatRequest, ChatCompletion, ChatCompletionChunk, CompletionRequest, Completion);
    add!(ResponseRequest, Response, ResponseEvent, EmbeddingRequest, EmbeddingList, ModelList, Model);
    add!(
        TokenizeRequest,
        Tokens,
        DetokenizeRequest,
        Text,
        TokenizerInfo,
        Conversation,
        RenderedPrompt,
        InputTokens,
        ErrorBody
    );
    generator.take_definitions(true)
}

#[cfg(test)]
mod tests {
    use super::components;

    #[test]
    fn types_have_names_of_their_own() {
        let components = components();
        for name in ["ChatRequest", "CompletionRequest", "ResponseRequest", "EmbeddingRequest", "ErrorBody"] {
            assert!(components.contains_key(name), "{name}");
        }
        // The generator numbers types with the same name.
        for name in components.keys() {
            assert!(!name.ends_with(|last: char| last.is_ascii_digit()), "{name}");
        }
    }
}
