//! A model as it is listed, loaded or not.

use crate::model::Model;
use std::sync::Arc;

/// What a client sees of a model without using it.
#[derive(Debug, Clone)]
pub(crate) struct ListedModel {
    pub(crate) name: String,
    /// The model's own name; an alias has another one.
    pub(crate) root: String,
    /// The name of its base model, if it is an adapter.
    pub(crate) parent: Option<String>,
    /// In seconds since 1970: when it was loaded, or when the folder's entry was changed.
    pub(crate) created: u64,
    /// The model, if it is loaded now.
    pub(crate) model: Option<Arc<Model>>,
}

impl From<&Arc<Model>> for ListedModel {
    fn from(model: &Arc<Model>) -> Self {
        let (name, root) = (model.name.clone(), model.name.clone());
        let parent = model.parent.clone();
        Self { name, root, parent, created: model.created, model: Some(Arc::clone(model)) }
    }
}
