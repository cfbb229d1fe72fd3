//! `GET /v1/models` and `GET /v1/models/{id}`.

use crate::error::ApiError;
use crate::model::Model;
use crate::state::ServerState;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use openai::model::{ListObject, Model as ModelEntry, ModelList, ModelObject};
use std::sync::Arc;

/// Lists the served models.
pub(crate) async fn models(State(state): State<Arc<ServerState>>) -> Result<Json<ModelList>, ApiError> {
    let data = state.models()?.iter().map(|model| entry(model)).collect();
    Ok(Json(ModelList { object: ListObject::default(), data }))
}

/// Returns one model; its id may contain slashes.
pub(crate) async fn model(
    State(state): State<Arc<ServerState>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelEntry>, ApiError> {
    let Path(id) = id.map_err(|rejection| ApiError::invalid("model", rejection.body_text()))?;
    Ok(Json(entry(state.model(&id)?)))
}

fn entry(model: &Model) -> ModelEntry {
    ModelEntry {
        id: model.name.clone(),
        object: ModelObject::default(),
        created: model.created,
        owned_by: "smolserve".to_owned(),
        max_model_len: model.engine.limits().context,
        engine: model.engine_name.to_owned(),
    }
}
