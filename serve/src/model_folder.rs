//! The models of a folder (`--models`): loaded when a request names them, unloaded when they were idle for a while or
//! when another one needs their memory.
//!
//! One model is loaded at a time, so that two do not count on the same memory. A model that answers is never unloaded:
//! every request holds its model, and only a model that nobody holds is given up.

mod scan;

use crate::error::ApiError;
use crate::listed_model::ListedModel;
use crate::model::{self, LoadOptions, Model};
use crate::model_source::ModelSource;
use engine::WeightFormat;
use scan::FoundModel;
pub(crate) use scan::scan;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Memory that a model needs beside its weights: the tokenizer's tables, buffers, and the first keys and values.
const BESIDE_WEIGHTS: usize = 128 << 20;
/// How long an unloaded model may take to give its memory back.
const RELEASE_TIME: Duration = Duration::from_secs(3);
/// Seconds after which a client may try again when there is no memory.
const RETRY_AFTER: u64 = 5;

/// Loads a model.
pub(crate) type Opener = Box<dyn Fn(&ModelSource) -> anyhow::Result<Model> + Send + Sync>;
/// Bytes of memory that are free; `None` where the system does not report them.
pub(crate) type FreeMemory = Box<dyn Fn() -> Option<usize> + Send + Sync>;

/// A folder of models.
pub(crate) struct ModelFolder {
    path: PathBuf,
    /// Time without requests after which a model is unloaded; `None` is never.
    unload_after: Option<Duration>,
    /// Bytes of memory for each byte of weights.
    memory_per_byte: usize,
    open: Opener,
    free_memory: FreeMemory,
    models: Mutex<BTreeMap<String, Arc<FolderModel>>>,
    loading: Arc<tokio::sync::Mutex<()>>,
}

struct FolderModel {
    found: FoundModel,
    state: Mutex<State>,
}

struct State {
    model: Option<Arc<Model>>,
    last_used: Instant,
}

/// Locks a mutex; a panic while it was held leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for ModelFolder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ModelFolder").field("path", &self.path).finish_non_exhaustive()
    }
}

impl FolderModel {
    /// The model, if it is loaded and its engine runs.
    fn loaded(&self) -> Option<Arc<Model>> {
        let mut state = lock(&self.state);
        if state.model.as_ref().is_some_and(|model| model.engine.status().stopped) {
            state.model = None;
        }
        state.last_used = Instant::now();
        state.model.clone()
    }

    /// Gives the model up if nobody uses it and `is_due` holds of its last use.
    fn give_up(&self, is_due: impl Fn(Instant) -> bool) -> bool {
        let mut state = lock(&self.state);
        let is_free = state.model.as_ref().is_some_and(|model| Arc::strong_count(model) == 1);
        if !is_free {
            // A long answer is use, too.
            state.last_used = Instant::now();
            return false;
        }
        is_due(state.last_used) && state.model.take().is_some()
    }
}

impl ModelFolder {
    /// The models of a folder, none of which is loaded yet.
    pub(crate) fn new(path: PathBuf, unload_after: Option<Duration>, options: LoadOptions) -> Self {
        let memory_per_byte = if options.weights == Some(WeightFormat::F32) { 2 } else { 1 };
        let open = move |source: &ModelSource| model::open(source, &options);
        Self::with(path, unload_after, memory_per_byte, Box::new(open), Box::new(files::memory::available))
    }

    /// The same with another way to load, and another memory.
    pub(crate) fn with(
        path: PathBuf,
        unload_after: Option<Duration>,
        memory_per_byte: usize,
        open: Opener,
        free_memory: FreeMemory,
    ) -> Self {
        let folder = Self {
            path,
            unload_after,
            memory_per_byte,
            open,
            free_memory,
            models: Mutex::default(),
            loading: Arc::default(),
        };
        folder.find();
        folder
    }

    /// Looks for models that were added to the folder or removed from it. A loaded one stays until it is unloaded.
    fn find(&self) {
        let found = scan(&self.path).unwrap_or_default();
        let mut models = lock(&self.models);
        models.retain(|name, model| found.contains_key(name) || lock(&model.state).model.is_some());
        for (name, found) in found {
            models.entry(name).or_insert_with(|| {
                Arc::new(FolderModel {
                    found,
                    state: Mutex::new(State { model: None, last_used: Instant::now() }),
                })
            });
        }
    }

    /// The models that are loaded now.
    pub(crate) fn loaded(&self) -> Vec<Arc<Model>> {
        lock(&self.models).values().filter_map(|model| lock(&model.state).model.clone()).collect()
    }

    /// All models of the folder, as it is now, by name.
    pub(crate) fn list(&self) -> Vec<ListedModel> {
        self.find();
        let listed = |(name, model): (&String, &Arc<FolderModel>)| {
            let loaded = lock(&model.state).model.clone();
            let created = loaded.as_ref().map_or(model.found.changed, |model| model.created);
            ListedModel {
                name: name.clone(),
                root: name.clone(),
                parent: None,
                created,
                model: loaded,
                encoder: None,
            }
        };
        lock(&self.models).iter().map(listed).collect()
    }

