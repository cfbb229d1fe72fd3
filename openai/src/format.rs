//! What the text of an answer must be: `response_format`, and the constraints in vLLM's spelling.

use crate::constant::constant;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use serde_with::skip_serializing_none;

constant! {
    /// A JSON schema as the format.
    JsonSchemaType = "json_schema"
}

/// The format of the text. A schema with a keyword that cannot be enforced is refused.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ResponseFormat {
    /// Text or any JSON object.
    Plain(PlainFormat),
    /// JSON that fits a schema.
    Schema(SchemaFormat),
    /// The same in llama.cpp's spelling.
    SchemaBeside(SchemaBesideFormat),
}

/// A format with its schema beside the type.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SchemaBesideFormat {
    /// `json_object` or `json_schema`.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["json_object", "json_schema"]))]
    pub kind: String,
    /// The schema.
    pub schema: Map<String, Value>,
}

/// A format without a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlainFormat {
    /// Which one.
    #[serde(rename = "type")]
    pub kind: PlainFormatType,
}

/// Kinds of formats without a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlainFormatType {
    /// Any text.
    Text,
    /// Any JSON object.
    JsonObject,
}

/// A format with a schema.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SchemaFormat {
    /// Always `json_schema`.
    #[serde(rename = "type")]
    pub kind: JsonSchemaType,
    /// The schema.
    pub json_schema: NamedSchema,
}

/// A JSON schema with a name.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct NamedSchema {
    /// Its name, for people.
    #[schemars(with = "Option<String>")]
    pub name: String,
    /// Whether the schema is enforced; it always is.
    pub strict: Option<bool>,
    /// What it describes.
    pub description: Option<String>,
    /// The schema.
    pub schema: Map<String, Value>,
}

/// Constraints of the text in vLLM's spelling. At most one constraint per request, `response_format` included.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Guided {
    /// The text is JSON that fits this schema.
    pub guided_json: Option<SchemaOrText>,
    /// The text is one of these strings.
    #[schemars(length(min = 1))]
    pub guided_choice: Option<Vec<String>>,
    /// The whole text matches this regular expression.
    pub guided_regex: Option<String>,
    /// The text follows this grammar, in the Lark notation of llguidance or in GBNF.
    pub guided_grammar: Option<String>,
    /// The text follows this grammar in llama.cpp's notation (GBNF); empty for none.
    pub grammar: Option<String>,
    /// The same as `grammar`, in SGLang's spelling.
    pub ebnf: Option<String>,
    /// The same as `guided_json`, in llama.cpp's spelling.
    pub json_schema: Option<SchemaOrText>,
    /// The same four constraints in vLLM's newer spelling.
    pub structured_outputs: Option<StructuredOutputs>,
}

/// Constraints of the text in vLLM's newer spelling.
#[skip_serializing_none]
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct StructuredOutputs {
    /// The text is JSON that fits this schema.
    pub json: Option<SchemaOrText>,
    /// The text is one of these strings.
    #[schemars(length(min = 1))]
    pub choice: Option<Vec<String>>,
    /// The whole text matches this regular expression.
    pub regex: Option<String>,
    /// The text follows this grammar, in the Lark notation of llguidance or in GBNF.
    pub grammar: Option<String>,
}

/// A JSON schema, as an object or as text.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum SchemaOrText {
    /// The schema.
    Schema(Map<String, Value>),
    /// Its text.
    Text(String),
}
