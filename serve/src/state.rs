//! What all requests share: the settings, the models once they are loaded, the metrics, and whether the server closes.

use crate::byte_budget::ByteBudget;
use crate::error::ApiError;
use crate::failed_keys::FailedKeys;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::model_table::ModelTable;
use crate::origins::{Hosts, Origins};
use crate::prompt::SpecialTokens;
use crate::served_encoder::ServedEncoder;
use crate::stored_responses::StoredResponses;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How the server treats requests.
#[derive(Debug, Clone)]
pub(crate) struct ServerSettings {
    /// Whether unknown parameters are ignored.
    pub(crate) lenient: bool,
    /// Whether a request is refused where something of it would be lost.
    pub(crate) strict: bool,
    /// The first part of all paths that clients may send.
    pub(crate) base_path: Option<String>,
    /// Accepted API keys; none means that no key is needed.
    pub(crate) api_keys: Vec<String>,
    /// Origins of web pages that may call the server.
    pub(crate) origins: Origins,
    /// Names that the server is called by.
    pub(crate) hosts: Hosts,
    /// Whether clients with different keys reuse one another's keys and values.
    pub(crate) share_prefixes: bool,
    /// Whether special tokens in messages are text.
    pub(crate) special_tokens_as_text: bool,
    /// Whether embeddings keep their length.
    pub(crate) raw_embeddings: bool,
    /// Maximum size of a body, in bytes.
    pub(crate) body_limit: usize,
    /// Memory for the bodies of all requests that are being read and prepared, in bytes.
    pub(crate) bodies_memory: usize,
    /// Memory for the conversations of responses, in bytes; 0 stores none.
    pub(crate) responses_memory: usize,
    /// Maximum number of open connections.
    pub(crate) max_connections: usize,
    /// Maximum time of one answer.
    pub(crate) request_timeout: Option<Duration>,
    /// How long running requests may continue after the server was told to stop.
    pub(crate) shutdown_timeout: Duration,
    /// A longer step makes the server unhealthy.
    pub(crate) stuck_after: Duration,
}

impl ServerSettings {
    /// How the texts of messages become tokens.
    pub(crate) fn special_tokens(&self) -> SpecialTokens {
        if self.special_tokens_as_text { SpecialTokens::OfTemplate } else { SpecialTokens::Everywhere }
    }
}

/// The state behind every request.
#[derive(Debug)]
pub(crate) struct ServerState {
    pub(crate) settings: ServerSettings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) failed_keys: FailedKeys,
    pub(crate) bodies: Arc<ByteBudget>,
    pub(crate) responses: Arc<StoredResponses>,
    pub(crate) started: Instant,
    models: OnceLock<ModelTable>,
    closing: watch::Sender<bool>,
}

impl ServerState {
    /// The state of a server whose models are not loaded yet.
    pub(crate) fn new(settings: ServerSettings) -> Self {
        Self {
            bodies: ByteBudget::new(settings.bodies_memory),
            responses: Arc::new(StoredResponses::new(settings.responses_memory)),
            failed_keys: FailedKeys::default(),
            settings,
            metrics: Arc::default(),
            started: Instant::now(),
            models: OnceLock::new(),
            closing: watch::Sender::new(false),
        }
    }

    /// Sets the models; later calls are ignored.
    pub(crate) fn set_models(&self, models: ModelTable) {
        let _ = self.models.set(models);
    }

    /// Ends every answer that still runs.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Becomes true when running answers must end.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// The models, once those of the start are loaded.
    pub(crate) fn models(&self) -> Result<&ModelTable, ApiError> {
        let loading = || ApiError {
            retry_after: Some(1),
            ..ApiError::unavailable("model_loading", "the model is loading")
        };
        self.models.get().ok_or_else(loading)
    }

    /// The model of that name, the first one without a name, loaded if it was not. The request's log line names it from
    /// here on.
    pub(crate) async fn model(&self, name: &str) -> Result<Arc<Model>, ApiError> {
        let model = self.models()?.model(name, self.settings.strict).await?;
        tracing::Span::current().record("model", model.name.as_str());
        Ok(model)
    }

    /// The sentence encoder of that name, if there is one. The request's log line names it from here on.
    pub(crate) fn encoder(&self, name: &str) -> Result<Option<Arc<ServedEncoder>>, ApiError> {
        let encoder = self.models()?.encoder(name).cloned();
        if let Some(encoder) = &encoder {
            tracing::Span::current().record("model", encoder.name.as_str());
        }
        Ok(encoder)
    }
}
