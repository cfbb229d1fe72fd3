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
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    /// Who serves it.
    pub owned_by: String,
    /// Maximum number of tokens of prompt and answer together.
    pub max_model_len: usize,
    /// The engine that runs it.
    pub engine: String,
}
