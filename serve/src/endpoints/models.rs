//! `GET /v1/models` and `GET /v1/models/{id}`.

use crate::error::ApiError;
use crate::listed_model::ListedModel;
use crate::state::ServerState;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use openai::model::{ListObject, Model as ModelEntry, ModelList, ModelObject};
use std::sync::Arc;

/// Lists the served models, those that are not loaded included.
pub(crate) async fn models(State(state): State<Arc<ServerState>>) -> Result<Json<ModelList>, ApiError> {
    let data = state.models()?.list().into_iter().map(entry).collect();
    Ok(Json(ModelList { object: ListObject::default(), data }))
}

/// Returns one model; its id may contain slashes.
pub(crate) async fn model(
    State(state): State<Arc<ServerState>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelEntry>, ApiError> {
    let Path(id) = id.map_err(|rejection| ApiError::invalid("model", rejection.body_text()))?;
    Ok(Json(entry(state.models()?.listed(&id)?)))
}

fn entry(listed: ListedModel) -> ModelEntry {
    let (is_loaded, max_model_len) = (listed.is_loaded(), listed.context());
    let engine = listed.engine_name().map(str::to_owned);
    ModelEntry {
        id: listed.name,
        object: ModelObject::default(),
        created: listed.created,
        owned_by: "smolserve".to_owned(),
        root: listed.root,
        parent: listed.parent,
        is_loaded,
        max_model_len,
        engine,
    }
}