    /// The model of that name, loaded if it was not; `None` if the folder has no such model.
    ///
    /// # Errors
    /// When it cannot be loaded, or when there is no memory for it now.
    pub(crate) async fn model(self: &Arc<Self>, name: &str) -> Result<Option<Arc<Model>>, ApiError> {
        let known = |folder: &Self| lock(&folder.models).get(name).cloned();
        let model = match known(self) {
            Some(model) => model,
            None => {
                self.find();
                let Some(model) = known(self) else { return Ok(None) };
                model
            }
        };
        if let Some(loaded) = model.loaded() {
            return Ok(Some(loaded));
        }
        // Who waits here and leaves, leaves the queue. Once loading has begun it ends: others may wait for it.
        let turn = Arc::clone(&self.loading).lock_owned().await;
        let folder = Arc::clone(self);
        let loading = tokio::spawn(async move {
            let _turn = turn;
            folder.load(&model).await
        });
        let failed = |error| ApiError::internal(format!("cannot load the model: {error}"));
        loading.await.map_err(failed)?.map(Some)
    }

    /// Loads a model, after making room for it.
    async fn load(self: Arc<Self>, model: &Arc<FolderModel>) -> Result<Arc<Model>, ApiError> {
        if let Some(loaded) = model.loaded() {
            return Ok(loaded);
        }
        self.make_room(model).await?;
        let (folder, source, began) = (Arc::clone(&self), model.found.source.clone(), Instant::now());
        let opened = tokio::task::spawn_blocking(move || (folder.open)(&source)).await;
        let name = &model.found.source.name;
        let refused = |reason: &dyn std::fmt::Display| {
            // The reason names files of this machine, and is the operator's alone.
            tracing::error!("cannot load {name}: {reason}");
            let message = format!("the model `{name}` cannot be loaded; the server's log says why");
            ApiError::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
                .with_code("model_load_failed")
        };
        let opened = opened.map_err(|error| refused(&error))?;
        let opened = opened.map_err(|error| refused(&terminal::errors::one_line(&error)))?;
        for warning in &opened.warnings {
            tracing::warn!("{warning}");
        }
        let seconds = (began.elapsed().as_secs_f64() * 100.0).round() / 100.0;
        tracing::info!(model = name.as_str(), seconds, "model loaded");
        let loaded = Arc::new(opened);
        let mut state = lock(&model.state);
        *state = State { model: Some(Arc::clone(&loaded)), last_used: Instant::now() };
        Ok(loaded)
    }

    /// Unloads models that nobody uses, the one first whose last use is longest ago, until there is memory for another.
    async fn make_room(&self, model: &FolderModel) -> Result<(), ApiError> {
        let name = &model.found.source.name;
        let need = model.found.bytes.saturating_mul(self.memory_per_byte).saturating_add(BESIDE_WEIGHTS);
        let is_enough = || (self.free_memory)().is_none_or(|free| free >= need);
        while !is_enough() {
            if !self.unload_oldest(name) {
                let (need, free) = (mebibytes(need), mebibytes((self.free_memory)().unwrap_or(0)));
                let message = format!(
                    "the model `{name}` needs about {need} MiB of memory, and {free} MiB are free; try again when other \
                     models have answered"
                );
                let retry_after = Some(RETRY_AFTER);
                return Err(ApiError { retry_after, ..ApiError::unavailable("model_memory", message) });
            }
            let began = Instant::now();
            while !is_enough() && began.elapsed() < RELEASE_TIME {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    fn unload_oldest(&self, for_model: &str) -> bool {
        let models: Vec<_> = lock(&self.models).values().cloned().collect();
        let mut loaded: Vec<_> =
            models.into_iter().filter(|model| lock(&model.state).model.is_some()).collect();
        loaded.sort_by_key(|model| lock(&model.state).last_used);
        let given_up = loaded.iter().find(|model| model.give_up(|_| true));
        if let Some(model) = given_up {
            let name = model.found.source.name.as_str();
            tracing::info!(model = name, "model unloaded to make room for {for_model}");
        }
        given_up.is_some()
    }

    /// Unloads the models that were idle for too long.
    pub(crate) fn unload_idle(&self) {
        let Some(limit) = self.unload_after else { return };
        let models: Vec<_> = lock(&self.models).values().cloned().collect();
        for model in models {
            if model.give_up(|last_used| last_used.elapsed() >= limit) {
                let name = model.found.source.name.as_str();
                tracing::info!(
                    model = name,
                    "model unloaded after {} s without requests",
                    limit.as_secs_f64()
                );
            }
        }
    }

    /// Unloads idle models from time to time, for ever.
    pub(crate) async fn watch(self: Arc<Self>) {
        let Some(limit) = self.unload_after else { return };
        let pause = (limit / 4).clamp(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            tokio::time::sleep(pause).await;
            self.unload_idle();
        }
    }
}

fn mebibytes(bytes: usize) -> usize {
    bytes >> 20
}
