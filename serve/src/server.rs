//! The server itself: what all requests share, which path goes where, and what every response carries.

mod layers;

use crate::error::ApiError;
use crate::metrics::{self, Metrics};
use crate::model::Model;
use crate::{embeddings, handlers, health, page, responses, tokens};
use axum::Router;
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

pub(crate) use layers::Body;

/// What answers say made them.
pub(crate) const FINGERPRINT: &str = concat!("smolserve-", env!("CARGO_PKG_VERSION"));

/// How the server treats requests.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Whether unknown parameters are let go.
    pub(crate) lenient: bool,
    /// Keys that open it; none lets everybody in.
    pub(crate) api_keys: Vec<String>,
    /// Pages that may call it; none lets any.
    pub(crate) origins: Vec<HeaderValue>,
    /// The most bytes of a body.
    pub(crate) body_limit: usize,
    pub(crate) request_timeout: Option<Duration>,
    /// How long running requests may go on once it is told to stop.
    pub(crate) shutdown_timeout: Duration,
    /// A step that takes longer makes it unhealthy.
    pub(crate) stuck_after: Duration,
}

/// What every request sees.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) started: Instant,
    models: OnceLock<Vec<Arc<Model>>>,
    closing: watch::Sender<bool>,
}

impl Server {
    /// A server without its models.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            metrics: Arc::default(),
            started: Instant::now(),
            models: OnceLock::new(),
            closing: watch::Sender::new(false),
        }
    }

    /// Opens the doors. Only the first call counts.
    pub(crate) fn ready(&self, models: Vec<Model>) {
        let _ = self.models.set(models.into_iter().map(Arc::new).collect());
    }

    /// Ends every answer that still runs.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Turns true when answers are to end.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// The models, once they are loaded.
    pub(crate) fn models(&self) -> Result<&[Arc<Model>], ApiError> {
        let loading = || ApiError {
            retry_after: Some(1),
            ..ApiError::unavailable("model_loading", "the model is loading")
        };
        self.models.get().map(Vec::as_slice).ok_or_else(loading)
    }

    /// The model of a name.
    pub(crate) fn model(&self, name: &str) -> Result<&Arc<Model>, ApiError> {
        let models = self.models()?;
        let found = models.iter().find(|model| model.name == name);
        found.ok_or_else(|| {
            let served: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
            ApiError::no_model(name, &served)
        })
    }
}

/// Every path, behind what every request passes: id, CORS, count, panic guard, key, loaded models.
pub(crate) fn router(server: &Arc<Server>) -> Router {
    let origins = match server.settings.origins.as_slice() {
        [] => AllowOrigin::from(Any),
        some => AllowOrigin::list(some.iter().cloned()),
    };
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        // Named one by one: a wildcard would leave out the header that carries the key.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([layers::REQUEST_ID, header::RETRY_AFTER]);
    let guarded = Router::new()
        .route("/v1/chat/completions", post(handlers::chat))
        .route("/v1/completions", post(handlers::completions))
        .route("/v1/responses", post(responses::responses))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/models", get(handlers::models))
        .route("/v1/models/{*id}", get(handlers::model))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/apply-template", post(tokens::apply_template))
        .route("/metrics", get(metrics::metrics));
    let open = Router::new()
        .route("/health", get(health::health))
        .route("/", get(page::page))
        .route("/openapi.json", get(page::openapi))
        .method_not_allowed_fallback(layers::no_such_method);
    guarded
        .fallback(layers::no_such_path)
        .method_not_allowed_fallback(layers::no_such_method)
        .layer(from_fn_with_state(Arc::clone(server), layers::authorized))
        .merge(open)
        .layer(from_fn(layers::guarded))
        .layer(from_fn_with_state(Arc::clone(server), layers::counted))
        .layer(cors)
        .layer(from_fn(layers::identified))
        .with_state(Arc::clone(server))
}
