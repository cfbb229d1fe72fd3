//! A model as it is listed, loaded or not.

use crate::model::Model;
use crate::served_encoder::ServedEncoder;
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
    /// It, if it is a sentence encoder.
    pub(crate) encoder: Option<Arc<ServedEncoder>>,
}

impl ListedModel {
    /// Whether requests are answered at once.
    pub(crate) fn is_loaded(&self) -> bool {
        self.model.is_some() || self.encoder.is_some()
    }

    /// Its context in tokens, if it is loaded.
    pub(crate) fn context(&self) -> Option<usize> {
        let of_encoder = self.encoder.as_ref().map(|encoder| encoder.context());
        of_encoder.or_else(|| self.model.as_ref().map(|model| model.engine.limits().context))
    }

    /// What computes it, if it is loaded.
    pub(crate) fn engine_name(&self) -> Option<&'static str> {
        self.encoder
            .is_some()
            .then_some("encoder")
            .or_else(|| self.model.as_ref().map(|model| model.engine_name))
    }
}

impl From<&Arc<Model>> for ListedModel {
    fn from(model: &Arc<Model>) -> Self {
        let (name, root) = (model.name.clone(), model.name.clone());
        let parent = model.parent.clone();
        Self { name, root, parent, created: model.created, model: Some(Arc::clone(model)), encoder: None }
    }
}

impl From<&Arc<ServedEncoder>> for ListedModel {
    fn from(encoder: &Arc<ServedEncoder>) -> Self {
        let (name, root) = (encoder.name.clone(), encoder.name.clone());
        let created = encoder.created;
        Self { name, root, parent: None, created, model: None, encoder: Some(Arc::clone(encoder)) }
    }
}
