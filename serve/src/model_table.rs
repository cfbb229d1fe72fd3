//! Which models are served: those that are loaded at the start and stay, those of a folder (`--models`), which are loaded
//! when a request names them, sentence encoders (`--encoder`), and other names for all of them (`--alias`).

use crate::error::ApiError;
use crate::fields::missing;
use crate::listed_model::ListedModel;
use crate::model::Model;
use crate::model_folder::ModelFolder;
use crate::served_encoder::ServedEncoder;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many names an error lists.
const MAX_NAMES: usize = 20;

/// The served models by name.
#[derive(Debug, Default)]
pub(crate) struct ModelTable {
    /// Models that stay loaded, in the order of the command line.
    pub(crate) loaded: Vec<Arc<Model>>,
    pub(crate) folder: Option<Arc<ModelFolder>>,
    /// Models that answer `/v1/embeddings` alone.
    pub(crate) encoders: Vec<Arc<ServedEncoder>>,
    /// Other names, and the models' own.
    pub(crate) aliases: BTreeMap<String, String>,
}

impl ModelTable {
    /// The models that are loaded now.
    pub(crate) fn loaded_now(&self) -> Vec<Arc<Model>> {
        let of_folder = self.folder.iter().flat_map(|folder| folder.loaded());
        self.loaded.iter().cloned().chain(of_folder).collect()
    }

    /// All models and their other names, loaded or not.
    pub(crate) fn list(&self) -> Vec<ListedModel> {
        let mut all: Vec<ListedModel> = self.loaded.iter().map(ListedModel::from).collect();
        let of_folder = self.folder.iter().flat_map(|folder| folder.list());
        let own: Vec<ListedModel> =
            of_folder.filter(|model| !all.iter().any(|loaded| loaded.name == model.name)).collect();
        all.extend(own);
        all.extend(self.encoders.iter().map(ListedModel::from));
        let alias = |(name, root): (&String, &String)| {
            let model = all.iter().find(|model| model.name == *root)?.clone();
            Some(ListedModel { name: name.clone(), ..model })
        };
        let aliases: Vec<ListedModel> = self.aliases.iter().filter_map(alias).collect();
        all.into_iter().chain(aliases).collect()
    }

    /// The model of that name, the first one without a name; loads it if it is not loaded.
    ///
    /// # Errors
    /// When there is no such model, when it cannot be loaded, or when there is no memory for it now.
    pub(crate) async fn model(&self, name: &str, is_strict: bool) -> Result<Arc<Model>, ApiError> {
        let name = match name {
            "" if is_strict => return Err(missing("model")),
            "" => self.first().unwrap_or_default(),
            name => self.own_name(name).to_owned(),
        };
        if self.encoders.iter().any(|encoder| encoder.name == name) {
            let message = format!("`{name}` is a sentence encoder, which answers /v1/embeddings alone");
            return Err(ApiError::invalid("model", message));
        }
        if let Some(model) = self.loaded.iter().find(|model| model.name == name) {
            return Ok(Arc::clone(model));
        }
        let of_folder = match &self.folder {
            Some(folder) => folder.model(&name).await?,
            None => None,
        };
        of_folder.ok_or_else(|| self.unknown(&name))
    }

    /// The sentence encoder of that name; without a name the first one, where nothing else is served.
    pub(crate) fn encoder(&self, name: &str) -> Option<&Arc<ServedEncoder>> {
        match name {
            "" if self.loaded.is_empty() && self.folder.is_none() => self.encoders.first(),
            name => self.encoders.iter().find(|encoder| encoder.name == self.own_name(name)),
        }
    }

    fn own_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.aliases.get(name).map_or(name, String::as_str)
    }

    /// What a client sees of one model.
    ///
    /// # Errors
    /// When there is no such model.
    pub(crate) fn listed(&self, name: &str) -> Result<ListedModel, ApiError> {
        let found = self.list().into_iter().find(|model| model.name == name);
        found.ok_or_else(|| self.unknown(name))
    }

    /// The name of the model that answers requests without a name.
    fn first(&self) -> Option<String> {
        let first = self.loaded.first().map(|model| model.name.clone());
        let of_folder = || Some(self.folder.as_ref()?.list().first()?.name.clone());
        first.or_else(of_folder).or_else(|| Some(self.encoders.first()?.name.clone()))
    }

    fn unknown(&self, name: &str) -> ApiError {
        let names: Vec<String> = self.list().into_iter().map(|model| model.name).collect();
        let mut shown: Vec<&str> = names.iter().map(String::as_str).take(MAX_NAMES).collect();
        if names.len() > MAX_NAMES {
            shown.push("... (see /v1/models)");
        }
        ApiError::unknown_model(name, &shown)
    }
}
