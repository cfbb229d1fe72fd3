//! Answers of `GET /v1/models` and `GET /v1/models/{id}`.

use crate::constant::constant;
use schemars::JsonSchema;
use serde::Serialize;

constant! {
    /// The kind of a list.
    ListObject = "list"
}
constant! {
    /// The kind of a model.
    ModelObject = "model"
}

/// The served models.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ModelList {
    /// Always `list`.
    pub object: ListObject,
    /// One entry per model.
    pub data: Vec<Model>,
}

/// One served model.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Model {
    /// Its name in requests.
    pub id: String,
    /// Always `model`.
    pub object: ModelObject,
    /// When it was loaded, or its files were changed if it is not, in seconds since 1970.
    pub created: u64,
    /// Who serves it.
    pub owned_by: String,
    /// The model's own name; an alias has another id.
    pub root: String,
    /// The base model of an adapter, whose weights it shares; null otherwise.
    pub parent: Option<String>,
    /// Whether it is loaded now; one that is not is loaded by the first request for it.
    pub is_loaded: bool,
    /// Maximum number of tokens of prompt and answer together, while it is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<usize>,
    /// The engine that runs it, while it is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
}
